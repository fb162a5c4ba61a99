//! What the operators and their steps make of a batch without samples, of sequences without positions, of tensors of
//! another type than f32, of their gradients then (`gradients`), and (`misfits`) of shapes that do not fit together.

mod gradients;
mod misfits;

use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::gradcheck::{places, values};
use crate::selective_scan::{ScanInput, ScanStepInput};
use crate::tolerance::relative_rms;
use crate::{
    AdamWStep, Lengths, SsdInput, adamw_step, causal_conv1d, causal_conv1d_step, conv1d, ctc_loss,
    embedding, gated_rmsnorm, gelu, layer_norm, linear, linear_attention, linear_attention_step,
    linformer_attention, reverse_padded, rotary, selective_scan, selective_scan_step,
    softmax_attention, softmax_attention_step, ssd, ssd_step, sum_of_squares,
};

/// Shape, type and values of a result.
type Found = (Vec<usize>, DType, Vec<f64>);

fn read<const D: usize>(tensor: Tensor<D>) -> Found {
    let (dims, dtype) = (tensor.dims().to_vec(), tensor.dtype());
    (dims, dtype, tensor.into_data().iter::<f64>().collect())
}

/// Tensors of a type on a device, each with values of its own.
struct Make<'a> {
    device: &'a Device,
    dtype: DType,
}

impl Make<'_> {
    fn tensor<const D: usize>(&self, dims: [usize; D], seed: u64) -> Tensor<D> {
        let data = TensorData::new(values(dims.iter().product(), 1.0, seed), dims);
        Tensor::from_data(data, (self.device, self.dtype))
    }

    fn rates<const D: usize>(&self, dims: [usize; D], seed: u64) -> Tensor<D> {
        self.tensor(dims, seed).exp().neg()
    }
}

/// The results of every operator over sequences, each with its name.
fn sequences(make: &Make, batch: usize, len: usize) -> Vec<(&'static str, Found)> {
    let lengths = Lengths::new(vec![len.saturating_sub(1) as u32; batch]);
    let heads = |seed| make.tensor([batch, len, 2, 4], seed);
    let rows = |width, seed| make.tensor([batch, len, width], seed);
    let mut found = Vec::new();
    for causal in [false, true] {
        let out = softmax_attention(heads(1), heads(2), heads(3), &lengths, causal);
        found.push(("softmax_attention", read(out)));
        let out = linear_attention(heads(1), heads(2), heads(3), &lengths, causal);
        found.push(("linear_attention", read(out.y)));
        found.push(("linear_attention, kv", read(out.kv)));
        found.push(("linear_attention, z", read(out.z)));
    }
    let (e, f) = (make.tensor([9, 3], 4), make.tensor([9, 3], 5));
    let out = linformer_attention(heads(1), heads(2), heads(3), e, f, &lengths);
    found.push(("linformer_attention", read(out)));
    let out = causal_conv1d(rows(6, 6), make.tensor([6, 4], 7), None, None, true);
    found.push(("causal_conv1d", read(out.y)));
    found.push(("causal_conv1d, state", read(out.state)));
    found.push(("reverse_padded", read(reverse_padded(rows(6, 8), &lengths))));
    let out = gated_rmsnorm(rows(6, 9), rows(6, 10), make.tensor([6], 11), 2, 1e-5);
    found.push(("gated_rmsnorm", read(out)));
    let out = layer_norm(rows(6, 9), make.tensor([6], 10), make.tensor([6], 11), 1e-5);
    found.push(("layer_norm", read(out)));
    found.push(("gelu", read(gelu(rows(6, 12)))));
    let out = linear(
        rows(6, 13),
        make.tensor([5, 6], 14),
        Some(make.tensor([5], 15)),
    );
    found.push(("linear", read(out)));
    let angles = |seed| make.tensor([len, 2], seed);
    let turned = rotary(make.tensor([batch, len, 2, 12], 16), angles(17), angles(18));
    found.extend(turned.map(|part| ("rotary", read(part))));
    let out = selective_scan(ScanInput {
        u: rows(6, 19),
        delta: rows(6, 20),
        a: make.rates([6, 3], 21),
        b: rows(3, 22),
        c: rows(3, 23),
        d: make.tensor([6], 24),
        z: Some(rows(6, 25)),
        delta_bias: make.tensor([6], 26),
        initial_state: None,
    });
    found.push(("selective_scan", read(out.y)));
    found.push(("selective_scan, state", read(out.last_state)));
    let out = ssd(SsdInput {
        x: heads(27),
        dt: rows(2, 28),
        a: make.rates([2], 29),
        b: make.tensor([batch, len, 1, 3], 30),
        c: make.tensor([batch, len, 1, 3], 31),
        d: make.tensor([2], 32),
        dt_bias: make.tensor([2], 33),
        initial_state: None,
    });
    found.push(("ssd", read(out.y)));
    found.push(("ssd, state", read(out.final_state)));
    found
}

