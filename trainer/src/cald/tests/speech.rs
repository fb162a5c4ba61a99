//! Runs on synthetic tones: what is said is which tone was heard.

use std::f32::consts::TAU;
use std::path::PathBuf;
use std::sync::MutexGuard;

use serde_json::json;

use super::resume::{go, same_when_broken};
use super::world::turn;
use crate::cald::{EvalOptions, convert, evaluate, finetune};
use crate::config::{DeviceChoice, Guide, MixerChoice, RunConfig, Task};
use crate::data::audio::{Clip, to_wav};
use crate::metrics::Silent;

/// The tones, in Hz, and what they are called.
const TONES: [(f32, &str); 3] = [(300.0, "a"), (700.0, "be"), (1500.0, "c")];
const RATE: u32 = 8000;

/// A folder with `config.json`, clips, `train.jsonl` and `valid.jsonl`.
struct Tones {
    dir: tempfile::TempDir,
    _turn: MutexGuard<'static, ()>,
}

impl Tones {
    fn new() -> Self {
        let tones = Self {
            _turn: turn(),
            dir: tempfile::tempdir().unwrap(),
        };
        let config = json!({
            "model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 48, "feat_extract_norm": "layer", "do_stable_layer_norm": true, "conv_bias": true,
            "conv_dim": [16, 16, 32], "conv_kernel": [10, 5, 4], "conv_stride": [5, 4, 4], "num_feat_extract_layers": 3,
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "classifier_proj_size": 16,
            "ctc_loss_reduction": "mean", "mask_time_prob": 0.2, "mask_time_length": 3, "hidden_dropout": 0.1,
            "initializer_range": 0.2,
        });
        tones.write("config.json", config.to_string().as_bytes());
        for (name, count) in [("train", 36), ("valid", 12)] {
            let lines: String = (0..count).map(|i| tones.clip(name, i)).collect();
            tones.write(&format!("{name}.jsonl"), lines.as_bytes());
        }
        tones
    }

