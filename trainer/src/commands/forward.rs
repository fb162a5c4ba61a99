//! `caldera forward`

use super::forward_speech::forward_speech;
use super::{Outcome, flags::choice};
use crate::config::DeviceChoice;
use crate::model::{ModelKind, kind_of};
use crate::report::write_whole;
use anyhow::{Context, Result, anyhow, bail};
use burn::tensor::{Device, Tensor};
use caldera_models::{ForwardOptions, LanguageBatch, LanguageModel, TextBatch, TextModel};
use caldera_shaders::Lengths;
use safetensors::tensor::TensorView;
use safetensors::{Dtype, SafeTensors};
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Example:
  caldera forward --model runs/student/best --input batch.safetensors --output states.safetensors
Reads input_ids, attention_mask (optional, 1 then 0 in every row) and token_type_ids (optional), each [B, L] of i64 or i32.
Writes logits [B, labels] (of a model with a head) and hidden_states.0 … .N [B, L, hidden_size] as f32;
of a language model logits [B, L, vocab_size] and final_norm [B, L, hidden_size] beside the hidden states.
A speech model reads input_values [B, S] of f32 (as its feature extractor leaves them) and attention_mask (optional), and
writes logits, last_hidden_state and hidden_states.0 … .N [B, T, hidden_size].";

/// Logits and hidden states for token ids or waveforms from a safetensors file
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// Token ids, mask, token types; waveforms and mask for a speech model
    #[arg(long, value_name = "FILE")]
    input: PathBuf,
    /// Where the results go
    #[arg(long, value_name = "FILE")]
    output: PathBuf,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let kind = kind_of(&args.model)?;
    let (device, line) = crate::select_device(args.device)?;
    eprintln!("device: {line}");
    let cannot = || {
        format!(
            "{}: does not fit the model {}",
            args.input.display(),
            args.model.display()
        )
    };
    let results = match kind {
        ModelKind::Speech => forward_speech(&args.model, &args.input, &device)?,
        ModelKind::Text => {
            let (batch_ids, type_ids) = read_input(&args.input)?;
            let model = TextModel::load(&args.model, &device)?;
            model.validate(&batch_ids.rows).with_context(cannot)?;
            if let Some(types) = &type_ids {
                model.validate_type_ids(types).with_context(cannot)?;
            }
            forward(&model, &batch_ids, type_ids.as_deref(), &device)?
        }
        ModelKind::Language => {
            let (batch_ids, _) = read_input(&args.input)?;
            let model = LanguageModel::load(&args.model, &device)?;
            model.validate(&batch_ids.rows).with_context(cannot)?;
            forward_language(&model, &batch_ids, &device)?
        }
    };
    let views: Vec<(String, TensorView<'_>)> = results
        .iter()
        .map(|r| {
            let view = TensorView::new(Dtype::F32, r.shape.clone(), &r.bytes)
                .map_err(|e| anyhow!("tensor {}: {e}", r.name))?;
            Ok((r.name.clone(), view))
        })
        .collect::<Result<_>>()?;
    let bytes =
        safetensors::serialize(views, None).context("the results do not fit a safetensors file")?;
    write_whole(&args.output, &bytes)?;
    eprintln!("{} tensors in {}", results.len(), args.output.display());
    Ok(Outcome::Done)
}

/// Unpadded rows, and the length that they were padded to.
struct Ids {
    rows: Vec<Vec<u32>>,
    length: usize,
}

pub(super) struct Result32 {
    name: String,
    shape: Vec<usize>,
    bytes: Vec<u8>,
}

