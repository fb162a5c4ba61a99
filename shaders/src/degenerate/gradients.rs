//! Gradients where there are no samples or no positions: a backward pass runs, weights get zeros, and the rest is as empty as what it
//! belongs to.

use burn::tensor::{DType, Gradients, Tensor};

use super::{Found, Make, read};
use crate::gradcheck::places;
use crate::selective_scan::ScanInput;
use crate::{
    Lengths, SsdInput, causal_conv1d, conv1d, gated_rmsnorm, gelu, layer_norm, linear,
    linear_attention, linformer_attention, reverse_padded, selective_scan, softmax_attention, ssd,
};

type Gradient = Box<dyn Fn(&Gradients) -> Option<Found>>;

/// The arguments of one call, and how to read the gradient of each.
struct Leaves<'a> {
    make: &'a Make<'a>,
    made: Vec<(Vec<usize>, Gradient)>,
}

impl Leaves<'_> {
    fn leaf<const D: usize>(&mut self, dims: [usize; D]) -> Tensor<D> {
        let seed = self.made.len() as u64 + 1;
        // All negative, so that any of them may be a rate of decay.
        let leaf = self.make.rates(dims, seed).autodiff().require_grad();
        let kept = leaf.clone();
        let gradient: Gradient = Box::new(move |gradients| kept.grad(gradients).map(read));
        self.made.push((dims.to_vec(), gradient));
        leaf
    }
}

/// Runs one call and holds the gradients of its leaves against zeros. Those of empty arguments, and of `apart` by number, may be missing.
fn check<const D: usize>(
    make: &Make,
    what: &str,
    apart: &[usize],
    call: impl FnOnce(&mut Leaves) -> Tensor<D>,
) {
    let mut leaves = Leaves {
        make,
        made: Vec::new(),
    };
    let gradients = call(&mut leaves).backward();
    for (number, (dims, gradient)) in leaves.made.iter().enumerate() {
        let what = format!("{what}, argument {number}");
        let Some((found, _, values)) = gradient(&gradients) else {
            let excused = dims.contains(&0) || apart.contains(&number);
            assert!(excused, "{what}: no gradient");
            continue;
        };
        assert_eq!(found, *dims, "{what}");
        assert!(values.iter().all(|&value| value == 0.0), "{what}");
    }
}

#[test]
fn gradients_of_nothing_are_zeros() {
    for place in places() {
        let make = Make {
            device: &place.device,
            dtype: DType::F32,
        };
        for (batch, len) in [(0, 5usize), (2, 0), (0, 0)] {
            let lengths = Lengths::new(vec![len.saturating_sub(1) as u32; batch]);
            let (heads, inner) = ([batch, len, 2, 4], [batch, len, 6]);
            let states = [batch, len, 3];
            let named = |name: &str| format!("{name} of {batch} x {len} on {}", place.name);
            // Apart are the rates of a scan and the slots of Linformer, which have nothing to work on.
            for causal in [false, true] {
                check(&make, &named("softmax_attention"), &[], |leaves| {
                    let [q, k, v] = [(); 3].map(|()| leaves.leaf(heads));
                    softmax_attention(q, k, v, &lengths, causal)
                });
                check(&make, &named("linear_attention"), &[], |leaves| {
                    let [q, k, v] = [(); 3].map(|()| leaves.leaf(heads));
                    linear_attention(q, k, v, &lengths, causal).y
                });
            }
            check(&make, &named("linformer_attention"), &[3, 4], |leaves| {
                let [q, k, v] = [(); 3].map(|()| leaves.leaf(heads));
                let [e, f] = [(); 2].map(|()| leaves.leaf([9, 3]));
                linformer_attention(q, k, v, e, f, &lengths)
            });
            check(&make, &named("causal_conv1d"), &[], |leaves| {
                let (x, weight, bias) = (leaves.leaf(inner), leaves.leaf([6, 4]), leaves.leaf([6]));
                causal_conv1d(x, weight, Some(bias), None, true).y
            });
            check(&make, &named("reverse_padded"), &[], |leaves| {
                reverse_padded(leaves.leaf(inner), &lengths)
            });
            check(&make, &named("gated_rmsnorm"), &[], |leaves| {
                let (x, z, weight) = (leaves.leaf(inner), leaves.leaf(inner), leaves.leaf([6]));
                gated_rmsnorm(x, z, weight, 2, 1e-5)
            });
            check(&make, &named("layer_norm"), &[], |leaves| {
                let (x, weight, bias) = (leaves.leaf(inner), leaves.leaf([6]), leaves.leaf([6]));
                layer_norm(x, weight, bias, 1e-5)
            });
            check(&make, &named("gelu"), &[], |leaves| {
                gelu(leaves.leaf(inner))
            });
            check(&make, &named("linear"), &[], |leaves| {
                let (x, weight, bias) = (leaves.leaf(inner), leaves.leaf([5, 6]), leaves.leaf([5]));
                linear(x, weight, Some(bias))
            });
            // Not rotary: it takes parts of a tensor, and parts of an empty one leave Burn's graph.
            check(&make, &named("selective_scan"), &[2, 7], |leaves| {
                let input = ScanInput {
                    u: leaves.leaf(inner),
                    delta: leaves.leaf(inner),
                    a: leaves.leaf([6, 3]),
                    b: leaves.leaf(states),
                    c: leaves.leaf(states),
                    d: leaves.leaf([6]),
                    z: Some(leaves.leaf(inner)),
                    delta_bias: leaves.leaf([6]),
                    initial_state: None,
                };
                selective_scan(input).y
            });
            check(&make, &named("ssd"), &[2, 6], |leaves| {
                let input = SsdInput {
                    x: leaves.leaf(heads),
                    dt: leaves.leaf([batch, len, 2]),
                    a: leaves.leaf([2]),
                    b: leaves.leaf([batch, len, 1, 3]),
                    c: leaves.leaf([batch, len, 1, 3]),
                    d: leaves.leaf([2]),
                    dt_bias: leaves.leaf([2]),
                    initial_state: None,
                };
                ssd(input).y
            });
        }
        // Its windows need positions, so only samples can be missing.
        check(&make, &format!("conv1d on {}", place.name), &[], |leaves| {
            let (x, weight, bias) = (
                leaves.leaf([0, 9, 2]),
                leaves.leaf([1, 6, 5]),
                leaves.leaf([1, 5]),
            );
            conv1d(x, weight, Some(bias), 2)
        });
    }
}