    fn write(&self, name: &str, bytes: &[u8]) -> PathBuf {
        let path = self.dir.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A clip of one tone, and its line; every fifth line is two clips.
    fn clip(&self, part: &str, i: usize) -> String {
        let (frequency, name) = TONES[i % 3];
        let length = 1200 + 331 * (i % 7);
        let sample = |n: usize| {
            let t = n as f32 / RATE as f32;
            (TAU * frequency * t).sin() * (0.2 + 0.1 * (i % 4) as f32)
                + 0.01 * ((n * n % 97) as f32 / 97.0 - 0.5)
        };
        let clip = Clip {
            samples: (0..length).map(sample).collect(),
            sampling_rate: RATE,
        };
        let file = format!("{part}-{i}.wav");
        self.write(&file, &to_wav(&clip).unwrap());
        match i % 5 == 4 {
            true => {
                let before = format!("{part}-{}.wav", i - 1);
                let text = format!("{} {name}", TONES[(i - 1) % 3].1);
                json!({"audio": [before, file], "gap": 0.05, "text": text, "label": i % 3})
                    .to_string()
                    + "\n"
            }
            false => json!({"audio": file, "text": name, "label": i % 3}).to_string() + "\n",
        }
    }

    fn config(&self, output: &str, task: Task) -> RunConfig {
        let mut config = RunConfig {
            architecture: Some(self.path("config.json")),
            output: self.path(output),
            device: DeviceChoice::Cpu,
            seed: 3,
            ..RunConfig::defaults(task, true, true)
        };
        config.data.sampling_rate = RATE;
        config.data.train = vec![self.path("train.jsonl")];
        config.data.valid = vec![self.path("valid.jsonl")];
        config.train.batch_size = 8;
        config.train.batch_seconds = 2.0;
        config.train.epochs = 2.0;
        config.train.log_every = 1;
        config.optimizer.learning_rate = 3e-3;
        config.optimizer.minimum_learning_rate = 5e-4;
        config.cald.d_state = 8;
        config.cald.head_dim = Some(16);
        config
    }

    fn refused(&self, config: &RunConfig) -> String {
        let run = if config.cald.teacher.is_some() {
            convert
        } else {
            finetune
        };
        let error = run(config, &Default::default(), &mut Silent).unwrap_err();
        format!("{error:#}")
    }
}

#[test]
fn speech_runs_resume_exactly_under_every_guide() {
    let tones = Tones::new();
    same_when_broken(
        |name| {
            let mut config = tones.config(name, Task::Ctc);
            config.train.accumulation = 2;
            config.train.checkpoints = 2;
            config
        },
        "finetune",
        &[2, 5],
    );
    let best = tones.path("finetune/best");
    let student = |name: &str, guide: Guide| {
        let mut config = tones.config(name, Task::Ctc);
        config.architecture = None;
        config.model = Some(tones.path("finetune/best"));
        config.cald.teacher = Some(best.clone());
        config.cald.waypoints = vec![tones.path("finetune/checkpoints")];
        config.cald.guide = guide;
        config.train.max_steps = Some(6);
        config
    };
    for guide in [
        Guide::Target,
        Guide::Trajectory,
        Guide::Waypoint,
        Guide::Unguided,
        Guide::Hybrid,
    ] {
        let name = format!("{guide:?}").to_lowercase();
        same_when_broken(|name| student(name, guide), &name, &[2]);
    }
}

#[test]
fn tones_are_learned_classified_and_distilled() {
    let tones = Tones::new();
    let mut config = tones.config("finetune", Task::Classify);
    config.train.epochs = 25.0;
    let (_, recorder) = go(&config, None);
    let best = recorder
        .evaluations
        .iter()
        .map(|e| e.score.accuracy)
        .fold(0.0, f64::max);
    assert!(best > 0.9, "{:?}", recorder.evaluations);
    let mut student = tones.config("target", Task::Classify);
    student.architecture = None;
    student.cald.teacher = Some(tones.path("finetune/best"));
    student.train.epochs = 15.0;
    let (_, recorder) = go(&student, None);
    let layers: Vec<f64> = recorder.steps.iter().filter_map(|s| s.layer_loss).collect();
    assert!(layers.last().unwrap() < &(0.5 * layers[0]), "{layers:?}");
    let options = EvalOptions {
        model: tones.path("target/best"),
        teacher: Some(tones.path("finetune/best")),
        data: student.data.clone(),
        device: DeviceChoice::Cpu,
        ..EvalOptions::default()
    };
    let found = evaluate(&options, &mut Silent).unwrap();
    assert_eq!((found.examples, found.wer), (12, None));
    assert!(
        found.accuracy > 0.7 && found.agreement.unwrap() > 0.7,
        "{found:?}"
    );

    student.output = tones.path("linformer");
    student.cald.mixer = MixerChoice::Linformer;
    let said = tones.refused(&student);
    for word in ["cald.mixer", "bimamba2", "wav2vec2", "linformer"] {
        assert!(said.contains(word), "no `{word}` in: {said}");
    }
    assert!(!student.output.exists());
    // Clips alone, without what is heard in them.
    student.cald.mixer = MixerChoice::BiMamba2;
    student.output = tones.path("target-alone");
    student.data.unlabelled = std::mem::take(&mut student.data.train);
    student.train.max_steps = Some(4);
    let (_, recorder) = go(&student, None);
    let (first, last) = (&recorder.steps[0], &recorder.steps[3]);
    assert_eq!((first.task_loss, last.task_loss), (None, None));
    assert!(last.layer_loss < first.layer_loss, "{:?}", recorder.steps);
}

#[test]
fn tones_are_spelled() {
    let tones = Tones::new();
    let mut config = tones.config("finetune", Task::Ctc);
    config.train.epochs = 60.0;
    config.train.eval_every = Some(60);
    let (summary, recorder) = go(&config, None);
    let best = summary.best.unwrap().score;
    assert!(
        best.wer.unwrap() < 0.3 && best.cer.unwrap() < 0.3,
        "{:?}",
        recorder.evaluations
    );
}

#[test]
fn a_frozen_feature_encoder_stays_as_it_was() {
    let tones = Tones::new();
    let mut config = tones.config("finetune", Task::Ctc);
    config.train.freeze_feature_encoder = true;
    config.train.max_steps = Some(2);
    go(&config, None);
    let trained = std::fs::read(tones.path("finetune/last/model.safetensors")).unwrap();
    config.optimizer.learning_rate = 0.0;
    config.optimizer.minimum_learning_rate = 0.0;
    config.output = tones.path("as-it-began/finetune");
    go(&config, None);
    let began = std::fs::read(tones.path("as-it-began/finetune/last/model.safetensors")).unwrap();
    let (trained, began) = (
        safetensors::SafeTensors::deserialize(&trained).unwrap(),
        safetensors::SafeTensors::deserialize(&began).unwrap(),
    );
    let (mut fixed, mut moved) = (0, 0);
    for name in trained.names() {
        let same = trained.tensor(name).unwrap().data() == began.tensor(name).unwrap().data();
        match name.contains("feature_extractor.") {
            true => {
                assert!(same, "{name}");
                fixed += 1;
            }
            false => moved += usize::from(!same),
        }
    }
    assert!(fixed >= 6 && moved > 10, "{fixed} {moved}");
}

#[test]
fn what_cannot_be_is_named() {
    let tones = Tones::new();
    let config = tones.config("finetune", Task::Ctc);
    let with = |line: serde_json::Value| {
        let mut config = config.clone();
        config.data.train = vec![tones.write("bad.jsonl", format!("{line}\n").as_bytes())];
        tones.refused(&config)
    };
    let short = Clip {
        samples: vec![0.1; 40],
        sampling_rate: RATE,
    };
    tones.write("short.wav", &to_wav(&short).unwrap());
    let long = "abc ".repeat(40);
    for (line, words) in [
        (
            json!({"text": "a"}),
            vec!["bad.jsonl, line 1", "\"audio\" is missing"],
        ),
        (
            json!({"audio": 3, "text": "a"}),
            vec!["expected the name of a sound file"],
        ),
        (
            json!({"audio": [], "text": "a"}),
            vec!["expected the name of a sound file"],
        ),
        (
            json!({"audio": "none.wav", "text": "a"}),
            vec!["line 1", "none.wav", "cannot be read"],
        ),
        (
            json!({"audio": "config.json", "text": "a"}),
            vec!["config.json", "WAV or FLAC"],
        ),
        (json!({"audio": "train-0.wav"}), vec!["line 1", "no text"]),
        (
            json!({"audio": "train-0.wav", "text": "a", "gap": -1}),
            vec!["\"gap\""],
        ),
        (
            json!({"audio": "short.wav", "text": "a"}),
            vec!["one frame of the model"],
        ),
        (
            json!({"audio": "train-0.wav", "text": long}),
            vec!["line 1", "frames for the text", "ctc_zero_infinity"],
        ),
    ] {
        let said = with(line);
        for word in words {
            assert!(said.contains(word), "no `{word}` in: {said}");
        }
    }
    let mut classify = tones.config("finetune", Task::Classify);
    classify.data.train = vec![tones.write("bad.jsonl", b"{\"audio\": \"train-0.wav\"}\n")];
    assert!(tones.refused(&classify).contains("labels"));
    let mut mixer = config.clone();
    mixer.cald.mixer = MixerChoice::Linformer;
    assert!(tones.refused(&mixer).contains("cald.mixer"));
    let mut limit = config.clone();
    limit.data.max_seconds = 0.2;
    assert!(tones.refused(&limit).contains("at most 0.2 s"));

    // A teacher that spells, for a student that classifies, is none.
    let mut teacher = config.clone();
    teacher.train.max_steps = Some(1);
    go(&teacher, None);
    let mut student = tones.config("convert", Task::Classify);
    student.architecture = None;
    student.cald.teacher = Some(tones.path("finetune/best"));
    let said = tones.refused(&student);
    assert!(
        said.contains("characters") && said.contains("labels"),
        "{said}"
    );
}
