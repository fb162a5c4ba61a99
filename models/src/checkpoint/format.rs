//! The safetensors container: 8 bytes of header length, a JSON header, the elements.

use std::{borrow::Cow, collections::BTreeMap, collections::HashMap};

use super::header::{PREFIX, entries, header_length};
use super::{StoredDtype, StoredTensor, WeightDtype, dtype::to_f16_bytes};
use crate::ModelError;

/// Every tensor of a safetensors file; `file` is named in messages.
///
/// # Errors
/// [`ModelError::Damaged`] when the file is truncated or its header cannot be right, and
/// [`ModelError::BadTensor`] when one tensor's description is at odds with itself or with the file.
pub fn read_safetensors(
    bytes: &[u8],
    file: &str,
) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let prefix = bytes.first_chunk::<PREFIX>().copied();
    let length = header_length(prefix, bytes.len() as u64, file)?;
    let (header, data) = bytes[PREFIX..].split_at(length);
    let entries = entries(header, data.len(), file)?.into_iter();
    let tensors = entries.map(|entry| {
        let stored = StoredTensor {
            dtype: entry.dtype,
            shape: entry.shape,
            bytes: data[entry.begin..entry.end].to_vec(),
        };
        (entry.name, stored)
    });
    Ok(tensors.collect())
}

/// A tensor on its way into a file.
struct Outgoing<'a> {
    dtype: StoredDtype,
    shape: &'a [usize],
    bytes: Cow<'a, [u8]>,
}

impl safetensors::View for Outgoing<'_> {
    fn dtype(&self) -> safetensors::Dtype {
        self.dtype.container()
    }
    fn shape(&self) -> &[usize] {
        self.shape
    }
    fn data(&self) -> Cow<'_, [u8]> {
        Cow::Borrowed(&self.bytes)
    }
    fn data_len(&self) -> usize {
        self.bytes.len()
    }
}

/// The bytes of a safetensors file, laid out as transformers' `save_pretrained` does.
pub(crate) fn write_safetensors(
    tensors: &BTreeMap<String, StoredTensor>,
    dtype: WeightDtype,
    file: &str,
) -> Result<Vec<u8>, ModelError> {
    let wanted = match dtype {
        WeightDtype::F32 => StoredDtype::F32,
        WeightDtype::F16 => StoredDtype::F16,
    };
    let mut outgoing = Vec::with_capacity(tensors.len());
    for (name, tensor) in tensors {
        let shape = tensor.shape.as_slice();
        let same = Outgoing {
            dtype: tensor.dtype,
            shape,
            bytes: Cow::Borrowed(&tensor.bytes),
        };
        let converted = match tensor.to_f32() {
            Some(values) if tensor.dtype != wanted => {
                let bytes = match dtype {
                    WeightDtype::F32 => values.iter().flat_map(|v| v.to_le_bytes()).collect(),
                    WeightDtype::F16 => {
                        to_f16_bytes(&values).map_err(|value| ModelError::BadTensor {
                            file: file.to_string(),
                            tensor: name.clone(),
                            detail: format!("holds {value}, and f16 ends at 65504"),
                            advice: "Write the weights as f32".to_string(),
                        })?
                    }
                };
                Outgoing {
                    dtype: wanted,
                    shape,
                    bytes: Cow::Owned(bytes),
                }
            }
            _ => same,
        };
        outgoing.push((name.as_str(), converted));
    }
    // transformers refuses files without this note.
    let metadata = HashMap::from([("format".to_string(), "pt".to_string())]);
    safetensors::serialize(outgoing, Some(metadata)).map_err(|e| ModelError::Damaged {
        file: file.to_string(),
        detail: format!("it cannot be laid out ({e})"),
    })
}
