//! Launches WGSL kernels: templates, buffers, a buffer of `u32` sizes, and the limits that every browser grants.
//!
//! All bindings are `var<storage, read_write>`, the inputs too: CubeCL hands out slices of shared buffers, and WebGPU
//! refuses a buffer that is bound for reading and for writing in one dispatch. A value that decides how often a loop
//! with a barrier in it runs must therefore come through `workgroupUniformLoad`, or Chrome cannot see that it is uniform.

mod error;
mod unroll;

pub use error::LaunchError;

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, PoisonError};

use burn::backend::DispatchDevice;
use burn::backend::ops::FloatTensorOps;
use burn::tensor::{DType, Device, Shape, Slice};
use burn_cubecl::CubeBackend;
use burn_cubecl::kernel::into_contiguous;
use burn_cubecl::template::{KernelSource, SourceKernel, SourceTemplate};
use burn_cubecl::tensor::CubeTensor;
use cubecl::client::Client;
use cubecl::prelude::{CubeCount, CubeDim, KernelId};
use cubecl::server::{Handle, KernelArguments};
use unroll::unroll;

/// Invocations of a workgroup under WebGPU's default limits.
pub const MAX_INVOCATIONS: u32 = 256;
/// Bytes of workgroup memory under WebGPU's default limits.
pub const MAX_WORKGROUP_MEMORY: usize = 16 * 1024;
/// Storage buffers of a kernel under WebGPU's default limits.
pub const MAX_STORAGE_BUFFERS: usize = 8;
/// Workgroups of one dimension under WebGPU's default limits.
pub const MAX_WORKGROUPS: usize = 65_535;
/// Bytes of one binding under WebGPU's default limits.
pub const MAX_BINDING: u64 = 128 * 1024 * 1024;

/// Bytes of the largest tensors that one round of kernels takes, of operators that go through a batch in rounds: little in this crate's
/// tests, so that they see several.
pub(crate) const SLICE_BYTES: usize = if cfg!(test) {
    1 << 18
} else {
    MAX_BINDING as usize
};

static POISON: AtomicBool = AtomicBool::new(false);

/// Fills every buffer from [`empty`] with NaN from now on, process-wide. For tests: what a kernel leaves unwritten shows.
pub fn poison_fresh_buffers(on: bool) {
    POISON.store(on, Ordering::Relaxed);
}

/// A WGSL template, its parameters and its workgroup.
///
/// The template writes a parameter as `{{ name }}`; `{{ threads }}` is always the number of invocations of a workgroup.
/// The entry point is `main`. The last binding is an `array<u32>` of sizes.
#[derive(Debug, Clone)]
pub struct Kernel {
    pub(crate) name: &'static str,
    pub(crate) template: &'static str,
    threads: u32,
    pub(crate) workgroup_memory: usize,
    reads: &'static [DType],
    pub(crate) parameters: Vec<(&'static str, String)>,
}

impl Kernel {
    /// A kernel of `threads` invocations a workgroup (in x). `name` appears in every error.
    pub fn new(name: &'static str, template: &'static str, threads: u32) -> Self {
        Self {
            name,
            template,
            threads,
            workgroup_memory: 0,
            reads: &[],
            parameters: vec![("threads", threads.to_string())],
        }
    }

    /// Sets a parameter of the template.
    pub fn set(mut self, parameter: &'static str, value: impl ToString) -> Self {
        self.parameters.push((parameter, value.to_string()));
        self
    }

    /// Declares what the kernel reads besides floats and words of 32 bits.
    pub fn reads(mut self, dtypes: &'static [DType]) -> Self {
        self.reads = dtypes;
        self
    }

    /// Declares how many bytes of workgroup memory the kernel uses.
    pub fn workgroup_memory(mut self, bytes: usize) -> Self {
        self.workgroup_memory = bytes;
        self
    }

    /// The WGSL with every parameter in place and every `//@ for` unrolled.
    pub fn wgsl(&self) -> String {
        let mut template = SourceTemplate::new(self.template);
        for (name, value) in &self.parameters {
            template = template.register(*name, value.clone());
        }
        let source = template.complete();
        unroll(&source.lines().collect::<Vec<_>>())
    }

    /// Checks a launch of `groups` workgroups on `buffers` against WebGPU's default limits, and the size of the buffers against
    /// what their device binds: 128 MiB by default, gigabytes on a desktop's GPU.
    ///
    /// # Errors
    /// Names the kernel and the limit.
    pub fn check(&self, buffers: &[&CubeTensor], groups: usize) -> Result<(), LaunchError> {
        self.check_shape(buffers.len(), groups)?;
        for (binding, buffer) in buffers.iter().enumerate() {
            if !matches!(buffer.dtype, DType::F32 | DType::U32)
                && !self.reads.contains(&buffer.dtype)
            {
                return Err(LaunchError::Dtype {
                    kernel: self.name,
                    binding,
                    found: format!("{:?}", buffer.dtype),
                });
            }
            let limit = binding_limit(&buffer.client);
            self.check_size(binding, buffer.handle.size_in_used(), limit)?;
        }
        Ok(())
    }

