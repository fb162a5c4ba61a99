//! A stored model against transformers: hidden states, logits, loss, gradients, generated tokens.

mod language;
mod speech;
mod text;

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use caldera_shaders::fixture::{Case, CaseReport, Comparer, FixtureError, TensorReport};
use caldera_shaders::{Lengths, ShapeError};
use serde_json::Value;

use crate::{ModelError, Parameters, TextTokenizer};

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
    let result = match case.facts()["architecture"].as_str()? {
        "BertModel" | "BertForSequenceClassification" => text::run(case, device).await,
        "RobertaModel" | "RobertaForSequenceClassification" => text::run(case, device).await,
        "GPTNeoXForCausalLM" | "MambaForCausalLM" | "Mamba2ForCausalLM" => {
            language::run(case, device).await
        }
        "Wav2Vec2ForCTC" | "Wav2Vec2ForSequenceClassification" => speech::run(case, device).await,
        _ => return None,
    };
    Some(result.unwrap_or_else(|error| CaseReport::failed(case, error)))
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

async fn compare_gradients(
    model: &impl Parameters,
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
            Some((shape, Some(gradient))) => match *shape.as_slice() {
                [rows, columns] => {
                    comparer
                        .compare(name, gradient.reshape([rows, columns]))
                        .await
                }
                [out, input, width] => {
                    comparer
                        .compare(name, gradient.reshape([out, input, width]))
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

/// [1]: the mean cross entropy of logits [B, C].
fn cross_entropy(logits: Tensor<2>, labels: &[i64]) -> Tensor<1> {
    let index = TensorData::new(labels.to_vec(), [labels.len(), 1]);
    let index = Tensor::<2, Int>::from_data(index, &logits.device());
    activation::log_softmax(logits, 1)
        .gather(1, index)
        .mean()
        .neg()
}
