//! Characters of a model with a CTC head, as transformers' `Wav2Vec2CTCTokenizer` has them.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use crate::ModelError;
use crate::settings::Settings;

const AGAIN: &str = "Use the files that were saved with the model";

/// More ids than any real vocabulary of characters has; a larger one is a damaged file.
const MOST_IDS: u64 = 1 << 20;

/// `vocab.json` (`{"<pad>": 0, "|": 4, …}`) with the roles that `tokenizer_config.json` gives to some tokens.
///
/// `<pad>` is the blank of connectionist temporal classification; `|` stands between words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CtcVocabulary {
    /// Token by id; None for an id that no token has.
    tokens: Vec<Option<String>>,
    ids: BTreeMap<String, u32>,
    blank: u32,
    unknown: Option<u32>,
    delimiter: Option<u32>,
    /// Left out of what is read: start, end, unknown.
    special: BTreeSet<u32>,
    /// The model knows capitals only: texts are raised on the way in and lowered on the way out.
    do_lower_case: bool,
    file: String,
}

impl CtcVocabulary {
    /// The characters of texts, sorted, behind `<pad>`, `<s>`, `</s>`, `<unk>` and `|`: the order of the published models.
    pub fn new<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let characters: BTreeSet<char> = texts
            .into_iter()
            .flat_map(str::chars)
            .filter(|c| !matches!(c, ' ' | '|'))
            .collect();
        let fixed = ["<pad>", "<s>", "</s>", "<unk>", "|"].map(String::from);
        let tokens = fixed
            .into_iter()
            .chain(characters.into_iter().map(String::from));
        let ids: BTreeMap<String, u32> = tokens.zip(0..).collect();
        Self::assemble(ids, &Roles::default(), "vocab.json")
            .expect("the tokens of every role are among those listed above")
    }

    /// Reads `vocab.json`; `file` is named in messages. Roles are those of transformers' defaults, with `[PAD]` and
    /// `[UNK]` taken for `<pad>` and `<unk>` where the file has them.
    ///
    /// # Errors
    /// [`ModelError::NotJson`]; [`ModelError::Tokenizer`] for ids that are no ids, given twice, or without a blank.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, ModelError> {
        Self::from_files(bytes, None, file)
    }

    /// Reads `vocab.json`, with the roles of `tokenizer_config.json` where there is one.
    ///
    /// # Errors
    /// As [`CtcVocabulary::from_json`].
    pub fn from_files(
        vocab: &[u8],
        tokenizer_config: Option<&[u8]>,
        file: &str,
    ) -> Result<Self, ModelError> {
        let value: Map<String, Value> = parsed(vocab, file)?;
        let mut ids = BTreeMap::new();
        for (token, id) in value {
            let id = match &id {
                Value::Object(_) => {
                    return Err(ModelError::Tokenizer {
                        file: file.to_string(),
                        detail: format!("expected ids of characters, found a vocabulary for `{token}`"),
                        advice: "Vocabularies of several languages are not supported: save the one in use".to_string(),
                    });
                }
                other => other.as_u64().filter(|id| *id < MOST_IDS).ok_or_else(|| {
                    ModelError::Tokenizer {
                        file: file.to_string(),
                        detail: format!("token `{token}`: expected an id, found {other}"),
                        advice: AGAIN.to_string(),
                    }
                })?,
            };
            ids.insert(token, id as u32);
        }
        let roles = match tokenizer_config {
            Some(bytes) => Roles::read(bytes)?,
            None => Roles::default(),
        };
        Self::assemble(ids, &roles, file)
    }

    fn assemble(ids: BTreeMap<String, u32>, roles: &Roles, file: &str) -> Result<Self, ModelError> {
        let bad = |detail: String| ModelError::Tokenizer {
            file: file.to_string(),
            detail,
            advice: AGAIN.to_string(),
        };
        let length = ids.values().max().map_or(0, |id| *id as usize + 1);
        let mut tokens: Vec<Option<String>> = vec![None; length];
        for (token, id) in &ids {
            if let Some(other) = tokens[*id as usize].replace(token.clone()) {
                return Err(bad(format!(
                    "expected an id for one token, found {id} for `{other}` and `{token}`"
                )));
            }
        }
        let find = |named: &Option<String>, usual: &[&str]| match named {
            Some(name) => ids.get(name).copied(),
            None => usual.iter().find_map(|token| ids.get(*token).copied()),
        };
        let blank = find(&roles.pad, &["<pad>", "[PAD]"]).ok_or_else(|| {
            let name = roles.pad.as_deref().unwrap_or("<pad>");
            bad(format!(
                "expected the token `{name}`, the blank of CTC, found none"
            ))
        })?;
        let unknown = find(&roles.unknown, &["<unk>", "[UNK]"]);
        let ends = [find(&roles.start, &["<s>"]), find(&roles.end, &["</s>"])];
        Ok(Self {
            tokens,
            blank,
            unknown,
            delimiter: find(&roles.delimiter, &["|"]),
            special: ends.into_iter().flatten().chain(unknown).collect(),
            do_lower_case: roles.do_lower_case,
            file: file.to_string(),
            ids,
        })
    }

    /// `vocab.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut entries: Vec<(&String, &u32)> = self.ids.iter().collect();
        entries.sort_by_key(|(_, id)| **id);
        let entries = entries
            .into_iter()
            .map(|(token, id)| (token.clone(), (*id).into()));
        pretty(Value::Object(entries.collect()))
    }

    /// `tokenizer_config.json`: the class that transformers reads the vocabulary with, and the roles.
    pub fn tokenizer_config(&self) -> Vec<u8> {
        let mut map = Map::new();
        map.insert("tokenizer_class".into(), "Wav2Vec2CTCTokenizer".into());
        map.insert("do_lower_case".into(), self.do_lower_case.into());
        let roles = [
            ("pad_token", Some(self.blank)),
            ("unk_token", self.unknown),
            ("word_delimiter_token", self.delimiter),
        ];
        for (key, id) in roles {
            if let Some(token) = id.and_then(|id| self.token(id)) {
                map.insert(key.into(), token.into());
            }
        }
        for (key, token) in [("bos_token", "<s>"), ("eos_token", "</s>")] {
            if self.ids.contains_key(token) {
                map.insert(key.into(), token.into());
            }
        }
        pretty(Value::Object(map))
    }

    /// One more than the highest id: the classes of a CTC head.
    pub fn len(&self) -> usize {
        self.tokens.len()
    }

    /// Whether there is no token at all; never of one that was read or made.
    pub fn is_empty(&self) -> bool {
        self.tokens.is_empty()
    }

    /// The id that stands for no character.
    pub fn blank(&self) -> u32 {
        self.blank
    }

    /// The token of an id.
    pub fn token(&self, id: u32) -> Option<&str> {
        self.tokens.get(id as usize)?.as_deref()
    }

    /// Whether a head with `classes` classes can be read with this vocabulary.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when there are more tokens than classes.
    pub fn check_classes(&self, classes: usize) -> Result<(), ModelError> {
        if self.len() <= classes {
            return Ok(());
        }
        Err(ModelError::Tokenizer {
            file: self.file.clone(),
            detail: format!(
                "expected ids below vocab_size {classes} of config.json, found {}",
                self.len() - 1
            ),
            advice: AGAIN.to_string(),
        })
    }

    /// Whether a head with `blank` as its blank (`pad_token_id` of `config.json`) can be read with this vocabulary.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] when the two have different blanks.
    pub fn check_blank(&self, blank: u32) -> Result<(), ModelError> {
        if self.blank == blank {
            return Ok(());
        }
        Err(ModelError::Tokenizer {
            file: self.file.clone(),
            detail: format!(
                "expected the blank of CTC at pad_token_id {blank} of config.json, found it at {}",
                self.blank
            ),
            advice: AGAIN.to_string(),
        })
    }

    /// Ids of a text, character by character; a space is the token between words.
    ///
    /// # Errors
    /// [`ModelError::Tokenizer`] naming the characters that are not known, where there is no `<unk>`.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, ModelError> {
        let raised;
        let text = match self.do_lower_case {
            true => {
                raised = text.to_uppercase();
                raised.as_str()
            }
            false => text,
        };
        let mut missing = BTreeSet::new();
        let mut ids = Vec::with_capacity(text.len());
        let mut buffer = [0u8; 4];
        for c in text.chars() {
            let known = match (c, self.delimiter) {
                (' ', Some(delimiter)) => Some(delimiter),
                _ => self.ids.get(&*c.encode_utf8(&mut buffer)).copied(),
            };
            match known.or(self.unknown) {
                Some(id) => ids.push(id),
                None => _ = missing.insert(c),
            }
        }
        if missing.is_empty() {
            return Ok(ids);
        }
        Err(ModelError::Tokenizer {
            file: self.file.clone(),
            detail: format!(
                "expected only known characters, found {missing:?} in `{}`",
                shown(text)
            ),
            advice: "Write the texts with the model's characters, or give it a new vocabulary"
                .to_string(),
        })
    }

    /// Greedy reading of one id a frame: repeats become one, blanks and special tokens nothing, `|` a space.
    pub fn decode(&self, frames: &[u32]) -> String {
        let mut text = String::new();
        let mut last = None;
        for id in frames {
            if last.replace(id) == Some(id) || *id == self.blank || self.special.contains(id) {
                continue;
            }
            match self.token(*id) {
                Some(_) if Some(*id) == self.delimiter => text.push(' '),
                Some(token) => text.push_str(token),
                None => {}
            }
        }
        let text = text.trim();
        match self.do_lower_case {
            true => text.to_lowercase(),
            false => text.to_string(),
        }
    }
}

