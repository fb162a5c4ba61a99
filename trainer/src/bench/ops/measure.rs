//! Runs of an operator: random arguments, the clock, and the check that comes before it.

use super::operator::{Argument, Given, Operator, Results, Size};
use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{Device, Tensor, TensorData};
use caldera_shaders::is_gpu;
use caldera_shaders::tolerance::relative_rms;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use std::time::Instant;

/// On a GPU a read waits for as many runs as take this long, since it costs more than a small kernel.
const READ_EVERY_MS: f64 = 5.0;
/// At most this many runs a read, so that a kernel of 20 µs is not timed by the read after it.
const MOST_RUNS: usize = 256;
/// Most bytes of results that wait for their backward pass.
const WAITING_BYTES: usize = 512 << 20;

/// Uniform values in `range` on `device`, the same for the same seed on every device.
pub fn fill(values: usize, (low, high): (f32, f32), seed: u64, device: &Device) -> Tensor<1> {
    // A prime: rows of one position repeat only after as many positions.
    const PERIOD: usize = 65_537;
    let mut random = StdRng::seed_from_u64(seed);
    let period: Vec<f32> = (0..values.min(PERIOD))
        .map(|_| random.random_range(low..high))
        .collect();
    let all: Vec<f32> = period.iter().copied().cycle().take(values).collect();
    Tensor::from_data(TensorData::new(all, [values]), device)
}

/// The operator or its plain form.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// The fused one.
    Fused,
    /// In plain Burn operations.
    Plain,
}

/// One operator at one size with its arguments on one device.
pub struct Problem<'a> {
    operator: &'a dyn Operator,
    size: Size,
    device: Device,
    arguments: Vec<Argument>,
    flat: Vec<Tensor<1>>,
}

impl<'a> Problem<'a> {
    /// Makes the arguments.
    pub fn new(operator: &'a dyn Operator, size: Size, device: &Device) -> Self {
        let arguments = operator.arguments(&size);
        let flat = (1..)
            .zip(&arguments)
            .map(|(seed, argument)| fill(argument.values(), argument.range, seed, device))
            .collect();
        Self {
            operator,
            size,
            device: device.clone(),
            arguments,
            flat,
        }
    }

    fn call(&self, form: Form, flat: &[Tensor<1>]) -> Results {
        let given = Given::new(flat, &self.arguments);
        match form {
            Form::Fused => self.operator.run(&self.size, given),
            Form::Plain => self.operator.reference(&self.size, given),
        }
    }

    /// Where the arguments lie.
    pub fn device(&self) -> &Device {
        &self.device
    }

    /// The result without a graph.
    pub fn forward(&self, form: Form) -> Tensor<1> {
        self.call(form, &self.flat).result
    }

    /// The result with a graph, and the leaf whose gradient is read.
    pub fn graph(&self, form: Form) -> (Tensor<1>, Tensor<1>) {
        let leaves = self.leaves();
        (self.call(form, &leaves).result, leaves[0].clone())
    }

    fn leaves(&self) -> Vec<Tensor<1>> {
        self.flat
            .iter()
            .map(|tensor| tensor.clone().autodiff().require_grad())
            .collect()
    }

    /// Result, states and gradients on the host, by name. The gradient that comes in is random.
    fn answers(&self, form: Form) -> Result<Vec<(&'static str, Vec<f64>)>> {
        let leaves = self.leaves();
        let trained = self.operator.backward(&self.size).is_some();
        let Results { result: y, states } = match trained {
            true => self.call(form, &leaves),
            false => self.call(form, &self.flat),
        };
        let mut answers = vec![("result", host(y.clone())?)];
        for state in states {
            answers.push(("state", host(state)?));
        }
        if trained {
            let upstream = fill(y.dims()[0], (-1.0, 1.0), 99, &self.device).autodiff();
            let gradients = (y * upstream).sum().backward();
            for (leaf, argument) in leaves.iter().zip(&self.arguments) {
                let gradient = leaf
                    .grad(&gradients)
                    .with_context(|| format!("no gradient of {}", argument.name))?;
                answers.push((argument.name, host(gradient)?));
            }
        }
        Ok(answers)
    }
}

