//! What an operator says of itself to be measured.

use burn::tensor::Tensor;

/// Sizes of a model's layers, as far as the operators need them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ModelShape {
    /// Name on the command line.
    pub name: &'static str,
    /// Width of the residual stream.
    pub hidden: usize,
    /// Attention heads.
    pub heads: usize,
    /// Width of a head.
    pub head_width: usize,
    /// Width of the feed-forward layer.
    pub intermediate: usize,
    /// Slots of Linformer's projections; 0 where the model's student is no Linformer.
    pub slots: usize,
    /// Channels of Mamba's inner stream; 0 where the student has none.
    pub d_inner: usize,
    /// State of Mamba a channel; 0 where the student is no Mamba.
    pub d_state: usize,
    /// State of Mamba-2 a head's channel; 0 where the student is no Mamba-2.
    pub ssd_state: usize,
    /// Channels of the causal convolution; 0 where the student has none.
    pub conv_channels: usize,
    /// A query sees only positions up to its own.
    pub causal: bool,
}

/// The shapes that `bench ops` knows: the models of the paper, and a toy for `--quick`.
pub static MODELS: [ModelShape; 4] = [
    ModelShape {
        name: "bert-base",
        hidden: 768,
        heads: 12,
        head_width: 64,
        intermediate: 3072,
        slots: 256,
        d_inner: 0,
        d_state: 0,
        ssd_state: 0,
        conv_channels: 0,
        causal: false,
    },
    ModelShape {
        name: "pythia-160m",
        hidden: 768,
        heads: 12,
        head_width: 64,
        intermediate: 3072,
        slots: 0,
        d_inner: 1536,
        d_state: 16,
        ssd_state: 0,
        conv_channels: 1536,
        causal: true,
    },
    // Mamba-2 with expand 1 and one group: the convolution runs over x, B and C together.
    ModelShape {
        name: "wav2vec2-base",
        hidden: 768,
        heads: 12,
        head_width: 64,
        intermediate: 3072,
        slots: 0,
        d_inner: 768,
        d_state: 0,
        ssd_state: 128,
        conv_channels: 768 + 2 * 128,
        causal: false,
    },
    ModelShape {
        name: "tiny",
        hidden: 32,
        heads: 2,
        head_width: 16,
        intermediate: 64,
        slots: 8,
        d_inner: 48,
        d_state: 4,
        ssd_state: 16,
        conv_channels: 48,
        causal: false,
    },
];

/// One problem: a model's layer on a batch of sequences without padding.
#[derive(Debug, Clone, Copy)]
pub struct Size {
    /// The layer.
    pub model: &'static ModelShape,
    /// Sequences.
    pub batch: usize,
    /// Positions of each.
    pub len: usize,
}

impl Size {
    /// Positions of the whole batch.
    pub fn rows(&self) -> f64 {
        (self.batch * self.len) as f64
    }

    /// Values of a tensor `[B, L, width]`.
    pub fn values(&self, width: usize) -> f64 {
        self.rows() * width as f64
    }
}

/// Shape of an argument, and the range that its random values lie in.
#[derive(Debug, Clone)]
pub struct Argument {
    /// Name as in the operator's signature.
    pub name: &'static str,
    /// Its shape.
    pub dims: Vec<usize>,
    /// Lowest and highest value.
    pub range: (f32, f32),
}

impl Argument {
    /// Values in [-1, 1).
    pub fn new<const D: usize>(name: &'static str, dims: [usize; D]) -> Self {
        Self::within(name, dims, -1.0, 1.0)
    }

    /// Values in [low, high).
    pub fn within<const D: usize>(
        name: &'static str,
        dims: [usize; D],
        low: f32,
        high: f32,
    ) -> Self {
        Self {
            name,
            dims: dims.to_vec(),
            range: (low, high),
        }
    }

    /// Number of values.
    pub fn values(&self) -> usize {
        self.dims.iter().product()
    }
}

/// What a call gives.
#[derive(Debug)]
pub struct Results {
    /// The result, as one row.
    pub result: Tensor<1>,
    /// States that it leaves for the next call, a row each. The clock waits for the result; the check looks at these too.
    pub states: Vec<Tensor<1>>,
}

impl Results {
    /// The same with one more state.
    pub fn and<const D: usize>(mut self, state: Tensor<D>) -> Self {
        self.states.push(row(state).result);
        self
    }
}

/// The arguments of one call, handed out in the order of [`Operator::arguments`].
#[derive(Debug)]
pub struct Given {
    tensors: std::vec::IntoIter<(Tensor<1>, Vec<usize>)>,
}

impl Given {
    /// `flat` in the shapes of `arguments`.
    pub fn new(flat: &[Tensor<1>], arguments: &[Argument]) -> Self {
        let tensors: Vec<_> = flat
            .iter()
            .cloned()
            .zip(arguments.iter().map(|argument| argument.dims.clone()))
            .collect();
        Self {
            tensors: tensors.into_iter(),
        }
    }

    /// The next argument.
    ///
    /// # Panics
    /// When there is none left or it has another rank: the descriptor contradicts itself.
    pub fn take<const D: usize>(&mut self) -> Tensor<D> {
        let (tensor, dims) = self
            .tensors
            .next()
            .expect("a descriptor takes no more arguments than it names");
        let dims: [usize; D] = dims
            .try_into()
            .expect("a descriptor takes arguments in the rank that it names");
        tensor.reshape(dims)
    }
}

/// What a pass must do at least, by count: bytes of f32 that are read or written once, and operations of arithmetic. A multiplication, an
/// addition, a division, a root, an exponential and a comparison count one each.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Work {
    /// Bytes read and written.
    pub bytes: f64,
    /// Operations.
    pub flops: f64,
}

impl Work {
    /// From the number of f32 values moved.
    pub fn new(values: f64, flops: f64) -> Self {
        Self {
            bytes: 4.0 * values,
            flops,
        }
    }
}

/// An operator, its plain form and its work.
pub trait Operator: Sync {
    /// Name of its function.
    fn name(&self) -> &'static str;

    /// Whether a model of this shape, or its student, has the operator.
    fn applies(&self, model: &ModelShape) -> bool;

    /// The tensors it takes; every one of them gets a gradient.
    fn arguments(&self, size: &Size) -> Vec<Argument>;

    /// The operator.
    fn run(&self, size: &Size, given: Given) -> Results;

    /// The same in plain Burn operations.
    fn reference(&self, size: &Size, given: Given) -> Results;

    /// Work of the forward pass.
    fn forward(&self, size: &Size) -> Work;

    /// Work of the backward pass; `None` for an operator without one.
    fn backward(&self, size: &Size) -> Option<Work>;

    /// Values of the state that a step writes beside its result.
    fn next_state(&self, _: &Size) -> usize {
        0
    }

    /// Largest relative RMS between the operator and its oracle, for the result and every gradient.
    fn allowed(&self) -> f64 {
        1e-4
    }

    /// Bytes that the plain form holds at once, forward and backward, roughly: it is not run where they exceed the limit.
    fn reference_bytes(&self, size: &Size) -> f64 {
        16.0 * self.forward(size).bytes
    }
}

/// `tensor` as one row, and no state.
pub fn row<const D: usize>(tensor: Tensor<D>) -> Results {
    let values: usize = tensor.dims().iter().product();
    Results {
        result: tensor.reshape([values]),
        states: Vec::new(),
    }
}
