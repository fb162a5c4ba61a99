//! Speech models: features, hidden states, keys, logits, CTC and classification losses, gradients, with and without a mask.

use burn::tensor::{Device, Tensor};
use caldera_shaders::fixture::{Case, CaseReport, Comparer, FixtureError};
use caldera_shaders::{Lengths, ctc_loss};

use super::{CaseError, compare_gradients, cross_entropy, rows};
use crate::speech::Stage;
use crate::{Checkpoint, ForwardOptions, Parameters, SpeechArchitecture, SpeechBatch, SpeechModel};

/// What passed by on the way to the logits.
#[derive(Default)]
struct Seen {
    conv_features: Option<Tensor<3>>,
    projected: Option<Tensor<3>>,
    keys: Vec<Tensor<3>>,
}

pub(super) async fn run(case: &Case, device: &Device) -> Result<CaseReport, CaseError> {
    let (config, weights) = (case.file("config.json")?, case.file("model.safetensors")?);
    let checkpoint = Checkpoint::from_bytes(config, weights, None, &case.path)?;
    let plain = device.clone().without_autodiff();
    let frozen = SpeechModel::from_checkpoint(&checkpoint, &plain)?;
    let model = frozen.clone().trainable();

    let clips = clips(case)?;
    let clips: Vec<&[f32]> = clips.iter().map(Vec::as_slice).collect();
    model.validate(&clips)?;
    let batch = SpeechBatch::new(&clips, &model.config, &model.device());
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    let mut seen = Seen::default();
    let output = model.forward_watched(&batch, &options, &mut |stage, x| {
        let x = x.clone().without_autodiff();
        match stage {
            Stage::ConvFeatures => seen.conv_features = Some(x),
            Stage::Projected => seen.projected = Some(x),
            Stage::Keys => seen.keys.push(x),
        }
    });

    let mut comparer = Comparer::new(case, device);
    let lengths = &batch.frames;
    let classifies = model.config.architecture == SpeechArchitecture::SequenceClassification;
    let outputs = case.names("out.");
    for name in &outputs {
        let index = |prefix: &str| name.strip_prefix(prefix)?.parse::<usize>().ok();
        let state = match (index("out.hidden_states."), index("out.keys.")) {
            (Some(i), _) => output.hidden_states.get(i),
            (_, Some(i)) => seen.keys.get(i),
            _ => match name.as_str() {
                "out.projected" => seen.projected.as_ref(),
                "out.final_norm" => Some(&output.last_hidden_state),
                "out.logits" if !classifies => output.logits.as_ref(),
                _ => None,
            },
        };
        if let Some(state) = state {
            let state = state.clone().without_autodiff();
            comparer.compare_valid(name, state, lengths, 1).await;
            continue;
        }
        match (name.as_str(), &seen.conv_features, &output.logits) {
            ("out.conv_features", Some(features), _) => {
                let features = features.clone().swap_dims(1, 2);
                comparer.compare_valid(name, features, lengths, 2).await;
            }
            ("out.logits", _, Some(logits)) => {
                let logits = logits.clone().squeeze_dim::<2>(1).without_autodiff();
                comparer.compare(name, logits).await;
            }
            ("out.pos_conv_weight", ..) => {
                let weight = frozen.positional_weight();
                comparer.compare(name, weight).await;
            }
            ("out.nomask.logits", ..) => {
                let mut batch = SpeechBatch::new(&clips, &frozen.config, &plain);
                let longest = lengths.as_slice().iter().max().copied().unwrap_or(0);
                batch.frames = Lengths::full(clips.len(), longest as usize);
                compare_logits(name, &frozen, &batch, classifies, &mut comparer).await;
            }
            ("out.alone.logits", ..) => {
                let shortest: Vec<&[f32]> = clips
                    .iter()
                    .copied()
                    .min_by_key(|clip| clip.len())
                    .into_iter()
                    .collect();
                let batch = SpeechBatch::new(&shortest, &frozen.config, &plain);
                compare_logits(name, &frozen, &batch, classifies, &mut comparer).await;
            }
            // Below, with the gradients.
            ("out.loss" | "out.loss_sum" | "out.loss_mean" | "out.loss_each", ..) => {}
            _ => comparer.fail(format!("{name}: this model gives no such output")),
        }
    }
    let Some(logits) = output.logits else {
        return Ok(comparer.finish());
    };
    let mut gradients = case.names("grad.");
    let loss = match classifies {
        true => {
            let labels = case.ints("in.labels")?.1;
            let loss = cross_entropy(logits.squeeze_dim::<2>(1), &labels);
            let value = loss.clone().without_autodiff();
            comparer.compare("out.loss", value).await;
            loss
        }
        false => {
            gradients.retain(|name| name != "grad.logits");
            compare_ctc(case, logits, lengths, &mut comparer).await?
        }
    };
    compare_gradients(&model, loss, &gradients, &mut comparer).await;
    Ok(comparer.finish())
}