/// The results of every step of a token.
fn steps(make: &Make, batch: usize) -> Vec<(&'static str, Found)> {
    let heads = |seed| make.tensor([batch, 2, 4], seed);
    let rows = |width, seed| make.tensor([batch, width], seed);
    let cache = |seed| make.tensor([batch, 5, 2, 4], seed);
    let attended = softmax_attention_step(heads(1), cache(2), cache(3), 4);
    let z = heads(4).powf_scalar(2.0);
    let kv = make.tensor([batch, 2, 4, 4], 5);
    let (summed, kv, z) = linear_attention_step(heads(6), heads(7), heads(8), kv, z);
    let window = make.tensor([batch, 6, 3], 9);
    let (convolved, window) =
        causal_conv1d_step(rows(6, 10), make.tensor([6, 4], 11), None, window, true);
    let (scanned, state) = selective_scan_step(ScanStepInput {
        u: rows(6, 12),
        delta: rows(6, 13),
        a: make.rates([6, 3], 14),
        b: rows(3, 15),
        c: rows(3, 16),
        d: make.tensor([6], 17),
        z: Some(rows(6, 18)),
        delta_bias: make.tensor([6], 19),
        state: make.tensor([batch, 6, 3], 20),
    });
    let (dual, dual_state) = ssd_step(
        heads(21),
        rows(2, 22),
        make.rates([2], 23),
        make.tensor([batch, 1, 3], 24),
        make.tensor([batch, 1, 3], 25),
        make.tensor([2], 26),
        make.tensor([2], 27),
        make.tensor([batch, 2, 4, 3], 28),
    );
    vec![
        ("softmax_attention_step", read(attended)),
        ("linear_attention_step", read(summed)),
        ("linear_attention_step, kv", read(kv)),
        ("linear_attention_step, z", read(z)),
        ("causal_conv1d_step", read(convolved)),
        ("causal_conv1d_step, state", read(window)),
        ("selective_scan_step", read(scanned)),
        ("selective_scan_step, state", read(state)),
        ("ssd_step", read(dual)),
        ("ssd_step, state", read(dual_state)),
    ]
}

#[test]
fn no_samples_and_no_positions_give_empty_results_and_zero_states() {
    for place in places() {
        let make = Make {
            device: &place.device,
            dtype: DType::F32,
        };
        for (batch, len) in [(0, 5), (2, 0), (0, 0)] {
            let usual = sequences(&make, 2, 5);
            for ((name, (dims, _, values)), (_, (usual, ..))) in
                sequences(&make, batch, len).into_iter().zip(usual)
            {
                // All results have the batch first; those of positions have these next.
                let mut expected = usual;
                expected[0] = batch;
                if expected[1] == 5 {
                    expected[1] = len;
                }
                let what = format!("{name} of {batch} x {len} on {}", place.name);
                assert_eq!(dims, expected, "{what}");
                assert!(values.iter().all(|&value| value == 0.0), "{what}");
            }
        }
        for (name, (dims, _, values)) in steps(&make, 0) {
            assert!(
                dims[0] == 0 && values.is_empty(),
                "{name} on {}",
                place.name
            );
        }
    }
}

#[test]
fn what_is_no_sequence_takes_empty_tensors_too() {
    for place in places() {
        let make = Make {
            device: &place.device,
            dtype: DType::F32,
        };
        let on = place.name;
        let frames = conv1d(
            make.tensor([0, 9, 2], 1),
            make.tensor([1, 6, 5], 2),
            None,
            2,
        );
        assert_eq!(frames.dims(), [0, 4, 5], "{on}");
        for (batch, len) in [(0, 3), (2, 0)] {
            let ids = Tensor::<2, Int>::zeros([batch, len], (&place.device, DType::I32));
            let rows = embedding(make.tensor([7, 4], 3), ids);
            assert_eq!(read(rows).0, [batch, len, 4], "{on}");
        }
        let none = ctc_loss(make.tensor([0, 4, 5], 4), &Lengths::new(vec![]), &[], 0);
        assert_eq!(read(none).0, [0], "{on}");
        // Of no frame the empty target is certain, and every other one impossible.
        let targets = [vec![], vec![1]];
        let losses = ctc_loss(make.tensor([2, 0, 5], 5), &Lengths::full(2, 0), &targets, 0);
        assert_eq!(read(losses).2, [0.0, f64::INFINITY], "{on}");
        let step = AdamWStep {
            lr: 1e-2,
            beta1: 0.9,
            beta2: 0.999,
            eps: 1e-8,
            weight_decay: 0.01,
            step: 3,
        };
        let [param, grad, m, v] = [(); 4].map(|()| make.tensor([0, 3], 6));
        let (param, m, v) = adamw_step(param, grad, m, v, step);
        assert_eq!([param, m, v].map(|x| x.dims()), [[0, 3]; 3], "{on}");
        let sum = sum_of_squares(make.tensor([0, 3], 7));
        assert_eq!(read(sum).2, [0.0], "{on}");
    }
}

#[test]
fn tensors_of_f64_take_the_plain_form() {
    let device = Device::flex();
    let run = |dtype| {
        let make = Make {
            device: &device,
            dtype,
        };
        let mut found = sequences(&make, 2, 7);
        found.extend(steps(&make, 2));
        found
    };
    for ((name, (dims, dtype, got)), (_, (want_dims, _, want))) in
        run(DType::F64).into_iter().zip(run(DType::F32))
    {
        assert_eq!((dims, dtype), (want_dims, DType::F64), "{name}");
        let error = relative_rms(&got, &want);
        assert!(error < 1e-5, "{name}: {error:e} from the f32 form");
    }
}