fn forward(
    model: &TextModel,
    ids: &Ids,
    types: Option<&[Vec<u32>]>,
    device: &Device,
) -> Result<Vec<Result32>> {
    let batch = TextBatch::new(&ids.rows, types, model.config.pad_token_id, device);
    let output = model.forward(
        &batch,
        &ForwardOptions {
            hidden_states: true,
            dropout: false,
        },
    );
    let mut results = Vec::new();
    if let Some(logits) = output.logits {
        results.push(read("logits", logits)?);
    }
    if let Some(pooled) = output.pooler_output {
        results.push(read("pooler_output", pooled)?);
    }
    for (index, state) in output.hidden_states.into_iter().enumerate() {
        let state = filled_up(state, ids.length);
        results.push(read(&format!("hidden_states.{index}"), state)?);
    }
    Ok(results)
}

fn forward_language(model: &LanguageModel, ids: &Ids, device: &Device) -> Result<Vec<Result32>> {
    let batch = LanguageBatch::new(&ids.rows, model.config.padding(), device);
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    let output = model.forward(&batch, &options);
    let mut results = vec![
        read("logits", filled_up(output.logits, ids.length))?,
        read("final_norm", filled_up(output.final_norm, ids.length))?,
    ];
    for (index, state) in output.hidden_states.into_iter().enumerate() {
        let state = filled_up(state, ids.length);
        results.push(read(&format!("hidden_states.{index}"), state)?);
    }
    Ok(results)
}

/// Columns that are padding in every sample are not computed; the file has the input's shape all the same.
pub(super) fn filled_up(state: Tensor<3>, length: usize) -> Tensor<3> {
    let [rows, computed, width] = state.dims();
    if computed >= length {
        return state;
    }
    let rest = Tensor::zeros([rows, length - computed, width], &state.device());
    Tensor::cat(vec![state, rest], 1)
}

pub(super) fn read<const D: usize>(name: &str, tensor: Tensor<D>) -> Result<Result32> {
    let shape = tensor.dims().to_vec();
    let values: Vec<f32> = tensor
        .try_into_data()
        .map_err(|e| anyhow!("{name}: cannot be read from the device: {e:?}"))?
        .convert::<f32>()
        .try_to_vec()
        .map_err(|e| anyhow!("{name}: cannot be read from the device: {e:?}"))?;
    Ok(Result32 {
        name: name.into(),
        shape,
        bytes: values.iter().flat_map(|v| v.to_le_bytes()).collect(),
    })
}

/// A matrix of integers with its shape.
pub(super) type IntMatrix = ([usize; 2], Vec<i64>);

fn read_input(path: &Path) -> Result<(Ids, Option<Vec<Vec<u32>>>)> {
    let bytes = std::fs::read(path)
        .with_context(|| format!("{}: cannot read the input", path.display()))?;
    let file = SafeTensors::deserialize(&bytes).map_err(|e| {
        anyhow!(
            "{}: not a whole safetensors file ({e}); write it again",
            path.display()
        )
    })?;
    parse_input(&file).with_context(|| path.display().to_string())
}

fn parse_input(file: &SafeTensors<'_>) -> Result<(Ids, Option<Vec<Vec<u32>>>)> {
    let Some((shape, ids)) = ints(file, "input_ids")? else {
        bail!(
            "tensor input_ids: expected it with shape [B, L], found {:?}",
            file.names()
        );
    };
    let [batch, length] = shape;
    if batch == 0 || length == 0 {
        bail!("tensor input_ids: expected at least one token, found shape {shape:?}");
    }
    let same_shape = |name: &str| -> Result<Option<IntMatrix>> {
        let found = ints(file, name)?;
        match &found {
            Some((other, _)) if *other != shape => {
                bail!("tensor {name}: expected the shape of input_ids {shape:?}, found {other:?}")
            }
            _ => Ok(found),
        }
    };
    let lengths = match same_shape("attention_mask")? {
        Some((_, mask)) => Lengths::from_mask(&mask, batch, length).map_err(|e| {
            anyhow!("tensor attention_mask: {e}; samples must be padded at the right")
        })?,
        None => Lengths::full(batch, length),
    };
    let rows = |name: &str, values: &[i64]| -> Result<Vec<Vec<u32>>> {
        let row = |(row, &n): (&[i64], &u32)| {
            row[..n as usize]
                .iter()
                .map(|&v| {
                    u32::try_from(v)
                        .map_err(|_| anyhow!("tensor {name}: expected an id from 0 up, found {v}"))
                })
                .collect()
        };
        values
            .chunks(length)
            .zip(lengths.as_slice())
            .map(row)
            .collect()
    };
    let types = same_shape("token_type_ids")?
        .map(|(_, values)| rows("token_type_ids", &values))
        .transpose()?;
    Ok((
        Ids {
            rows: rows("input_ids", &ids)?,
            length,
        },
        types,
    ))
}

