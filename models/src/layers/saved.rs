//! Parameters read back from the device.

use std::collections::BTreeMap;

use burn::tensor::TensorData;

use super::{Parameters, table};
use crate::{ModelError, StoredTensor};

/// Every parameter under its name in the file, as F32; blocks of rows put together again. Reads from the
/// device, synchronously: not in a browser.
pub(crate) fn stored_tensors(
    model: &impl Parameters,
) -> Result<BTreeMap<String, StoredTensor>, ModelError> {
    let mut tensors = BTreeMap::<String, StoredTensor>::new();
    let mut failed = None;
    model.visit(&mut |name, parameter| {
        let read = parameter
            .flat()
            .try_into_data()
            .map_err(|e| format!("{e:?}"))
            .and_then(|data: TensorData| data.try_to_vec::<f32>().map_err(|e| format!("{e:?}")));
        match read {
            Ok(values) => {
                let stored = StoredTensor::from_f32(parameter.shape(), &values);
                match tensors.get_mut(table::whole(name)) {
                    // Blocks come in the order of their rows.
                    Some(above) => {
                        above.shape[0] += stored.shape[0];
                        above.bytes.extend_from_slice(&stored.bytes);
                    }
                    None => {
                        tensors.insert(table::whole(name).to_string(), stored);
                    }
                }
            }
            Err(detail) => {
                failed.get_or_insert(ModelError::Device {
                    tensor: name.to_string(),
                    detail,
                });
            }
        }
    });
    failed.map_or(Ok(tensors), Err)
}
