//! Chooses where to compute, once a process, and says why.

use std::sync::Mutex;

use anyhow::{Result, anyhow};
use burn::tensor::Device;
use burn::tensor::wgpu::{WgpuSetup, wgpu};

pub use crate::config::DeviceChoice;

// wgpu may be initialised once a process: later calls get a clone of what the first one found.
static WGPU: Mutex<Option<Result<(Device, Adapter), String>>> = Mutex::new(None);

/// What is known of the adapter behind a wgpu device.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Adapter {
    /// Name that the driver gives.
    pub name: String,
    /// Graphics API, as in `Vulkan`.
    pub api: String,
    /// A hardware GPU; false for lavapipe, llvmpipe, SwiftShader and the like.
    pub hardware: bool,
}

impl Adapter {
    fn new(info: &wgpu::AdapterInfo) -> Self {
        let name = info.name.to_lowercase();
        let software = info.device_type == wgpu::DeviceType::Cpu
            || ["llvmpipe", "lavapipe", "swiftshader"]
                .iter()
                .any(|word| name.contains(word));
        Self {
            name: info.name.clone(),
            api: format!("{:?}", info.backend),
            hardware: !software,
        }
    }
}

/// A device, and one line that says which and why. May be called often.
///
/// # Errors
/// With `gpu` where wgpu finds no adapter.
pub fn select_device(choice: DeviceChoice) -> Result<(Device, String)> {
    match choice {
        DeviceChoice::Cpu => Ok((Device::flex(), "CPU (flex), as asked for".into())),
        DeviceChoice::Gpu => {
            let (device, adapter) = wgpu_device().map_err(|reason| {
                anyhow!("--device gpu: no adapter that wgpu can use ({reason}). Install a Vulkan driver, or use --device cpu")
            })?;
            let kind = if adapter.hardware {
                "GPU"
            } else {
                "software adapter"
            };
            Ok((
                device,
                format!(
                    "{kind} {} ({}) through wgpu, as asked for",
                    adapter.name, adapter.api
                ),
            ))
        }
        DeviceChoice::Auto => {
            // Looking at adapters is cheap; a device is made only where it will be used.
            let found = hardware_adapter();
            let reason = match found {
                Some(_) => match wgpu_device() {
                    Ok((device, adapter)) if adapter.hardware => {
                        let line = format!("GPU {} ({}) through wgpu", adapter.name, adapter.api);
                        return Ok((device, line));
                    }
                    Ok((_, adapter)) => {
                        format!("wgpu prefers {}, a software adapter", adapter.name)
                    }
                    Err(error) => error,
                },
                None => "no hardware GPU found".into(),
            };
            Ok((Device::flex(), format!("CPU (flex): {reason}")))
        }
    }
}

/// The adapter behind the wgpu device, once one has been selected.
pub fn adapter() -> Option<Adapter> {
    let slot = WGPU.lock().expect("no holder of this lock panics");
    slot.as_ref()
        .and_then(|found| found.as_ref().ok())
        .map(|(_, adapter)| adapter.clone())
}

fn hardware_adapter() -> Option<Adapter> {
    // Without OpenGL: its adapters are never chosen.
    let backends = wgpu::Backends::PRIMARY;
    let instance = wgpu::Instance::new(wgpu::InstanceDescriptor {
        backends,
        ..wgpu::InstanceDescriptor::new_without_display_handle()
    });
    let adapters = caldera_shaders::block_on(instance.enumerate_adapters(backends));
    adapters
        .iter()
        .map(|adapter| Adapter::new(&adapter.get_info()))
        .find(|adapter| adapter.hardware)
}

fn wgpu_device() -> Result<(Device, Adapter), String> {
    let mut slot = WGPU.lock().expect("no holder of this lock panics");
    slot.get_or_insert_with(|| {
        let (device, setup): (Device, WgpuSetup) = Device::wgpu_options()
            .init_with_setup()
            .map_err(|error| error.to_string())?;
        Ok((device, Adapter::new(&setup.adapter.get_info())))
    })
    .clone()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_cpu_is_always_there_and_auto_always_finds_something() {
        let (device, line) = select_device(DeviceChoice::Cpu).unwrap();
        assert!(!caldera_shaders::is_gpu(&device) && line.starts_with("CPU"));
        let (device, line) = select_device(DeviceChoice::Auto).unwrap();
        assert_eq!(
            caldera_shaders::is_gpu(&device),
            line.starts_with("GPU"),
            "{line}"
        );
        let (again, same) = select_device(DeviceChoice::Auto).unwrap();
        assert_eq!(
            (caldera_shaders::is_gpu(&again), same),
            (caldera_shaders::is_gpu(&device), line)
        );
    }

    #[test]
    fn gpu_is_one_device_for_the_process_or_a_reason() {
        match select_device(DeviceChoice::Gpu) {
            Ok((device, _)) => {
                assert!(caldera_shaders::is_gpu(&device));
                assert_eq!(select_device(DeviceChoice::Gpu).unwrap().0, device);
                assert!(adapter().is_some());
            }
            Err(error) => assert!(error.to_string().contains("--device cpu"), "{error}"),
        }
    }
}
