//! Caldera's transformers and their linear-time students.
//!
//! * [`checkpoint`]: Hugging Face folders (`config.json`, `model.safetensors`, `tokenizer.json`), in and out.
//! * [`text`]: BERT and RoBERTa, bare or with a sequence classification head, with softmax attention or
//!   with Linformer attention in its place.
//! * [`language`]: GPT-NeoX with softmax attention or with Mamba mixers in its place, and the pure Mamba
//!   and Mamba-2.
//! * [`speech`]: Wav2Vec2, bare, with a CTC head or a classifier, with softmax attention or with bidirectional Mamba-2 mixers
//!   in its place.
//! * [`mamba`]: the mixers with a state.
//! * [`convert`](mod@convert): a transformer into its linear student, every transformer parameter carried over.
//! * [`layers`]: what they are made of, and how parameters are walked.
//! * [`tokenizer`]: the `tokenizers` crate behind the few calls that the models need.
//! * [`pair`]: a transformer and its student side by side, as the page loads them.
//! * [`cases`]: comparison with stored reference results, on any device, native or in a browser.
//!
//! Nothing here knows of training; the operators come from `caldera-shaders`.

pub mod cases;
pub mod checkpoint;
pub mod convert;
mod error;
pub mod language;
pub mod layers;
pub mod mamba;
pub mod pair;
mod settings;
pub mod speech;
pub mod text;
pub mod tokenizer;

pub use checkpoint::{
    Checkpoint, DeviceTensors, StoredDtype, StoredTensor, WeightDtype, WeightStream,
};
pub use convert::{
    BiMamba2Options, ConvertOptions, MambaOptions, ProjectionInit, convert, convert_to_bimamba2,
    convert_to_mamba,
};
pub use error::ModelError;
pub use language::{
    Continuation, DecodeState, GenerateOptions, Generation, GptNeoXConfig, LanguageArchitecture,
    LanguageBatch, LanguageConfig, LanguageMixer, LanguageModel, LanguageOutput, LanguageStates,
    Sampling, Stop,
};
pub use layers::{ParameterMut, ParameterRef, Parameters};
pub use mamba::{Mamba2Config, MambaConfig};
pub use pair::{Pair, PairData, PairFile, PairSample, PairScores, PairSide};
pub use speech::{
    CtcReduction, CtcVocabulary, FeatureExtractor, FeatureLayer, FeatureNorm, SpeechArchitecture,
    SpeechBatch, SpeechConfig, SpeechMixer, SpeechModel, SpeechOutput,
};
pub use text::{
    Architecture, Family, ForwardOptions, LinformerConfig, Mixer, Sharing, TextBatch, TextConfig,
    TextModel, TextOutput,
};
pub use tokenizer::{Encoding, TextStream, TextTokenizer};