/// Tokens with a role, as `tokenizer_config.json` names them.
#[derive(Default)]
struct Roles {
    pad: Option<String>,
    unknown: Option<String>,
    start: Option<String>,
    end: Option<String>,
    delimiter: Option<String>,
    do_lower_case: bool,
}

impl Roles {
    fn read(bytes: &[u8]) -> Result<Self, ModelError> {
        let file = "tokenizer_config.json";
        let mut r = Settings::new(Value::Object(parsed(bytes, file)?), file)?;
        let mut token = |key: &str| match r.take(key)? {
            Value::String(token) => Some(token),
            // transformers also writes an added token with its settings.
            Value::Object(added) => added.get("content")?.as_str().map(str::to_string),
            _ => None,
        };
        Ok(Self {
            pad: token("pad_token"),
            unknown: token("unk_token"),
            start: token("bos_token"),
            end: token("eos_token"),
            delimiter: token("word_delimiter_token"),
            do_lower_case: r.flag("do_lower_case")?.unwrap_or(false),
        })
    }
}

fn parsed(bytes: &[u8], file: &str) -> Result<Map<String, Value>, ModelError> {
    serde_json::from_slice(bytes).map_err(|e| ModelError::NotJson {
        file: file.to_string(),
        detail: e.to_string(),
    })
}

