//! Runs of speech models: from a configuration to models and clips.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};
use burn::tensor::Device;
use caldera_models::{
    BiMamba2Options, CtcVocabulary, FeatureExtractor, Mamba2Config, Parameters, SpeechArchitecture,
    SpeechConfig, SpeechModel, convert_to_bimamba2,
};
use serde_json::json;

use super::{
    Beginning, check_mixer, conversion_name, need_labels_for_a_head, open, provenance,
    read_architecture, student_origin, teacher_of, with_examples,
};
use crate::cald::guide::Teacher;
use crate::cald::run::Run;
use crate::cald::speech::{SpeechExample, SpeechTask, Target};
use crate::cald::speech_answers::{SpeechHead, SpeechReader, extractor_of, vocabulary_of};
use crate::config::{DataConfig, MixerChoice, RunConfig, Task, spelled};
use crate::data::{
    Example, Fields, LabelSet, Record, Recording, Utterance, read_manifests, read_recordings,
    with_labels,
};
use crate::losses::frames_needed;
use crate::metrics::Observer;
use crate::model::Model;

/// A fine-tuning run that has not begun; from random weights where `architecture` is given.
pub(in crate::cald) fn finetune(
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<Run<SpeechTask>> {
    let (device, device_line) = open(config, observer)?;
    let settings = with_examples(config, false, observer)?;
    let data = Utterances::read(&settings.data)?;
    let (model, folder) = match Beginning::of(config)? {
        Beginning::Model(folder) => (load(folder, &device)?, folder),
        Beginning::Architecture(file) => (fresh(file, config, &device)?, Path::new("")),
    };
    let mut reader = with_head(model, folder, None, &data, &settings, observer)?;
    let task = data.encode(&reader, &settings.data, observer)?;
    reader.model.config.caldera.insert(
        "run".into(),
        json!({"task": format!("finetune {}", spelled(config.task)), "seed": config.seed}),
    );
    Run::new(
        "finetune".into(),
        settings,
        device,
        device_line,
        reader.model,
        Teacher::None,
        task,
    )
}

/// A conversion that has not begun.
pub(in crate::cald) fn convert(
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<Run<SpeechTask>> {
    let (device, device_line) = open(config, observer)?;
    let (folder, waypoints) = student_origin(config)?;
    let config = &with_examples(config, true, observer)?;
    let data = Utterances::read(&config.data)?;
    let model = load(&folder, &device)?;
    check_mixer(config, MixerChoice::BiMamba2, "wav2vec2", &folder)?;
    // A student of a pretrained encoder gets a head that reads like the teacher's.
    let guiding = config.cald.teacher.as_ref().or(waypoints.first());
    let reader = with_head(model, &folder, guiding, &data, config, observer)?;
    let task = data.encode(&reader, &config.data, observer)?;
    let initial = reader.model;
    let teacher = teacher_of(&task, config, &initial, waypoints, &device)?;
    let options = BiMamba2Options {
        mamba2: mamba2_config(config, &initial)?,
        seed: config.seed,
    };
    let mut student = convert_to_bimamba2(&initial, &options)?;
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
        task,
    )
}

fn mamba2_config(config: &RunConfig, model: &SpeechModel) -> Result<Mamba2Config> {
    let (cald, width) = (&config.cald, model.config.hidden_size);
    let usual = Mamba2Config::for_width(width);
    let head_dim = cald.head_dim.unwrap_or(usual.head_dim);
    if !width.is_multiple_of(head_dim) {
        bail!("cald.head_dim = {head_dim}: expected a divisor of hidden_size {width}");
    }
    Ok(Mamba2Config {
        num_heads: width / head_dim,
        head_dim,
        d_state: cald.d_state,
        n_groups: cald.n_groups,
        d_conv: cald.d_conv,
        ..usual
    })
}

fn load(folder: &Path, device: &Device) -> Result<SpeechModel> {
    Ok(<SpeechModel as Model>::load(folder, device)?.frozen())
}

/// A bare model with random weights, at the rate that the configuration asks for.
fn fresh(file: &Path, config: &RunConfig, device: &Device) -> Result<SpeechModel> {
    let mut value = read_architecture(file)?;
    // Heads are put on afterwards, when the characters or labels are known.
    value["architectures"] = json!([SpeechArchitecture::Bare.name()]);
    let model_config = SpeechConfig::from_value(value, &file.display().to_string())?;
    let mut model = SpeechModel::random(model_config, config.seed, device).frozen();
    let mut extractor = FeatureExtractor::new(config.data.sampling_rate);
    // Trained here from the first step, always with padding masked.
    extractor.return_attention_mask = true;
    model.set_file("preprocessor_config.json", extractor.to_json());
    Ok(model)
}

/// The model with a head for the task: its own, or a new one for the characters or labels of `like` (a folder), else of
/// the training data.
fn with_head(
    model: SpeechModel,
    folder: &Path,
    like: Option<&PathBuf>,
    data: &Utterances,
    config: &RunConfig,
    observer: &mut dyn Observer,
) -> Result<SpeechReader> {
    let wanted = match config.task {
        Task::Ctc => SpeechArchitecture::Ctc,
        _ => SpeechArchitecture::SequenceClassification,
    };
    let extractor = extractor_of(&model, folder)?;
    if model.config.architecture == wanted {
        let mut reader = SpeechReader::of(model, folder)?;
        if let SpeechHead::Classifier(labels) = &mut reader.head
            && !config.data.labels.is_empty()
        {
            let named = LabelSet::new(config.data.labels.clone())?;
            if named.len() != labels.len() {
                bail!(
                    "data.labels has {} names, {} has a head for {} labels",
                    named.len(),
                    folder.display(),
                    labels.len()
                );
            }
            reader.model.config.labels = named.names().to_vec();
            *labels = named;
        }
        return Ok(reader);
    }
    need_labels_for_a_head(&config.data, folder)?;
    if model.config.architecture != SpeechArchitecture::Bare {
        observer.message(&format!(
            "{}: a new head in place of that of {}",
            folder.display(),
            model.config.architecture.name()
        ));
    }
    let theirs = match like {
        Some(folder) => Some(SpeechReader::load(folder, &model.device())?.head),
        None => None,
    };
    let head = match (wanted, theirs) {
        (SpeechArchitecture::Ctc, Some(head @ SpeechHead::Ctc(_))) => head,
        (SpeechArchitecture::SequenceClassification, Some(head @ SpeechHead::Classifier(_))) => {
            head
        }
        (SpeechArchitecture::Ctc, _) => SpeechHead::Ctc(match vocabulary_of(&model, folder) {
            Ok(Some(own)) => own,
            _ => CtcVocabulary::new(data.train.iter().filter_map(|u| u.text.as_deref())),
        }),
        _ if !config.data.labels.is_empty() => {
            SpeechHead::Classifier(LabelSet::new(config.data.labels.clone())?)
        }
        _ => {
            let records: Vec<Record> = data.train.iter().map(Utterance::record).collect();
            SpeechHead::Classifier(LabelSet::discover(&records)?)
        }
    };
    let mut model = model;
    model = match &head {
        SpeechHead::Ctc(vocabulary) => {
            model.set_file("vocab.json", vocabulary.to_json());
            model.set_file("tokenizer_config.json", vocabulary.tokenizer_config());
            model.config.pad_token_id = vocabulary.blank();
            model.with_ctc_head(vocabulary.len(), config.seed)
        }
        SpeechHead::Classifier(labels) => {
            model.with_classifier(labels.names().to_vec(), config.seed)
        }
    };
    if !model.files.contains_key("preprocessor_config.json") {
        model.set_file("preprocessor_config.json", extractor.to_json());
    }
    Ok(SpeechReader {
        model,
        extractor,
        head,
    })
}

/// The manifests of a run, read.
struct Utterances {
    train: Vec<Utterance>,
    valid: Vec<Utterance>,
    unlabelled: Vec<Utterance>,
}

impl Utterances {
    fn read(data: &DataConfig) -> Result<Self> {
        Ok(Self {
            train: load_utterances(&data.train, data, data.train_limit)?,
            valid: load_utterances(&data.valid, data, data.valid_limit)?,
            unlabelled: load_utterances(&data.unlabelled, data, data.unlabelled_limit)?,
        })
    }

    /// Sound and targets of everything.
    fn encode(
        self,
        reader: &SpeechReader,
        data: &DataConfig,
        observer: &mut dyn Observer,
    ) -> Result<SpeechTask> {
        let (head, extractor, config) = (&reader.head, &reader.extractor, &reader.model.config);
        let of = |utterances: &[Utterance], labelled| {
            examples(utterances, head, extractor, config, data, labelled)
        };
        let mut train = of(&self.train, true)?;
        let labelled = train.len();
        train.extend(of(&self.unlabelled, false)?);
        let valid = of(&self.valid, true)?;
        check_frames(&self.train, &train, config, observer)?;
        Ok(SpeechTask {
            train,
            labelled,
            valid,
            head: head.clone(),
            extractor: extractor.clone(),
            config: config.clone(),
        })
    }
}

/// Lines of manifests; no file none.
pub(in crate::cald) fn load_utterances(
    paths: &[PathBuf],
    data: &DataConfig,
    limit: Option<usize>,
) -> Result<Vec<Utterance>> {
    Ok(read_manifests(paths, &Fields::from_config(data), limit)?)
}

/// Sound and target of every utterance.
///
/// # Errors
/// A file that cannot be used, a clip that is too short for a frame, a text or label that is missing (where `labelled`) or
/// that the head cannot give; each with its line.
pub(in crate::cald) fn examples(
    utterances: &[Utterance],
    head: &SpeechHead,
    extractor: &FeatureExtractor,
    config: &SpeechConfig,
    data: &DataConfig,
    labelled: bool,
) -> Result<Vec<SpeechExample>> {
    let recordings = read_recordings(utterances, extractor.sampling_rate, data.max_seconds)?;
    let least = config.least_samples();
    for (utterance, recording) in utterances.iter().zip(&recordings) {
        if recording.len() < least {
            let rate = f64::from(extractor.sampling_rate);
            return Err(utterance
                .error(format!(
                    "expected at least {:.3} s of audio, which is one frame of the model, found {:.3} s. Leave the clip out",
                    least as f64 / rate,
                    recording.len() as f64 / rate
                ))
                .into());
        }
    }
    let targets: Vec<Target> = match (labelled, head) {
        (false, _) => vec![Target::None; utterances.len()],
        (true, SpeechHead::Ctc(vocabulary)) => utterances
            .iter()
            .map(|utterance| text_target(utterance, vocabulary))
            .collect::<Result<_>>()?,
        (true, SpeechHead::Classifier(labels)) => {
            let records = utterances.iter().map(Utterance::record).collect();
            let number = |example: Example| example.label.map_or(Target::None, Target::Label);
            with_labels(records, labels, true)?
                .into_iter()
                .map(number)
                .collect()
        }
    };
    let pair = |(recording, target): (Recording, Target)| SpeechExample { recording, target };
    Ok(recordings.into_iter().zip(targets).map(pair).collect())
}

fn text_target(utterance: &Utterance, vocabulary: &CtcVocabulary) -> Result<Target> {
    let text = utterance
        .text
        .as_deref()
        .ok_or_else(|| utterance.error("no text; it is needed here".into()))?;
    let ids = vocabulary
        .encode(text)
        .map_err(|error| utterance.error(error.to_string()))?;
    Ok(Target::Text(ids, text.to_string()))
}

/// Whether every text can be said in the frames of its clip.
fn check_frames(
    utterances: &[Utterance],
    examples: &[SpeechExample],
    config: &SpeechConfig,
    observer: &mut dyn Observer,
) -> Result<()> {
    let short = |(_, example): &(&Utterance, &SpeechExample)| match &example.target {
        Target::Text(ids, _) => config.frames(example.recording.len()) < frames_needed(ids),
        _ => false,
    };
    let mut short = utterances.iter().zip(examples).filter(short);
    let Some((utterance, example)) = short.next() else {
        return Ok(());
    };
    let count = 1 + short.count();
    if config.ctc_zero_infinity {
        observer.message(&format!(
            "{count} clips have fewer frames than their texts need and teach nothing"
        ));
        return Ok(());
    }
    let frames = config.frames(example.recording.len());
    let needed = match &example.target {
        Target::Text(ids, _) => frames_needed(ids),
        _ => 0,
    };
    Err(utterance
        .error(format!(
            "expected at least {needed} frames for the text, found {frames} ({count} such clips). Leave them out, or set \
             ctc_zero_infinity in the model's config.json"
        ))
        .into())
}
