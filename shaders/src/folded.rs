//! Kernels with more workgroups than one dimension of a launch holds: they are folded into two, and a few are superfluous.

use burn::tensor::{Device, Tensor};

use crate::gradcheck::{Place, places, values};
use crate::launch::MAX_WORKGROUPS;
use crate::selective_scan::{ScanInput, ScanStepInput};
use crate::tolerance::relative_rms;
use crate::{
    Lengths, causal_conv1d, ctc_loss, gated_rmsnorm, layer_norm, linear_attention,
    linear_attention_step, linformer_attention, reverse_padded, selective_scan,
    selective_scan_step, softmax_attention, softmax_attention_step, ssd_step,
};

/// Rows, heads or samples: no multiple of two rows of workgroups, so that some are superfluous.
const MANY: usize = MAX_WORKGROUPS + 66;

/// Leaves of one call, by the seeds of their values, and what of them is read in the end.
struct Leaves<'a> {
    place: &'a Place,
    graded: std::cell::RefCell<Vec<Box<dyn Fn(&burn::tensor::Gradients) -> Vec<f64>>>>,
}

fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
    tensor.into_data().iter::<f64>().collect()
}

impl Leaves<'_> {
    /// A tensor whose gradient is compared too.
    fn leaf<const D: usize>(&self, dims: [usize; D], seed: u64) -> Tensor<D> {
        let leaf = self
            .place
            .leaf(&values(dims.iter().product(), 1.0, seed), dims);
        let kept = leaf.clone();
        self.graded.borrow_mut().push(Box::new(move |gradients| {
            read(kept.grad(gradients).expect("a leaf has a gradient"))
        }));
        leaf
    }

    fn plain<const D: usize>(&self, dims: [usize; D], seed: u64) -> Tensor<D> {
        self.place
            .tensor(&values(dims.iter().product(), 1.0, seed), dims)
    }

    /// `y`, and the gradients of the leaves for one that differs from value to value.
    fn answers<const D: usize>(self, y: Tensor<D>) -> Vec<Vec<f64>> {
        let dims = y.dims();
        let upstream = self.plain(dims, 99).autodiff();
        let gradients = (y.clone() * upstream).sum().backward();
        let mut found = vec![read(y)];
        found.extend(self.graded.into_inner().iter().map(|read| read(&gradients)));
        found
    }
}

type Call = fn(Leaves) -> Vec<Vec<f64>>;

const CALLS: [(&str, Call); 13] = [
    ("softmax_attention", |of| {
        let heads = |seed| of.leaf([1, 2, MANY, 4], seed);
        let y = softmax_attention(heads(1), heads(2), heads(3), &Lengths::full(1, 2), false);
        of.answers(y)
    }),
    ("linear_attention", |of| {
        let heads = |seed| of.leaf([1, 2, MANY, 4], seed);
        let y = linear_attention(heads(1), heads(2), heads(3), &Lengths::full(1, 2), false).y;
        of.answers(y)
    }),
    ("linformer_attention", |of| {
        let heads = |seed| of.leaf([1, 1, MANY, 2], seed);
        let [q, k, v] = [heads(1), heads(2), heads(3)];
        let (e, f) = (of.leaf([1, 2], 4), of.leaf([1, 2], 5));
        let y = linformer_attention(q, k, v, e, f, &Lengths::full(1, 1));
        of.answers(y)
    }),
    ("causal_conv1d", |of| {
        let (x, weight) = (of.leaf([MANY, 2, 1], 1), of.leaf([1, 2], 2));
        let y = causal_conv1d(x, weight, None, None, true).y;
        of.answers(y)
    }),
    ("selective_scan", |of| {
        let rows = |seed| of.leaf([MANY, 2, 1], seed);
        let input = ScanInput {
            u: rows(1),
            delta: rows(2),
            a: of.plain([1, 1], 3).abs().neg().autodiff(),
            b: rows(4),
            c: rows(5),
            d: of.leaf([1], 6),
            z: Some(rows(7)),
            delta_bias: of.leaf([1], 8),
            initial_state: None,
        };
        let y = selective_scan(input).y;
        of.answers(y)
    }),
    ("gated_rmsnorm", |of| {
        let (x, z) = (of.leaf([1, MANY, 3], 1), of.leaf([1, MANY, 3], 2));
        let y = gated_rmsnorm(x, z, of.leaf([3], 3), 1, 1e-5);
        of.answers(y)
    }),
    ("layer_norm", |of| {
        let x = of.leaf([MANY, 3], 1);
        let y = layer_norm(x, of.leaf([3], 2), of.leaf([3], 3), 1e-5);
        of.answers(y)
    }),
    ("ctc_loss", |of| {
        let logits = of.leaf([MANY, 1, 3], 1);
        let y = ctc_loss(logits, &Lengths::full(MANY, 1), &vec![vec![1]; MANY], 0);
        of.answers(y)
    }),
    ("reverse_padded", |of| {
        // An invocation a value, 256 a workgroup.
        let x = of.plain([1, MANY, 256], 1);
        vec![read(reverse_padded(x, &Lengths::full(1, MANY)))]
    }),
    ("softmax_attention_step", |of| {
        let cache = |seed| of.plain([1, 2, MANY, 4], seed);
        let y = softmax_attention_step(of.plain([1, MANY, 4], 1), cache(2), cache(3), 2);
        vec![read(y)]
    }),
    ("linear_attention_step", |of| {
        let heads = |seed| of.plain([1, MANY, 2], seed);
        let kv = of.plain([1, MANY, 2, 2], 4);
        let (y, kv, z) = linear_attention_step(heads(1), heads(2), heads(3), kv, heads(5).abs());
        vec![read(y), read(kv), read(z)]
    }),
    ("selective_scan_step", |of| {
        let rows = |seed| of.plain([MANY, 64], seed);
        let (y, state) = selective_scan_step(ScanStepInput {
            u: rows(1),
            delta: rows(2),
            a: of.plain([64, 1], 3).abs().neg(),
            b: of.plain([MANY, 1], 4),
            c: of.plain([MANY, 1], 5),
            d: of.plain([64], 6),
            z: None,
            delta_bias: of.plain([64], 7),
            state: of.plain([MANY, 64, 1], 8),
        });
        vec![read(y), read(state)]
    }),
    ("ssd_step", |of| {
        let (y, state) = ssd_step(
            of.plain([MANY, 1, 2], 1),
            of.plain([MANY, 1], 2),
            of.plain([1], 3).abs().neg(),
            of.plain([MANY, 1, 2], 4),
            of.plain([MANY, 1, 2], 5),
            of.plain([1], 6),
            of.plain([1], 7),
            of.plain([MANY, 1, 2, 2], 8),
        );
        vec![read(y), read(state)]
    }),
];

#[test]
fn more_workgroups_than_a_dimension_holds_match_the_cpu_twin() {
    let places = places();
    let Some(gpu) = places.iter().find(|place| place.name == "wgpu") else {
        return;
    };
    let cpu = Place {
        name: "flex",
        device: Device::flex(),
        allowed: 0.0,
    };
    for (name, call) in CALLS {
        let run = |place| {
            call(Leaves {
                place,
                graded: Default::default(),
            })
        };
        for (which, (got, want)) in run(gpu).iter().zip(run(&cpu)).enumerate() {
            let error = relative_rms(got, &want);
            assert!(
                error < 4e-5,
                "{name}, result {which}: relative RMS {error:e} from the CPU twin"
            );
        }
    }
}
