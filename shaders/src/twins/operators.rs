//! The operators at the sizes at which they are held against their twins.

use burn::tensor::{Bytes, DType, Int, Tensor, TensorData};

use super::Call;
use crate::selective_scan::{ScanInput, ScanStepInput};
use crate::{
    AdamWStep, Lengths, SsdInput, adamw_step, causal_conv1d, causal_conv1d_step, conv1d, ctc_loss,
    embedding, gated_rmsnorm, gelu, layer_norm, linear, linear_attention, linear_attention_step,
    linformer_attention, reverse_padded, rotary, selective_scan, selective_scan_step,
    softmax_attention, softmax_attention_step, ssd, ssd_step, sum_of_squares, widen,
};

/// Puts its results, by name, into the call.
pub(crate) type Run = fn(&mut Call);

/// Every operator and step.
pub(crate) static OPERATORS: [(&str, Run); 22] = [
    ("softmax_attention", softmax),
    ("softmax_attention_step", softmax_step),
    ("linformer_attention", linformer),
    ("linear_attention", linear_sums),
    ("linear_attention_step", linear_sums_step),
    ("causal_conv1d", convolution),
    ("causal_conv1d_step", convolution_step),
    ("conv1d", framed_convolution),
    ("selective_scan", scan),
    ("selective_scan_step", scan_step),
    ("ssd", dual),
    ("ssd_step", dual_step),
    ("gated_rmsnorm", gated_norm),
    ("layer_norm", norm),
    ("reverse_padded", reversed),
    ("rotary", turned),
    ("gelu", activation),
    ("linear", layers),
    ("ctc_loss", ctc),
    ("adamw_step", optimizer),
    ("sum_of_squares", squares),
    ("sixteen_bit", packed),
];

fn softmax(call: &mut Call) {
    // Rows of vectors and of single values, heads that fill a tile and that do not, more keys than a tile has; the heads of small models.
    for (width, len, causal) in [
        (33, 70, true),
        (80, 40, false),
        (64, 131, false),
        (32, 70, false),
        (16, 70, true),
    ] {
        let lengths = Lengths::new(vec![len as u32, len as u32 / 3]);
        let [q, k, v] = ["query", "key", "value"].map(|name| call.leaf(name, [2, len, 2, width]));
        let y = softmax_attention(q, k, v, &lengths, causal);
        call.differentiate("y", y);
    }
}

fn softmax_step(call: &mut Call) {
    // One part of the cache, and several that are combined.
    for (filled, width) in [(7, 33), (700, 16)] {
        let query = call.plain([2, 3, width]);
        let [keys, values] = [(); 2].map(|()| call.plain([2, filled + 1, 3, width]));
        let y = softmax_attention_step(query, keys, values, filled);
        call.give("y", y);
    }
}

fn linformer(call: &mut Call) {
    let [q, k, v] = ["query", "key", "value"].map(|name| call.leaf(name, [2, 70, 2, 5]));
    let [e, f] = ["proj_key", "proj_value"].map(|name| call.leaf(name, [75, 9]));
    let y = linformer_attention(q, k, v, e, f, &Lengths::new(vec![70, 23]));
    call.differentiate("y", y);
}

fn linear_sums(call: &mut Call) {
    // Several chunks either way, and heads wider than a block.
    for (len, width, causal) in [
        (70, 17, false),
        (300, 40, false),
        (70, 17, true),
        (131, 40, true),
    ] {
        let dims = [2, len, 2, width];
        let [q, k, v] = ["query", "key", "value"].map(|name| call.leaf(name, dims));
        let lengths = Lengths::new(vec![len as u32, len as u32 / 3]);
        let out = linear_attention(q, k, v, &lengths, causal);
        call.differentiate("y", out.y);
        call.give("kv", out.kv.inner());
        call.give("z", out.z.inner());
    }
}

fn linear_sums_step(call: &mut Call) {
    let [q, k, v] = [(); 3].map(|()| call.plain([2, 3, 70]));
    let (kv, z) = (call.plain([2, 3, 70, 70]), call.plain([2, 3, 70]).abs());
    let (y, kv, z) = linear_attention_step(q, k, v, kv, z);
    call.give("y", y);
    call.give("kv", kv);
    call.give("z", z);
}

