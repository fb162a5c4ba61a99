//! From a configuration to models, data and schedules: what runs of every family begin with. `text`, `language` and `speech`
//! do the rest.

pub(super) mod language;
pub(super) mod speech;
pub(super) mod text;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use burn::tensor::Device;
use serde_json::json;

use super::family::Family;
use super::guide::Teacher;
use crate::config::{CaldConfig, DataConfig, Guide, MixerChoice, RunConfig, StudentFrom, spelled};
use crate::device::select_device;
use crate::metrics::Observer;

/// Checks the configuration and takes the device; gives the line that names it too, which the observer has seen.
fn open(config: &RunConfig, observer: &mut dyn Observer) -> Result<(Device, String)> {
    config.validate()?;
    let (device, line) = select_device(config.device)?;
    observer.message(&line);
    Ok((device, line))
}

/// The configuration without examples that no loss is computed of: those without labels, where nobody guides.
///
/// # Errors
/// No examples are left, or none with labels where the run needs them.
fn with_examples(
    config: &RunConfig,
    converting: bool,
    observer: &mut dyn Observer,
) -> Result<RunConfig> {
    let (mut settings, cald) = (config.clone(), &config.cald);
    let unused = match (converting, cald.first_guide()) {
        (false, _) => Some("in fine-tuning"),
        (true, Guide::Unguided) => Some("under guide unguided"),
        _ if cald.alpha_layer == 0.0 && cald.alpha_logits == 0.0 => {
            Some("where cald.alpha_layer and cald.alpha_logits are 0")
        }
        _ => None,
    };
    if let Some(unused) = unused
        && !config.data.unlabelled.is_empty()
    {
        observer.message(&format!(
            "data.unlabelled is not used {unused}: there is no loss without labels"
        ));
        settings.data.unlabelled.clear();
    }
    if settings.data.train.is_empty() {
        if settings.data.unlabelled.is_empty() {
            bail!("no training data: name files with --train or `data.train`");
        }
        if !matches!(cald.guide, Guide::Target | Guide::Waypoint) {
            bail!(
                "no labelled data, but guide {} learns from labels: name files with --train or `data.train`, or take guide target or \
                 waypoint, which need none",
                spelled(cald.guide)
            );
        }
    }
    Ok(settings)
}

/// Refuses a model without a head in a run that has no labels to make and train one for.
fn need_labels_for_a_head(data: &DataConfig, folder: &Path) -> Result<()> {
    if data.train.is_empty() {
        bail!(
            "{}: no head for the task, and no labelled data to train one with: let the student start from the teacher \
             (--student-from teacher, cald.student_from), or name files with --train or `data.train`",
            folder.display()
        );
    }
    Ok(())
}

/// Refuses a mixer that does not take the place of attention in models of this kind.
fn check_mixer(
    config: &RunConfig,
    expected: MixerChoice,
    model_type: &str,
    folder: &Path,
) -> Result<()> {
    if config.cald.mixer != expected {
        bail!(
            "cald.mixer: expected {} for the model in {}, whose model_type is {model_type}, found {}",
            spelled(expected),
            folder.display(),
            spelled(config.cald.mixer)
        );
    }
    Ok(())
}

/// What a fine-tuning begins with.
enum Beginning<'a> {
    /// The folder of a model.
    Model(&'a Path),
    /// A config.json, for a model with random weights.
    Architecture(&'a Path),
}

impl<'a> Beginning<'a> {
    fn of(config: &'a RunConfig) -> Result<Self> {
        match (&config.model, &config.architecture) {
            (Some(folder), None) => Ok(Self::Model(folder)),
            (None, Some(file)) => Ok(Self::Architecture(file)),
            (Some(_), Some(_)) => bail!(
                "both a model to start from (`model`) and one to make anew (`architecture`): name one of them"
            ),
            (None, None) => bail!(
                "no model: name a folder with --model or `model`, or a config.json to start from random weights with \
                 --architecture or `architecture`"
            ),
        }
    }
}

/// A config.json for a model with random weights.
fn read_architecture(file: &Path) -> Result<serde_json::Value> {
    let bytes =
        std::fs::read(file).with_context(|| format!("{}: cannot be read", file.display()))?;
    serde_json::from_slice(&bytes).with_context(|| format!("{}: not a config.json", file.display()))
}

/// Where the student of a conversion comes from: the folder whose parameters it copies, and the waypoints of its guide.
fn student_origin(config: &RunConfig) -> Result<(PathBuf, Vec<PathBuf>)> {
    let cald = &config.cald;
    let guide = cald.first_guide();
    let waypoints = match guide {
        Guide::Waypoint => waypoint_folders(&cald.waypoints)?,
        _ => Vec::new(),
    };
    let folder = source_folder(config, guide, student_source(cald), &waypoints)?;
    Ok((folder, waypoints))
}

/// Who guides a conversion whose student starts as `initial`: nobody yet, where the guide needs no model.
fn teacher_of<F: Family>(
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
fn conversion_name(cald: &CaldConfig) -> String {
    let first = spelled(cald.first_guide());
    match cald.guide {
        Guide::Hybrid => format!("convert (hybrid, {first} first)"),
        _ => format!("convert ({first})"),
    }
}

/// What config.json says of the run that made a student.
fn provenance(config: &RunConfig) -> serde_json::Value {
    let cald = &config.cald;
    json!({
        "task": "convert", "guide": cald.guide, "seed": config.seed, "layer_loss": cald.layer_loss,
        "alpha_layer": cald.alpha_layer, "alpha_logits": cald.alpha_logits, "task_weight": cald.task_weight,
        "learning_rate": config.optimizer.learning_rate,
    })
}

/// Whose parameters the student copies.
fn student_source(cald: &CaldConfig) -> StudentFrom {
    let usual = match cald.first_guide() {
        Guide::Target => StudentFrom::Teacher,
        _ => StudentFrom::Initial,
    };
    cald.student_from.unwrap_or(usual)
}

/// The folder whose parameters the student starts with.
fn source_folder(
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
            spelled(guide)
        ),
    })
}

/// The checkpoints in order; one folder that holds `step-N` folders stands for those.
fn waypoint_folders(given: &[PathBuf]) -> Result<Vec<PathBuf>> {
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
