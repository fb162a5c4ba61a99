//! Runs of text encoders: from a configuration to models and texts.

use std::path::Path;

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{
    Architecture, ConvertOptions, LinformerConfig, Mixer, ProjectionInit, Sharing, TextModel,
    convert as convert_model,
};
use serde_json::json;

use super::{
    check_mixer, conversion_name, need_labels_for_a_head, open, provenance, student_origin,
    teacher_of, with_examples,
};
use crate::batches::{Encoded, Encoder};
use crate::cald::guide::Teacher;
use crate::cald::run::Run;
use crate::cald::text::TextTask;
use crate::config::{CaldConfig, DataConfig, InitChoice, MixerChoice, RunConfig, SharingChoice};
use crate::data::{Fields, LabelSet, Record, read_files, with_labels};
use crate::metrics::Observer;

/// A fine-tuning run that has not begun.
pub(in crate::cald) fn finetune(
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<Run<TextTask>> {
    let (device, device_line) = open(config, observer)?;
    let folder = config
        .model
        .as_deref()
        .context("no model to fine-tune: name its folder with --model or `model`")?;
    let settings = with_examples(config, false, observer)?;
    let records = Records::read(&settings.data)?;
    let (model, labels) = with_head(load(folder, &device)?, folder, &records, &settings)?;
    let data = records.encode(
        folder,
        &model,
        &labels,
        &settings.data,
        settings.train.pad_to_multiple,
    )?;
    let mut student = model;
    student.config.caldera.insert(
        "run".into(),
        json!({"task": "finetune", "seed": config.seed}),
    );
    Run::new(
        "finetune".into(),
        settings,
        device,
        device_line,
        student,
        Teacher::None,
        data,
    )
}

/// A conversion that has not begun.
pub(in crate::cald) fn convert(
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<Run<TextTask>> {
    let (device, device_line) = open(config, observer)?;
    let (folder, waypoints) = student_origin(config)?;
    let config = &with_examples(config, true, observer)?;
    let records = Records::read(&config.data)?;
    let initial = load(&folder, &device)?;
    let model_type = initial.config.family.model_type();
    check_mixer(config, MixerChoice::Linformer, model_type, &folder)?;
    let (initial, labels) = with_head(initial, &folder, &records, config)?;
    let data = records.encode(
        &folder,
        &initial,
        &labels,
        &config.data,
        config.train.pad_to_multiple,
    )?;

    let teacher = teacher_of(&data, config, &initial, waypoints, &device)?;
    let mut student = convert_model(&initial, &convert_options(config, &data.train))?;
    student
        .config
        .caldera
        .insert("run".into(), provenance(config));
    Run::new(
        conversion_name(&config.cald),
        config.clone(),
        device,
        device_line,
        student,
        teacher,
        data,
    )
}

pub(in crate::cald) fn convert_options(config: &RunConfig, examples: &[Encoded]) -> ConvertOptions {
    let CaldConfig {
        k,
        sharing,
        init,
        reference_length,
        ..
    } = &config.cald;
    let sharing = match sharing {
        SharingChoice::None => Sharing::None,
        SharingChoice::Kv => Sharing::Kv,
        SharingChoice::Layer => Sharing::Layer,
    };
    let mut lengths: Vec<usize> = examples.iter().map(|example| example.ids.len()).collect();
    lengths.sort_unstable();
    ConvertOptions {
        mixer: Mixer::Linformer(LinformerConfig { k: *k, sharing }),
        init: match init {
            InitChoice::Normal => ProjectionInit::Normal,
            InitChoice::Segments => ProjectionInit::Segments,
        },
        seed: config.seed,
        reference_length: reference_length.or_else(|| lengths.get(lengths.len() / 2).copied()),
        // Of a length that is given by hand, the rest follows (caldera_models::ConvertOptions).
        longest_length: if reference_length.is_none() {
            lengths.get(lengths.len() * 95 / 100).copied()
        } else {
            None
        },
    }
}

fn load(folder: &Path, device: &Device) -> Result<TextModel> {
    Ok(TextModel::load(folder, device)?.frozen())
}

/// The labels of a classifier, with the names that the configuration gives them; None for a bare encoder.
pub(in crate::cald) fn labels_of(
    model: &TextModel,
    data: &DataConfig,
    folder: &Path,
) -> Result<Option<LabelSet>> {
    if model.config.architecture == Architecture::Bare {
        return Ok(None);
    }
    let own = &model.config.labels;
    if !data.labels.is_empty() && data.labels.len() != own.len() {
        bail!(
            "data.labels has {} names, {} has a head for {} labels {own:?}",
            data.labels.len(),
            folder.display(),
            own.len()
        );
    }
    let names = if data.labels.is_empty() {
        own.clone()
    } else {
        data.labels.clone()
    };
    Ok(Some(LabelSet::new(names)?))
}

/// Puts a head for the data's labels on a bare encoder; a classifier keeps its own.
fn with_head(
    model: TextModel,
    folder: &Path,
    records: &Records,
    config: &RunConfig,
) -> Result<(TextModel, LabelSet)> {
    if let Some(labels) = labels_of(&model, &config.data, folder)? {
        let mut model = model;
        model.config.labels = labels.names().to_vec();
        return Ok((model, labels));
    }
    need_labels_for_a_head(&config.data, folder)?;
    let labels = match config.data.labels.is_empty() {
        true => LabelSet::discover(&records.train)?,
        false => LabelSet::new(config.data.labels.clone())?,
    };
    Ok((
        model.with_head(labels.len(), Some(labels.names().to_vec()), config.seed),
        labels,
    ))
}

/// The files of a run, read.
struct Records {
    train: Vec<Record>,
    valid: Vec<Record>,
    unlabelled: Vec<Record>,
}

impl Records {
    fn read(data: &DataConfig) -> Result<Self> {
        let fields = Fields::from_config(data);
        Ok(Self {
            train: read_files(&data.train, &fields, data.train_limit)?,
            valid: read_files(&data.valid, &fields, data.valid_limit)?,
            unlabelled: read_files(
                &data.unlabelled,
                &fields.unlabelled(),
                data.unlabelled_limit,
            )?,
        })
    }

    fn encode(
        self,
        folder: &Path,
        model: &TextModel,
        labels: &LabelSet,
        data: &DataConfig,
        pad_to_multiple: usize,
    ) -> Result<TextTask> {
        let encoder = Encoder::load(folder, &model.config, data.max_length)?;
        let mut train = encoder.encode(&with_labels(self.train, labels, true)?)?;
        let labelled = train.len();
        train.extend(encoder.encode(&with_labels(self.unlabelled, labels, false)?)?);
        let valid = encoder.encode(&with_labels(self.valid, labels, true)?)?;
        Ok(TextTask {
            train,
            labelled,
            valid,
            pad_token_id: encoder.pad_token_id(),
            pad_to_multiple,
        })
    }
}
