//! How a kernel's operand is stored, and how the kernel reads it.

use burn::tensor::DType;
use burn_cubecl::tensor::CubeTensor;

/// Type of an operand's values in memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stored {
    F32,
    F16,
    BF16,
}

impl Stored {
    /// That of a tensor.
    pub(crate) fn of(tensor: &CubeTensor) -> Self {
        match tensor.dtype {
            DType::F16 => Self::F16,
            DType::BF16 => Self::BF16,
            _ => Self::F32,
        }
    }

    /// What four neighbouring values are in a binding, in WGSL.
    pub(crate) fn four(self) -> &'static str {
        match self {
            Self::F32 => "vec4<f32>",
            Self::F16 | Self::BF16 => "vec2<u32>",
        }
    }

    /// The function of `unpack.wgsl` that makes a `vec4<f32>` of them; none where they are one already.
    pub(crate) fn unpack(self) -> &'static str {
        match self {
            Self::F32 => "",
            Self::F16 => "unpack_f16",
            Self::BF16 => "unpack_bf16",
        }
    }
}
