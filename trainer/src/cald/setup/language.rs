//! Runs of language models: from a configuration to models and blocks of text.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{
    LanguageConfig, LanguageModel, MambaConfig, MambaOptions, Parameters, TextTokenizer,
    convert_to_mamba,
};
use serde_json::json;

use super::{
    Beginning, conversion_name, open, provenance, read_architecture, student_origin, teacher_of,
};
use crate::batches::Blocks;
use crate::cald::guide::Teacher;
use crate::cald::language::LanguageTask;
use crate::cald::run::Run;
use crate::config::{DataConfig, RunConfig};
use crate::data::{END_OF_TEXT, Fields, NewTokenizer, read_documents};
use crate::metrics::Observer;
use crate::model::Model;

/// A fine-tuning run that has not begun; from random weights where `architecture` is given.
pub(in crate::cald) fn finetune(
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<Run<LanguageTask>> {
    let (device, device_line) = open(config, observer)?;
    let mut student = match Beginning::of(config)? {
        Beginning::Model(folder) => <LanguageModel as Model>::load(folder, &device)?.frozen(),
        Beginning::Architecture(file) => fresh(file, config, &device)?,
    };
    let task = text_of(&student, &config.data)?;
    student.config.caldera.insert(
        "run".into(),
        json!({"task": "finetune lm", "seed": config.seed}),
    );
    Run::new(
        "finetune".into(),
        config.clone(),
        device,
        device_line,
        student,
        Teacher::None,
        task,
    )
}

/// A conversion that has not begun.
pub(in crate::cald) fn convert(
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<Run<LanguageTask>> {
    let (device, device_line) = open(config, observer)?;
    let cald = &config.cald;
    let (folder, waypoints) = student_origin(config)?;
    let initial = <LanguageModel as Model>::load(&folder, &device)?.frozen();
    let task = text_of(&initial, &config.data)?;
    let teacher = teacher_of(&task, config, &initial, waypoints, &device)?;
    let options = MambaOptions {
        mamba: mamba_config(config, &initial),
        seed: config.seed,
    };
    let mut student = convert_to_mamba(&initial, &options)?;
    student
        .config
        .caldera
        .insert("run".into(), provenance(config));
    Run::new(
        conversion_name(cald),
        config.clone(),
        device,
        device_line,
        student,
        teacher,
        task,
    )
}

fn mamba_config(config: &RunConfig, model: &LanguageModel) -> MambaConfig {
    let cald = &config.cald;
    let usual = MambaConfig::for_width(model.config.hidden_size);
    MambaConfig {
        d_state: cald.d_state,
        d_conv: cald.d_conv,
        expand: cald.expand,
        dt_rank: cald.dt_rank.unwrap_or(usual.dt_rank),
        ..usual
    }
}

/// A model with random weights and a tokenizer: the one that `data.tokenizer` names, or one trained on the text.
fn fresh(file: &Path, config: &RunConfig, device: &Device) -> Result<LanguageModel> {
    let mut value = read_architecture(file)?;
    let named = config.data.tokenizer.as_deref().unwrap_or("byte");
    let json = match NewTokenizer::parse(named)? {
        Some(new) => new.make(&documents(&config.data, &config.data.train)?)?,
        None => {
            let path = PathBuf::from(named).join("tokenizer.json");
            std::fs::read(&path).with_context(|| format!("{}: cannot be read", path.display()))?
        }
    };
    let tokenizer = TextTokenizer::from_bytes(&json, named)?;
    // The tables are as large as the tokenizer asks for; a larger vocabulary in the file stays.
    let needed = tokenizer.vocab_size();
    if value["vocab_size"].as_u64().unwrap_or(0) < needed as u64 {
        value["vocab_size"] = json!(needed);
    }
    if value.get("eos_token_id").is_none()
        && let Some(end) = tokenizer.token_id(END_OF_TEXT)
    {
        value["eos_token_id"] = json!(end);
        value["bos_token_id"] = json!(end);
    }
    let model_config = LanguageConfig::from_value(value, &file.display().to_string())?;
    let mut model = LanguageModel::random(model_config, config.seed, device)?;
    model.set_tokenizer_json(Some(json));
    Ok(model)
}

fn documents(data: &DataConfig, paths: &[PathBuf]) -> Result<Vec<String>> {
    Ok(read_documents(paths, &Fields::from_config(data))?)
}

/// Training and validation text in blocks.
fn text_of(model: &LanguageModel, data: &DataConfig) -> Result<LanguageTask> {
    if !data.unlabelled.is_empty() {
        bail!(
            "data.unlabelled: expected none for a language model, which needs no labels, found {:?}. Name that text with --train \
             or `data.train`",
            data.unlabelled
        );
    }
    if data.train.is_empty() {
        bail!("no training data: name files with --train or `data.train`");
    }
    let tokenizer = tokenizer_of(model)?;
    let train = blocks(model, &tokenizer, data, &data.train, data.train_limit)?;
    let valid = match data.valid.is_empty() {
        true => None,
        false => Some(blocks(
            model,
            &tokenizer,
            data,
            &data.valid,
            data.valid_limit,
        )?),
    };
    Ok(LanguageTask { train, valid })
}

/// The tokenizer that a model carries.
///
/// # Errors
/// There is none, or it gives tokens that the model does not have.
pub(in crate::cald) fn tokenizer_of(model: &LanguageModel) -> Result<TextTokenizer> {
    let json = model
        .tokenizer_json()
        .context("the model's folder has no tokenizer.json; put it beside the weights")?;
    let tokenizer = TextTokenizer::from_bytes(json, "tokenizer.json")?;
    tokenizer.check_vocab(model.config.vocab_size)?;
    Ok(tokenizer)
}

/// Documents as one row of tokens, each closed by the token that ends a text where the model has one and there are
/// several documents, cut into blocks.
pub(in crate::cald) fn blocks(
    model: &LanguageModel,
    tokenizer: &TextTokenizer,
    data: &DataConfig,
    paths: &[PathBuf],
    limit: Option<usize>,
) -> Result<Blocks> {
    if let Some(most) = model.config.max_length()
        && data.block_length > most
    {
        bail!(
            "data.block_length = {}: the model has positions for {most} tokens; lower it",
            data.block_length
        );
    }
    let documents = documents(data, paths)?;
    let bytes = documents.iter().map(String::len).sum();
    let mut tokens = Vec::new();
    for document in &documents {
        tokens.extend(tokenizer.encode_plain(document)?);
        if documents.len() > 1 {
            tokens.extend(model.config.eos_token_ids.first());
        }
    }
    let blocks =
        Blocks::new(tokens, data.block_length, bytes).with_context(|| format!("{paths:?}"))?;
    Ok(match limit {
        Some(limit) => blocks.limited(limit),
        None => blocks,
    })
}
