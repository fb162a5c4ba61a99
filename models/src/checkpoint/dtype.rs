//! Element types of stored tensors.

use half::{bf16, f16};

/// Element type of a stored tensor, by its name in safetensors.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StoredDtype {
    /// 64-bit float.
    F64,
    /// 32-bit float.
    F32,
    /// 16-bit float.
    F16,
    /// 16-bit float with the exponent of f32.
    BF16,
    /// 64-bit integer.
    I64,
    /// 32-bit integer.
    I32,
    /// 16-bit integer.
    I16,
    /// 8-bit integer.
    I8,
    /// 8-bit unsigned integer.
    U8,
    /// One byte a truth value.
    Bool,
}

impl StoredDtype {
    /// The type of this safetensors name.
    pub fn from_name(name: &str) -> Option<Self> {
        Some(match name {
            "F64" => Self::F64,
            "F32" => Self::F32,
            "F16" => Self::F16,
            "BF16" => Self::BF16,
            "I64" => Self::I64,
            "I32" => Self::I32,
            "I16" => Self::I16,
            "I8" => Self::I8,
            "U8" => Self::U8,
            "BOOL" => Self::Bool,
            _ => return None,
        })
    }

    /// Bytes of an element.
    pub fn size(self) -> usize {
        match self {
            Self::F64 | Self::I64 => 8,
            Self::F32 | Self::I32 => 4,
            Self::F16 | Self::BF16 | Self::I16 => 2,
            Self::I8 | Self::U8 | Self::Bool => 1,
        }
    }

    /// Whether the elements are floats.
    pub fn is_float(self) -> bool {
        matches!(self, Self::F64 | Self::F32 | Self::F16 | Self::BF16)
    }

    pub(super) fn container(self) -> safetensors::Dtype {
        match self {
            Self::F64 => safetensors::Dtype::F64,
            Self::F32 => safetensors::Dtype::F32,
            Self::F16 => safetensors::Dtype::F16,
            Self::BF16 => safetensors::Dtype::BF16,
            Self::I64 => safetensors::Dtype::I64,
            Self::I32 => safetensors::Dtype::I32,
            Self::I16 => safetensors::Dtype::I16,
            Self::I8 => safetensors::Dtype::I8,
            Self::U8 => safetensors::Dtype::U8,
            Self::Bool => safetensors::Dtype::BOOL,
        }
    }
}

/// Element type of the floats in a file that is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum WeightDtype {
    /// As computed.
    #[default]
    F32,
    /// Half the size, about three decimal digits; read back as f32.
    F16,
}

impl WeightDtype {
    pub(super) fn torch_name(self) -> &'static str {
        match self {
            Self::F32 => "float32",
            Self::F16 => "float16",
        }
    }
}

/// Elements as f32, None when they are no floats.
pub(super) fn to_f32(dtype: StoredDtype, bytes: &[u8]) -> Option<Vec<f32>> {
    let mut values = Vec::with_capacity(bytes.len() / dtype.size());
    dtype.is_float().then(|| {
        append_f32(dtype, bytes, &mut values);
        values
    })
}

/// Appends whole elements as f32; nothing when they are no floats.
pub(super) fn append_f32(dtype: StoredDtype, bytes: &[u8], values: &mut Vec<f32>) {
    fn whole<const N: usize>(bytes: &[u8]) -> impl Iterator<Item = [u8; N]> {
        bytes.as_chunks::<N>().0.iter().copied()
    }
    match dtype {
        StoredDtype::F32 => values.extend(whole(bytes).map(f32::from_le_bytes)),
        StoredDtype::F16 => values.extend(whole(bytes).map(|b| f16::from_le_bytes(b).to_f32())),
        StoredDtype::BF16 => values.extend(whole(bytes).map(|b| bf16::from_le_bytes(b).to_f32())),
        StoredDtype::F64 => values.extend(whole(bytes).map(|b| f64::from_le_bytes(b) as f32)),
        _ => {}
    }
}

/// Finite f32 values as f16 bytes; Err with the first value that f16 cannot hold (its largest is 65,504).
pub(super) fn to_f16_bytes(values: &[f32]) -> Result<Vec<u8>, f32> {
    let mut bytes = Vec::with_capacity(values.len() * 2);
    for &value in values {
        let short = f16::from_f32(value);
        if value.is_finite() && !short.is_finite() {
            return Err(value);
        }
        bytes.extend_from_slice(&short.to_le_bytes());
    }
    Ok(bytes)
}
