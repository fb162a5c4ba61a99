//! `caldera generate`

use super::{Outcome, flags::choice, output};
use crate::config::DeviceChoice;
use crate::model::{ModelKind, kind_of};
use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{
    GenerateOptions, LanguageModel, Parameters, Sampling, Stop, TextStream, TextTokenizer,
};
use caldera_shaders::block_on;
use serde_json::json;
use std::io::Write;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};
use std::time::Instant;

const EXAMPLE: &str = "\
Example: transformer and student, one after the other
  caldera generate --model runs/lm/best --student runs/mamba/best --prompt \"ROMEO:\" --max-new-tokens 200
  caldera generate --model runs/mamba/best --prompt \"ROMEO:\" --temperature 0.8 --top-k 40 --seed 7";

/// Continue a prompt with a language model, token by token
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the model
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A second model that continues the same prompt
    #[arg(long, value_name = "DIR")]
    student: Option<PathBuf>,
    /// What the text starts with
    #[arg(long, value_name = "TEXT", required_unless_present = "prompt_file")]
    prompt: Option<String>,
    /// File with the prompt, in place of --prompt
    #[arg(long, value_name = "FILE", conflicts_with = "prompt")]
    prompt_file: Option<PathBuf>,
    /// Tokens at most
    #[arg(long, value_name = "N", default_value_t = 128)]
    max_new_tokens: usize,
    /// Choose at random, with logits divided by T [default: the likeliest token]
    #[arg(long, value_name = "T")]
    temperature: Option<f64>,
    /// Choose among the K likeliest
    #[arg(long, value_name = "K")]
    top_k: Option<usize>,
    /// Choose among the likeliest that together reach P
    #[arg(long, value_name = "P")]
    top_p: Option<f64>,
    /// Seed of the choice
    #[arg(long, value_name = "N", default_value_t = 0)]
    seed: u64,
    /// auto, gpu or cpu
    #[arg(long, value_name = "NAME", default_value = "auto", value_parser = choice::<DeviceChoice>)]
    device: DeviceChoice,
    /// Print one JSON object a model: text, tokens, stop, prefill_ms, decode_ms_per_token, state_bytes
    #[arg(long)]
    json: bool,
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let prompt = match (&args.prompt, &args.prompt_file) {
        (Some(text), _) => Prompt {
            name: "--prompt".into(),
            text: text.clone(),
        },
        (None, Some(path)) => Prompt {
            name: path.display().to_string(),
            text: std::fs::read_to_string(path)
                .with_context(|| format!("{}: cannot read the prompt", path.display()))?,
        },
        (None, None) => bail!("no prompt: give --prompt TEXT or --prompt-file FILE"),
    };
    if prompt.text.is_empty() {
        bail!(
            "{}: the prompt is empty: give at least one character to go on from",
            prompt.name
        );
    }
    let random = args.temperature.is_some() || args.top_k.is_some() || args.top_p.is_some();
    let options = GenerateOptions {
        sampling: match random {
            false => Sampling::Greedy,
            true => Sampling::Random {
                temperature: args.temperature.unwrap_or(1.0),
                top_k: args.top_k,
                top_p: args.top_p,
            },
        },
        seed: args.seed,
        max_new_tokens: args.max_new_tokens,
        stop_at_end: true,
    };
    let (device, line) = crate::select_device(args.device)?;
    eprintln!("device: {line}");
    let folders: Vec<&PathBuf> = std::iter::once(&args.model).chain(&args.student).collect();
    for folder in &folders {
        if folders.len() > 1 && !args.json {
            output::line(&format!("— {}", folder.display()))?;
        }
        one(folder, &prompt, &options, &device, args.json)?;
    }
    Ok(Outcome::Done)
}

/// What a text begins with, and what that is called in messages.
struct Prompt {
    name: String,
    text: String,
}

