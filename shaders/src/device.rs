//! What kind of device a tensor lives on, and how to wait for one.

use burn::backend::DispatchDevice;
use burn::tensor::Device;

/// Whether `device` (with or without autodiff) runs the WGSL kernels rather than the CPU twins.
///
/// True for a software adapter such as lavapipe too.
pub fn is_gpu(device: &Device) -> bool {
    let device = device.clone().without_autodiff();
    matches!(device.as_dispatch(), DispatchDevice::Cube(_))
}

/// Waits for a future on the calling thread.
///
/// Native callers use it to run the `async` checks. A browser cannot block: await there.
pub fn block_on<T>(future: impl Future<Output = T>) -> T {
    cubecl::future::block_on(future)
}
