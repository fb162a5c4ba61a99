//! Tensors that go to the device as their bytes arrive.

use std::collections::BTreeMap;

use burn::tensor::{Bytes, DType, Device, Tensor, TensorData};
use caldera_shaders::{is_gpu, widen};

use super::StoredDtype;
use super::dtype::to_f32;
use super::header::Entry;
use crate::ModelError;
use crate::layers::{BINDING_BYTES, Table};

/// The float tensors of a file on a device: those of 16 bits as they are where kernels read them so, the others as f32. Of tensors that
/// are no floats only the description is kept.
#[derive(Debug)]
pub struct DeviceTensors {
    device: Device,
    tensors: BTreeMap<String, DeviceTensor>,
    under_way: Option<Gathering>,
}

/// A tensor of the file.
#[derive(Debug)]
pub(crate) struct DeviceTensor {
    pub dtype: StoredDtype,
    pub shape: Vec<usize>,
    /// Its values in a row, in blocks of whole rows that can be bound everywhere; none where they are no floats.
    pub blocks: Vec<Tensor<1>>,
}

/// A tensor whose bytes are arriving: no more than one block of it is held.
#[derive(Debug)]
struct Gathering {
    name: String,
    tensor: DeviceTensor,
    /// Values of the blocks to come, the last one first.
    to_come: Vec<usize>,
    /// The bytes of the block under way; whole words, as the device wants them.
    words: Vec<u32>,
    filled: usize,
}

impl DeviceTensors {
    /// None yet. `device` is without autodiff.
    pub(crate) fn new(device: &Device) -> Self {
        Self {
            device: device.clone(),
            tensors: BTreeMap::new(),
            under_way: None,
        }
    }

    pub(crate) fn get(&self, name: &str) -> Option<&DeviceTensor> {
        self.tensors.get(name)
    }

    /// Bytes that the tensors take in the file.
    pub fn stored_bytes(&self) -> usize {
        let bytes =
            |tensor: &DeviceTensor| tensor.dtype.size() * tensor.shape.iter().product::<usize>();
        self.tensors.values().map(bytes).sum()
    }

    /// Every tensor's name and shape.
    pub fn shapes(&self) -> impl Iterator<Item = (&str, &[usize])> {
        let tensors = self.tensors.iter();
        tensors.map(|(name, tensor)| (name.as_str(), tensor.shape.as_slice()))
    }

    /// The next tensor: its bytes follow.
    pub(super) fn begin(&mut self, entry: Entry, file: &str) -> Result<(), ModelError> {
        let rows = entry.shape.first().copied().unwrap_or(1);
        let width = entry.shape.iter().skip(1).product::<usize>();
        let mut to_come: Vec<usize> = match entry.dtype.is_float() {
            true => Table::block_rows(rows, width, BINDING_BYTES)
                .into_iter()
                .map(|rows| rows * width)
                .collect(),
            false => Vec::new(),
        };
        to_come.reverse();
        let mut gathering = Gathering {
            tensor: DeviceTensor {
                dtype: entry.dtype,
                shape: entry.shape,
                blocks: Vec::with_capacity(to_come.len()),
            },
            name: entry.name,
            to_come,
            words: Vec::new(),
            filled: 0,
        };
        gathering.make_room(file)?;
        self.under_way = Some(gathering);
        Ok(())
    }

    /// More bytes of the tensor under way.
    pub(super) fn take(&mut self, mut bytes: &[u8], file: &str) -> Result<(), ModelError> {
        let Some(gathering) = &mut self.under_way else {
            return Ok(());
        };
        while let Some(&values) = gathering.to_come.last()
            && !bytes.is_empty()
        {
            let size = values * gathering.tensor.dtype.size();
            let (now, later) = bytes.split_at(bytes.len().min(size - gathering.filled));
            let room: &mut [u8] = bytemuck::cast_slice_mut(&mut gathering.words);
            room[gathering.filled..][..now.len()].copy_from_slice(now);
            gathering.filled += now.len();
            bytes = later;
            if gathering.filled == size {
                gathering.upload(&self.device);
                gathering.make_room(file)?;
            }
        }
        Ok(())
    }

    /// The tensor under way is whole.
    pub(super) fn end(&mut self) {
        if let Some(mut gathering) = self.under_way.take() {
            // What holds nothing was never filled.
            while !gathering.to_come.is_empty() {
                gathering.upload(&self.device);
            }
            self.tensors.insert(gathering.name, gathering.tensor);
        }
    }
}

impl Gathering {
    /// Makes room for the next block, if there is one.
    fn make_room(&mut self, file: &str) -> Result<(), ModelError> {
        let values = self.to_come.last().copied().unwrap_or(0);
        let words = (values * self.tensor.dtype.size()).div_ceil(size_of::<u32>());
        let reserved = self.words.try_reserve_exact(words);
        reserved.map_err(|_| ModelError::BadTensor {
            file: file.to_string(),
            tensor: self.name.clone(),
            detail: format!("expected {} MiB of free memory, found less", words >> 18),
            advice: "Close other tabs, or take a smaller pair".to_string(),
        })?;
        self.words.resize(words, 0);
        Ok(())
    }

    /// Puts the block on the device and lets go of its bytes.
    fn upload(&mut self, device: &Device) {
        let values = self.to_come.pop().unwrap_or(0);
        let words = std::mem::take(&mut self.words);
        self.filled = 0;
        let halves = |words: Vec<u32>, dtype| {
            // A last half word is padding.
            let bytes = Bytes::from_elems(words);
            let data = TensorData::from_bytes(bytes, [values.next_multiple_of(2)], dtype);
            let packed = Tensor::<1>::from_data(data, (device, dtype));
            // The twins on the CPU multiply f32.
            match is_gpu(device) && values.is_multiple_of(2) {
                true => packed,
                false => widen(packed).narrow(0, 0, values),
            }
        };
        self.tensor.blocks.push(match self.tensor.dtype {
            StoredDtype::F16 => halves(words, DType::F16),
            StoredDtype::BF16 => halves(words, DType::BF16),
            StoredDtype::F32 => {
                let bytes = Bytes::from_elems(words);
                Tensor::from_data(TensorData::from_bytes(bytes, [values], DType::F32), device)
            }
            other => {
                let values = to_f32(other, bytemuck::cast_slice(&words)).unwrap_or_default();
                let count = values.len();
                Tensor::from_data(TensorData::new(values, [count]), device)
            }
        });
    }
}
