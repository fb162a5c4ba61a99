//! Tokenizers for models made anew: bytes, or byte pairs learnt from the training text.

use anyhow::{Context, Result, anyhow, bail};
use tokenizers::models::TrainerWrapper;
use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Tokenizer};

/// Stands between documents, and ends a text.
pub const END_OF_TEXT: &str = "<|endoftext|>";

/// What a new tokenizer is to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewTokenizer {
    /// A token a byte.
    Byte,
    /// Byte pair encoding with a vocabulary of so many tokens.
    Bpe(usize),
}

impl NewTokenizer {
    /// Reads `byte` or `bpe:SIZE`; None when `text` is neither (a folder, then).
    ///
    /// # Errors
    /// A size that is no number above 257: all bytes and [`END_OF_TEXT`] come first.
    pub fn parse(text: &str) -> Result<Option<Self>> {
        if text == "byte" {
            return Ok(Some(Self::Byte));
        }
        let Some(size) = text.strip_prefix("bpe:") else {
            return Ok(None);
        };
        match size.parse() {
            Ok(size) if size > 257 => Ok(Some(Self::Bpe(size))),
            _ => bail!(
                "tokenizer {text:?}: expected bpe:SIZE with a size above 257 (256 bytes and {END_OF_TEXT})"
            ),
        }
    }

    /// `tokenizer.json` as Hugging Face stores it (byte level, as GPT-NeoX has it).
    ///
    /// # Errors
    /// When the `tokenizers` crate cannot train or write one.
    pub fn make(self, documents: &[String]) -> Result<Vec<u8>> {
        let size = match self {
            Self::Byte => 257,
            Self::Bpe(size) => size,
        };
        let mut tokenizer = Tokenizer::new(BPE::default());
        let bytes = ByteLevel::new(false, true, true);
        tokenizer
            .with_pre_tokenizer(Some(bytes))
            .with_decoder(Some(bytes));
        let mut trainer: TrainerWrapper = BpeTrainerBuilder::new()
            .vocab_size(size)
            .show_progress(false)
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .special_tokens(vec![AddedToken::from(END_OF_TEXT, true)])
            .build()
            .into();
        // Line by line: pairs do not reach over line ends, and the trainer counts words in parallel.
        let lines = documents
            .iter()
            .flat_map(|document| document.split_inclusive('\n'));
        tokenizer
            .train(&mut trainer, lines)
            .map_err(|error| anyhow!("the tokenizer cannot be trained: {error}"))?;
        let json = tokenizer
            .to_string(true)
            .map_err(|error| anyhow!("{error}"))
            .context("the tokenizer cannot be written")?;
        Ok(json.into_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_text_comes_back() {
        let documents = vec!["to be or not to be\n".repeat(20)];
        for kind in [NewTokenizer::Byte, NewTokenizer::Bpe(270)] {
            let json = kind.make(&documents).unwrap();
            let tokenizer = Tokenizer::from_bytes(&json).unwrap();
            for text in ["to be", "ünbekannt ☃\n\t", ""] {
                let encoding = tokenizer.encode_fast(text, false).unwrap();
                assert_eq!(tokenizer.decode(encoding.get_ids(), false).unwrap(), text);
            }
            let tokens = tokenizer.encode_fast("to be or not", false).unwrap().len();
            match kind {
                NewTokenizer::Byte => assert_eq!(tokens, 12),
                NewTokenizer::Bpe(_) => assert!(tokens < 9, "{tokens}"),
            }
            assert_eq!(
                kind.make(&documents).unwrap(),
                json,
                "the same text, the same tokenizer"
            );
        }
    }

    #[test]
    fn names_are_read() {
        assert_eq!(
            NewTokenizer::parse("byte").unwrap(),
            Some(NewTokenizer::Byte)
        );
        assert_eq!(
            NewTokenizer::parse("bpe:512").unwrap(),
            Some(NewTokenizer::Bpe(512))
        );
        assert_eq!(NewTokenizer::parse("some/folder").unwrap(), None);
        assert!(NewTokenizer::parse("bpe:12").is_err());
        assert!(NewTokenizer::parse("bpe:many").is_err());
    }
}
