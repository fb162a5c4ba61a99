//! `caldera export`

use super::{Outcome, eval::Fields, flags::choice, output};
use super::{export_index, export_speech};
use crate::cald::{EvalOptions, Evaluation};
use crate::config::DataConfig;
use crate::data::{Fields as DataFields, LabelSet, read_files, with_labels};
use crate::demo;
use crate::metrics::Silent;
use crate::model::{ModelKind, kind_of};
use anyhow::{Context, Result, bail};
use caldera_models::{
    Checkpoint, LanguageModel, Mixer, Pair, PairData, PairSample, PairScores, TextConfig,
    TextModel, WeightDtype,
};
use serde::Deserialize;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const EXAMPLE: &str = "\
Example:
  caldera export --teacher runs/teacher/best --student runs/student/best --name polarity --dtype f16 \\
    --eval valid.jsonl --data-name \"Sentence polarity v1.0\" --data-licence \"CC BY 4.0\" --out web/pairs/polarity
Writes pair.json (name, task, scores, samples, data, licence, size and sha256 of every file), transformer/ and linear/; where an
index.json lies beside the folder, as in web/pairs, the pair is added to its list, which a build of the page shows.";

/// Write a transformer and its student as a pair for the page
#[derive(clap::Args)]
#[command(after_help = EXAMPLE)]
pub(super) struct Args {
    /// Folder of the transformer
    #[arg(long, value_name = "DIR")]
    teacher: PathBuf,
    /// Folder of the student
    #[arg(long, value_name = "DIR")]
    student: PathBuf,
    /// Name of the pair [default: the name of the OUT folder]
    #[arg(long, value_name = "NAME")]
    name: Option<String>,
    /// Type of the stored weights: f32 or f16
    #[arg(long, value_name = "TYPE", default_value = "f32", value_parser = choice::<Dtype>)]
    dtype: Dtype,
    /// Folder to write
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Labelled examples: both models' scores go into the pair, and a few of the examples as samples
    #[arg(long, value_name = "FILE", num_args = 1..)]
    eval: Vec<PathBuf>,
    #[command(flatten)]
    fields: Fields,
    /// How many samples
    #[arg(long, value_name = "N", default_value_t = 4)]
    samples: usize,
    /// What the models do [default: text-classification, language-modeling, automatic-speech-recognition or
    /// audio-classification, by the models]
    #[arg(long, value_name = "TASK")]
    task: Option<String>,
    /// Prompts to try on the page (language models)
    #[arg(long, value_name = "TEXT", num_args = 1..)]
    prompt: Vec<String>,
    /// A sentence about the pair
    #[arg(long, value_name = "TEXT", default_value = "")]
    description: String,
    /// Licence of the weights, as an SPDX expression
    #[arg(
        long,
        visible_alias = "license",
        value_name = "SPDX",
        default_value = ""
    )]
    licence: String,
    /// Name of the training data
    #[arg(long, value_name = "NAME", default_value = "")]
    data_name: String,
    /// Licence of the training data
    #[arg(
        long,
        visible_alias = "data-license",
        value_name = "NAME",
        default_value = ""
    )]
    data_licence: String,
    /// Where the training data comes from
    #[arg(long, value_name = "TEXT", default_value = "")]
    data_source: String,
}

/// Spelled as on the command line.
#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(rename_all = "lowercase")]
enum Dtype {
    F32,
    F16,
}

impl From<Dtype> for WeightDtype {
    fn from(dtype: Dtype) -> Self {
        match dtype {
            Dtype::F32 => Self::F32,
            Dtype::F16 => Self::F16,
        }
    }
}

