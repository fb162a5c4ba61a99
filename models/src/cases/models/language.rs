//! Language models: hidden states, logits, loss, gradients, token-by-token decoding, greedy continuations.

use std::ops::ControlFlow;

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use caldera_shaders::Lengths;
use caldera_shaders::fixture::{Case, CaseReport, Comparer, TensorReport};

use super::{CaseError, compare_gradients, compare_tokens, rows};
use crate::language::LayerState;
use crate::mamba::StateSpaceState;
use crate::{
    Checkpoint, DecodeState, ForwardOptions, GenerateOptions, LanguageBatch, LanguageConfig,
    LanguageModel, Parameters,
};

pub(super) async fn run(case: &Case, device: &Device) -> Result<CaseReport, CaseError> {
    let tokenizer = case.files.get("tokenizer.json").cloned();
    let (config, weights) = (case.file("config.json")?, case.file("model.safetensors")?);
    let checkpoint = Checkpoint::from_bytes(config, weights, tokenizer, &case.path)?;
    let plain = device.clone().without_autodiff();
    let frozen = LanguageModel::from_checkpoint(&checkpoint, &plain)?;
    let model = frozen.clone().trainable();

    let (shape, mask) = case.ints("in.attention_mask")?;
    let (b, l) = (shape[0], shape.get(1).copied().unwrap_or(1));
    let lengths = Lengths::from_mask(&mask, b, l)?;
    let ids = rows(case, "in.input_ids", &lengths)?;
    model.validate(&ids)?;
    let batch = LanguageBatch::new(&ids, model.config.padding(), &model.device());
    let options = ForwardOptions {
        hidden_states: true,
        dropout: false,
    };
    let output = model.forward(&batch, &options);

    let mut comparer = Comparer::new(case, device);
    for (i, state) in output.hidden_states.iter().enumerate() {
        let name = format!("out.hidden_states.{i}");
        let state = state.clone().without_autodiff();
        comparer.compare_valid(&name, state, &lengths, 1).await;
    }
    let last = output.final_norm.clone().without_autodiff();
    comparer
        .compare_valid("out.final_norm", last, &lengths, 1)
        .await;
    let logits = output.logits.clone().without_autodiff();
    comparer
        .compare_valid("out.logits", logits.clone(), &lengths, 1)
        .await;
    let mut outputs = case.names("out.");
    // What transformers 4 made of groups by mistake; the original code and transformers 5 agree on `out.logits`.
    outputs.retain(|name| name != "out.fullnorm.logits");
    if outputs.iter().any(|name| name == "out.left.logits") {
        let left = to_the_right(logits, &lengths);
        let (l, ends) = (l, lengths.as_slice());
        let real = |index: &[usize]| index[1] + ends[index[0]] as usize >= l;
        comparer.compare_where("out.left.logits", left, real).await;
    }
    let loss = next_token_loss(output.logits, &ids);
    comparer
        .compare("out.loss", loss.clone().without_autodiff())
        .await;
    compare_gradients(&model, loss, &case.names("grad."), &mut comparer).await;
    if outputs.iter().any(|name| name == "out.decode.logits") {
        compare_decoding(case, &frozen, &mut comparer).await?;
    }
    let mut report = comparer.finish();
    let mut add = |tensor: TensorReport| {
        report.passed &= tensor.passed;
        report.tensors.push(tensor);
    };
    for name in outputs
        .iter()
        .filter(|name| name.starts_with("out.greedy."))
    {
        add(compare_greedy(case, &frozen, name).await?);
    }
    for name in &outputs {
        if !report.tensors.iter().any(|tensor| tensor.tensor == *name) {
            report.passed = false;
            report.message = Some(format!("{name}: this model gives no such output"));
        }
    }
    let mut add = |tensor: TensorReport| {
        report.passed &= tensor.passed;
        report.tensors.push(tensor);
    };
    if let Some(newer) = case.files.get("config.transformers5.json") {
        add(compare_config(case, newer, &frozen.config)?);
    }
    if let Some(bytes) = &checkpoint.tokenizer {
        add(compare_tokens(case, bytes, &ids)?);
    }
    Ok(report)
}

/// [B, L, V] with each sample moved to the end of its row: as a batch padded at the left has it.
fn to_the_right(x: Tensor<3>, lengths: &Lengths) -> Tensor<3> {
    let [_, l, v] = x.dims();
    let moved = lengths.as_slice().iter().enumerate().map(|(i, &n)| {
        let (n, row) = (n as usize, x.clone().narrow(0, i, 1));
        let front = Tensor::zeros([1, l - n, v], &x.device());
        match n == l {
            true => row,
            false => Tensor::cat(vec![front, row.narrow(1, 0, n)], 1),
        }
    });
    Tensor::cat(moved.collect(), 0)
}

