//! Kernels with more workgroups than one dimension of a launch holds: they are folded into two, and a few are superfluous.

use super::{Run, check_call};
use crate::block_on;
use crate::gradcheck::places;
use crate::launch::MAX_WORKGROUPS;
use crate::selective_scan::{ScanInput, ScanStepInput};
use crate::{
    Lengths, causal_conv1d, ctc_loss, gated_rmsnorm, layer_norm, linear_attention,
    linear_attention_step, linformer_attention, reverse_padded, selective_scan,
    selective_scan_step, softmax_attention, softmax_attention_step, ssd_step,
};

/// Rows, heads or samples: no multiple of two rows of workgroups, so that some are superfluous.
const MANY: usize = MAX_WORKGROUPS + 66;

const CALLS: [(&str, Run); 13] = [
    ("softmax_attention", |call| {
        let [q, k, v] = ["query", "key", "value"].map(|name| call.leaf(name, [1, 2, MANY, 4]));
        let y = softmax_attention(q, k, v, &Lengths::full(1, 2), false);
        call.differentiate("y", y);
    }),
    ("linear_attention", |call| {
        let [q, k, v] = ["query", "key", "value"].map(|name| call.leaf(name, [1, 2, MANY, 4]));
        let y = linear_attention(q, k, v, &Lengths::full(1, 2), false).y;
        call.differentiate("y", y);
    }),
    ("linformer_attention", |call| {
        let [q, k, v] = ["query", "key", "value"].map(|name| call.leaf(name, [1, 1, MANY, 2]));
        let [e, f] = ["proj_key", "proj_value"].map(|name| call.leaf(name, [1, 2]));
        let y = linformer_attention(q, k, v, e, f, &Lengths::full(1, 1));
        call.differentiate("y", y);
    }),
    ("causal_conv1d", |call| {
        let (x, weight) = (call.leaf("x", [MANY, 2, 1]), call.leaf("weight", [1, 2]));
        let y = causal_conv1d(x, weight, None, None, true).y;
        call.differentiate("y", y);
    }),
    ("selective_scan", |call| {
        let rates = call.rates([1, 1]);
        let y = selective_scan(ScanInput {
            u: call.leaf("u", [MANY, 2, 1]),
            delta: call.leaf("delta", [MANY, 2, 1]),
            a: rates.autodiff(),
            b: call.leaf("b", [MANY, 2, 1]),
            c: call.leaf("c", [MANY, 2, 1]),
            d: call.leaf("d", [1]),
            z: Some(call.leaf("z", [MANY, 2, 1])),
            delta_bias: call.leaf("delta_bias", [1]),
            initial_state: None,
        });
        call.differentiate("y", y.y);
    }),
    ("gated_rmsnorm", |call| {
        let (x, z) = (call.leaf("x", [1, MANY, 3]), call.leaf("z", [1, MANY, 3]));
        let weight = call.leaf("weight", [3]);
        let y = gated_rmsnorm(x, z, weight, 1, 1e-5);
        call.differentiate("y", y);
    }),
    ("layer_norm", |call| {
        let x = call.leaf("x", [MANY, 3]);
        let (weight, bias) = (call.leaf("weight", [3]), call.leaf("bias", [3]));
        let y = layer_norm(x, weight, bias, 1e-5);
        call.differentiate("y", y);
    }),
    ("ctc_loss", |call| {
        let logits = call.leaf("logits", [MANY, 1, 3]);
        let y = ctc_loss(logits, &Lengths::full(MANY, 1), &vec![vec![1]; MANY], 0);
        call.differentiate("loss", y);
    }),
    ("reverse_padded", |call| {
        // An invocation a value, 256 a workgroup.
        let x = call.plain([1, MANY, 256]);
        call.give("y", reverse_padded(x, &Lengths::full(1, MANY)));
    }),
    ("softmax_attention_step", |call| {
        let query = call.plain([1, MANY, 4]);
        let [keys, values] = [(); 2].map(|()| call.plain([1, 2, MANY, 4]));
        call.give("y", softmax_attention_step(query, keys, values, 2));
    }),
    ("linear_attention_step", |call| {
        let [q, k, v] = [(); 3].map(|()| call.plain([1, MANY, 2]));
        let (kv, z) = (call.plain([1, MANY, 2, 2]), call.plain([1, MANY, 2]).abs());
        let (y, kv, z) = linear_attention_step(q, k, v, kv, z);
        call.give("y", y);
        call.give("kv", kv);
        call.give("z", z);
    }),
    ("selective_scan_step", |call| {
        let (y, state) = selective_scan_step(ScanStepInput {
            u: call.plain([MANY, 64]),
            delta: call.plain([MANY, 64]),
            a: call.rates([64, 1]),
            b: call.plain([MANY, 1]),
            c: call.plain([MANY, 1]),
            d: call.plain([64]),
            z: None,
            delta_bias: call.plain([64]),
            state: call.plain([MANY, 64, 1]),
        });
        call.give("y", y);
        call.give("state", state);
    }),
    ("ssd_step", |call| {
        let (y, state) = ssd_step(
            call.plain([MANY, 1, 2]),
            call.plain([MANY, 1]),
            call.rates([1]),
            call.plain([MANY, 1, 2]),
            call.plain([MANY, 1, 2]),
            call.plain([1]),
            call.plain([1]),
            call.plain([MANY, 1, 2, 2]),
        );
        call.give("y", y);
        call.give("state", state);
    }),
];

#[test]
fn more_workgroups_than_a_dimension_holds_match_the_cpu_twin() {
    let places = places();
    let Some(gpu) = places.iter().find(|place| place.name == "wgpu") else {
        return;
    };
    for (name, run) in CALLS {
        let report = block_on(check_call(name, run, &gpu.device));
        assert!(report.passed && !report.tensors.is_empty(), "{report:#?}");
    }
}
