//! Shapes that do not fit together.

use burn::tensor::{DType, Device};

use super::Make;
use crate::selective_scan::{ScanInput, ScanStepInput};
use crate::{
    Lengths, SsdInput, causal_conv1d, causal_conv1d_step, gated_rmsnorm, layer_norm, linear,
    linear_attention, linear_attention_step, linformer_attention, reverse_padded, rotary,
    selective_scan, selective_scan_step, softmax_attention, softmax_attention_step, ssd, ssd_step,
};

/// What `work` panics with.
fn refusal(work: impl FnOnce()) -> String {
    let panic = std::panic::catch_unwind(std::panic::AssertUnwindSafe(work))
        .expect_err("shapes that do not fit are refused");
    let text = panic.downcast_ref::<String>().cloned();
    text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()))
        .expect("a panic has a message")
}

#[test]
fn shapes_that_do_not_fit_are_refused_with_what_was_found() {
    let device = Device::flex();
    let make = Make {
        device: &device,
        dtype: DType::F32,
    };
    let heads = || make.tensor([2, 5, 2, 4], 1);
    let rows = |width| make.tensor([2, 5, width], 2);
    let row = |width| make.tensor([2, width], 3);
    let flat = |width| make.tensor([width], 4);
    let full = || Lengths::full(2, 5);
    let scan = |b| ScanInput {
        u: rows(6),
        delta: rows(6),
        a: make.rates([6, 3], 5),
        b: rows(b),
        c: rows(3),
        d: flat(6),
        z: None,
        delta_bias: flat(6),
        initial_state: None,
    };
    let dual = |groups| SsdInput {
        x: heads(),
        dt: rows(2),
        a: make.rates([2], 6),
        b: make.tensor([2, 5, groups, 3], 7),
        c: make.tensor([2, 5, groups, 3], 8),
        d: flat(2),
        dt_bias: flat(2),
        initial_state: None,
    };
    type Misfit<'a> = (&'a str, &'a str, Box<dyn FnOnce() + 'a>);
    // Operator, what of the found shape must be in the message, the call.
    let misfits: Vec<Misfit> = vec![
        (
            "softmax_attention",
            "[2, 4, 2, 4]",
            Box::new(|| {
                let short = heads().narrow(1, 0, 4);
                softmax_attention(heads(), heads(), short, &full(), false);
            }),
        ),
        (
            "softmax_attention",
            "up to 6",
            Box::new(|| {
                softmax_attention(heads(), heads(), heads(), &Lengths::new(vec![6, 1]), false);
            }),
        ),
        (
            "linear_attention",
            "[2, 5, 1, 4]",
            Box::new(|| {
                linear_attention(heads(), heads().narrow(2, 0, 1), heads(), &full(), true);
            }),
        ),
        (
            "linformer_attention",
            "proj_value [9, 4]",
            Box::new(|| {
                let (e, f) = (make.tensor([9, 3], 4), make.tensor([9, 4], 5));
                linformer_attention(heads(), heads(), heads(), e, f, &full());
            }),
        ),
        (
            "causal_conv1d",
            "[7, 4]",
            Box::new(|| {
                causal_conv1d(rows(6), make.tensor([7, 4], 1), None, None, true);
            }),
        ),
        (
            "reverse_padded",
            "[5, 5, 5]",
            Box::new(|| {
                reverse_padded(rows(6), &Lengths::full(3, 5));
            }),
        ),
        (
            "gated_rmsnorm",
            "[7]",
            Box::new(|| {
                gated_rmsnorm(rows(6), rows(6), flat(7), 2, 1e-5);
            }),
        ),
        (
            "gated_rmsnorm",
            "4 groups",
            Box::new(|| {
                gated_rmsnorm(rows(6), rows(6), flat(6), 4, 1e-5);
            }),
        ),
        (
            "layer_norm",
            "[7]",
            Box::new(|| {
                layer_norm(rows(6), flat(7), flat(6), 1e-5);
            }),
        ),
        (
            "linear",
            "[2, 5, 6]",
            Box::new(|| {
                linear(rows(6), make.tensor([5, 7], 1), None);
            }),
        ),
        (
            "rotary",
            "[4, 2]",
            Box::new(|| {
                let packed = make.tensor([2, 5, 2, 12], 1);
                rotary(packed, make.tensor([5, 2], 2), make.tensor([4, 2], 3));
            }),
        ),
        (
            "selective_scan",
            "[2, 5, 4]",
            Box::new(|| {
                selective_scan(scan(4));
            }),
        ),
        (
            "ssd",
            "groups",
            Box::new(|| {
                ssd(dual(3));
            }),
        ),
        (
            "softmax_attention_step",
            "6",
            Box::new(|| {
                let query = heads().narrow(1, 0, 1).squeeze_dim(1);
                softmax_attention_step(query, heads(), heads(), 6);
            }),
        ),
        (
            "linear_attention_step",
            "[2, 2, 4, 3]",
            Box::new(|| {
                let x = || make.tensor([2, 2, 4], 1);
                linear_attention_step(x(), x(), x(), make.tensor([2, 2, 4, 3], 2), x());
            }),
        ),
        (
            "causal_conv1d_step",
            "[2, 6, 2]",
            Box::new(|| {
                let window = make.tensor([2, 6, 2], 1);
                causal_conv1d_step(row(6), make.tensor([6, 4], 2), None, window, true);
            }),
        ),
        (
            "selective_scan_step",
            "[2, 6, 4]",
            Box::new(|| {
                selective_scan_step(ScanStepInput {
                    u: row(6),
                    delta: row(6),
                    a: make.rates([6, 3], 1),
                    b: row(3),
                    c: row(3),
                    d: flat(6),
                    z: None,
                    delta_bias: flat(6),
                    state: make.tensor([2, 6, 4], 2),
                });
            }),
        ),
        (
            "ssd_step",
            "[2, 2, 4, 5]",
            Box::new(|| {
                let vector = || make.tensor([2, 1, 3], 1);
                ssd_step(
                    make.tensor([2, 2, 4], 2),
                    row(2),
                    make.rates([2], 3),
                    vector(),
                    vector(),
                    flat(2),
                    flat(2),
                    make.tensor([2, 2, 4, 5], 4),
                );
            }),
        ),
    ];
    for (operator, found, call) in misfits {
        let message = refusal(call);
        assert!(
            message.starts_with(&format!("{operator}: ")) && message.contains(found),
            "{operator}: {found} is not in the message `{message}`"
        );
    }
}
