//! The header of a safetensors file: which tensors there are, and where their bytes lie.
//!
//! Read by hand rather than through the `safetensors` crate, whose errors name no tensor.

use serde_json::Value;

use super::StoredDtype;
use crate::ModelError;

/// Bytes in front of the header, which give its length.
pub(super) const PREFIX: usize = 8;
/// A header beyond this is taken for a damaged length (the reference implementation has the same limit).
const LARGEST_HEADER: u64 = 100_000_000;

/// A tensor's place in its file.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry {
    pub name: String,
    pub dtype: StoredDtype,
    pub shape: Vec<usize>,
    /// Its first byte behind the header, and the byte after its last.
    pub begin: usize,
    pub end: usize,
}

fn damaged(file: &str, detail: String) -> ModelError {
    ModelError::Damaged {
        file: file.to_string(),
        detail,
    }
}

/// Bytes of the header by the first 8 bytes of a file of `size` bytes.
pub(super) fn header_length(
    prefix: Option<[u8; PREFIX]>,
    size: u64,
    file: &str,
) -> Result<usize, ModelError> {
    let Some(prefix) = prefix else {
        return Err(damaged(
            file,
            format!("expected at least 8 bytes, found {size}"),
        ));
    };
    let (length, rest) = (
        u64::from_le_bytes(prefix),
        size.saturating_sub(PREFIX as u64),
    );
    if length > LARGEST_HEADER || length > rest {
        return Err(damaged(
            file,
            format!(
                "its header should take {length} bytes, but {rest} bytes follow; the file is truncated or is no safetensors file"
            ),
        ));
    }
    Ok(length as usize)
}

/// Every tensor that the header's JSON describes, in the order of the bytes; `available` bytes follow the header.
///
/// # Errors
/// [`ModelError::Damaged`] when the header cannot be right, and [`ModelError::BadTensor`] when one tensor's description
/// is at odds with itself or with the file.
pub(super) fn entries(json: &[u8], available: usize, file: &str) -> Result<Vec<Entry>, ModelError> {
    let header: Value = serde_json::from_slice(json)
        .map_err(|e| damaged(file, format!("its header is not JSON ({e})")))?;
    let Value::Object(header) = header else {
        return Err(damaged(file, "its header is no JSON object".to_string()));
    };
    let tensors = header.iter().filter(|(name, _)| *name != "__metadata__");
    let mut entries = tensors
        .map(|(name, description)| describe(name, description, available, file))
        .collect::<Result<Vec<_>, _>>()?;
    // Every byte belongs to exactly one tensor, or the offsets lie.
    entries.sort_unstable_by(|a, b| (a.begin, a.end, &a.name).cmp(&(b.begin, b.end, &b.name)));
    let mut at = 0;
    for entry in &entries {
        if entry.begin != at {
            return Err(ModelError::BadTensor {
                file: file.to_string(),
                tensor: entry.name.clone(),
                detail: format!(
                    "expected its data to begin at byte {at}, found {}",
                    entry.begin
                ),
                advice: "Its header is damaged; download or export the file again".to_string(),
            });
        }
        at = entry.end;
    }
    if at != available {
        return Err(damaged(
            file,
            format!("its tensors take {at} bytes, but {available} bytes follow the header"),
        ));
    }
    Ok(entries)
}

/// What is said of a tensor whose bytes reach beyond the end of the file.
pub(super) fn truncated(file: &str, entry: &Entry, available: usize) -> ModelError {
    ModelError::BadTensor {
        file: file.to_string(),
        tensor: entry.name.clone(),
        detail: format!(
            "expected data up to byte {}, found {available} bytes; the file is truncated",
            entry.end
        ),
        advice: "Download or export the file again".to_string(),
    }
}

/// One entry of the header, checked.
fn describe(
    name: &str,
    description: &Value,
    available: usize,
    file: &str,
) -> Result<Entry, ModelError> {
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
    let entry = Entry {
        name: name.to_string(),
        dtype,
        shape,
        begin,
        end,
    };
    if end > available {
        return Err(truncated(file, &entry, available));
    }
    let size = entry
        .shape
        .iter()
        .try_fold(dtype.size(), |n, &dim| n.checked_mul(dim));
    if size != Some(end - begin) {
        return Err(bad(
            format!(
                "shape {:?} of {dtype_name} does not take the {} bytes that its header gives",
                entry.shape,
                end - begin
            ),
            AGAIN,
        ));
    }
    Ok(entry)
}
