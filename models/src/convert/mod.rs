//! A transformer into its linear student: every parameter carried over, attention replaced: by Linformer attention in
//! text encoders, by Mamba mixers in language models, by bidirectional Mamba-2 mixers in speech models.

mod bimamba2;
mod mamba;
mod projection;
#[cfg(test)]
mod tests;

use burn::tensor::{Tensor, TensorData};
use serde::{Deserialize, Serialize};
use serde_json::json;

pub use bimamba2::{BiMamba2Options, convert_to_bimamba2};
pub use mamba::{MambaOptions, convert_to_mamba};
use projection::{SampleLengths, segments};

use crate::layers::normals;
use crate::{LinformerConfig, Mixer, ModelError, Sharing, TextModel};

/// How the student's projections start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum ProjectionInit {
    /// N(0, 1), as in the CALD paper (arXiv 2410.06846).
    #[default]
    Normal,
    /// Slots that stand for segments of positions, scaled for the lengths of the data, so that the student starts
    /// close to the teacher's own attention (exactly at it, where all samples have one length that divides k).
    Segments,
}

impl ProjectionInit {
    /// "normal" or "segments".
    pub fn name(self) -> &'static str {
        match self {
            Self::Normal => "normal",
            Self::Segments => "segments",
        }
    }

    /// The initialisation of this name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Normal, Self::Segments]
            .into_iter()
            .find(|init| init.name() == name)
    }
}

/// What to make of a transformer.
#[derive(Debug, Clone, PartialEq)]
pub struct ConvertOptions {
    /// The mixer in place of softmax attention. [`Mixer::Softmax`] gives a plain copy.
    pub mixer: Mixer,
    /// How its projections start.
    pub init: ProjectionInit,
    /// Of the random numbers.
    pub seed: u64,
    /// [`ProjectionInit::Segments`]: how many tokens a sample of the data has, as mean or median.
    /// None: half of `longest_length`.
    pub reference_length: Option<usize>,
    /// [`ProjectionInit::Segments`]: a length that few samples exceed, such as the 95th percentile.
    /// None: twice `reference_length`, or the model's longest. Too small a value costs more than too large a one.
    pub longest_length: Option<usize>,
}

impl ConvertOptions {
    /// A Linformer with projections from N(0, 1).
    pub fn linformer(k: usize, sharing: Sharing, seed: u64) -> Self {
        Self {
            mixer: Mixer::Linformer(LinformerConfig { k, sharing }),
            init: ProjectionInit::Normal,
            seed,
            reference_length: None,
            longest_length: None,
        }
    }
}

/// The student of a transformer: a copy of it, head included, with `options.mixer` in place of its attention.
/// It is on the teacher's device, outside of any graph ([`TextModel::trainable`] makes it a student to train),
/// and shares the teacher's buffers until one of the two is trained.
///
/// Linformer projections are `encoder.layer.N.attention.self.proj_k` and `proj_v`, [max_position_embeddings, k].
///
/// # Errors
/// [`ModelError::Config`] when the teacher is no transformer or `k` is out of range.
pub fn convert(teacher: &TextModel, options: &ConvertOptions) -> Result<TextModel, ModelError> {
    let invalid = |key: &str, expected: &str, found: String, advice: &str| ModelError::Config {
        file: "conversion".to_string(),
        key: key.to_string(),
        expected: expected.to_string(),
        found,
        advice: advice.to_string(),
    };
    if teacher.config.mixer != Mixer::Softmax {
        return Err(invalid(
            "teacher",
            "a model with softmax attention",
            format!("the mixer {}", teacher.config.mixer.name()),
            "Give the transformer that it was made from",
        ));
    }
    let mut student = teacher.clone().frozen();
    student.config.mixer = options.mixer;
    let Mixer::Linformer(linformer) = options.mixer else {
        return Ok(student);
    };
    if linformer.k == 0 {
        return Err(invalid(
            "k",
            "at least 1",
            "0".to_string(),
            "Give the number of slots, such as 256",
        ));
    }
    for (key, value) in [
        ("reference_length", options.reference_length),
        ("longest_length", options.longest_length),
    ] {
        if value == Some(0) {
            const ADVICE: &str = "Give a number of tokens as the data has them";
            return Err(invalid(key, "at least 1", "0".to_string(), ADVICE));
        }
    }
    let rows = student.config.max_position_embeddings;
    let lengths = sample_lengths(options, student.config.max_length().max(1));
    let mut note = |key: &str, value| student.config.caldera.insert(key.to_string(), value);
    note("init", json!(options.init.name()));
    if options.init == ProjectionInit::Segments {
        note("reference_length", json!(lengths.typical));
        note("longest_length", json!(lengths.longest));
    }
    let device = student.device();
    let projection = |name: &str| -> Tensor<2> {
        let values = match options.init {
            ProjectionInit::Normal => normals(options.seed, name, rows * linformer.k, 1.0),
            ProjectionInit::Segments => segments(rows, linformer.k, lengths),
        };
        Tensor::from_data(TensorData::new(values, [rows, linformer.k]), &device)
    };
    for (i, layer) in student.encoder.layers.iter_mut().enumerate() {
        // Numbered without the encoder's prefix: a bare encoder and one with a head start alike.
        let name = |part: &str| format!("encoder.layer.{i}.attention.self.{part}");
        if linformer.sharing != Sharing::Layer || i == 0 {
            layer.attention.proj_k = Some(projection(&name("proj_k")));
        }
        if linformer.sharing == Sharing::None {
            layer.attention.proj_v = Some(projection(&name("proj_v")));
        }
    }
    Ok(student)
}

/// The lengths that the options give or imply, within what the model can take.
fn sample_lengths(options: &ConvertOptions, most: usize) -> SampleLengths {
    let (typical, longest) = (options.reference_length, options.longest_length);
    let longest = longest.or(typical.map(|n| n * 2)).unwrap_or(most).min(most);
    let typical = typical.unwrap_or(longest.div_ceil(2)).min(longest);
    SampleLengths { typical, longest }
}