pub(super) fn run(args: Args) -> Result<Outcome> {
    let (transformer, linear) = (
        Checkpoint::read(&args.teacher)?,
        Checkpoint::read(&args.student)?,
    );
    let kind = kind_of(&args.student)?;
    let (labels, task) = match kind {
        ModelKind::Text => {
            let labels = compatible(&args.teacher, &transformer, &args.student, &linear)?;
            (labels, "text-classification")
        }
        ModelKind::Language => {
            compatible_language(&args.teacher, &transformer, &args.student, &linear)?;
            (Vec::new(), "language-modeling")
        }
        ModelKind::Speech => {
            export_speech::compatible(&args.teacher, &transformer, &args.student, &linear)?
        }
    };
    let (mut scores, mut samples) = (PairScores::default(), Vec::new());
    let mut clips = Vec::new();
    if !args.eval.is_empty() {
        let (model, teacher) = (args.student.clone(), args.teacher.clone());
        let options = args.fields.options(model, Some(teacher), args.eval, None);
        let data = &options.data;
        match kind {
            ModelKind::Text => samples = some_samples(data, &labels, args.samples)?,
            ModelKind::Language => {}
            ModelKind::Speech => {
                let credit = [&args.data_name, &args.data_licence, &args.data_source];
                (samples, clips) =
                    export_speech::samples(&args.student, data, &labels, args.samples, &credit)?;
            }
        }
        scores = measure(&args.teacher, &options)?;
    }
    samples.extend(args.prompt.into_iter().map(|text| PairSample {
        text,
        ..PairSample::default()
    }));
    let name = match args.name {
        Some(name) => name,
        None => args
            .out
            .file_name()
            .context("--out names no folder; give --name")?
            .to_string_lossy()
            .into_owned(),
    };
    if name.is_empty() || name.starts_with('.') || name.contains(['/', '\\']) {
        bail!("--name {name:?}: expected a plain name, as it becomes part of an address");
    }
    let mut pair = Pair {
        name,
        task: args.task.unwrap_or_else(|| task.into()),
        description: args.description,
        scores,
        data: PairData {
            name: args.data_name,
            licence: args.data_licence,
            source: args.data_source,
        },
        licence: args.licence,
        labels,
        samples,
        files: Vec::new(),
    };
    pair.write(&args.out, &transformer, &linear, &clips, args.dtype.into())?;
    let bytes: u64 = pair.files.iter().map(|file| file.size).sum();
    output::line(&format!(
        "{}: {} files, {:.1} MB",
        args.out.display(),
        pair.files.len() + 1,
        bytes as f64 / 1e6
    ))?;
    if let Some(said) = export_index::list(&args.out)? {
        output::line(&said)?;
    }
    Ok(Outcome::Done)
}

/// The labels of both, or why the two are no pair.
fn compatible(
    teacher: &Path,
    transformer: &Checkpoint,
    student: &Path,
    linear: &Checkpoint,
) -> Result<Vec<String>> {
    let read = |folder: &Path, checkpoint: &Checkpoint| {
        TextConfig::from_value(
            checkpoint.config.clone(),
            &folder.join("config.json").display().to_string(),
        )
    };
    let (a, b) = (read(teacher, transformer)?, read(student, linear)?);
    if matches!(b.mixer, Mixer::Softmax) {
        bail!(
            "{}: a transformer, but --student must be a converted model (`caldera convert` writes one)",
            student.display()
        );
    }
    if !matches!(a.mixer, Mixer::Softmax) {
        bail!(
            "{}: a converted model, but --teacher must be a transformer",
            teacher.display()
        );
    }
    for (folder, checkpoint) in [(teacher, transformer), (student, linear)] {
        need_tokenizer(folder, checkpoint)?;
        // Shapes and names are checked here, not in somebody's browser.
        TextModel::from_checkpoint(checkpoint, &burn::tensor::Device::flex())?;
    }
    if a.labels != b.labels {
        bail!(
            "{} has the labels {:?}, but {} has {:?}: not a pair",
            teacher.display(),
            a.labels,
            student.display(),
            b.labels
        );
    }
    Ok(b.labels)
}

fn need_tokenizer(folder: &Path, checkpoint: &Checkpoint) -> Result<()> {
    if checkpoint.tokenizer.is_none() {
        bail!(
            "{}: no tokenizer.json, which the page needs; copy the one that the model was trained with",
            folder.display()
        );
    }
    Ok(())
}

/// Whether two language models are a transformer and a student of it.
fn compatible_language(
    teacher: &Path,
    transformer: &Checkpoint,
    student: &Path,
    linear: &Checkpoint,
) -> Result<()> {
    let mut vocabularies = Vec::new();
    for (folder, checkpoint, mixes, expected) in [
        (teacher, transformer, false, "a transformer for --teacher"),
        (student, linear, true, "a converted model for --student"),
    ] {
        need_tokenizer(folder, checkpoint)?;
        let model = LanguageModel::from_checkpoint(checkpoint, &burn::tensor::Device::flex())?;
        if model.config.mamba().is_some() != mixes {
            bail!(
                "{}: expected {expected}, found the mixer {}",
                folder.display(),
                model.config.mixer.name()
            );
        }
        vocabularies.push(model.config.vocab_size);
    }
    if transformer.tokenizer != linear.tokenizer {
        bail!(
            "{} and {} have different tokenizers ({} and {} tokens): not a pair",
            teacher.display(),
            student.display(),
            vocabularies[0],
            vocabularies[1]
        );
    }
    Ok(())
}