/// Holds the operator against its oracle: on a GPU the CPU twin, on the CPU the plain form. Result, states and every gradient.
///
/// # Errors
/// When they lie further apart than [`Operator::allowed`], with what differs, or when a device fails.
pub fn check(operator: &dyn Operator, size: Size, device: &Device) -> Result<()> {
    let got = Problem::new(operator, size, device).answers(Form::Fused)?;
    let (oracle, want) = if is_gpu(device) {
        let twin = Problem::new(operator, size, &Device::flex());
        ("its CPU twin", twin.answers(Form::Fused)?)
    } else {
        let plain = Problem::new(operator, size, device);
        ("its plain form", plain.answers(Form::Plain)?)
    };
    if got.len() != want.len() {
        bail!(
            "{}: {} results, states and gradients, {oracle} has {}",
            operator.name(),
            got.len(),
            want.len()
        );
    }
    for ((what, got), (_, want)) in got.iter().zip(&want) {
        let error = relative_rms(got, want);
        // NaN is no pass either.
        if error.is_nan() || error > operator.allowed() {
            let what = match *what {
                "result" | "state" => format!("the {what}"),
                name => format!("the gradient of {name}"),
            };
            bail!(
                "{} at {} positions of {}: {what} differs from {oracle} by a relative RMS of {error:.1e}, allowed {:.0e}; \
                 a kernel that computes something else is not timed",
                operator.name(),
                size.len,
                size.model.name,
                operator.allowed()
            );
        }
    }
    Ok(())
}

fn host(tensor: Tensor<1>) -> Result<Vec<f64>> {
    let data = tensor.inner().try_into_data().map_err(|e| failed(&e))?;
    Ok(data.iter::<f64>().collect())
}

fn failed(error: &dyn std::fmt::Debug) -> anyhow::Error {
    anyhow!("the device failed: {error:?}; try shorter lengths or a smaller batch")
}

/// Waits until `tensor`, and all that was launched before it, is there.
fn wait(tensor: Tensor<1>) -> Result<()> {
    let first = tensor.inner().narrow(0, 0, 1);
    let data = first.try_into_data().map_err(|e| failed(&e))?;
    // wgpu hands the data out before it is there: only looking at it waits.
    std::hint::black_box(data.as_bytes().first().copied());
    Ok(())
}

/// Times work that ends with a value read back, several runs a read on a GPU.
#[derive(Debug, Clone, Copy)]
pub struct Clock {
    /// Milliseconds of the first run that was not compiling.
    pub first_ms: f64,
    runs: usize,
    waiting: usize,
    /// Milliseconds that the ones take that a backward pass begins with: not the operator's.
    seed_ms: f64,
}

impl Clock {
    /// Warms `work` up with one run, and times a second one to see how many fit between two reads.
    ///
    /// # Errors
    /// When the device fails.
    pub fn new(device: &Device, work: impl Fn() -> Result<Tensor<1>>) -> Result<Self> {
        wait(work()?)?;
        let start = Instant::now();
        let result = work()?;
        let values = result.dims()[0];
        let bytes = 4 * values;
        wait(result)?;
        let first_ms = start.elapsed().as_secs_f64() * 1e3;
        let runs = if is_gpu(device) {
            ((READ_EVERY_MS / first_ms).ceil() as usize).clamp(1, MOST_RUNS)
        } else {
            // Synchronous: nothing waits.
            1
        };
        let waiting = runs.min((WAITING_BYTES / bytes.max(1)).max(1));
        let mut seeds = Vec::new();
        for _ in 0..3 {
            let start = Instant::now();
            let mut ones = None;
            for _ in 0..waiting {
                ones = Some(Tensor::<1>::ones([values], device));
            }
            wait(ones.context("no run")?)?;
            seeds.push(start.elapsed().as_secs_f64() * 1e3 / waiting as f64);
        }
        Ok(Self {
            first_ms,
            runs,
            waiting,
            seed_ms: seeds.into_iter().fold(f64::INFINITY, f64::min),
        })
    }

    /// Passes between two reads, at most.
    pub fn calls(&self) -> f64 {
        self.runs as f64
    }

    /// Milliseconds of one run of `work`.
    ///
    /// # Errors
    /// When the device fails.
    pub fn forward(&self, work: impl Fn() -> Result<Tensor<1>>) -> Result<f64> {
        let start = Instant::now();
        for _ in 1..self.runs {
            drop(work()?);
        }
        wait(work()?)?;
        Ok(start.elapsed().as_secs_f64() * 1e3 / self.runs as f64)
    }

    /// Milliseconds of one backward pass from a gradient of ones; the graphs are built before the clock starts, and the time that the
    /// ones take is taken off.
    ///
    /// # Errors
    /// When the device fails.
    pub fn backward(&self, graph: impl Fn() -> (Tensor<1>, Tensor<1>)) -> Result<f64> {
        let graphs: Vec<_> = (0..self.waiting).map(|_| graph()).collect();
        if let Some((last, _)) = graphs.last() {
            wait(last.clone())?;
        }
        let start = Instant::now();
        let mut gradient = None;
        for (y, leaf) in graphs {
            gradient = leaf.grad(&y.backward());
        }
        wait(gradient.context("no gradient")?)?;
        let ms = start.elapsed().as_secs_f64() * 1e3 / self.waiting as f64;
        // A pass that is little more than a copy may come out below the ones of a slow moment.
        Ok((ms - self.seed_ms).max(ms / 10.0))
    }
}
