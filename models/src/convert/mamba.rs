//! A GPT-NeoX into the same model with Mamba mixers in place of its attention.

use crate::{LanguageArchitecture, LanguageMixer, LanguageModel, MambaConfig, ModelError};

/// What to make of a GPT-NeoX.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct MambaOptions {
    /// Sizes of the mixers.
    pub mamba: MambaConfig,
    /// Of the random numbers.
    pub seed: u64,
}

impl MambaOptions {
    /// The sizes that Mamba's authors take for a model as wide as the teacher.
    pub fn usual(teacher: &LanguageModel, seed: u64) -> Self {
        Self {
            mamba: MambaConfig::for_width(teacher.config.hidden_size),
            seed,
        }
    }
}

/// The student of a GPT-NeoX: a copy of it (embeddings, norms, feed-forward blocks, head) with fresh Mamba mixers in
/// place of its attention, `gpt_neox.layers.N.attention.mamba.*`. It is on the teacher's device, outside of any graph
/// ([`Parameters::trainable`](crate::Parameters::trainable) makes it a student to train), and shares the teacher's
/// buffers until one of the two is trained.
///
/// Fresh mixers start as in the source (arXiv 2312.00752): A_log = ln(1..N), D = 1, step sizes log-uniform in
/// [0.001, 0.1], their weight uniform within dt_rank^-½, the rest uniform within (values in the sum)^-½ as PyTorch has
/// it. Each parameter follows from the seed and its name.
///
/// # Errors
/// [`ModelError::Config`] when the teacher is no transformer or a size is out of range.
pub fn convert_to_mamba(
    teacher: &LanguageModel,
    options: &MambaOptions,
) -> Result<LanguageModel, ModelError> {
    let invalid = |key: &str, expected: &str, found: &str, advice: &str| ModelError::Config {
        file: "conversion".to_string(),
        key: key.to_string(),
        expected: expected.to_string(),
        found: found.to_string(),
        advice: advice.to_string(),
    };
    let config = &teacher.config;
    let attends = config.mixer == LanguageMixer::Attention;
    if !attends || config.architecture == LanguageArchitecture::Mamba {
        return Err(invalid(
            "teacher",
            "a GPT-NeoX with softmax attention",
            &format!("the mixer {}", config.mixer.name()),
            "Give the transformer that it was made from",
        ));
    }
    options.mamba.check("conversion", "")?;
    teacher.clone().with_mamba(options.mamba, options.seed)
}