fn pretty(value: Value) -> Vec<u8> {
    let mut text = format!("{value:#}");
    text.push('\n');
    text.into_bytes()
}

fn shown(text: &str) -> String {
    match text.char_indices().nth(60) {
        Some((end, _)) => format!("{}…", &text[..end]),
        None => text.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ids(vocabulary: &CtcVocabulary, tokens: &[&str]) -> Vec<u32> {
        tokens.iter().map(|token| vocabulary.ids[*token]).collect()
    }

    #[test]
    fn a_new_vocabulary_has_the_usual_order() {
        let vocabulary = CtcVocabulary::new(["two one", "ten"]);
        assert_eq!(vocabulary.len(), 5 + "enotw".len());
        assert_eq!(vocabulary.blank(), 0);
        let text = String::from_utf8(vocabulary.to_json()).unwrap();
        assert!(
            text.starts_with("{\n  \"<pad>\": 0,\n  \"<s>\": 1,"),
            "{text}"
        );
        assert_eq!(
            vocabulary.encode("one two").unwrap(),
            ids(&vocabulary, &["o", "n", "e", "|", "t", "w", "o"])
        );
        let again = CtcVocabulary::from_files(
            &vocabulary.to_json(),
            Some(&vocabulary.tokenizer_config()),
            "vocab.json",
        );
        assert_eq!(again.unwrap(), vocabulary);
    }

    #[test]
    fn decoding_collapses_repeats_and_drops_blanks() {
        let vocabulary = CtcVocabulary::new(["three zero"]);
        let frames = ids(
            &vocabulary,
            &[
                "<pad>", "|", "t", "t", "h", "<pad>", "r", "e", "e", "<pad>", "e", "|", "|",
                "<unk>", "z", "<s>", "z", "<pad>", "|",
            ],
        );
        assert_eq!(vocabulary.decode(&frames), "three zz");
        assert_eq!(vocabulary.decode(&[0, 0]), "");
        assert_eq!(vocabulary.decode(&[999]), "");
    }

    #[test]
    fn unknown_characters_are_replaced_or_named() {
        let vocabulary = CtcVocabulary::new(["ab"]);
        assert_eq!(vocabulary.encode("axb").unwrap(), [5, 3, 6]);
        let strict =
            CtcVocabulary::from_json(br#"{"<pad>": 0, "|": 1, "a": 2}"#, "v.json").unwrap();
        assert_eq!(strict.encode("a a").unwrap(), [2, 1, 2]);
        let said = strict.encode("azay").unwrap_err().to_string();
        assert!(
            said.contains("v.json") && said.contains("{'y', 'z'}"),
            "{said}"
        );
    }

    #[test]
    fn roles_come_from_the_tokenizer_config() {
        let vocab = br#"{"A": 0, " ": 1, "[UNK]": 2, "[PAD]": 3}"#;
        let config = br#"{"pad_token": {"content": "[PAD]"}, "unk_token": "[UNK]", "word_delimiter_token": " ", "do_lower_case": true}"#;
        let vocabulary = CtcVocabulary::from_files(vocab, Some(config), "vocab.json").unwrap();
        assert_eq!(vocabulary.blank(), 3);
        assert_eq!(vocabulary.encode("a ab").unwrap(), [0, 1, 0, 2]);
        assert_eq!(vocabulary.decode(&[0, 3, 0, 1, 0]), "aa a");
        assert_eq!(
            CtcVocabulary::from_json(vocab, "vocab.json")
                .unwrap()
                .blank(),
            3
        );
    }

    #[test]
    fn bad_files_are_named() {
        let bad: [(&[u8], &str); 6] = [
            (b"[]", "not valid JSON"),
            (br#"{"<pad>": 0, "a": 0}"#, "`<pad>` and `a`"),
            (br#"{"<pad>": -1}"#, "expected an id"),
            (br#"{"<pad>": 99999999}"#, "expected an id"),
            (br#"{"a": 0}"#, "the blank of CTC"),
            (br#"{"eng": {"a": 0}}"#, "several languages"),
        ];
        for (bytes, want) in bad {
            let said = CtcVocabulary::from_json(bytes, "v.json")
                .unwrap_err()
                .to_string();
            assert!(said.contains("v.json") && said.contains(want), "{said}");
        }
        assert!(CtcVocabulary::new(["a"]).check_classes(5).is_err());
        assert!(CtcVocabulary::new(["a"]).check_classes(6).is_ok());
        assert!(CtcVocabulary::new(["a"]).check_blank(0).is_ok());
        let said = CtcVocabulary::new(["a"]).check_blank(3).unwrap_err();
        assert!(said.to_string().contains("pad_token_id 3"));
    }
}
