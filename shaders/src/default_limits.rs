//! Every kernel on a wgpu device that was granted exactly WebGPU's default limits.

use std::sync::OnceLock;

use burn::tensor::wgpu::{WgpuSetup, wgpu};
use burn::tensor::{Bytes, DType, Device, Int, Tensor, TensorData};

use crate::cases::{check, fixtures};
use crate::fixture::Case;
use crate::gradcheck::{adapter, values};
use crate::selective_scan::ScanStepInput;
use crate::tolerance::relative_rms;
use crate::{
    AdamWStep, adamw_step, block_on, causal_conv1d_step, conv1d, embedding, gelu, layer_norm,
    linear, linear_attention_step, rotary, selective_scan_step, softmax_attention_step, ssd_step,
    widen,
};

/// One for all tests: Burn knows a second one by the same name.
fn device() -> Option<Device> {
    static DEVICE: OnceLock<Option<Device>> = OnceLock::new();
    DEVICE.get_or_init(granted).clone()
}

fn granted() -> Option<Device> {
    let (instance, adapter) = adapter()?;
    let descriptor = wgpu::DeviceDescriptor {
        required_limits: wgpu::Limits::defaults(),
        // CubeCL's own copies use what the adapter has, whether or not the device was granted it.
        required_features: adapter.features()
            & (wgpu::Features::SHADER_INT64 | wgpu::Features::SUBGROUP),
        ..Default::default()
    };
    let (device, queue) =
        block_on(adapter.request_device(&descriptor)).expect("the adapter has the defaults");
    let backend = adapter.get_info().backend;
    let setup = WgpuSetup {
        instance,
        adapter,
        device,
        queue,
        backend,
    };
    Some(
        Device::wgpu_options()
            .setup(setup)
            .init()
            .expect("the setup is one of its own"),
    )
}

#[test]
fn every_kernel_runs_within_the_default_limits() {
    let Some(device) = device() else {
        return;
    };
    for path in [
        "ops/softmax-attention/bidirectional-wide",
        "ops/softmax-attention/causal-ragged",
        "ops/linformer-attention/ragged",
        "ops/linear-attention/bidirectional-wide",
        "ops/linear-attention/causal-wide",
        "ops/causal-conv1d/ragged",
        "ops/reverse-time/ragged",
        "ops/ctc-loss/ragged",
        "ops/ctc-loss/long",
        "ops/mamba1-scan/ragged",
        "ops/gated-rmsnorm/grouped",
        "ops/mamba2-ssd/ragged",
    ] {
        let case = Case::read(&fixtures(), path).unwrap();
        let report = block_on(check(&case, &device)).unwrap();
        assert!(report.passed, "{path}: {report:#?}");
    }
    let tensor = |dims: [usize; 2]| {
        let values: Vec<f32> = values(dims[0] * dims[1], 1.0, 3)
            .iter()
            .map(|&value| value as f32)
            .collect();
        Tensor::<2>::from_data(TensorData::new(values, dims), &device)
            .autodiff()
            .require_grad()
    };
    let (samples, filters) = (tensor([300, 6]), tensor([60, 70]));
    let y = conv1d(
        samples.clone().reshape([2, 150, 6]),
        filters.clone().reshape([1, 60, 70]),
        Some(tensor([1, 70])),
        3,
    );
    let convolution = y.sum().backward();
    let of_convolution = [samples.grad(&convolution), filters.grad(&convolution)];
    let packed = tensor([30, 96]);
    let [query, key, value] = rotary(
        packed.clone().reshape([1, 15, 2, 96]),
        tensor([15, 8]).inner(),
        tensor([15, 8]).inner(),
    );
    let turned = (query + key + value).sum().backward();
    let (x, weight) = (tensor([70, 96]), tensor([40, 96]));
    // No adapter is asked for 16-bit arithmetic.
    let halves = TensorData::from_bytes(
        Bytes::from_elems(vec![0x3c00_c000u32; 6]),
        [3, 4],
        DType::F16,
    );
    let halves = Tensor::<2>::from_data(halves, (&device, DType::F16));
    let ids =
        Tensor::<2, Int>::from_data(TensorData::new(vec![2i32], [1, 1]), (&device, DType::I32));
    let ones = Tensor::<2>::ones([9, 4], &device).without_autodiff();
    for (what, got) in [
        ("widened", widen(halves.clone()).into_data()),
        ("looked up", embedding(halves.clone(), ids).into_data()),
        ("multiplied", linear(ones, halves, None).into_data()),
    ] {
        let values = got.iter::<f64>().collect::<Vec<_>>();
        let pattern: &[f64] = if what == "multiplied" {
            &[-2.0]
        } else {
            &[-2.0, 1.0]
        };
        let expected = pattern.iter().cycle();
        assert!(
            values.iter().zip(expected).all(|(got, want)| got == want),
            "{what}: {values:?}"
        );
    }
    let row = |width: usize| tensor([1, width]).reshape([width]);
    let y = layer_norm(x.clone(), row(96), row(96), 1e-5);
    let y = gelu(linear(y, weight.clone(), Some(row(40))));
    let gradients = y.sum().backward();
    let of_linear = [x.grad(&gradients), weight.grad(&gradients)];
    let all = of_convolution.into_iter().chain(of_linear);
    for gradient in all.chain([packed.grad(&turned)]) {
        let values = gradient.expect("a leaf has a gradient").into_data();
        assert!(values.iter::<f64>().all(f64::is_finite));
    }
}

