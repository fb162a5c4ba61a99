//! Parameters on the device, under the names that they have in the file.

use burn::tensor::{Device, Tensor, TensorData};

use super::{Init, LayerNorm, Linear, RmsNorm, Source, Table, dotted};
use crate::ModelError;

/// Makes parameters from a source.
pub(crate) struct Parts<'a> {
    pub source: &'a mut dyn Source,
    /// The plain device, without autodiff.
    pub device: &'a Device,
}

impl Parts<'_> {
    pub fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        init: Init,
    ) -> Result<Tensor<D>, ModelError> {
        let values = self.source.values(name, &shape, init)?;
        Ok(Tensor::from_data(
            TensorData::new(values, shape),
            self.device,
        ))
    }

    /// A linear layer of shape [out, in]; a fresh bias is 0.
    pub fn linear(
        &mut self,
        name: &str,
        [out, input]: [usize; 2],
        init: Init,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let weight = self.tensor(&dotted(name, "weight"), [out, input], init)?;
        let bias = match bias {
            true => Some(self.tensor(&dotted(name, "bias"), [out], Init::Zeros)?),
            false => None,
        };
        Ok(Linear { weight, bias })
    }

    /// A layer norm over `width` values.
    pub fn layer_norm(&mut self, name: &str, width: usize) -> Result<LayerNorm, ModelError> {
        Ok(LayerNorm {
            weight: self.tensor(&dotted(name, "weight"), [width], Init::Ones)?,
            bias: self.tensor(&dotted(name, "bias"), [width], Init::Zeros)?,
        })
    }

    /// An RMS norm over `width` values.
    pub fn rms_norm(&mut self, name: &str, width: usize) -> Result<RmsNorm, ModelError> {
        Ok(RmsNorm {
            weight: self.tensor(&dotted(name, "weight"), [width], Init::Ones)?,
        })
    }

    /// A table [rows, width] in blocks of at most `block_bytes` bytes.
    pub fn table(
        &mut self,
        name: &str,
        [rows, width]: [usize; 2],
        init: Init,
        block_bytes: usize,
    ) -> Result<Table, ModelError> {
        let mut values = self.source.values(name, &[rows, width], init)?;
        let sizes = Table::block_rows(rows, width, block_bytes);
        let blocks = sizes.into_iter().map(|rows| {
            let rest = values.split_off((rows * width).min(values.len()));
            let block = std::mem::replace(&mut values, rest);
            Tensor::from_data(TensorData::new(block, [rows, width]), self.device)
        });
        Ok(Table::new(blocks.collect()))
    }
}
