//! `tokenizer.json` through the `tokenizers` crate.

use std::collections::HashSet;

use tokenizers::{ModelWrapper, PostProcessor, Tokenizer, TruncationParams};

use crate::ModelError;

/// Token ids of a text or a pair of texts, special tokens included.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoding {
    /// Token ids.
    pub ids: Vec<u32>,
    /// Which text a token belongs to, as the tokenizer says; same length.
    pub type_ids: Vec<u32>,
}

/// A tokenizer as Hugging Face stores it. Padding and truncation that the file asks for are ignored: batches are
/// padded by the model's side, and the caller says how long a text may be.
#[derive(Clone)]
pub struct TextTokenizer {
    inner: Tokenizer,
    source: String,
    pad_token_id: u32,
}

impl std::fmt::Debug for TextTokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("TextTokenizer")
            .field("source", &self.source)
            .finish_non_exhaustive()
    }
}

impl TextTokenizer {
    /// Takes the bytes of `tokenizer.json`; `source` is the file's name for messages.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when it is no tokenizer.
    pub fn from_bytes(bytes: &[u8], source: &str) -> Result<Self, ModelError> {
        let mut inner = Tokenizer::from_bytes(bytes).map_err(|e| ModelError::Tokenizer {
            file: source.to_string(),
            detail: format!(
                "expected a tokenizer as Hugging Face stores it, found something else ({e})"
            ),
            advice:
                "Save it with transformers (AutoTokenizer.from_pretrained(..).save_pretrained(DIR))"
                    .to_string(),
        })?;
        let stated = inner.get_padding().map(|p| p.pad_id);
        let by_name = || {
            ["[PAD]", "<pad>"]
                .iter()
                .find_map(|token| inner.token_to_id(token))
        };
        let pad_token_id = stated.or_else(by_name).unwrap_or(0);
        inner.with_padding(None);
        // Taking truncation away cannot fail; setting an impossible one can.
        inner
            .with_truncation(None)
            .map_err(|e| ModelError::Tokenizer {
                file: source.to_string(),
                detail: e.to_string(),
                advice: "Save the tokenizer again".to_string(),
            })?;
        Ok(Self {
            inner,
            source: source.to_string(),
            pad_token_id,
        })
    }

    /// Reads `tokenizer.json` of a model folder.
    ///
    /// # Errors
    /// [`ModelError::Io`], [`ModelError::Tokenizer`].
    #[cfg(not(target_family = "wasm"))]
    pub fn load(dir: &std::path::Path) -> Result<Self, ModelError> {
        let path = dir.join("tokenizer.json");
        Self::from_bytes(
            &crate::checkpoint::read_file(&path)?,
            &path.display().to_string(),
        )
    }

    fn error(&self, detail: String, advice: &str) -> ModelError {
        ModelError::Tokenizer {
            file: self.source.clone(),
            detail,
            advice: advice.to_string(),
        }
    }

    fn failed(&self, error: tokenizers::Error) -> ModelError {
        self.error(
            format!("a text cannot be encoded ({error})"),
            "Check the text",
        )
    }

    /// Ids and type ids of a text or a pair, special tokens added, at most `max_length` in all: the longer text is
    /// cut at its right first (`longest_first`).
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when `max_length` leaves no room beside the special tokens.
    pub fn encode(
        &self,
        text: &str,
        pair: Option<&str>,
        max_length: usize,
    ) -> Result<Encoding, ModelError> {
        let one = |text: &str| {
            self.inner
                .encode_fast(text, false)
                .map_err(|e| self.failed(e))
        };
        let first = one(text)?;
        let second = pair.map(one).transpose()?;
        let processor = self.inner.get_post_processor();
        let special = processor.map_or(0, |p| p.added_tokens(pair.is_some()));
        if max_length <= special {
            return Err(self.error(
                format!("expected a maximum length above its {special} special tokens, found {max_length}"),
                "Raise the maximum length",
            ));
        }
        let limit = TruncationParams {
            max_length: max_length - special,
            ..Default::default()
        };
        let (mut first, mut second) =
            tokenizers::tokenizer::truncate_encodings(first, second, &limit)
                .map_err(|e| self.failed(e))?;
        // What was cut away is kept as overflow; nobody asks for it.
        first.get_overflowing_mut().clear();
        if let Some(second) = &mut second {
            second.get_overflowing_mut().clear();
            second.set_type_ids(vec![1; second.len()]);
        }
        let merged = match processor {
            Some(processor) => processor
                .process(first, second, true)
                .map_err(|e| self.failed(e))?,
            None => {
                let mut merged = first;
                if let Some(second) = second {
                    merged.merge_with(second, false);
                }
                merged
            }
        };
        Ok(Encoding {
            ids: merged.get_ids().to_vec(),
            type_ids: merged.get_type_ids().to_vec(),
        })
    }

