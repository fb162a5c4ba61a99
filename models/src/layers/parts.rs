//! Parameters on the device, under the names that they have in the file.

use burn::tensor::{Device, Tensor, TensorData};
use caldera_shaders::widen;

use super::{Init, LayerNorm, Linear, RmsNorm, Source, Table, Values, dotted};
use crate::ModelError;

/// Makes parameters from a source.
pub(crate) struct Parts<'a> {
    pub source: &'a mut dyn Source,
    /// The plain device, without autodiff.
    pub device: &'a Device,
}

impl Parts<'_> {
    /// A parameter, as f32.
    pub fn tensor<const D: usize>(
        &mut self,
        name: &str,
        shape: [usize; D],
        init: Init,
    ) -> Result<Tensor<D>, ModelError> {
        Ok(match self.source.values(name, &shape, init)? {
            Values::Host(values) => Tensor::from_data(TensorData::new(values, shape), self.device),
            Values::Device(blocks) => joined(blocks).reshape(shape),
        })
    }

    /// A matrix [out, in] that only [`linear`](fn@caldera_shaders::linear) reads: 16-bit floats on the device are left as they are where
    /// its products can unpack them.
    pub fn matrix(
        &mut self,
        name: &str,
        shape: [usize; 2],
        init: Init,
    ) -> Result<Tensor<2>, ModelError> {
        Ok(match self.source.values(name, &shape, init)? {
            Values::Host(values) => Tensor::from_data(TensorData::new(values, shape), self.device),
            Values::Device(mut blocks) if blocks.len() == 1 => {
                readable(blocks.remove(0).reshape(shape))
            }
            Values::Device(blocks) => joined(blocks).reshape(shape),
        })
    }

    /// A linear layer of shape [out, in]; a fresh bias is 0.
    pub fn linear(
        &mut self,
        name: &str,
        [out, input]: [usize; 2],
        init: Init,
        bias: bool,
    ) -> Result<Linear, ModelError> {
        let weight = self.matrix(&dotted(name, "weight"), [out, input], init)?;
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
        let sizes = Table::block_rows(rows, width, block_bytes);
        let blocks = match self.source.values(name, &[rows, width], init)? {
            Values::Host(mut values) => {
                let blocks = sizes.into_iter().map(|rows| {
                    let rest = values.split_off((rows * width).min(values.len()));
                    let block = std::mem::replace(&mut values, rest);
                    Tensor::from_data(TensorData::new(block, [rows, width]), self.device)
                });
                blocks.collect()
            }
            // As a rule they lie in these very blocks.
            Values::Device(blocks) if has_rows(&blocks, &sizes, width) => {
                let blocks = blocks.into_iter().zip(sizes);
                blocks
                    .map(|(block, rows)| readable(block.reshape([rows, width])))
                    .collect()
            }
            Values::Device(blocks) => joined(blocks)
                .reshape([rows, width])
                .split_with_sizes(sizes, 0),
        };
        Ok(Table::new(blocks))
    }
}

/// Blocks of a parameter as one, as f32.
fn joined(blocks: Vec<Tensor<1>>) -> Tensor<1> {
    let mut blocks: Vec<_> = blocks.into_iter().map(widen).collect();
    match blocks.len() {
        1 => blocks.remove(0),
        _ => Tensor::cat(blocks, 0),
    }
}

/// The matrix itself where kernels can unpack its rows, else as f32: four values are read at once.
fn readable(matrix: Tensor<2>) -> Tensor<2> {
    match matrix.dims()[1].is_multiple_of(4) {
        true => matrix,
        false => widen(matrix),
    }
}

/// Whether each block has so many rows.
fn has_rows(blocks: &[Tensor<1>], rows: &[usize], width: usize) -> bool {
    let values = rows.iter().map(|rows| [rows * width]);
    blocks.iter().map(Tensor::dims).eq(values)
}