    fn check_size(&self, binding: usize, found: u64, limit: u64) -> Result<(), LaunchError> {
        if found <= limit {
            return Ok(());
        }
        Err(LaunchError::Binding {
            kernel: self.name,
            binding,
            found,
            limit,
        })
    }

    fn check_shape(&self, tensors: usize, groups: usize) -> Result<(), LaunchError> {
        let kernel = self.name;
        if self.threads > MAX_INVOCATIONS {
            return Err(LaunchError::Invocations {
                kernel,
                found: self.threads,
            });
        }
        if self.workgroup_memory > MAX_WORKGROUP_MEMORY {
            return Err(LaunchError::WorkgroupMemory {
                kernel,
                found: self.workgroup_memory,
            });
        }
        // One more for the sizes.
        if tensors + 1 > MAX_STORAGE_BUFFERS {
            return Err(LaunchError::Buffers {
                kernel,
                found: tensors + 1,
            });
        }
        if groups > MAX_WORKGROUPS * MAX_WORKGROUPS {
            return Err(LaunchError::Workgroups {
                kernel,
                found: groups,
            });
        }
        Ok(())
    }

    /// Launches `groups` workgroups. Bindings are `buffers` in their order (contiguous, f32, [`words`] or what the kernel [reads](Self::reads)), then `info`.
    ///
    /// The shader finds its group with `group_id.y * num_workgroups.x + group_id.x` and must ignore indices from `groups`
    /// up: past 65,535 the groups are folded into two dimensions and may be a few too many. Nothing happens for 0 groups.
    ///
    /// # Panics
    /// When the launch exceeds WebGPU's default limits or the device's own for a binding; the message is that of [`LaunchError`]. Operators with bounds
    /// on their sizes refuse those before they come here.
    pub fn launch(self, buffers: &[&CubeTensor], info: &[u32], groups: usize) {
        if groups == 0 {
            return;
        }
        if let Err(error) = self.check(buffers, groups) {
            panic!("{error}");
        }
        #[cfg(test)]
        crate::launched::note(&self);
        let client = buffers[0].client.clone();
        let sizes = sizes_buffer(buffers[0], info);
        let mut bindings = Vec::with_capacity(buffers.len() + 1);
        // Copies made below must live until the launch.
        let mut copies = Vec::new();
        for buffer in buffers {
            let binding = buffer.handle.clone().binding();
            let key = binding.claim_key();
            if bindings
                .iter()
                .any(|earlier: &cubecl::server::BufferBinding| earlier.claim_key() == key)
            {
                // WebGPU forbids two writable bindings of one range, and all of ours are writable.
                let copy = buffer.copy();
                bindings.push(copy.handle.clone().binding());
                copies.push(copy);
            } else {
                bindings.push(binding);
            }
        }
        bindings.push(sizes.binding());
        let (x, y) = fold(groups);
        let dim = CubeDim::new_1d(self.threads);
        client.launch(
            Box::new(SourceKernel::new(Wgsl(self), dim)),
            CubeCount::Static(x, y, 1),
            KernelArguments::new().with_buffers(bindings),
        );
    }
}

/// Bytes that the device behind `client` binds at most.
fn binding_limit(client: &Client) -> u64 {
    client.properties().memory.max_page_size
}

/// Bytes that a kernel on `device` binds at most at once; `None` on the CPU, which knows no such limit.
pub fn max_binding(device: &Device) -> Option<u64> {
    let device = device.clone().without_autodiff();
    match device.as_dispatch() {
        DispatchDevice::Cube(device) => Some(binding_limit(&device.client())),
        _ => None,
    }
}

/// Buffers of sizes that were uploaded before, by content; one a device.
static SIZES: Mutex<BTreeMap<Vec<u32>, Vec<Handle>>> = Mutex::new(BTreeMap::new());
/// How many contents are kept: a model's layers share a handful, batches of ever new lengths bring new ones.
const KEPT_SIZES: usize = 1024;

/// The buffer that holds `info` on the device of `like`. An upload makes the queue submit what was recorded so far, so a
/// model of a few layers would submit a score of times a forward pass if every launch brought its own.
fn sizes_buffer(like: &CubeTensor, info: &[u32]) -> Handle {
    // A map of uploads is whole at any time, also after a panic elsewhere.
    let mut kept = SIZES.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() >= KEPT_SIZES {
        kept.clear();
    }
    let devices = kept.entry(info.to_vec()).or_default();
    if let Some(found) = devices
        .iter()
        .find(|handle| handle.service == like.handle.service)
    {
        return found.clone();
    }
    let handle = like.client.create_from_slice(bytemuck::cast_slice(info));
    devices.push(handle.clone());
    handle
}

/// Splits a number of workgroups over x and y so that neither exceeds [`MAX_WORKGROUPS`].
pub fn fold(groups: usize) -> (u32, u32) {
    let y = groups.div_ceil(MAX_WORKGROUPS).max(1);
    (groups.div_ceil(y) as u32, y as u32)
}

/// The samples `range` of a tensor.
pub(crate) fn samples(tensor: &CubeTensor, range: &Range<usize>) -> CubeTensor {
    let shape = tensor.meta.shape();
    let slices: Vec<Slice> = (0..shape.num_dims())
        .map(|dimension| match dimension {
            0 => Slice::from(range.clone()),
            _ => Slice::from(0..shape[dimension]),
        })
        .collect();
    CubeBackend::float_slice(tensor.clone(), &slices)
}

/// A fresh contiguous f32 tensor on the device of `like`; its values are undefined (NaN after [`poison_fresh_buffers`]).
pub fn empty(like: &CubeTensor, shape: impl Into<Shape>) -> CubeTensor {
    let shape: Shape = shape.into();
    let values = shape.num_elements().max(1);
    let handle = if POISON.load(Ordering::Relaxed) {
        like.client
            .create_from_slice(bytemuck::cast_slice(&vec![f32::NAN; values]))
    } else {
        like.client.empty(values * size_of::<f32>())
    };
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        shape,
        handle,
        DType::F32,
    )
}

