//! The one error type of this crate.

/// What can go wrong between a folder and a model. Every message names the file, the tensor or key where
/// there is one, what was expected, what was found, and what to do about it.
#[derive(Debug, thiserror::Error)]
pub enum ModelError {
    /// A file could not be read or written.
    #[error("{file}: cannot {action}: {source}. {advice}")]
    Io {
        /// The file or folder.
        file: String,
        /// "read", "write", ...
        action: &'static str,
        /// What the system said.
        source: std::io::Error,
        /// What to do.
        advice: String,
    },
    /// A file that should be JSON is not.
    #[error("{file}: not valid JSON ({detail}). Download or export the file again")]
    NotJson {
        /// The file.
        file: String,
        /// Position and reason.
        detail: String,
    },
    /// A safetensors file whose header or length cannot be right.
    #[error("{file}: damaged safetensors file: {detail}. Download or export the file again")]
    Damaged {
        /// The file.
        file: String,
        /// What was expected and what was found.
        detail: String,
    },
    /// A tensor of the safetensors file is described in a way that cannot be right.
    #[error("{file}: tensor `{tensor}`: {detail}. {advice}")]
    BadTensor {
        /// The file.
        file: String,
        /// The tensor's stored name.
        tensor: String,
        /// What was expected and what was found.
        detail: String,
        /// What to do.
        advice: String,
    },
    /// A tensor that the model needs is not in the file.
    #[error(
        "{file}: tensor `{tensor}` is missing: expected shape {expected:?}, found none. {advice}"
    )]
    MissingTensor {
        /// The file.
        file: String,
        /// The tensor's stored name.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// What to do.
        advice: String,
    },
    /// A tensor has another shape than `config.json` asks for.
    #[error(
        "{file}: tensor `{tensor}`: expected shape {expected:?} from config.json, found {found:?}. \
         Use the config.json that was saved with these weights"
    )]
    WrongShape {
        /// The file.
        file: String,
        /// The tensor's stored name.
        tensor: String,
        /// The shape that the configuration asks for.
        expected: Vec<usize>,
        /// The shape that is stored.
        found: Vec<usize>,
    },
    /// A key of `config.json` is missing, of the wrong kind, or out of range.
    #[error("{file}: `{key}`: expected {expected}, found {found}. {advice}")]
    Config {
        /// The file.
        file: String,
        /// The key.
        key: String,
        /// What is allowed.
        expected: String,
        /// What stands there.
        found: String,
        /// What to do.
        advice: String,
    },
    /// `tokenizer.json` cannot be used.
    #[error("{file}: {detail}. {advice}")]
    Tokenizer {
        /// The file.
        file: String,
        /// What was expected and what was found.
        detail: String,
        /// What to do.
        advice: String,
    },
    /// Token ids that the model cannot take.
    #[error("sample {sample}: {detail}. {advice}")]
    Input {
        /// Index in the batch.
        sample: usize,
        /// What was expected and what was found.
        detail: String,
        /// What to do.
        advice: String,
    },
    /// A clip that no model can take.
    #[error("{detail}. {advice}")]
    Audio {
        /// What was expected and what was found.
        detail: String,
        /// What to do.
        advice: String,
    },
    /// A pair folder that is incomplete or altered.
    #[error("{file}: {detail}. {advice}")]
    Pair {
        /// The file.
        file: String,
        /// What was expected and what was found.
        detail: String,
        /// What to do.
        advice: String,
    },
    /// A value could not be read back from the device.
    #[error(
        "tensor `{tensor}`: cannot be read from the device: {detail}. Free device memory and try again"
    )]
    Device {
        /// The tensor's name.
        tensor: String,
        /// What the device said.
        detail: String,
    },
    /// A model computed something that is no number.
    #[error(
        "{what}: expected finite values, found infinite ones or NaN. The weights are damaged, or training diverged"
    )]
    NotFinite {
        /// What was computed.
        what: String,
    },
}