    /// [`TextTokenizer::encode`] for each of `texts`: text and, for pairs, the second one.
    ///
    /// # Errors
    /// The first error of any text.
    pub fn encode_batch(
        &self,
        texts: &[(&str, Option<&str>)],
        max_length: usize,
    ) -> Result<Vec<Encoding>, ModelError> {
        texts
            .iter()
            .map(|(text, pair)| self.encode(text, *pair, max_length))
            .collect()
    }

    /// The text of token ids.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the decoder refuses them.
    pub fn decode(&self, ids: &[u32], skip_special_tokens: bool) -> Result<String, ModelError> {
        let failed = |e| self.error(format!("ids cannot be decoded ({e})"), "Check the ids");
        self.inner.decode(ids, skip_special_tokens).map_err(failed)
    }

    /// The token that fills batches up: the one the file names for padding, else `[PAD]` or `<pad>`, else 0.
    pub fn pad_token_id(&self) -> u32 {
        self.pad_token_id
    }

    /// Ids of a text without special tokens, however long it is.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the tokenizer refuses the text.
    pub fn encode_plain(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let encoding = self.inner.encode_fast(text, false);
        Ok(encoding.map_err(|e| self.failed(e))?.get_ids().to_vec())
    }

    /// The first character that the ids of [`TextTokenizer::encode_plain`] do not hold, with its position: one that has
    /// no token, or only the token for unknown ones. Spaces may be left out on purpose and do not count.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the tokenizer refuses the text.
    pub fn unknown(&self, text: &str) -> Result<Option<(usize, char)>, ModelError> {
        let letters = || {
            let all = text.chars().enumerate();
            all.filter(|(_, letter)| !letter.is_whitespace())
        };
        if let Some(unknown) = self.unknown_token() {
            let encoding = self.describe(text, false)?;
            let places = encoding.get_offsets().iter().zip(encoding.get_tokens());
            let lost: Vec<_> = places.filter(|(_, token)| **token == unknown).collect();
            let inside = |at: usize| {
                lost.iter()
                    .any(|((start, end), _)| (*start..*end).contains(&at))
            };
            return Ok(letters().find(|&(at, _)| inside(at)));
        }
        // Without such a token letters are dropped silently, or some of their bytes; a text's offsets are wrong then.
        const BROKEN: char = '\u{fffd}';
        let mut known = HashSet::from([BROKEN]);
        for (at, letter) in letters() {
            if known.insert(letter) {
                let ids = self.encode_plain(&letter.to_string())?;
                if ids.is_empty() || self.decode(&ids, false)?.contains(BROKEN) {
                    return Ok(Some((at, letter)));
                }
            }
        }
        Ok(None)
    }

    /// The token that stands for whatever has none.
    fn unknown_token(&self) -> Option<String> {
        match self.inner.get_model() {
            ModelWrapper::BPE(model) => model.unk_token.clone(),
            ModelWrapper::WordPiece(model) => Some(model.unk_token.clone()),
            ModelWrapper::WordLevel(model) => Some(model.unk_token.clone()),
            // Its characters are scored one by one, and none is dropped.
            ModelWrapper::Unigram(_) => None,
        }
    }

    /// The id of a token by its name.
    pub fn token_id(&self, token: &str) -> Option<u32> {
        self.inner.token_to_id(token)
    }

    /// Tokens, added ones included.
    pub fn vocab_size(&self) -> usize {
        self.inner.get_vocab_size(true)
    }

    /// Whether every id that the tokenizer can give has a row in a table of `rows` rows.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the tokenizer belongs to a larger model.
    pub fn check_vocab(&self, rows: usize) -> Result<(), ModelError> {
        // Ids may have gaps, so the largest one decides, not their number.
        let largest = self.inner.get_vocab(true).into_values().max().unwrap_or(0) as usize;
        if largest < rows {
            return Ok(());
        }
        Err(self.error(
            format!(
                "expected token ids below the model's vocab_size {rows}, found ids up to {largest}"
            ),
            "Use the tokenizer.json that belongs to the model",
        ))
    }

