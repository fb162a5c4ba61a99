//! `caldera forward` for speech models: waveforms in, hidden states and logits out.

use std::path::Path;

use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::Device;
use caldera_models::{ForwardOptions, SpeechArchitecture, SpeechBatch, SpeechModel};
use caldera_shaders::Lengths;
use safetensors::{Dtype, SafeTensors};

use super::forward::{Result32, filled_up, ints, read};

/// Reads `input_values` and `attention_mask` and runs the model on them. Without a mask every sample counts, padding too.
pub(super) fn forward_speech(
    folder: &Path,
    input: &Path,
    device: &Device,
) -> Result<Vec<Result32>> {
    let bytes = std::fs::read(input)
        .with_context(|| format!("{}: cannot read the input", input.display()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        anyhow!(
            "{}: not a whole safetensors file ({e}); write it again",
            input.display()
        )
    })?;
    let (clips, length) = parse(&file).with_context(|| input.display().to_string())?;
    let model = SpeechModel::load(folder, device)?;
    let clips: Vec<&[f32]> = clips.iter().map(Vec::as_slice).collect();
    model.validate(&clips).with_context(|| {
        format!(
            "{}: does not fit the model {}",
            input.display(),
            folder.display()
        )
    })?;
    let batch = SpeechBatch::new(&clips, &model.config, device);
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    let output = model.forward(&batch, &options);
    let frames = model.config.frames(length);
    let mut results = Vec::new();
    if let Some(logits) = output.logits {
        results.push(match model.config.architecture {
            SpeechArchitecture::SequenceClassification => {
                read("logits", logits.squeeze_dim::<2>(1))?
            }
            _ => read("logits", filled_up(logits, frames))?,
        });
    }
    results.push(read(
        "last_hidden_state",
        filled_up(output.last_hidden_state, frames),
    )?);
    for (index, state) in output.hidden_states.into_iter().enumerate() {
        results.push(read(
            &format!("hidden_states.{index}"),
            filled_up(state, frames),
        )?);
    }
    Ok(results)
}

/// Unpadded waveforms, and the length that they were padded to.
fn parse(file: &SafeTensors<'_>) -> Result<(Vec<Vec<f32>>, usize)> {
    let named = |name: &str| {
        file.tensor(name)
            .or_else(|_| file.tensor(&format!("in.{name}")))
    };
    let Ok(view) = named("input_values") else {
        bail!(
            "tensor input_values: expected it with shape [B, S], found {:?}",
            file.names()
        );
    };
    let (&[batch, length], Dtype::F32) = (view.shape(), view.dtype()) else {
        bail!(
            "tensor input_values: expected f32 of shape [B, S], found {:?} {:?}",
            view.dtype(),
            view.shape()
        );
    };
    if batch == 0 || length == 0 {
        bail!(
            "tensor input_values: expected at least one sample, found shape {:?}",
            view.shape()
        );
    }
    let lengths = match ints(file, "attention_mask")? {
        Some((shape, mask)) if shape == [batch, length] => Lengths::from_mask(&mask, batch, length)
            .map_err(|e| {
                anyhow!("tensor attention_mask: {e}; clips must be padded at the right")
            })?,
        Some((shape, _)) => bail!(
            "tensor attention_mask: expected the shape of input_values [{batch}, {length}], found {shape:?}"
        ),
        None => Lengths::full(batch, length),
    };
    let value = |bytes: &[u8]| f32::from_le_bytes([bytes[0], bytes[1], bytes[2], bytes[3]]);
    let values: Vec<f32> = view.data().chunks_exact(4).map(value).collect();
    let rows = values.chunks(length).zip(lengths.as_slice());
    Ok((
        rows.map(|(row, n)| row[..*n as usize].to_vec()).collect(),
        length,
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::TensorView;

    #[test]
    fn clips_lose_their_padding() {
        let values: Vec<u8> = [0.5f32, 1.0, 0.0, 2.0]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let mask: Vec<u8> = [1i64, 0, 1, 1]
            .iter()
            .flat_map(|v| v.to_le_bytes())
            .collect();
        let file = |mask_shape: Vec<usize>| {
            let views = [
                (
                    "in.input_values",
                    TensorView::new(Dtype::F32, vec![2, 2], &values).unwrap(),
                ),
                (
                    "in.attention_mask",
                    TensorView::new(Dtype::I64, mask_shape, &mask).unwrap(),
                ),
            ];
            safetensors::serialize(views, None).unwrap()
        };
        let parsed = |bytes: &[u8]| parse(&SafeTensors::deserialize(bytes).unwrap());
        let (clips, length) = parsed(&file(vec![2, 2])).unwrap();
        assert_eq!((clips, length), (vec![vec![0.5], vec![0.0, 2.0]], 2));
        let error = parsed(&file(vec![1, 4])).unwrap_err().to_string();
        assert!(error.contains("attention_mask"), "{error}");
    }
}
