//! A Wav2Vec2 into the same model with bidirectional Mamba-2 mixers in place of its attention.

use crate::{Mamba2Config, ModelError, SpeechMixer, SpeechModel};

/// What to make of a Wav2Vec2.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct BiMamba2Options {
    /// Sizes of each direction's mixer.
    pub mamba2: Mamba2Config,
    /// Of the random numbers.
    pub seed: u64,
}

impl BiMamba2Options {
    /// The sizes that CALD takes for a model as wide as the teacher (DESIGN: `expand` 1).
    pub fn usual(teacher: &SpeechModel, seed: u64) -> Self {
        Self {
            mamba2: Mamba2Config::for_width(teacher.config.hidden_size),
            seed,
        }
    }
}

/// The student of a Wav2Vec2: a copy of it (feature encoder, positional convolution, norms, feed-forward blocks, head) with
/// two fresh Mamba-2 mixers in place of each attention, `…encoder.layers.N.attention.{fw_mamba,bw_mamba}.*`. It is on the
/// teacher's device, outside of any graph ([`Parameters::trainable`](crate::Parameters::trainable) makes it a student to
/// train), and shares the teacher's buffers until one of the two is trained.
///
/// # Errors
/// [`ModelError::Config`] when the teacher is no transformer or a size is out of range.
pub fn convert_to_bimamba2(
    teacher: &SpeechModel,
    options: &BiMamba2Options,
) -> Result<SpeechModel, ModelError> {
    let config = &teacher.config;
    if config.mixer != SpeechMixer::Attention {
        return Err(ModelError::Config {
            file: "conversion".to_string(),
            key: "teacher".to_string(),
            expected: "a Wav2Vec2 with softmax attention".to_string(),
            found: format!("the mixer {}", config.mixer.name()),
            advice: "Give the transformer that it was made from".to_string(),
        });
    }
    options.mamba2.check("conversion")?;
    teacher.clone().with_bimamba2(options.mamba2, options.seed)
}
