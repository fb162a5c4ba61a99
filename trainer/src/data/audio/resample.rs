//! Another sample rate by band-limited interpolation: a windowed sinc at exactly the positions of the new samples
//! (Smith, Digital Audio Resampling; the Kaiser window and width of its high-quality settings).
//!
//! Not the `rubato` crate, which does the same: what it depends on switches on features of crates below Burn, and all of
//! Burn would be built anew.

/// Zero crossings of the sinc on each side.
const ZEROS: f64 = 24.0;
/// Share of the lower Nyquist frequency that passes.
const ROLLOFF: f64 = 0.945;
/// Shape of the Kaiser window: side lobes below -100 dB.
const BETA: f64 = 10.0;

/// `samples` at rate `from` as they would be at rate `to`, both at least 1; the clip keeps its length in seconds.
pub fn resample(samples: Vec<f32>, from: u32, to: u32) -> Vec<f32> {
    if from == to || samples.is_empty() {
        return samples;
    }
    let divisor = gcd(from, to);
    let (up, down) = (u64::from(to / divisor), u64::from(from / divisor));
    let length = (samples.len() as u64 * up).div_ceil(down) as usize;
    // Of the lower of both rates, in cycles a sample of the input.
    let cutoff = ROLLOFF * (f64::from(to) / f64::from(from)).min(1.0);
    let reach = ZEROS / cutoff;
    let filter = |phase: u64| -> (i64, Vec<f64>) {
        let position = phase as f64 / up as f64;
        let first = (position - reach).ceil() as i64;
        let last = (position + reach).floor() as i64;
        let tap = |index: i64| kernel(index as f64 - position, cutoff, reach);
        (first, (first..=last).map(tap).collect())
    };
    // Output n lies at n down / up of the input: one filter for each of the `up` fractions. Where there are too many of
    // them to keep (44,100 from 48,001), each is computed when it is needed.
    let kept: Vec<_> = match up <= 2048 {
        true => (0..up).map(filter).collect(),
        false => Vec::new(),
    };
    let output = |n: usize| {
        let position = n as u64 * down;
        let (whole, phase) = ((position / up) as i64, position % up);
        let computed;
        let (first, taps) = match kept.get(phase as usize) {
            Some(filter) => filter,
            None => {
                computed = filter(phase);
                &computed
            }
        };
        let start = whole + first;
        let value: f64 = taps
            .iter()
            .zip(start..)
            .filter_map(|(tap, at)| Some(tap * f64::from(*samples.get(usize::try_from(at).ok()?)?)))
            .sum();
        value as f32
    };
    (0..length).map(output).collect()
}

/// The filter at `x` samples from its middle.
fn kernel(x: f64, cutoff: f64, reach: f64) -> f64 {
    let inside = 1.0 - (x / reach).powi(2);
    if inside <= 0.0 {
        return 0.0;
    }
    let angle = std::f64::consts::PI * cutoff * x;
    let sinc = if angle.abs() < 1e-9 {
        1.0
    } else {
        angle.sin() / angle
    };
    cutoff * sinc * bessel_i0(BETA * inside.sqrt()) / bessel_i0(BETA)
}

/// Modified Bessel function of the first kind and order 0, by its series.
fn bessel_i0(x: f64) -> f64 {
    let (mut sum, mut term, mut k) = (1.0, 1.0, 1.0);
    while term > sum * 1e-16 {
        term *= (x / (2.0 * k)).powi(2);
        sum += term;
        k += 1.0;
    }
    sum
}

fn gcd(a: u32, b: u32) -> u32 {
    if b == 0 { a } else { gcd(b, a % b) }
}