/// A matrix of integers by name; the fixtures' `in.` may stand before it.
pub(super) fn ints(file: &SafeTensors<'_>, name: &str) -> Result<Option<IntMatrix>> {
    let Ok(view) = file
        .tensor(name)
        .or_else(|_| file.tensor(&format!("in.{name}")))
    else {
        return Ok(None);
    };
    let &[rows, columns] = view.shape() else {
        bail!(
            "tensor {name}: expected the shape [B, L], found {:?}",
            view.shape()
        );
    };
    let values = match view.dtype() {
        Dtype::I64 => view
            .data()
            .chunks_exact(8)
            .map(|b| i64::from_le_bytes(b.try_into().expect("chunks of 8")))
            .collect(),
        Dtype::I32 => view
            .data()
            .chunks_exact(4)
            .map(|b| i64::from(i32::from_le_bytes(b.try_into().expect("chunks of 4"))))
            .collect(),
        Dtype::U8 | Dtype::BOOL => view.data().iter().map(|&b| i64::from(b)).collect(),
        other => bail!("tensor {name}: expected i64 or i32, found {other:?}"),
    };
    Ok(Some(([rows, columns], values)))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(tensors: &[(&str, &[usize], &[i64])]) -> Vec<u8> {
        let bytes: Vec<Vec<u8>> = tensors
            .iter()
            .map(|t| t.2.iter().flat_map(|v| v.to_le_bytes()).collect())
            .collect();
        let views = tensors
            .iter()
            .zip(&bytes)
            .map(|(t, b)| (t.0, TensorView::new(Dtype::I64, t.1.to_vec(), b).unwrap()));
        safetensors::serialize(views, None).unwrap()
    }

    fn parse(bytes: &[u8]) -> Result<(Ids, Option<Vec<Vec<u32>>>)> {
        parse_input(&SafeTensors::deserialize(bytes).unwrap())
    }

    #[test]
    fn rows_lose_their_padding_and_the_width_is_kept() {
        let bytes = file(&[
            ("input_ids", &[2, 3], &[5, 6, 0, 7, 8, 9]),
            ("attention_mask", &[2, 3], &[1, 1, 0, 1, 1, 1]),
        ]);
        let (ids, types) = parse(&bytes).unwrap();
        assert_eq!(
            (ids.rows, ids.length, types),
            (vec![vec![5, 6], vec![7, 8, 9]], 3, None)
        );
    }

    #[test]
    fn errors_name_the_tensor() {
        for (tensors, word) in [
            (vec![("ids", &[1usize, 1][..], &[1i64][..])], "input_ids"),
            (vec![("input_ids", &[2][..], &[1, 2][..])], "[B, L]"),
            (vec![("input_ids", &[1, 2][..], &[1, -2][..])], "-2"),
            (
                vec![
                    ("input_ids", &[1, 2][..], &[1, 2][..]),
                    ("attention_mask", &[1, 2][..], &[0, 1][..]),
                ],
                "attention_mask",
            ),
            (
                vec![
                    ("input_ids", &[1, 2][..], &[1, 2][..]),
                    ("token_type_ids", &[1, 1][..], &[0][..]),
                ],
                "token_type_ids",
            ),
        ] {
            let error = format!("{:#}", parse(&file(&tensors)).err().unwrap());
            assert!(error.contains(word), "no `{word}` in: {error}");
        }
    }
}
