//! Hidden states, keys, logits, loss and gradients of a stored model against those of transformers.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use caldera_shaders::fixture::{Case, CaseReport, Comparer, FixtureError, TensorReport};
use caldera_shaders::{Lengths, ShapeError};
use serde_json::Value;

use crate::{Checkpoint, ForwardOptions, ModelError, TextBatch, TextModel, TextTokenizer};

/// Why a case could not be run.
#[derive(Debug, thiserror::Error)]
enum CaseError {
    #[error(transparent)]
    Fixture(#[from] FixtureError),
    #[error(transparent)]
    Model(#[from] ModelError),
    #[error(transparent)]
    Shape(#[from] ShapeError),
}

pub(super) async fn check(case: &Case, device: &Device) -> Option<CaseReport> {
    match case.facts()["architecture"].as_str()? {
        "BertModel" | "BertForSequenceClassification" => {}
        "RobertaModel" | "RobertaForSequenceClassification" => {}
        _ => return None,
    }
    Some(match run(case, device).await {
        Ok(report) => report,
        Err(error) => CaseReport::failed(case, error),
    })
}

/// Rows of a tensor of whole numbers, cut to the samples' lengths.
fn rows(case: &Case, name: &str, lengths: &Lengths) -> Result<Vec<Vec<u32>>, FixtureError> {
    let (shape, values) = case.ints(name)?;
    let width = shape.get(1).copied().unwrap_or(1).max(1);
    let cut =
        |(row, &n): (&[i64], &u32)| row.iter().take(n as usize).map(|&id| id as u32).collect();
    Ok(values
        .chunks(width)
        .zip(lengths.as_slice())
        .map(cut)
        .collect())
}

async fn run(case: &Case, device: &Device) -> Result<CaseReport, CaseError> {
    let tokenizer = case.files.get("tokenizer.json").cloned();
    let (config, weights) = (case.file("config.json")?, case.file("model.safetensors")?);
    let checkpoint = Checkpoint::from_bytes(config, weights, tokenizer, &case.path)?;
    let plain = device.clone().without_autodiff();
    let mut model = TextModel::from_checkpoint(&checkpoint, &plain)?;
    let gradients = case.names("grad.");
    if !gradients.is_empty() {
        model = model.trainable();
    }

    let (shape, mask) = case.ints("in.attention_mask")?;
    let (b, l) = (shape[0], shape.get(1).copied().unwrap_or(1));
    let lengths = Lengths::from_mask(&mask, b, l)?;
    let ids = rows(case, "in.input_ids", &lengths)?;
    let outputs = case.names("in.");
    let types = match outputs.iter().any(|name| name == "in.token_type_ids") {
        true => Some(rows(case, "in.token_type_ids", &lengths)?),
        false => None,
    };
    model.validate(&ids)?;
    let batch = TextBatch::new(
        &ids,
        types.as_deref(),
        model.config.pad_token_id,
        &model.device(),
    );
    let mut keys = Vec::new();
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    let output = model.forward_watched(&batch, &options, &mut |key| keys.push(key.clone()));

    let mut comparer = Comparer::new(case, device);
    let mut expected: Vec<String> = case.names("out.");
    expected.retain(|name| name != "out.loss");
    for name in &expected {
        let index = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok();
        let pooled = || {
            mean_pooled(
                &output.last_hidden_state.clone().without_autodiff(),
                &lengths,
            )
        };
        let state = match (index("out.hidden_states."), index("out.keys.")) {
            (Some(i), _) => output.hidden_states.get(i),
            (_, Some(i)) => keys.get(i),
            _ => None,
        };
        match (name.as_str(), state) {
            (_, Some(state)) => {
                let state = state.clone().without_autodiff();
                comparer.compare_valid(name, state, &lengths, 1).await;
            }
            ("out.logits", _) if output.logits.is_some() => {
                let logits = output.logits.clone().map(Tensor::without_autodiff);
                if let Some(logits) = logits {
                    comparer.compare(name, logits).await;
                }
            }
            ("out.pooler_output", _) if output.pooler_output.is_some() => {
                if let Some(pooler) = output.pooler_output.clone() {
                    comparer.compare(name, pooler.without_autodiff()).await;
                }
            }
            ("out.mean_pooled", _) => comparer.compare(name, pooled()).await,
            ("out.mean_pooled_unit", _) => {
                let mean = pooled();
                let norm = mean.clone().square().sum_dim(1).sqrt();
                comparer.compare(name, mean / norm).await;
            }
            _ => comparer.fail(format!("{name}: this model gives no such output")),
        }
    }
    if let (Some(logits), true) = (
        &output.logits,
        case.names("out.").iter().any(|n| n == "out.loss"),
    ) {
        let labels = case.ints("in.labels")?.1;
        let loss = cross_entropy(logits.clone(), &labels);
        comparer
            .compare("out.loss", loss.clone().without_autodiff())
            .await;
        if !gradients.is_empty() {
            compare_gradients(&model, loss, &gradients, &mut comparer).await;
        }
    }
    let mut report = comparer.finish();
    if let Some(bytes) = &checkpoint.tokenizer {
        let tokens = compare_tokens(case, bytes, &ids)?;
        report.passed &= tokens.passed;
        report.tensors.push(tokens);
    }
    Ok(report)
}

/// [B, H]: the mean over unpadded positions.
fn mean_pooled(hidden: &Tensor<3>, lengths: &Lengths) -> Tensor<2> {
    let [b, l, h] = hidden.dims();
    let mask = TensorData::new(lengths.mask(l), [b, l, 1]);
    let mask = Tensor::<3>::from_data(mask, &hidden.device());
    let count = mask.clone().sum_dim(1).clamp_min(1e-9);
    ((hidden.clone() * mask).sum_dim(1) / count).reshape([b, h])
}

/// [1]: the mean cross entropy of logits [B, C].
fn cross_entropy(logits: Tensor<2>, labels: &[i64]) -> Tensor<1> {
    let index = TensorData::new(labels.to_vec(), [labels.len(), 1]);
    let index = Tensor::<2, Int>::from_data(index, &logits.device());
    activation::log_softmax(logits, 1)
        .gather(1, index)
        .mean()
        .neg()
}

async fn compare_gradients(
    model: &TextModel,
    loss: Tensor<1>,
    names: &[String],
    comparer: &mut Comparer<'_>,
) {
    let gradients = loss.backward();
    let mut found = BTreeMap::new();
    model.visit(&mut |name, parameter| {
        let name = format!("grad.{name}");
        if names.contains(&name) {
            found.insert(name, (parameter.shape(), parameter.grad(&gradients)));
        }
    });
    for name in names {
        match found.remove(name) {
            Some((shape, Some(gradient))) => match shape.as_slice() {
                &[rows, columns] => {
                    comparer
                        .compare(name, gradient.reshape([rows, columns]))
                        .await
                }
                _ => comparer.compare(name, gradient).await,
            },
            Some((_, None)) => comparer.fail(format!("{name}: the loss gave it no gradient")),
            None => comparer.fail(format!("{name}: the model has no such parameter")),
        }
    }
}

/// Whether the folder's tokenizer gives the case's ids for its texts.
fn compare_tokens(
    case: &Case,
    tokenizer: &[u8],
    ids: &[Vec<u32>],
) -> Result<TensorReport, CaseError> {
    let tokenizer = TextTokenizer::from_bytes(tokenizer, &format!("{}/tokenizer.json", case.path))?;
    let none = Vec::new();
    let texts = case.facts()["texts"].as_array().unwrap_or(&none);
    let mut misses = ids.len().abs_diff(texts.len());
    for (text, want) in texts.iter().zip(ids) {
        let part = |i: usize| text.get(i).and_then(Value::as_str);
        let (first, second) = match text.as_str() {
            Some(single) => (Some(single), None),
            None => (part(0), part(1)),
        };
        let got = tokenizer.encode(first.unwrap_or_default(), second, usize::MAX)?;
        misses += usize::from(got.ids != *want);
    }
    Ok(TensorReport {
        tensor: "in.input_ids".to_string(),
        error: misses as f64,
        tolerance: 0.0,
        relative_rms: 0.0,
        passed: misses == 0,
    })
}