/// Both models' figures on the same examples; `options` are those of the student.
fn measure(teacher: &Path, options: &EvalOptions) -> Result<PairScores> {
    let alone = EvalOptions {
        model: teacher.into(),
        teacher: None,
        ..options.clone()
    };
    let of_teacher = crate::evaluate(&alone, &mut Silent)?;
    let of_student = crate::evaluate(options, &mut Silent)?;
    let figures = |e: &Evaluation| -> BTreeMap<String, f64> {
        let all = [
            ("accuracy", Some(e.accuracy)),
            ("loss", Some(e.loss)),
            ("perplexity", e.perplexity),
            ("bits_per_byte", e.bits_per_byte),
            ("wer", e.wer),
            ("cer", e.cer),
            ("agreement", e.agreement),
            ("examples", Some(e.examples as f64)),
        ];
        all.into_iter()
            .filter_map(|(name, value)| Some((name.to_string(), value?)))
            .collect()
    };
    Ok(PairScores {
        teacher: figures(&of_teacher),
        student: figures(&of_student),
    })
}

/// The first examples of each label in turn.
fn some_samples(data: &DataConfig, labels: &[String], count: usize) -> Result<Vec<PairSample>> {
    let records = read_files(&data.valid, &DataFields::from_config(data), None)?;
    // The data may have names of its own for them.
    let names = match data.labels.is_empty() {
        true => labels,
        false => &data.labels,
    };
    let known = LabelSet::new(names.to_vec())?;
    let most = count.div_ceil(labels.len().max(1));
    let mut seen: BTreeMap<usize, usize> = BTreeMap::new();
    let mut samples = Vec::new();
    for example in with_labels(records, &known, false)? {
        let Some(label) = example.label else { continue };
        let taken = seen.entry(label).or_default();
        if samples.len() < count && *taken < most {
            *taken += 1;
            samples.push(PairSample {
                text: example.text,
                pair: example.pair,
                label: labels.get(label).cloned(),
                ..PairSample::default()
            });
        }
    }
    Ok(samples)
}

/// The pair that the demo leaves: its teacher and the best guided student, with the figures of its table.
pub(super) fn demo_pair(result: &demo::Outcome, out: &Path) -> Result<()> {
    let (transformer, linear) = (
        Checkpoint::read(&result.teacher)?,
        Checkpoint::read(&result.student)?,
    );
    let labels = compatible(&result.teacher, &transformer, &result.student, &linear)?;
    let figures = |row: &demo::Row| {
        let all = [
            ("accuracy", row.accuracy),
            ("agreement", row.agreement),
            ("seconds", row.seconds),
        ];
        all.into_iter()
            .map(|(name, value)| (name.to_string(), value))
            .collect()
    };
    let teacher = result.rows.first().context("the demo made no table")?;
    let samples = result.valid.iter().filter(|d| d.text.len() < 600).take(4);
    let mut pair = Pair {
        name: out
            .file_name()
            .map_or_else(|| "demo".into(), |name| name.to_string_lossy().into_owned()),
        task: "text-classification".into(),
        description: format!(
            "A question such as `red?` in the first word, its answer such as `red=west` up to 500 words away. Student guided by {}.",
            result.best.name
        ),
        scores: PairScores {
            teacher: figures(teacher),
            student: figures(&result.best),
        },
        data: PairData {
            name: "Caldera's generated questions".into(),
            licence: "MIT OR Apache-2.0".into(),
            source: "generated by `caldera demo`".into(),
        },
        licence: "MIT OR Apache-2.0".into(),
        labels: labels.clone(),
        samples: samples
            .map(|d| PairSample {
                text: d.text.clone(),
                label: labels.get(d.label).cloned(),
                ..PairSample::default()
            })
            .collect(),
        files: Vec::new(),
    };
    Ok(pair.write(out, &transformer, &linear, &[], WeightDtype::F32)?)
}
