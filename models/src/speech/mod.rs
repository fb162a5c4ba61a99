//! Speech: what stands before and behind a Wav2Vec2.
//!
//! * [`extractor`]: samples as the model takes them.
//! * [`vocabulary`]: characters to token ids, and the ids of frames back to text.

pub mod extractor;
pub mod vocabulary;

pub use extractor::FeatureExtractor;
pub use vocabulary::CtcVocabulary;
