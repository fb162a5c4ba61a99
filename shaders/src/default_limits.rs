//! Every kernel on a wgpu device that was granted exactly WebGPU's default limits.

use burn::tensor::wgpu::{WgpuSetup, wgpu};
use burn::tensor::{DType, Device, Int, Tensor, TensorData};

use crate::cases::{check, fixtures};
use crate::fixture::Case;
use crate::gradcheck::{adapter, values};
use crate::{
    Half, block_on, conv1d, gelu, layer_norm, linear, linear_attention_step, rotary,
    softmax_attention_step, widen,
};

fn device() -> Option<Device> {
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
    let head = |dims: [usize; 2]| tensor(dims).inner().reshape([1, dims[0], dims[1]]);
    let cache = tensor([200, 128]).inner().reshape([1, 100, 4, 64]);
    let out = softmax_attention_step(head([4, 64]), cache.clone(), cache, 90);
    let sums = tensor([4, 64 * 64]).inner().reshape([1, 4, 64, 64]);
    let z = head([4, 64]).zeros_like();
    let (y, _, _) = linear_attention_step(head([4, 64]), head([4, 64]), out, sums, z);
    assert!(y.into_data().iter::<f64>().all(f64::is_finite));
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
    let halves = TensorData::new(vec![0x3c00_c000u32; 3], [3]);
    let halves = Tensor::<1, Int>::from_data(halves, (&device, DType::U32));
    let wide = widen(halves, 5, Half::F16).into_data();
    assert_eq!(
        wide.try_to_vec::<f32>().unwrap(),
        [-2.0, 1.0, -2.0, 1.0, -2.0]
    );
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
