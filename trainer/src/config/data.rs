//! `[data]` and `[train]`: examples, length of the run, evaluation.

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::BestMetric;

/// `[data]`: JSON Lines, CSV and TSV by extension (plain text, one a line, as `.txt`, for unlabelled text).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct DataConfig {
    /// Training files with labels. Default: none.
    pub train: Vec<PathBuf>,
    /// Validation files with labels. Default: none, no evaluation.
    pub valid: Vec<PathBuf>,
    /// More texts (or clips) for the distillation losses of a conversion; labels in them are ignored. They are left out where
    /// nobody guides, so of the second part of a `hybrid` run too. With guide `target` or `waypoint` they may be all there is.
    /// Language models have none: their text needs no labels and is `train`. Default: none.
    pub unlabelled: Vec<PathBuf>,
    /// Field of the text. Default: the first of `text`, `text_a`, `sentence`, `sentence1` that is there.
    pub text_field: Option<String>,
    /// Field of the second text of a pair. Default: `text_b` beside `text_a`, `sentence2` beside `sentence1`.
    pub pair_field: Option<String>,
    /// Field of the label, an integer or a name. Default: `label`.
    pub label_field: String,
    /// Names of the labels in order of their numbers. Default: the model's, else those of the training data, sorted.
    pub labels: Vec<String>,
    /// Tokens of a training block (language models). Default: 256.
    pub block_length: usize,
    /// `byte`, `bpe:SIZE` (trained on the training text) or a folder with a tokenizer.json, for a model made anew
    /// (language models). Default: `byte`; a model from a folder has its own.
    pub tokenizer: Option<String>,
    /// Samples a second of a speech model made anew. Default: 16000; a model from a folder says its own.
    pub sampling_rate: u32,
    /// Longest clip in seconds (speech). Default: 60.
    pub max_seconds: f64,
    /// Longest sequence in tokens, special ones counted. Default: as long as the model can take.
    pub max_length: Option<usize>,
    /// Use only the first N training examples. Default: all.
    pub train_limit: Option<usize>,
    /// Use only the first N validation examples. Default: all.
    pub valid_limit: Option<usize>,
    /// Use only the first N unlabelled texts. Default: all.
    pub unlabelled_limit: Option<usize>,
}

impl Default for DataConfig {
    fn default() -> Self {
        Self {
            train: Vec::new(),
            valid: Vec::new(),
            unlabelled: Vec::new(),
            text_field: None,
            pair_field: None,
            label_field: "label".into(),
            labels: Vec::new(),
            block_length: 256,
            tokenizer: None,
            sampling_rate: 16_000,
            max_seconds: 60.0,
            max_length: None,
            train_limit: None,
            valid_limit: None,
            unlabelled_limit: None,
        }
    }
}

/// `[train]`: length of the run, batches, evaluation, checkpoints.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TrainConfig {
    /// Passes over the training data; fractions are allowed. Default: 3.
    pub epochs: f64,
    /// Optimizer steps; takes the place of `epochs`. Default: none.
    pub max_steps: Option<u64>,
    /// Examples in a forward pass. Default: 32.
    pub batch_size: usize,
    /// Seconds of audio in a forward pass, padding included (speech). Default: 60.
    pub batch_seconds: f64,
    /// Leave the convolutions before the encoder as they are (speech). Default: false.
    pub freeze_feature_encoder: bool,
    /// Batches in an optimizer step. Default: 1.
    pub accumulation: usize,
    /// Examples in a forward pass of evaluation. Default: 64 texts, 16 clips, or as many blocks of text (64 at most) as
    /// keep a language model's logits below 256 MB.
    pub eval_batch_size: Option<usize>,
    /// Evaluate every N optimizer steps. Default: at the end of every epoch.
    pub eval_every: Option<u64>,
    /// Read losses back every N optimizer steps. Default: 10.
    pub log_every: u64,
    /// Stop after N evaluations without a better one. Default: never.
    pub patience: Option<u64>,
    /// `accuracy`, `loss` or `wer`: what `best/` is chosen by. Default: `accuracy`; `loss` for language models, `wer` for
    /// task `ctc`.
    pub best_metric: BestMetric,
    /// Dropout and masked frames as the model's config says. Default: true.
    pub dropout: bool,
    /// Checkpoints of the model in training to keep in `checkpoints/step-N`, evenly over the run. Default: 0.
    pub checkpoints: u64,
    /// Write the resume state every N optimizer steps. Default: at every evaluation and at the end of every epoch.
    pub save_every: Option<u64>,
    /// Write a resume state at all; without it a run cannot be resumed. Default: true.
    pub save_state: bool,
    /// Batches in a chunk that is sorted by length. Default: 50.
    pub bucket_batches: usize,
    /// Pad lengths up to a multiple of N (fewer shapes on a GPU). Default: 1.
    pub pad_to_multiple: usize,
}

impl Default for TrainConfig {
    fn default() -> Self {
        Self {
            epochs: 3.0,
            max_steps: None,
            batch_size: 32,
            batch_seconds: 60.0,
            freeze_feature_encoder: false,
            accumulation: 1,
            eval_batch_size: None,
            eval_every: None,
            log_every: 10,
            patience: None,
            best_metric: BestMetric::Accuracy,
            dropout: true,
            checkpoints: 0,
            save_every: None,
            save_state: true,
            bucket_batches: 50,
            pad_to_multiple: 1,
        }
    }
}
