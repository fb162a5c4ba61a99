//! What is refused before a kernel is launched.

use super::{MAX_INVOCATIONS, MAX_STORAGE_BUFFERS, MAX_WORKGROUP_MEMORY, MAX_WORKGROUPS};

/// Why a kernel cannot be launched: WebGPU's default limits, or how much its device binds.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LaunchError {
    /// Too many invocations in a workgroup.
    #[error(
        "kernel {kernel}: {found} invocations in a workgroup, WebGPU's default limit is {MAX_INVOCATIONS}; use a smaller tile"
    )]
    Invocations {
        /// Kernel name.
        kernel: &'static str,
        /// Invocations asked for.
        found: u32,
    },
    /// Too much workgroup memory.
    #[error(
        "kernel {kernel}: {found} bytes of workgroup memory, WebGPU's default limit is {MAX_WORKGROUP_MEMORY}; use a smaller tile"
    )]
    WorkgroupMemory {
        /// Kernel name.
        kernel: &'static str,
        /// Bytes asked for.
        found: usize,
    },
    /// Too many storage buffers, the buffer of sizes counted in.
    #[error(
        "kernel {kernel}: {found} storage buffers, WebGPU's default limit is {MAX_STORAGE_BUFFERS}; split the kernel"
    )]
    Buffers {
        /// Kernel name.
        kernel: &'static str,
        /// Buffers asked for.
        found: usize,
    },
    /// One buffer is too large to bind.
    #[error(
        "kernel {kernel}, binding {binding}: {found} bytes, this device binds at most {limit}; use a smaller batch or shorter texts"
    )]
    Binding {
        /// Kernel name.
        kernel: &'static str,
        /// Index of the binding.
        binding: usize,
        /// Its size in bytes.
        found: u64,
        /// What the device binds.
        limit: u64,
    },
    /// More workgroups than two dimensions hold.
    #[error("kernel {kernel}: {found} workgroups, at most {MAX_WORKGROUPS} x {MAX_WORKGROUPS} fit")]
    Workgroups {
        /// Kernel name.
        kernel: &'static str,
        /// Workgroups asked for.
        found: usize,
    },
    /// A tensor is neither of 32-bit floats nor of words, nor of what the kernel says that it reads.
    #[error(
        "kernel {kernel}, binding {binding}: expected F32, found {found}; cast the tensor before"
    )]
    Dtype {
        /// Kernel name.
        kernel: &'static str,
        /// Index of the binding.
        binding: usize,
        /// Its type.
        found: String,
    },
}
