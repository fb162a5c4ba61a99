//! Every kernel on a wgpu device that was granted exactly WebGPU's default limits.

use std::sync::OnceLock;

use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuSetup, wgpu};

use crate::block_on;
use crate::cases::{check, fixtures};
use crate::fixture::Case;
use crate::gradcheck::adapter;
use crate::twins;

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
}

#[test]
fn every_operator_and_step_agrees_with_its_twin_within_the_default_limits() {
    let Some(device) = device() else {
        return;
    };
    for name in twins::names() {
        let report = block_on(twins::check(name, &device)).expect("it is in the list");
        assert!(report.passed, "{report:#?}");
    }
}
