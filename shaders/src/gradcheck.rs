//! Tests of the operators against loops in f64: devices, random values, comparison.

use std::sync::OnceLock;

use burn::tensor::wgpu::wgpu;
use burn::tensor::{Device, DeviceKind, Tensor, TensorData};

pub(crate) use crate::twins::values;

use crate::block_on;
use crate::environment::check_environment;
use crate::launch::poison_fresh_buffers;
use crate::tolerance::relative_rms;

/// A device to test on, and the relative RMS that is allowed there.
pub(crate) struct Place {
    pub(crate) name: &'static str,
    pub(crate) device: Device,
    pub(crate) allowed: f64,
}

/// Variable of the environment that lets the tests pass on a machine without an adapter, where they test the CPU twins alone.
const WITHOUT_GPU: &str = "CALDERA_WITHOUT_GPU";

/// wgpu's choice of adapter; `None` where there is none and the environment allows that.
pub(crate) fn adapter() -> Option<(wgpu::Instance, wgpu::Adapter)> {
    let instance = wgpu::Instance::default();
    match block_on(instance.request_adapter(&wgpu::RequestAdapterOptions::default())) {
        Ok(adapter) => Some((instance, adapter)),
        Err(_) if std::env::var_os(WITHOUT_GPU).is_some() => None,
        Err(error) => panic!(
            "no wgpu adapter, so the kernels cannot be tested ({error}): install a Vulkan driver (Debian's mesa-vulkan-drivers \
             will do), or set {WITHOUT_GPU}=1 to test the CPU twins alone"
        ),
    }
}

/// The CPU twins, then, where there is an adapter, the WGSL kernels with poisoned buffers.
pub(crate) fn places() -> Vec<Place> {
    static HAS_ADAPTER: OnceLock<bool> = OnceLock::new();
    // Tests in a layout that was misspelt would be tests of another.
    check_environment().unwrap_or_else(|error| panic!("{error}"));
    poison_fresh_buffers(true);
    let mut places = vec![Place {
        name: "flex",
        device: Device::flex(),
        allowed: 2e-6,
    }];
    if *HAS_ADAPTER.get_or_init(|| adapter().is_some()) {
        places.push(Place {
            name: "wgpu",
            device: Device::wgpu(DeviceKind::DefaultDevice),
            allowed: 2e-5,
        });
    }
    places
}

impl Place {
    /// A tensor on this device.
    pub(crate) fn tensor<const D: usize>(&self, values: &[f64], dims: [usize; D]) -> Tensor<D> {
        let values: Vec<f32> = values.iter().map(|&value| value as f32).collect();
        Tensor::from_data(TensorData::new(values, dims), &self.device)
    }

    /// A tensor whose gradient is asked for.
    pub(crate) fn leaf<const D: usize>(&self, values: &[f64], dims: [usize; D]) -> Tensor<D> {
        self.tensor(values, dims).autodiff().require_grad()
    }

    /// Compares a tensor with what it should be.
    #[track_caller]
    pub(crate) fn assert_close<const D: usize>(&self, what: &str, got: Tensor<D>, want: &[f64]) {
        self.assert_within(what, got, want, 0.0);
    }

    /// The same, where a value may be off by `least` whatever its size: for what an f32 cannot hold.
    #[track_caller]
    pub(crate) fn assert_within<const D: usize>(
        &self,
        what: &str,
        got: Tensor<D>,
        want: &[f64],
        least: f64,
    ) {
        let mut got: Vec<f64> = got.into_data().iter::<f64>().collect();
        for (got, &want) in got.iter_mut().zip(want) {
            if (*got - want).abs() <= least {
                *got = want;
            }
        }
        let error = relative_rms(&got, want);
        assert!(
            error <= self.allowed,
            "{what} on {}: relative RMS {error:e} of {} values, allowed {:e}",
            self.name,
            want.len(),
            self.allowed
        );
    }
}
