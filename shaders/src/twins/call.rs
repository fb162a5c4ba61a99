//! One call of an operator: tensors that are the same on every device, and what comes out by name.

use burn::tensor::{Device, Gradients, Tensor, TensorData};

/// Values in [-scale, scale) that an f32 holds exactly, the same for the same seed.
pub(crate) fn values(len: usize, scale: f64, seed: u64) -> Vec<f64> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x2545_f491_4f6c_dd1d;
    (0..len)
        .map(|_| {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let unit = (state >> 11) as f64 / (1u64 << 53) as f64;
            f64::from(((2.0 * unit - 1.0) * scale) as f32)
        })
        .collect()
}

fn row<const D: usize>(tensor: Tensor<D>) -> Tensor<1> {
    let count: usize = tensor.dims().iter().product();
    tensor.reshape([count])
}

type Gradient = Box<dyn Fn(&Gradients) -> Tensor<1>>;

/// Makes the arguments of a call on a device and collects its results.
pub(crate) struct Call {
    device: Device,
    made: u64,
    leaves: Vec<(String, Gradient)>,
    results: Vec<(String, Tensor<1>)>,
}

impl Call {
    /// Nothing made yet.
    pub(crate) fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            made: 0,
            leaves: Vec::new(),
            results: Vec::new(),
        }
    }

    /// Where the tensors lie.
    pub(crate) fn device(&self) -> &Device {
        &self.device
    }

    /// An argument in [-1, 1), another one every time.
    pub(crate) fn plain<const D: usize>(&mut self, dims: [usize; D]) -> Tensor<D> {
        self.made += 1;
        let values: Vec<f32> = values(dims.iter().product(), 1.0, self.made)
            .iter()
            .map(|&value| value as f32)
            .collect();
        Tensor::from_data(TensorData::new(values, dims), &self.device)
    }

    /// Rates of decay, all negative.
    pub(crate) fn rates<const D: usize>(&mut self, dims: [usize; D]) -> Tensor<D> {
        self.plain(dims).abs().neg()
    }

    /// An argument whose gradient is a result too.
    pub(crate) fn leaf<const D: usize>(&mut self, name: &str, dims: [usize; D]) -> Tensor<D> {
        let values = self.plain(dims);
        self.leaf_of(name, values)
    }

    /// `values` as an argument whose gradient is a result too.
    pub(crate) fn leaf_of<const D: usize>(&mut self, name: &str, values: Tensor<D>) -> Tensor<D> {
        let leaf = values.autodiff().require_grad();
        let kept = leaf.clone();
        let gradient: Gradient = Box::new(move |gradients| {
            row(kept
                .grad(gradients)
                .expect("a leaf of the call has a gradient"))
        });
        self.leaves.push((format!("d{name}"), gradient));
        leaf
    }

    /// A result.
    pub(crate) fn give<const D: usize>(&mut self, name: &str, tensor: Tensor<D>) {
        self.results.push((name.to_owned(), row(tensor)));
    }

    /// A result, and the gradients of the leaves so far for a gradient of it that differs from value to value.
    pub(crate) fn differentiate<const D: usize>(&mut self, name: &str, y: Tensor<D>) {
        let upstream = self.plain(y.dims()).autodiff();
        let gradients = (y.clone() * upstream).sum().backward();
        self.give(name, y.inner());
        for (name, gradient) in std::mem::take(&mut self.leaves) {
            self.results.push((name, gradient(&gradients)));
        }
    }

    /// Everything that came out.
    pub(crate) fn into_results(self) -> Vec<(String, Tensor<1>)> {
        self.results
    }
}
