//! The safetensors container: 8 bytes of header length, a JSON header, the elements.
//!
//! Read by hand rather than through the `safetensors` crate, whose errors name no tensor.

use std::{borrow::Cow, collections::BTreeMap, collections::HashMap};

use serde_json::Value;

use super::{StoredDtype, StoredTensor, WeightDtype, dtype::to_f16_bytes};
use crate::ModelError;

/// A header beyond this is taken for a damaged length (the reference implementation has the same limit).
const LARGEST_HEADER: u64 = 100_000_000;

/// Every tensor of a safetensors file; `file` is named in messages.
///
/// # Errors
/// [`ModelError::Damaged`] when the file is truncated or its header cannot be right, and
/// [`ModelError::BadTensor`] when one tensor's description is at odds with itself or with the file.
pub fn read_safetensors(
    bytes: &[u8],
    file: &str,
) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let damaged = |detail: String| ModelError::Damaged {
        file: file.to_string(),
        detail,
    };
    let Some((length, rest)) = bytes.split_first_chunk::<8>() else {
        return Err(damaged(format!(
            "expected at least 8 bytes, found {}",
            bytes.len()
        )));
    };
    let length = u64::from_le_bytes(*length);
    if length > LARGEST_HEADER || length > rest.len() as u64 {
        return Err(damaged(format!(
            "its header should take {length} bytes, but {} bytes follow; the file is truncated or is no safetensors file",
            rest.len()
        )));
    }
    let (header, data) = rest.split_at(length as usize);
    let header: Value = serde_json::from_slice(header)
        .map_err(|e| damaged(format!("its header is not JSON ({e})")))?;
    let Value::Object(header) = header else {
        return Err(damaged("its header is no JSON object".to_string()));
    };

    let mut tensors = BTreeMap::new();
    let mut ranges = Vec::with_capacity(header.len());
    for (name, description) in &header {
        if name == "__metadata__" {
            continue;
        }
        let (dtype, shape, begin, end) = describe(name, description, data.len(), file)?;
        ranges.push((begin, end, name));
        let bytes = data[begin..end].to_vec();
        tensors.insert(
            name.clone(),
            StoredTensor {
                dtype,
                shape,
                bytes,
            },
        );
    }
    // Every byte belongs to exactly one tensor, or the offsets lie.
    ranges.sort_unstable();
    let mut at = 0;
    for (begin, end, name) in ranges {
        if begin != at {
            return Err(ModelError::BadTensor {
                file: file.to_string(),
                tensor: name.clone(),
                detail: format!("expected its data to begin at byte {at}, found {begin}"),
                advice: "Its header is damaged; download or export the file again".to_string(),
            });
        }
        at = end;
    }
    if at != data.len() {
        return Err(damaged(format!(
            "its tensors take {at} bytes, but {} bytes follow the header",
            data.len()
        )));
    }
    Ok(tensors)
}

/// One entry of the header, checked: element type, shape, first byte, byte after the last.
fn describe(
    name: &str,
    description: &Value,
    available: usize,
    file: &str,
) -> Result<(StoredDtype, Vec<usize>, usize, usize), ModelError> {
    let bad = |detail: String, advice: &str| ModelError::BadTensor {
        file: file.to_string(),
        tensor: name.to_string(),
        detail,
        advice: advice.to_string(),
    };
    const AGAIN: &str = "The file is damaged; download or export it again";
    let integers = |key: &str| -> Option<Vec<usize>> {
        description
            .get(key)?
            .as_array()?
            .iter()
            .map(|v| v.as_u64()?.try_into().ok())
            .collect()
    };
    let dtype_name = description
        .get("dtype")
        .and_then(Value::as_str)
        .unwrap_or("none");
    let dtype = StoredDtype::from_name(dtype_name).ok_or_else(|| {
        bad(
            format!("expected element type F32, F16 or BF16, found {dtype_name}"),
            "Save the model in one of these types (in Python: model.float().save_pretrained(DIR))",
        )
    })?;
    let shape =
        integers("shape").ok_or_else(|| bad("its header gives no shape".to_string(), AGAIN))?;
    let (begin, end) = match integers("data_offsets").as_deref() {
        Some(&[begin, end]) if begin <= end => (begin, end),
        _ => return Err(bad("its header gives no data_offsets".to_string(), AGAIN)),
    };
    if end > available {
        return Err(bad(
            format!(
                "expected data up to byte {end}, found {available} bytes; the file is truncated"
            ),
            "Download or export the file again",
        ));
    }
    let size = shape
        .iter()
        .try_fold(dtype.size(), |n, &dim| n.checked_mul(dim));
    if size != Some(end - begin) {
        return Err(bad(
            format!(
                "shape {shape:?} of {dtype_name} does not take the {} bytes that its header gives",
                end - begin
            ),
            AGAIN,
        ));
    }
    Ok((dtype, shape, begin, end))
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
