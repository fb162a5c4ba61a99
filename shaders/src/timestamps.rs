//! Time as the GPU itself tells it: timestamps at the first and the last of the queued kernels.

use burn::backend::DispatchDevice;
use burn::tensor::Device;
use cubecl::client::{Client, ProfileWindow};
use cubecl::profile::TimingMethod;

/// Work between two timestamps of a GPU.
///
/// A window that is dropped open stays open: close it.
pub struct GpuWindow {
    client: Client,
    window: ProfileWindow,
}

impl GpuWindow {
    /// Opens a window: what is queued from now on belongs to it. None where the device writes no timestamps.
    pub fn open(device: &Device) -> Option<Self> {
        let device = device.clone().without_autodiff();
        let DispatchDevice::Cube(device) = device.as_dispatch() else {
            return None;
        };
        let client = device.client();
        // Without them CubeCL would block for the host's clock, which no browser lets it.
        if client.properties().timing_method != TimingMethod::Device {
            return None;
        }
        let window = client.profile_start().ok()?;
        Some(Self { client, window })
    }

    /// Milliseconds from the first kernel of the window to the end of its last; None where the GPU gave no sound pair.
    pub async fn close(self) -> Option<f64> {
        let duration = self.client.profile_end(self.window).ok()?;
        let ticks = duration.resolve().await?;
        Some(ticks.duration().as_secs_f64() * 1e3)
    }
}
