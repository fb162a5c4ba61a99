//! A tiny model, a tokenizer and a task on disk.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard};

use burn::tensor::Device;
use caldera_models::{TextConfig, TextModel, WeightDtype};
use serde_json::json;

use crate::config::{DeviceChoice, RunConfig};
use crate::metrics::{EvalRecord, Observer, RunSummary, SavedRecord, StepRecord};

// The CPU backend's random state is one for the whole process: runs with dropout take turns.
static TURN: Mutex<()> = Mutex::new(());

/// Waits until no other test trains.
pub fn turn() -> MutexGuard<'static, ()> {
    TURN.lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// A folder with `model/`, `train.jsonl` and `valid.csv`.
pub struct World {
    pub dir: tempfile::TempDir,
    pub(super) _turn: MutexGuard<'static, ()>,
}

const WORDS: [&str; 12] = [
    "[PAD]", "[UNK]", "[CLS]", "[SEP]", "good", "bad", "a", "film", "the", "very", "it", "was",
];

impl World {
    pub fn new() -> Self {
        let turn = turn();
        let dir = tempfile::tempdir().unwrap();
        let config = json!({
            "model_type": "bert", "architectures": ["BertModel"], "vocab_size": WORDS.len(), "hidden_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 48,
            "max_position_embeddings": 24, "type_vocab_size": 2, "pad_token_id": 0, "hidden_dropout_prob": 0.1,
            "initializer_range": 0.2,
        });
        let config: TextConfig = serde_json::from_value(config).unwrap();
        let mut model = TextModel::random(config, 5, &Device::flex());
        let vocab: serde_json::Map<_, _> = WORDS
            .iter()
            .enumerate()
            .map(|(i, w)| (w.to_string(), json!(i)))
            .collect();
        let tokenizer = json!({
            "version": "1.0", "truncation": null, "padding": null, "added_tokens": [], "normalizer": null,
            "pre_tokenizer": {"type": "WhitespaceSplit"},
            "post_processor": {"type": "BertProcessing", "sep": ["[SEP]", 3], "cls": ["[CLS]", 2]},
            "decoder": null, "model": {"type": "WordLevel", "vocab": vocab, "unk_token": "[UNK]"},
        });
        model.set_tokenizer_json(Some(tokenizer.to_string().into_bytes()));
        model
            .to_checkpoint()
            .unwrap()
            .write(&dir.path().join("model"), WeightDtype::F32)
            .unwrap();
        let text = |i: usize| {
            let mut text = String::new();
            for j in 0..1 + i * 7 % 13 {
                write!(text, "{} ", WORDS[6 + (i * 5 + j * 3) % 6]).unwrap();
            }
            format!("{text}{}", ["bad", "good"][i % 2])
        };
        let train: String = (0..44)
            .map(|i| json!({"text": text(i), "label": (["no", "yes"][i % 2])}).to_string() + "\n")
            .collect();
        std::fs::write(dir.path().join("train.jsonl"), train).unwrap();
        let valid: String = (44..60)
            .map(|i| format!("{},{}\n", text(i), ["no", "yes"][i % 2]))
            .collect();
        std::fs::write(dir.path().join("valid.csv"), format!("text,label\n{valid}")).unwrap();
        Self { dir, _turn: turn }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Small batches on the CPU, a first epoch of 6 steps.
    pub fn config(&self, output: &str) -> RunConfig {
        let mut config = RunConfig {
            model: Some(self.path("model")),
            output: self.path(output),
            device: DeviceChoice::Cpu,
            seed: 3,
            ..RunConfig::default()
        };
        config.data.train = vec![self.path("train.jsonl")];
        config.data.valid = vec![self.path("valid.csv")];
        config.train.batch_size = 8;
        config.train.epochs = 2.0;
        config.train.log_every = 1;
        config.optimizer.learning_rate = 3e-3;
        config.cald.k = 8;
        config
    }
}

/// Keeps everything, and asks for a stop after a step.
#[derive(Default)]
pub struct Recorder {
    pub steps: Vec<StepRecord>,
    pub evaluations: Vec<EvalRecord>,
    pub saved: Vec<SavedRecord>,
    pub messages: Vec<String>,
    pub summary: Option<RunSummary>,
    pub stop_after: Option<u64>,
    pub stop: &'static AtomicBoolCell,
}

/// A flag that a recorder may set while the run reads it.
#[derive(Default)]
pub struct AtomicBoolCell(pub AtomicBool);

impl Default for &'static AtomicBoolCell {
    fn default() -> Self {
        Box::leak(Box::new(AtomicBoolCell::default()))
    }
}

impl Observer for Recorder {
    fn step(&mut self, record: &StepRecord) {
        self.steps.push(record.clone());
        if self.stop_after == Some(record.step) {
            self.stop.0.store(true, Ordering::Relaxed);
        }
    }
    fn evaluated(&mut self, record: &EvalRecord) {
        self.evaluations.push(record.clone());
    }
    fn saved(&mut self, record: &SavedRecord) {
        self.saved.push(record.clone());
    }
    fn message(&mut self, line: &str) {
        self.messages.push(line.to_string());
    }
    fn finished(&mut self, summary: &RunSummary) {
        self.summary = Some(summary.clone());
    }
}

/// The bytes of the weights in a model folder.
pub fn weights(folder: &Path) -> Vec<u8> {
    std::fs::read(folder.join("model.safetensors")).unwrap()
}
