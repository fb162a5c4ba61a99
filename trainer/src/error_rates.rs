//! Word and character error rate: Levenshtein distance to a reference, over its length.

/// The fewest insertions, deletions and substitutions that turn `a` into `b`.
pub fn edit_distance<T: PartialEq>(a: &[T], b: &[T]) -> usize {
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let substituted = diagonal + usize::from(x != y);
            diagonal = row[j + 1];
            row[j + 1] = substituted.min(row[j] + 1).min(diagonal + 1);
        }
    }
    row[b.len()]
}

/// Errors over a set of utterances: all of them over the length of all references.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ErrorRates {
    words: [usize; 2],
    characters: [usize; 2],
    right: usize,
    utterances: usize,
}

impl ErrorRates {
    /// Counts an utterance. Words are what white space separates; characters include the spaces between words.
    pub fn add(&mut self, reference: &str, hypothesis: &str) {
        let words = |text: &str| {
            text.split_whitespace()
                .map(String::from)
                .collect::<Vec<_>>()
        };
        let (reference, hypothesis) = (words(reference), words(hypothesis));
        self.words[0] += edit_distance(&reference, &hypothesis);
        self.words[1] += reference.len();
        let characters = |words: &[String]| words.join(" ").chars().collect::<Vec<_>>();
        let (a, b) = (characters(&reference), characters(&hypothesis));
        self.characters[0] += edit_distance(&a, &b);
        self.characters[1] += a.len();
        self.right += usize::from(reference == hypothesis);
        self.utterances += 1;
    }

    /// Wrong words to a word of the references; may exceed 1.
    pub fn wer(&self) -> f64 {
        self.words[0] as f64 / self.words[1].max(1) as f64
    }

    /// Wrong characters to a character of the references; may exceed 1.
    pub fn cer(&self) -> f64 {
        self.characters[0] as f64 / self.characters[1].max(1) as f64
    }

    /// Share of utterances without an error.
    pub fn right(&self) -> f64 {
        self.right as f64 / self.utterances.max(1) as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_by_hand() {
        let letters = |text: &str| text.chars().collect::<Vec<_>>();
        for (a, b, want) in [
            ("kitten", "sitting", 3),
            ("", "abc", 3),
            ("abc", "", 3),
            ("flaw", "lawn", 2),
            ("", "", 0),
        ] {
            assert_eq!(edit_distance(&letters(a), &letters(b)), want, "{a} {b}");
        }
    }

    #[test]
    fn rates_by_hand() {
        let mut rates = ErrorRates::default();
        // One substitution and one insertion in 3 words; "two"→"too" 1, " nine" 5 of 13 characters.
        rates.add("one two three", "one too three nine");
        // One deletion in 2 words; "four " is gone: 5 of 9 characters.
        rates.add("four five", " five ");
        rates.add("six", "six");
        assert!((rates.wer() - 3.0 / 6.0).abs() < 1e-12);
        assert!((rates.cer() - 11.0 / 25.0).abs() < 1e-12);
        assert!((rates.right() - 1.0 / 3.0).abs() < 1e-12);
        assert_eq!(ErrorRates::default().wer(), 0.0);
    }
}