/// [1]: the mean cross entropy of each next token, over real targets.
fn next_token_loss(logits: Tensor<3>, ids: &[Vec<u32>]) -> Tensor<1> {
    let [b, l, v] = logits.dims();
    // Places in the flat [B L] list of positions, and the token that follows each.
    let pairs = ids.iter().enumerate().flat_map(|(i, ids)| {
        let next = ids.iter().skip(1).enumerate();
        next.map(move |(t, &id)| ((i * l + t) as i64, id as i64))
    });
    let (places, targets): (Vec<i64>, Vec<i64>) = pairs.unzip();
    let (device, n) = (logits.device(), places.len());
    let places = Tensor::<1, Int>::from_data(TensorData::new(places, [n]), &device);
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [n, 1]), &device);
    let logits = logits.reshape([b * l, v]).select(0, places);
    activation::log_softmax(logits, 1)
        .gather(1, targets)
        .mean()
        .neg()
}

/// Prefill and steps give the logits of the whole forward pass, and leave the states that transformers does.
async fn compare_decoding(
    case: &Case,
    model: &LanguageModel,
    comparer: &mut Comparer<'_>,
) -> Result<(), CaseError> {
    let (shape, _) = case.ints("in.decode.input_ids")?;
    let (b, l) = (shape[0], shape[1]);
    let prefill = case.fact_usize("decode_prefill")?;
    let ids: Tensor<2, Int> = case.int_tensor("in.decode.input_ids", &model.device())?;
    // Positions inside of the prefill, by prompts of their lengths.
    let mut logits = Vec::new();
    for t in 1..prefill {
        logits.push(model.prefill(ids.clone().narrow(1, 0, t)).0);
    }
    let (first, mut state) = model.prefill(ids.clone().narrow(1, 0, prefill));
    logits.push(first);
    for t in prefill..l {
        let token = ids.clone().narrow(1, t, 1).reshape([b]);
        logits.push(model.step(token, &mut state));
    }
    let logits = Tensor::stack::<3>(logits, 1);
    comparer.compare("out.decode.logits", logits).await;
    compare_states(case, &state, comparer).await;
    Ok(())
}

/// The states of Mamba layers.
async fn compare_states(case: &Case, state: &DecodeState, comparer: &mut Comparer<'_>) {
    for (i, layer) in state.layers.iter().enumerate() {
        let LayerState::StateSpace(layer) = layer else {
            continue;
        };
        let name = format!("out.decode.ssm_state.{i}");
        let conv = match layer {
            StateSpaceState::Mamba(layer) => {
                comparer.compare(&name, layer.ssm.clone()).await;
                &layer.conv
            }
            StateSpaceState::Mamba2(layer) => {
                comparer.compare(&name, layer.ssm.clone()).await;
                &layer.conv
            }
        };
        let name = format!("out.decode.conv_state.{i}");
        let Ok((shape, _)) = case.f64s(&name) else {
            comparer.fail(format!("{name}: the case has no such tensor"));
            continue;
        };
        // transformers keeps one input more than the next step needs.
        let [b, d, kept] = conv.dims();
        let more = shape.get(2).map_or(0, |&w| w.saturating_sub(kept));
        let front = Tensor::zeros([b, d, more], &conv.device());
        let padded = Tensor::cat(vec![front, conv.clone()], 2);
        comparer
            .compare_where(&name, padded, |index| index[2] >= more)
            .await;
    }
}

/// `out.greedy.i.tokens` of the prompt `in.greedy.i.input_ids`.
async fn compare_greedy(
    case: &Case,
    model: &LanguageModel,
    name: &str,
) -> Result<TensorReport, CaseError> {
    let prompt = name.replace("out.", "in.").replace(".tokens", ".input_ids");
    let prompt: Vec<u32> = case.ints(&prompt)?.1.iter().map(|&id| id as u32).collect();
    let want = case.ints(name)?.1;
    let options = GenerateOptions {
        stop_at_end: false,
        ..GenerateOptions::greedy(want.len())
    };
    let go_on = &mut |_| ControlFlow::Continue(());
    let got = model.generate(&prompt, &options, go_on).await?.tokens;
    let differs = |(got, want): (&u32, &i64)| *got as i64 != *want;
    let misses = got.iter().zip(&want).filter(|&pair| differs(pair)).count();
    Ok(exact(name, misses + got.len().abs_diff(want.len())))
}

/// The newer spelling of `config.json` means the same.
fn compare_config(
    case: &Case,
    newer: &[u8],
    config: &LanguageConfig,
) -> Result<TensorReport, CaseError> {
    const NAME: &str = "config.transformers5.json";
    let file = format!("{}/{NAME}", case.path);
    let value = crate::checkpoint::parse_config(newer, &file)?;
    let newer = LanguageConfig::from_value(value, &file)?;
    let same = LanguageConfig {
        other: config.other.clone(),
        ..newer
    };
    Ok(exact(NAME, usize::from(same != *config)))
}

fn exact(name: &str, misses: usize) -> TensorReport {
    TensorReport {
        tensor: name.to_string(),
        error: misses as f64,
        tolerance: 0.0,
        relative_rms: 0.0,
        passed: misses == 0,
    }
}