fn convolution(call: &mut Call) {
    for (width, silu) in [(4, true), (3, false)] {
        let state = call.plain([2, 21, width - 1]).autodiff();
        let (x, weight) = (
            call.leaf("x", [2, 70, 21]),
            call.leaf("weight", [21, width]),
        );
        let bias = call.leaf("bias", [21]);
        let out = causal_conv1d(x, weight, Some(bias), Some(state), silu);
        call.differentiate("y", out.y);
        call.give("state", out.state.inner());
    }
    let (x, weight) = (call.leaf("x", [2, 70, 21]), call.leaf("weight", [21, 4]));
    let out = causal_conv1d(x, weight, None, None, true);
    call.differentiate("y behind nothing", out.y);
}

fn convolution_step(call: &mut Call) {
    let (x, weight, bias) = (call.plain([2, 21]), call.plain([21, 4]), call.plain([21]));
    let state = call.plain([2, 21, 3]);
    let (y, state) = causal_conv1d_step(x, weight, Some(bias), state, true);
    call.give("y", y);
    call.give("state", state);
}

fn framed_convolution(call: &mut Call) {
    let (x, weight) = (call.leaf("x", [4, 70, 5]), call.leaf("weight", [2, 30, 37]));
    let bias = call.leaf("bias", [2, 37]);
    let y = conv1d(x, weight, Some(bias), 2);
    call.differentiate("y", y);
}

fn scan(call: &mut Call) {
    for (gated, resumed, states) in [(true, true, 5), (false, false, 16), (true, false, 20)] {
        let rates = call.rates([19, states]);
        let input = ScanInput {
            u: call.leaf("u", [2, 131, 19]),
            delta: call.leaf("delta", [2, 131, 19]),
            a: call.leaf_of("a", rates),
            b: call.leaf("b", [2, 131, states]),
            c: call.leaf("c", [2, 131, states]),
            d: call.leaf("d", [19]),
            z: gated.then(|| call.leaf("z", [2, 131, 19])),
            delta_bias: call.leaf("delta_bias", [19]),
            initial_state: resumed.then(|| call.plain([2, 19, states]).autodiff()),
        };
        let out = selective_scan(input);
        call.differentiate("y", out.y);
        call.give("state", out.last_state.inner());
    }
    // Nothing is kept for a backward pass.
    let out = selective_scan(ScanInput {
        u: call.plain([2, 131, 19]),
        delta: call.plain([2, 131, 19]),
        a: call.rates([19, 16]),
        b: call.plain([2, 131, 16]),
        c: call.plain([2, 131, 16]),
        d: call.plain([19]),
        z: Some(call.plain([2, 131, 19])),
        delta_bias: call.plain([19]),
        initial_state: None,
    });
    call.give("y alone", out.y);
    call.give("state alone", out.last_state);
}

fn scan_step(call: &mut Call) {
    for gated in [true, false] {
        let (y, state) = selective_scan_step(ScanStepInput {
            u: call.plain([2, 67]),
            delta: call.plain([2, 67]),
            a: call.rates([67, 16]),
            b: call.plain([2, 16]),
            c: call.plain([2, 16]),
            d: call.plain([67]),
            z: gated.then(|| call.plain([2, 67])),
            delta_bias: call.plain([67]),
            state: call.plain([2, 67, 16]),
        });
        call.give("y", y);
        call.give("state", state);
    }
}

fn dual(call: &mut Call) {
    // Within a tile, and past one either way.
    for (resumed, width, states) in [(false, 5, 7), (true, 5, 7), (true, 40, 70)] {
        let rates = call.rates([4]);
        let out = ssd(SsdInput {
            x: call.leaf("x", [2, 131, 4, width]),
            dt: call.leaf("dt", [2, 131, 4]),
            a: call.leaf_of("a", rates),
            b: call.leaf("b", [2, 131, 2, states]),
            c: call.leaf("c", [2, 131, 2, states]),
            d: call.leaf("d", [4]),
            dt_bias: call.leaf("dt_bias", [4]),
            initial_state: resumed.then(|| call.plain([2, 4, width, states]).autodiff()),
        });
        call.differentiate("y", out.y);
        call.give("state", out.final_state.inner());
    }
}

fn dual_step(call: &mut Call) {
    let (x, dt, a) = (call.plain([2, 4, 5]), call.plain([2, 4]), call.rates([4]));
    let (b, c) = (call.plain([2, 2, 70]), call.plain([2, 2, 70]));
    let (d, dt_bias) = (call.plain([4]), call.plain([4]));
    let state = call.plain([2, 4, 5, 70]);
    let (y, state) = ssd_step(x, dt, a, b, c, d, dt_bias, state);
    call.give("y", y);
    call.give("state", state);
}