/// What a token takes of each operator, and the optimizer's step: results, each with its name.
fn steps(device: &Device) -> Vec<(&'static str, Vec<f64>)> {
    let flat = |len: usize, seed: u64| {
        let values: Vec<f32> = values(len, 1.0, seed)
            .iter()
            .map(|&value| value as f32)
            .collect();
        Tensor::<1>::from_data(TensorData::new(values, [len]), device)
    };
    let heads = |seed| flat(4 * 64, seed).reshape([1, 4, 64]);
    let cache = flat(200 * 128, 3).reshape([1, 100, 4, 64]);
    let attended = softmax_attention_step(heads(1), cache.clone(), cache, 90);
    let sums = flat(4 * 64 * 64, 4).square().reshape([1, 4, 64, 64]);
    let z = heads(5).square();
    let (linear_y, sums, z) = linear_attention_step(heads(6), heads(7), heads(8), sums, z);

    let rows = |width: usize, seed| flat(2 * width, seed).reshape([2, width]);
    let (convolved, window) = causal_conv1d_step(
        rows(70, 9),
        flat(4 * 70, 10).reshape([70, 4]),
        Some(flat(70, 11)),
        flat(2 * 70 * 3, 12).reshape([2, 70, 3]),
        true,
    );
    let (scanned, scan_state) = selective_scan_step(ScanStepInput {
        u: rows(70, 13),
        delta: rows(70, 14),
        a: flat(70 * 16, 15).exp().neg().reshape([70, 16]),
        b: rows(16, 16),
        c: rows(16, 17),
        d: flat(70, 18),
        z: Some(rows(70, 19)),
        delta_bias: flat(70, 20),
        state: flat(2 * 70 * 16, 21).reshape([2, 70, 16]),
    });
    let (dual, dual_state) = ssd_step(
        flat(2 * 4 * 20, 22).reshape([2, 4, 20]),
        rows(4, 23),
        flat(4, 24).exp().neg(),
        flat(2 * 2 * 24, 25).reshape([2, 2, 24]),
        flat(2 * 2 * 24, 26).reshape([2, 2, 24]),
        flat(4, 27),
        flat(4, 28),
        flat(2 * 4 * 20 * 24, 29).reshape([2, 4, 20, 24]),
    );
    let step = AdamWStep {
        lr: 1e-2,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.01,
        step: 3,
    };
    let (m, v) = (flat(700, 30), flat(700, 31).square());
    let (parameter, m, v) = adamw_step(flat(700, 32), flat(700, 33), m, v, step);

    fn read<const D: usize>(tensor: Tensor<D>) -> Vec<f64> {
        tensor.into_data().iter::<f64>().collect()
    }
    vec![
        ("softmax_attention_step", read(attended)),
        ("linear_attention_step, y", read(linear_y)),
        ("linear_attention_step, kv", read(sums)),
        ("linear_attention_step, z", read(z)),
        ("causal_conv1d_step, y", read(convolved)),
        ("causal_conv1d_step, state", read(window)),
        ("selective_scan_step, y", read(scanned)),
        ("selective_scan_step, state", read(scan_state)),
        ("ssd_step, y", read(dual)),
        ("ssd_step, state", read(dual_state)),
        ("adamw_step, parameter", read(parameter)),
        ("adamw_step, m", read(m)),
        ("adamw_step, v", read(v)),
    ]
}

#[test]
fn every_step_runs_within_the_default_limits() {
    let Some(device) = device() else {
        return;
    };
    let twins = steps(&Device::flex());
    for ((name, got), (_, want)) in steps(&device).into_iter().zip(twins) {
        let error = relative_rms(&got, &want);
        assert!(error < 2e-5, "{name}: {error:e} from the CPU twin");
    }
}