    /// The whole encoding of a text, offsets in Unicode characters, with or without special tokens.
    pub(crate) fn describe(
        &self,
        text: &str,
        special: bool,
    ) -> Result<tokenizers::Encoding, ModelError> {
        self.inner
            .encode_char_offsets(text, special)
            .map_err(|e| self.failed(e))
    }
}

/// Tokens that come one by one, as text: a character is told when all of its tokens are there.
#[derive(Debug, Clone)]
pub struct TextStream {
    tokenizer: TextTokenizer,
    /// Tokens whose text is out, kept as what decoders look back at, then those that wait.
    ids: Vec<u32>,
    /// How many of `ids` are out.
    out: usize,
}

impl TextStream {
    /// Of what follows `prompt`.
    pub fn new(tokenizer: &TextTokenizer, prompt: &[u32]) -> Self {
        // A few tokens are enough to look back at: decoders join neighbours.
        let ids = prompt[prompt.len().saturating_sub(LOOK_BACK)..].to_vec();
        Self {
            tokenizer: tokenizer.clone(),
            out: ids.len(),
            ids,
        }
    }

    /// The text that became whole with this token; empty while a character is incomplete.
    ///
    /// # Errors
    /// Those of [`TextTokenizer::decode`].
    pub fn push(&mut self, token: u32) -> Result<String, ModelError> {
        self.ids.push(token);
        let before = self.tokenizer.decode(&self.ids[..self.out], false)?;
        let after = self.tokenizer.decode(&self.ids, false)?;
        // Bytes that are no character yet decode to the replacement character; four of them are none at all.
        let waiting = after.ends_with('\u{fffd}') && self.ids.len() - self.out < 4;
        if waiting {
            return Ok(String::new());
        }
        let text = after.get(before.len()..).unwrap_or_default().to_string();
        self.out = self.ids.len();
        let gone = self.out.saturating_sub(LOOK_BACK);
        self.ids.drain(..gone);
        self.out -= gone;
        Ok(text)
    }
}

const LOOK_BACK: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes as tokens, characters of one to four tokens; without those that `keep` refuses.
    fn bytes(keep: fn(char) -> bool) -> TextTokenizer {
        let alphabet = tokenizers::pre_tokenizers::byte_level::ByteLevel::alphabet();
        let mut letters: Vec<char> = alphabet.into_iter().filter(|&c| keep(c)).collect();
        letters.sort_unstable();
        let vocab: serde_json::Map<_, _> = letters
            .iter()
            .enumerate()
            .map(|(id, letter)| (letter.to_string(), id.into()))
            .collect();
        let level = serde_json::json!({"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true});
        let json = serde_json::json!({"version": "1.0", "added_tokens": [], "pre_tokenizer": level, "decoder": level,
            "model": {"type": "BPE", "vocab": vocab, "merges": []}});
        TextTokenizer::from_bytes(json.to_string().as_bytes(), "bytes").unwrap()
    }

    #[test]
    fn characters_without_tokens_are_found() {
        let all = bytes(|_| true);
        assert_eq!(all.unknown("So für, ☃ and 😀\n \u{fffd}").unwrap(), None);
        let ascii = bytes(|c| c.is_ascii());
        assert_eq!(ascii.unknown("plain text").unwrap(), None);
        assert_eq!(ascii.unknown("So für ☃").unwrap(), Some((4, 'ü')));
        let most = bytes(|c| c != 'Q');
        assert_eq!(most.unknown("A Queen").unwrap(), Some((2, 'Q')));
        // The first of its two bytes has a token, the second has none.
        let half = bytes(|c| c.is_ascii() || c == 'Ã');
        assert_eq!(half.unknown("So für").unwrap(), Some((4, 'ü')));
        let json = r#"{"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
            "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "known": 1}, "unk_token": "[UNK]"}}"#;
        let words = TextTokenizer::from_bytes(json.as_bytes(), "words").unwrap();
        assert_eq!(words.unknown("known known").unwrap(), None);
        assert_eq!(words.unknown("known other").unwrap(), Some((6, 'o')));
    }

    #[test]
    fn streamed_text_is_the_decoded_text() {
        let tokenizer = bytes(|_| true);
        let text = "So für, ☃ and 😀\nwell done";
        let ids = tokenizer.encode_plain(text).unwrap();
        assert_eq!(ids.len(), text.len());
        for cut in [0, 3, 6, 12] {
            let mut stream = TextStream::new(&tokenizer, &ids[..cut]);
            let rest: String = ids[cut..]
                .iter()
                .map(|id| stream.push(*id).unwrap())
                .collect();
            assert_eq!(rest, text[cut..], "after {cut} tokens");
        }
    }
}
