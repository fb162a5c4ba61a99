//! Order statistics, log-log slopes and the crossover of two curves.

/// The value below which a share `q` (0 to 1) of `values` lies, with linear interpolation between neighbours. NaN of none.
pub fn quantile(values: &[f64], q: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let Some(last) = sorted.len().checked_sub(1) else {
        return f64::NAN;
    };
    let at = q.clamp(0.0, 1.0) * last as f64;
    let (low, high) = (at.floor() as usize, at.ceil() as usize);
    sorted[low] + (sorted[high] - sorted[low]) * (at - low as f64)
}

/// Least-squares slope of ln y over ln x of the points with x at or above `from`; None with fewer than two of them.
pub fn log_log_slope(points: &[(f64, f64)], from: f64) -> Option<f64> {
    let logs: Vec<(f64, f64)> = points
        .iter()
        .filter(|p| p.0 >= from && p.0 > 0.0 && p.1 > 0.0)
        .map(|p| (p.0.ln(), p.1.ln()))
        .collect();
    let n = logs.len() as f64;
    let (mx, my) = (
        logs.iter().map(|p| p.0).sum::<f64>() / n,
        logs.iter().map(|p| p.1).sum::<f64>() / n,
    );
    let spread: f64 = logs.iter().map(|p| (p.0 - mx).powi(2)).sum();
    (logs.len() > 1 && spread > 0.0)
        .then(|| logs.iter().map(|p| (p.0 - mx) * (p.1 - my)).sum::<f64>() / spread)
}

/// The length from which `linear` stays at or below `transformer`, interpolated on log axes between the two sweep points round it. Points are
/// (length, ms) in rising order of the same lengths. None when the linear model is not ahead at the longest length; the first length when it
/// is ahead everywhere.
pub fn crossover(transformer: &[(f64, f64)], linear: &[(f64, f64)]) -> Option<f64> {
    let gap: Vec<(f64, f64)> = transformer
        .iter()
        .zip(linear)
        .map(|(t, l)| (t.0.ln(), l.1.ln() - t.1.ln()))
        .collect();
    let behind = gap.iter().rposition(|p| p.1 > 0.0);
    match behind {
        None => transformer.first().map(|p| p.0),
        Some(at) => {
            let (a, b) = (gap[at], *gap.get(at + 1)?);
            Some((a.0 + (b.0 - a.0) * a.1 / (a.1 - b.1)).exp())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_interpolate() {
        let values = [4.0, 1.0, 3.0, 2.0];
        assert_eq!(
            (
                quantile(&values, 0.5),
                quantile(&values, 0.0),
                quantile(&values, 1.0)
            ),
            (2.5, 1.0, 4.0)
        );
        assert!((quantile(&values, 0.1) - 1.3).abs() < 1e-12 && quantile(&[], 0.5).is_nan());
    }

    #[test]
    fn slopes_are_exponents_from_the_given_length_up() {
        let points: Vec<(f64, f64)> = [64.0, 512.0, 1024.0, 2048.0]
            .iter()
            .map(|&x| (x, 3.0 * f64::powi(x, 2)))
            .collect();
        assert!((log_log_slope(&points, 512.0).unwrap() - 2.0).abs() < 1e-9);
        assert_eq!(log_log_slope(&points, 2048.0), None);
    }

    #[test]
    fn the_crossover_lies_where_the_curves_meet() {
        let lengths = [64.0, 128.0, 256.0, 512.0, 1024.0];
        let square: Vec<(f64, f64)> = lengths.iter().map(|&x| (x, x * x)).collect();
        let line: Vec<(f64, f64)> = lengths.iter().map(|&x| (x, 300.0 * x)).collect();
        assert!((crossover(&square, &line).unwrap() - 300.0).abs() < 1e-6);
        assert_eq!(crossover(&line, &square), None);
        let ahead: Vec<(f64, f64)> = lengths.iter().map(|&x| (x, x)).collect();
        assert_eq!(crossover(&square, &ahead), Some(64.0));
    }
}
