//! The built-in task: a question in the first word, its answer somewhere in a long document.
//!
//! A document starts with a question such as `red?`. Among filler words lie facts such as `blue=north` and `red=west`, one for each colour,
//! anywhere in the document; the label is the place that the asked colour has (`west`). Nothing near the question or
//! the classifier's token helps: a model must carry the question across the whole document or the facts back to it.

use anyhow::{Result, anyhow};
use rand::rngs::StdRng;
use rand::seq::SliceRandom;
use rand::{Rng, SeedableRng};
use std::ops::RangeInclusive;
use tokenizers::models::wordlevel::WordLevel;
use tokenizers::normalizers::Lowercase;
use tokenizers::pre_tokenizers::whitespace::WhitespaceSplit;
use tokenizers::processors::bert::BertProcessing;
use tokenizers::{AddedToken, Tokenizer};

/// What can be asked for.
pub const COLOURS: [&str; 4] = ["red", "blue", "green", "yellow"];
/// The labels, in the order of their indices.
pub const PLACES: [&str; 4] = ["north", "east", "south", "west"];
const FILLER: [&str; 40] = [
    "the", "a", "of", "and", "to", "in", "it", "was", "that", "on", "stone", "river", "road",
    "house", "tree", "wind", "rain", "cloud", "hill", "sea", "bird", "horse", "bread", "lamp",
    "door", "field", "winter", "summer", "night", "day", "long", "old", "small", "quiet", "near",
    "under", "over", "again", "slowly", "there",
];

/// Longest document in tokens, `[CLS]` and `[SEP]` included.
pub const MAX_LENGTH: usize = 512;
/// Shortest document in tokens.
pub const MIN_LENGTH: usize = 24;
/// Lengths of the short documents that a model is trained on first.
pub const SHORT: RangeInclusive<usize> = 16..=64;

/// One generated document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Document {
    /// Words separated by blanks, each of them one token.
    pub text: String,
    /// Index into [`PLACES`].
    pub label: usize,
}

/// `count` documents with lengths (in tokens) from `lengths`, the same for the same seed; labels come up equally often up to one.
pub fn documents(count: usize, lengths: RangeInclusive<usize>, seed: u64) -> Vec<Document> {
    let mut random = StdRng::seed_from_u64(seed);
    (0..count)
        .map(|index| document(&mut random, &lengths, index % PLACES.len()))
        .collect()
}

fn document(random: &mut StdRng, lengths: &RangeInclusive<usize>, label: usize) -> Document {
    // Lengths are drawn evenly on a log scale, so that a run sees many short documents and some of every length up to the longest.
    let log = random.random_range((*lengths.start() as f64).ln()..=(*lengths.end() as f64).ln());
    let words = (log.exp().round() as usize).clamp(*lengths.start(), *lengths.end()) - 2;
    let mut colours: Vec<usize> = (0..COLOURS.len()).collect();
    colours.shuffle(random);
    let asked = colours[0];
    let mut places: Vec<usize> = (1..words).collect();
    places.shuffle(random);
    let mut text: Vec<String> = (0..words)
        .map(|_| FILLER[random.random_range(0..FILLER.len())].to_string())
        .collect();
    text[0] = format!("{}?", COLOURS[asked]);
    for (&colour, &at) in colours.iter().zip(&places) {
        let place = if colour == asked {
            label
        } else {
            random.random_range(0..PLACES.len())
        };
        text[at] = format!("{}={}", COLOURS[colour], PLACES[place]);
    }
    Document {
        text: text.join(" "),
        label,
    }
}

/// Every token, special ones first; the index is the id.
pub fn vocabulary() -> Vec<String> {
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]
        .into_iter()
        .map(String::from);
    let questions = COLOURS.iter().map(|colour| format!("{colour}?"));
    let facts = COLOURS
        .iter()
        .flat_map(|colour| PLACES.iter().map(move |place| format!("{colour}={place}")));
    special
        .chain(questions)
        .chain(facts)
        .chain(FILLER.into_iter().map(String::from))
        .collect()
}

/// The task's `tokenizer.json`: one token a word, `[CLS] … [SEP]`.
///
/// # Errors
/// When the tokenizer cannot be built or written, which the fixed vocabulary does not allow.
pub fn tokenizer() -> Result<Vec<u8>> {
    let ids = vocabulary().into_iter().zip(0u32..);
    let model = WordLevel::builder()
        .vocab(ids.collect())
        .unk_token("[UNK]".into())
        .build()
        .map_err(|e| anyhow!("the demo's tokenizer: {e}"))?;
    let mut tokenizer = Tokenizer::new(model);
    tokenizer
        .with_normalizer(Some(Lowercase))
        .with_pre_tokenizer(Some(WhitespaceSplit))
        .with_post_processor(Some(BertProcessing::new(
            ("[SEP]".into(), 3),
            ("[CLS]".into(), 2),
        )));
    let special = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"].map(|token| AddedToken::from(token, true));
    tokenizer.add_special_tokens(&special);
    tokenizer
        .to_string(true)
        .map(String::into_bytes)
        .map_err(|e| anyhow!("the demo's tokenizer: {e}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_answer_their_own_question_once() {
        let all = documents(200, MIN_LENGTH..=MAX_LENGTH, 7);
        assert_eq!(all, documents(200, MIN_LENGTH..=MAX_LENGTH, 7));
        assert_ne!(all, documents(200, MIN_LENGTH..=MAX_LENGTH, 8));
        for one in &all {
            let words: Vec<&str> = one.text.split(' ').collect();
            assert!((MIN_LENGTH..=MAX_LENGTH).contains(&(words.len() + 2)));
            let asked = words[0].strip_suffix('?').unwrap();
            let answers: Vec<&&str> = words
                .iter()
                .filter(|w| w.starts_with(&format!("{asked}=")))
                .collect();
            assert_eq!(answers.len(), 1);
            assert!(answers[0].ends_with(PLACES[one.label]));
        }
        let longest = all.iter().map(|d| d.text.split(' ').count()).max().unwrap();
        assert!(longest > 400, "no long document among 200");
    }

    #[test]
    fn the_tokenizer_gives_one_known_token_a_word() {
        let tokenizer = Tokenizer::from_bytes(tokenizer().unwrap()).unwrap();
        for one in documents(20, SHORT, 3) {
            let encoding = tokenizer.encode(one.text.as_str(), true).unwrap();
            let ids = encoding.get_ids();
            assert_eq!(
                (ids.len(), ids[0], ids[ids.len() - 1]),
                (one.text.split(' ').count() + 2, 2, 3)
            );
            assert!(!ids.contains(&1), "an unknown word");
        }
        assert_eq!(tokenizer.get_vocab_size(true), vocabulary().len());
    }
}