/// Whole numbers on the device of `like`, a binding that the kernel declares as `array<u32>`: for what changes with every batch and
/// would crowd the sizes.
pub fn words(like: &CubeTensor, values: &[u32]) -> CubeTensor {
    CubeTensor::new_contiguous(
        like.client.clone(),
        like.device.clone(),
        [values.len()].into(),
        like.client.create_from_slice(bytemuck::cast_slice(values)),
        DType::U32,
    )
}

/// The tensor itself when it is contiguous, a contiguous copy otherwise.
pub fn contiguous(tensor: CubeTensor) -> CubeTensor {
    into_contiguous(tensor)
}

struct Wgsl(Kernel);

impl KernelSource for Wgsl {
    fn source(&self) -> SourceTemplate {
        SourceTemplate::new(self.0.wgsl())
    }

    fn id(&self) -> KernelId {
        // Template and parameters belong to the identity: they are the code that is compiled.
        KernelId::new::<Self>()
            .info((self.0.name, self.0.template, self.0.parameters.clone()))
            .cube_dim(cubecl::ir::settings::Dim3 {
                x: self.0.threads,
                y: 1,
                z: 1,
            })
    }

    fn lang(&self) -> &'static str {
        "wgsl"
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn workgroups_fold_past_the_limit_of_one_dimension() {
        assert_eq!(fold(1), (1, 1));
        assert_eq!(fold(65_535), (65_535, 1));
        let (x, y) = fold(65_536);
        assert!(x <= 65_535 && y == 2 && x as usize * y as usize >= 65_536);
        let (x, y) = fold(10_000_000);
        assert!(x <= 65_535 && x as usize * y as usize >= 10_000_000);
    }

    #[test]
    fn every_limit_is_refused_by_name() {
        let kernel = Kernel::new("sample", "", 257);
        assert_eq!(
            kernel.check_shape(1, 1),
            Err(LaunchError::Invocations {
                kernel: "sample",
                found: 257
            })
        );
        let kernel = Kernel::new("sample", "", 64).workgroup_memory(16_385);
        assert_eq!(
            kernel.check_shape(1, 1),
            Err(LaunchError::WorkgroupMemory {
                kernel: "sample",
                found: 16_385
            })
        );
        let kernel = Kernel::new("sample", "", 64);
        assert_eq!(
            kernel.check_shape(8, 1),
            Err(LaunchError::Buffers {
                kernel: "sample",
                found: 9
            })
        );
        let error = kernel.check_shape(7, usize::MAX).unwrap_err();
        assert!(error.to_string().contains("kernel sample"), "{error}");
        assert_eq!(kernel.check_shape(7, 1), Ok(()));
        assert_eq!(kernel.check_size(2, MAX_BINDING, MAX_BINDING), Ok(()));
        let error = kernel.check_size(2, MAX_BINDING + 4, MAX_BINDING);
        let message = error.unwrap_err().to_string();
        assert!(message.contains("binding 2: 134217732 bytes"), "{message}");
    }

    #[test]
    fn parameters_are_part_of_the_source_and_of_the_identity() {
        let small = Kernel::new("sample", "const N = {{ n }}u; // {{ threads }}", 64).set("n", 4);
        let large = Kernel::new("sample", "const N = {{ n }}u; // {{ threads }}", 64).set("n", 8);
        assert_eq!(small.wgsl(), "const N = 4u; // 64\n");
        assert_ne!(Wgsl(small).id(), Wgsl(large).id());
    }
}