impl Prompt {
    /// Its ids, where the tokenizer has one for every letter and the model a place for every id.
    fn ids(
        &self,
        folder: &Path,
        tokenizer: &TextTokenizer,
        model: &LanguageModel,
    ) -> Result<Vec<u32>> {
        let (name, file) = (&self.name, folder.join("tokenizer.json"));
        if let Some((at, letter)) = tokenizer.unknown(&self.text)? {
            bail!(
                "{name}: {} has no token for “{letter}” (character {}). Leave it out, or write it differently",
                file.display(),
                at + 1
            );
        }
        let ids = tokenizer.encode_plain(&self.text)?;
        if ids.is_empty() {
            bail!(
                "{name}: expected at least one token, but {} makes none of it. Write how the text begins",
                file.display()
            );
        }
        if let Some(most) = model.config.max_length().filter(|&most| ids.len() > most) {
            bail!(
                "{name}: the prompt has {} tokens, and {} has positions for {most} (max_position_embeddings). Shorten it, \
                 or take a model with a Mamba mixer, which has no such limit",
                ids.len(),
                folder.display()
            );
        }
        Ok(ids)
    }
}

/// One model's text, told as it comes unless `json` is asked for.
fn one(
    folder: &Path,
    prompt: &Prompt,
    options: &GenerateOptions,
    device: &Device,
    json: bool,
) -> Result<()> {
    if kind_of(folder)? != ModelKind::Language {
        bail!(
            "{}: this model writes no text; give the folder of a language model",
            folder.display()
        );
    }
    let model = LanguageModel::load(folder, device)?.frozen();
    let tokenizer = TextTokenizer::load(folder)?;
    tokenizer.check_vocab(model.config.vocab_size)?;
    let ids = prompt.ids(folder, &tokenizer, &model)?;
    let mut stream = TextStream::new(&tokenizer, &ids);
    let (mut text, mut broken) = (String::new(), None);
    let start = Instant::now();
    let mut first = None;
    let mut lead = Some(prompt.text.as_str());
    let generation = block_on(model.generate(&ids, options, &mut |token| {
        first.get_or_insert_with(|| start.elapsed());
        let mut tell = || -> Result<()> {
            let piece = stream.push(token)?;
            text.push_str(&piece);
            if !json {
                let mut out = std::io::stdout().lock();
                // With the first token: a refusal leaves nothing on standard output.
                out.write_all(lead.take().unwrap_or_default().as_bytes())?;
                out.write_all(piece.as_bytes())?;
                out.flush()?;
            }
            Ok(())
        };
        match tell() {
            Ok(()) => ControlFlow::Continue(()),
            Err(error) => {
                broken = Some(error);
                ControlFlow::Break(())
            }
        }
    }))
    .with_context(|| format!("{}", folder.display()))?;
    if let Some(error) = broken {
        return Err(error);
    }
    let (count, total) = (generation.tokens.len(), start.elapsed().as_secs_f64());
    let prefill = first.map_or(total, |first| first.as_secs_f64());
    let decode = (count > 1).then(|| (total - prefill) / (count - 1) as f64);
    let state = generation.state.as_ref().map_or(0, |state| state.bytes());
    let stop = match generation.stop {
        Stop::End => "the text ended",
        Stop::Length => "as many tokens as asked for",
        Stop::Positions => "no positions left",
        Stop::Asked => "stopped",
    };
    if json {
        return output::json(&json!({
            "model": folder, "prompt_tokens": ids.len(), "text": text, "tokens": generation.tokens, "stop": stop,
            "prefill_ms": prefill * 1e3, "decode_ms_per_token": decode.map(|decode| decode * 1e3),
            "state_bytes": state,
        }));
    }
    output::line(lead.unwrap_or_default())?;
    eprintln!(
        "{count} tokens after {} ({stop}); first token after {:.0} ms, then {:.1} tokens a second; it remembers {:.1} kB",
        ids.len(),
        prefill * 1e3,
        decode.map_or(0.0, |decode| 1.0 / decode),
        state as f64 / 1e3
    );
    Ok(())
}