/// The clips without their padding.
fn clips(case: &Case) -> Result<Vec<Vec<f32>>, CaseError> {
    let (shape, mask) = case.ints("in.attention_mask")?;
    let (b, s) = (shape[0], shape.get(1).copied().unwrap_or(1));
    let samples = Lengths::from_mask(&mask, b, s)?;
    let values = case.f64s("in.input_values")?.1;
    let clip = |(row, &n): (&[f64], &u32)| row[..n as usize].iter().map(|&x| x as f32).collect();
    Ok(values.chunks(s).zip(samples.as_slice()).map(clip).collect())
}

async fn compare_logits(
    name: &str,
    model: &SpeechModel,
    batch: &SpeechBatch,
    classifies: bool,
    comparer: &mut Comparer<'_>,
) {
    let logits = model.forward(batch, &ForwardOptions::default()).logits;
    match (logits, classifies) {
        (Some(logits), true) => comparer.compare(name, logits.squeeze_dim::<2>(1)).await,
        (Some(logits), false) => comparer.compare(name, logits).await,
        (None, _) => comparer.fail(format!("{name}: the model has no head")),
    }
}

/// CTC losses of logits [B, T, V] and the gradient with respect to them; gives the sum of the losses.
async fn compare_ctc(
    case: &Case,
    logits: Tensor<3>,
    frames: &Lengths,
    comparer: &mut Comparer<'_>,
) -> Result<Tensor<1>, FixtureError> {
    let (shape, labels) = case.ints("in.labels")?;
    let width = shape.get(1).copied().unwrap_or(1).max(1);
    let count = |row: &[i64]| row.iter().filter(|&&label| label >= 0).count() as u32;
    let lengths = Lengths::new(labels.chunks(width).map(count).collect());
    let targets = rows(case, "in.labels", &lengths)?;
    let blank = case.facts()["blank"].as_u64().unwrap_or(0) as u32;
    let leaf = logits.clone().without_autodiff().autodiff().require_grad();
    let sum = ctc_loss(leaf.clone(), frames, &targets, blank).sum();
    match leaf.grad(&sum.backward()) {
        Some(gradient) => {
            comparer
                .compare_valid("grad.logits", gradient, frames, 1)
                .await
        }
        None => comparer.fail("grad.logits: no gradient".to_string()),
    }
    let each = ctc_loss(logits, frames, &targets, blank);
    let plain = each.clone().without_autodiff();
    comparer.compare("out.loss_each", plain.clone()).await;
    comparer.compare("out.loss_sum", plain.clone().sum()).await;
    let per_target: Vec<f32> = targets
        .iter()
        .map(|t| 1.0 / t.len().max(1) as f32)
        .collect();
    let per_target = Tensor::<1>::from_floats(per_target.as_slice(), &plain.device());
    comparer
        .compare("out.loss_mean", (plain * per_target).mean())
        .await;
    Ok(each.sum())
}