fn gated_norm(call: &mut Call) {
    let (x, z) = (call.leaf("x", [2, 70, 99]), call.leaf("z", [2, 70, 99]));
    let weight = call.leaf("weight", [99]);
    let y = gated_rmsnorm(x, z, weight, 3, 1e-5);
    call.differentiate("y", y);
}

fn norm(call: &mut Call) {
    let x = call.leaf("x", [2, 70, 99]);
    let (weight, bias) = (call.leaf("weight", [99]), call.leaf("bias", [99]));
    let y = layer_norm(x, weight, bias, 1e-5);
    call.differentiate("y", y);
}

fn reversed(call: &mut Call) {
    let x = call.leaf("x", [2, 70, 5]);
    let y = reverse_padded(x, &Lengths::new(vec![70, 23]));
    call.differentiate("y", y);
}

fn turned(call: &mut Call) {
    // Halves of single values and of vectors.
    for half in [3, 4] {
        let packed = call.leaf("packed", [2, 15, 3, 48]);
        let (cos, sin) = (call.plain([15, half]), call.plain([15, half]));
        let [query, key, value] = rotary(packed, cos.autodiff(), sin.autodiff());
        call.differentiate("query, key, value", Tensor::cat(vec![query, key, value], 0));
    }
}

fn activation(call: &mut Call) {
    let x = call.leaf("x", [3, 331]);
    call.differentiate("y", gelu(x * 4.0));
}

fn layers(call: &mut Call) {
    // Small tiles and, with two hundred of them, large ones; few rows with a depth in vectors and without, and few columns.
    for [rows, out, depth] in [
        [70, 45, 33],
        [900, 930, 12],
        [3, 45, 36],
        [3, 45, 33],
        [300, 2, 64],
    ] {
        let (x, weight) = (
            call.leaf("x", [rows, depth]),
            call.leaf("weight", [out, depth]),
        );
        let bias = call.leaf("bias", [out]);
        call.differentiate("y", linear(x, weight, Some(bias)));
    }
}

fn ctc(call: &mut Call) {
    let logits = call.leaf("logits", [3, 20, 7]);
    let frames = Lengths::new(vec![20, 13, 4]);
    let targets = [vec![1, 1, 2, 5], vec![3, 6], vec![]];
    call.differentiate("loss", ctc_loss(logits, &frames, &targets, 0));
    let logits = call.plain([2, 20, 7]);
    let loss = ctc_loss(logits, &Lengths::full(2, 20), &targets[..2], 0);
    call.give("loss alone", loss);
}

fn optimizer(call: &mut Call) {
    let step = AdamWStep {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 3,
    };
    let [parameter, gradient, m, v] = [(); 4].map(|()| call.plain([700]));
    let (parameter, m, v) = adamw_step(parameter, gradient, m, v.abs(), step);
    call.give("parameter", parameter);
    call.give("m", m);
    call.give("v", v);
}

fn squares(call: &mut Call) {
    let x = call.plain([3, 30_011]);
    call.give("sum", sum_of_squares(x));
}

fn packed(call: &mut Call) {
    // Rounded here to halves of f16 and bf16 that both hold, so that every result is exact.
    for (dtype, one, two) in [
        (DType::F16, 0x3c00u32, 0xc000),
        (DType::BF16, 0x3f80, 0xc000),
    ] {
        let words: Vec<u32> = (0..41 * 18u32)
            .map(|i| match i % 3 {
                0 => one | two << 16,
                1 => two | one << 16,
                _ => one | one << 16,
            })
            .collect();
        let data = TensorData::from_bytes(Bytes::from_elems(words), [41, 36], dtype);
        let weight = Tensor::<2>::from_data(data, (call.device(), dtype));
        call.give("widened", widen(weight.clone()));
        let ids = TensorData::new(vec![40i32, 0, 7, 7, 1, 39], [2, 3]);
        let ids = Tensor::<2, Int>::from_data(ids, (call.device(), DType::I32));
        call.give("rows", embedding(weight.clone(), ids));
        for rows in [70, 3] {
            let x = call.plain([rows, 36]);
            call.give("product", linear(x, weight.clone(), None));
        }
    }
}
