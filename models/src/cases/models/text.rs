//! Text encoders: hidden states, keys, pooled vectors, logits.

use burn::tensor::{Device, Tensor, TensorData};
use caldera_shaders::Lengths;
use caldera_shaders::fixture::{Case, CaseReport, Comparer};

use super::{CaseError, compare_gradients, compare_tokens, cross_entropy, rows};
use crate::{Checkpoint, ForwardOptions, TextBatch, TextModel};

pub(super) async fn run(case: &Case, device: &Device) -> Result<CaseReport, CaseError> {
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
