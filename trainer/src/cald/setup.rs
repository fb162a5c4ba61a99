//! From a configuration to models, data and schedules.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use caldera_models::{
    Architecture, ConvertOptions, LinformerConfig, Mixer, ProjectionInit, Sharing, TextModel,
    convert as convert_model,
};
use serde_json::json;

use super::family::Family;
use super::guide::Teacher;
use super::run::Run;
use super::text::TextTask;
use crate::batches::{Encoded, Encoder};
use crate::config::{
    CaldConfig, DataConfig, Guide, InitChoice, MixerChoice, RunConfig, SharingChoice, StudentFrom,
};
use crate::data::{Fields, LabelSet, Record, read_files, with_labels};
use crate::device::select_device;
use crate::metrics::Observer;

/// A fine-tuning run that has not begun.
pub(super) fn finetune(config: &RunConfig, observer: &mut dyn Observer) -> Result<Run<TextTask>> {
    config.validate()?;
    let (device, device_line) = select_device(config.device)?;
    observer.message(&device_line);
    let folder = config
        .model
        .as_deref()
        .context("no model to fine-tune: name its folder with --model or `model`")?;
    if !config.data.unlabelled.is_empty() {
        observer
            .message("data.unlabelled is not used in fine-tuning: there is no loss without labels");
    }
    let mut settings = config.clone();
    settings.data.unlabelled.clear();
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
pub(super) fn convert(config: &RunConfig, observer: &mut dyn Observer) -> Result<Run<TextTask>> {
    config.validate()?;
    let (device, device_line) = select_device(config.device)?;
    observer.message(&device_line);
    let cald = &config.cald;
    let guide = cald.first_guide();
    let waypoints = if guide == Guide::Waypoint {
        waypoint_folders(&cald.waypoints)?
    } else {
        Vec::new()
    };
    let folder = source_folder(config, guide, student_source(cald), &waypoints)?;
    let records = Records::read(&config.data)?;
    let (initial, labels) = with_head(load(&folder, &device)?, &folder, &records, config)?;
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
        conversion_name(cald),
        config.clone(),
        device,
        device_line,
        student,
        teacher,
        data,
    )
}

/// Who guides a conversion whose student starts as `initial`: nobody yet, where the guide needs no model.
pub(super) fn teacher_of<F: Family>(
    family: &F,
    config: &RunConfig,
    initial: &F::Model,
    waypoints: Vec<PathBuf>,
    device: &Device,
) -> Result<Teacher<F::Model>> {
    let cald = &config.cald;
    Ok(match cald.first_guide() {
        Guide::Unguided | Guide::Hybrid => Teacher::None,
        Guide::Target => {
            let teacher = cald.teacher.as_deref().context("guide `target` needs a fine-tuned teacher: name its folder with --teacher or `cald.teacher`")?;
            Teacher::Fixed(family.guiding(teacher, initial, device)?)
        }
        Guide::Trajectory => Teacher::training(family.trainable(initial.clone(), config), config),
        Guide::Waypoint => {
            family.guiding(&waypoints[0], initial, device)?;
            Teacher::waypoints(waypoints)
        }
    })
}

/// What a conversion is called in its records.
pub(super) fn conversion_name(cald: &CaldConfig) -> String {
    let first = guide_name(cald.first_guide());
    match cald.guide {
        Guide::Hybrid => format!("convert (hybrid, {first} first)"),
        _ => format!("convert ({first})"),
    }
}

fn guide_name(guide: Guide) -> &'static str {
    match guide {
        Guide::Unguided => "unguided",
        Guide::Target => "target",
        Guide::Trajectory => "trajectory",
        Guide::Waypoint => "waypoint",
        Guide::Hybrid => "hybrid",
    }
}

/// What config.json says of the run that made a student.
pub(super) fn provenance(config: &RunConfig) -> serde_json::Value {
    let cald = &config.cald;
    json!({
        "task": "convert", "guide": cald.guide, "seed": config.seed, "layer_loss": cald.layer_loss,
        "alpha_layer": cald.alpha_layer, "alpha_logits": cald.alpha_logits, "task_weight": cald.task_weight,
        "learning_rate": config.optimizer.learning_rate,
    })
}

/// Whose parameters the student copies.
pub(super) fn student_source(cald: &CaldConfig) -> StudentFrom {
    let usual = match cald.first_guide() {
        Guide::Target => StudentFrom::Teacher,
        _ => StudentFrom::Initial,
    };
    cald.student_from.unwrap_or(usual)
}

/// The folder whose parameters the student starts with.
pub(super) fn source_folder(
    config: &RunConfig,
    guide: Guide,
    from: StudentFrom,
    waypoints: &[PathBuf],
) -> Result<PathBuf> {
    let (model, teacher) = (config.model.as_ref(), config.cald.teacher.as_ref());
    let found = match from {
        StudentFrom::Teacher => teacher,
        // Without a pretrained model the first waypoint is the nearest thing to it.
        StudentFrom::Initial if guide == Guide::Waypoint => model.or(waypoints.first()),
        StudentFrom::Initial => model,
    };
    found.cloned().with_context(|| match from {
        StudentFrom::Teacher => "the student starts from a fine-tuned teacher: name its folder with --teacher or `cald.teacher`".to_string(),
        StudentFrom::Initial => format!(
            "the student of guide `{}` starts from the pretrained model: name its folder with --model or `model`, \
             or let it start from the teacher (cald.student_from = \"teacher\")",
            guide_name(guide)
        ),
    })
}

pub(super) fn convert_options(config: &RunConfig, examples: &[Encoded]) -> ConvertOptions {
    let CaldConfig {
        mixer,
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
        mixer: match mixer {
            // `RunConfig::validate` lets no other mixer through for texts.
            MixerChoice::Linformer | MixerChoice::Mamba | MixerChoice::BiMamba2 => {
                Mixer::Linformer(LinformerConfig { k: *k, sharing })
            }
        },
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

/// The checkpoints in order; one folder that holds `step-N` folders stands for those.
pub(super) fn waypoint_folders(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let [only] = given else {
        if given.is_empty() {
            bail!(
                "guide `waypoint` needs checkpoints: name them with --waypoints or `cald.waypoints`; `finetune --checkpoints N` writes them"
            );
        }
        return Ok(given.to_vec());
    };
    if only.join("config.json").exists() {
        return Ok(given.to_vec());
    }
    let entries =
        std::fs::read_dir(only).with_context(|| format!("{}: cannot be read", only.display()))?;
    let mut found: Vec<(u64, PathBuf)> = entries
        .filter_map(|entry| {
            let path = entry.ok()?.path();
            let step = path
                .file_name()?
                .to_str()?
                .strip_prefix("step-")?
                .parse()
                .ok()?;
            Some((step, path))
        })
        .collect();
    found.sort();
    if found.is_empty() {
        bail!(
            "{}: no step-N folders in it; `finetune --checkpoints N` writes them",
            only.display()
        );
    }
    Ok(found.into_iter().map(|(_, path)| path).collect())
}

fn load(folder: &Path, device: &Device) -> Result<TextModel> {
    Ok(TextModel::load(folder, device)?.frozen())
}

/// The labels of a classifier, with the names that the configuration gives them; None for a bare encoder.
pub(super) fn labels_of(
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
        if data.train.is_empty() {
            bail!("no training data: name files with --train or `data.train`");
        }
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
