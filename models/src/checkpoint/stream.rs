//! A safetensors file that arrives in pieces, as a browser reads it: its tensors go to the device one by one, and neither the
//! file nor all of its tensors ever lie in memory.

use burn::tensor::Device;
use sha2::{Digest, Sha256};

use super::DeviceTensors;
use super::header::{Entry, PREFIX, entries, header_length, truncated};
use crate::{ModelError, pair::hexadecimal};

/// Takes a safetensors file's bytes in their order; length and SHA-256 are computed as they pass.
#[derive(Debug)]
pub struct WeightStream {
    file: String,
    size: u64,
    arrived: u64,
    sum: Sha256,
    tensors: DeviceTensors,
    part: Part,
}

/// What the next byte belongs to.
#[derive(Debug)]
enum Part {
    /// The length of the header, or the header, whose length it then is.
    Header(Vec<u8>, Option<usize>),
    Data {
        /// The tensors to come, the next one last.
        entries: Vec<Entry>,
        /// Bytes behind the header so far, and in all.
        at: usize,
        available: usize,
    },
}

/// What arrived.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arrived {
    /// Bytes.
    pub size: u64,
    /// SHA-256, lower-case hexadecimal.
    pub sha256: String,
}

impl WeightStream {
    /// A file of `size` bytes, named `file` in messages, for a device without autodiff.
    pub fn new(file: &str, size: u64, device: &Device) -> Self {
        Self {
            file: file.to_string(),
            size,
            arrived: 0,
            sum: Sha256::new(),
            tensors: DeviceTensors::new(device),
            part: Part::Header(Vec::new(), None),
        }
    }

    /// The file's next bytes. After an error nothing more can be made of it.
    ///
    /// # Errors
    /// Those of [`super::read_safetensors`], as soon as they can be known.
    pub fn push(&mut self, mut bytes: &[u8]) -> Result<(), ModelError> {
        self.sum.update(bytes);
        self.arrived += bytes.len() as u64;
        while !bytes.is_empty() {
            match &mut self.part {
                Part::Header(held, length) => {
                    let wanted = length.unwrap_or(PREFIX);
                    let (now, later) = bytes.split_at(bytes.len().min(wanted - held.len()));
                    held.extend_from_slice(now);
                    bytes = later;
                    if held.len() == wanted {
                        self.next_part()?;
                    }
                }
                Part::Data { entries, at, .. } => {
                    // What lies behind the last tensor is too much; only the size can tell.
                    let Some(entry) = entries.last() else {
                        return Ok(());
                    };
                    let end = entry.end;
                    let (now, later) = bytes.split_at(bytes.len().min(end - *at));
                    self.tensors.take(now, &self.file)?;
                    *at += now.len();
                    bytes = later;
                    if *at == end {
                        entries.pop();
                        self.tensors.end();
                        self.next_tensor()?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The header's length or the header is whole.
    fn next_part(&mut self) -> Result<(), ModelError> {
        let Part::Header(held, length) = &mut self.part else {
            return Ok(());
        };
        if length.is_none() {
            let wanted = header_length(held.first_chunk().copied(), self.size, &self.file)?;
            (*held, *length) = (Vec::with_capacity(wanted), Some(wanted));
            if wanted > 0 {
                return Ok(());
            }
        }
        // Files of 4 GiB and more do not fit into a browser's memory in the first place.
        let available = self.size as usize - PREFIX - held.len();
        let mut entries = entries(held, available, &self.file)?;
        entries.reverse();
        self.part = Part::Data {
            entries,
            at: 0,
            available,
        };
        self.next_tensor()
    }

    /// Begins the tensor at hand; those that hold nothing end at once.
    fn next_tensor(&mut self) -> Result<(), ModelError> {
        let Part::Data { entries, at, .. } = &mut self.part else {
            return Ok(());
        };
        while let Some(entry) = entries.last() {
            self.tensors.begin(entry.clone(), &self.file)?;
            if entry.end > *at {
                break;
            }
            self.tensors.end();
            entries.pop();
        }
        Ok(())
    }

    /// Size and sum of what has arrived so far.
    pub fn arrived(&self) -> Arrived {
        Arrived {
            size: self.arrived,
            sha256: hexadecimal(&self.sum.clone().finalize()),
        }
    }

    /// The tensors, when the file is whole.
    ///
    /// # Errors
    /// [`ModelError::BadTensor`] or [`ModelError::Damaged`] when it ended too early.
    pub fn finish(self) -> Result<DeviceTensors, ModelError> {
        match &self.part {
            Part::Header(..) => {
                let found = self.arrived;
                Err(ModelError::Damaged {
                    detail: format!("expected {} bytes, found {found}", self.size),
                    file: self.file,
                })
            }
            Part::Data {
                entries,
                at,
                available,
            } => match entries.last() {
                Some(entry) => Err(truncated(&self.file, entry, *at)),
                None if *at < *available => Err(ModelError::Damaged {
                    detail: format!("expected {available} bytes behind its header, found {at}"),
                    file: self.file,
                }),
                None => Ok(self.tensors),
            },
        }
    }
}
