//! Connected utterances out of short clips: a new manifest that names several files of one speaker a line.

use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

use serde_json::{Value, json};

use super::{DataError, Utterance};
use crate::batches::Random;

/// How clips are joined.
#[derive(Clone, Debug, PartialEq)]
pub struct Joining {
    /// Fewest and most clips of an utterance.
    pub per: [usize; 2],
    /// Utterances.
    pub count: usize,
    /// Seconds of silence between clips.
    pub gap: f64,
    /// Decides everything that is random.
    pub seed: u64,
}

/// The lines of a manifest in `folder`: utterances of clips drawn from one speaker each, speakers and clips alike often,
/// with texts joined by spaces. Clips without a speaker are taken for one speaker's. A pure function of its arguments.
///
/// # Errors
/// A clip without a text; files whose place in relation to `folder` cannot be told.
pub fn join(
    clips: &[Utterance],
    joining: &Joining,
    folder: &Path,
) -> Result<Vec<Value>, DataError> {
    let mut speakers: BTreeMap<Option<&str>, Vec<&Utterance>> = BTreeMap::new();
    for clip in clips {
        if clip.text.as_deref().is_none_or(str::is_empty) {
            return Err(clip.error("no text; it is needed to join clips".into()));
        }
        speakers
            .entry(clip.speaker.as_deref())
            .or_default()
            .push(clip);
    }
    let speakers: Vec<_> = speakers.into_iter().collect();
    let mut random = Random::new(joining.seed, 0x70_1d);
    let [least, most] = joining.per;
    let line = |_| {
        let (speaker, clips) = &speakers[random.below(speakers.len())];
        let count = least + random.below(most - least + 1);
        let chosen: Vec<&Utterance> = (0..count)
            .map(|_| clips[random.below(clips.len())])
            .collect();
        let files = chosen.iter().flat_map(|clip| &clip.audio);
        let files: Vec<String> = files.map(|file| relative(folder, file)).collect();
        let texts: Vec<&str> = chosen
            .iter()
            .filter_map(|clip| clip.text.as_deref())
            .collect();
        let mut line = json!({"audio": files, "gap": joining.gap, "text": texts.join(" ")});
        if let Some(speaker) = speaker {
            line["speaker"] = json!(speaker);
        }
        line
    };
    Ok((0..joining.count).map(line).collect())
}

/// `file` as seen from `folder`, with `/`; both exist, or are given in the same way.
fn relative(folder: &Path, file: &Path) -> String {
    let absolute = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_path_buf());
    let (folder, file) = (absolute(folder), absolute(file));
    let common = folder
        .components()
        .zip(file.components())
        .take_while(|(a, b)| a == b)
        .count();
    let up = folder
        .components()
        .skip(common)
        .map(|_| Component::ParentDir);
    let path: PathBuf = up.chain(file.components().skip(common)).collect();
    path.to_string_lossy().replace('\\', "/")
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use super::*;

    fn clips() -> Vec<Utterance> {
        let clip = |i: usize| Utterance {
            audio: vec![format!("data/wav/{i}.wav").into()],
            gap: 0.0,
            text: Some(["zero", "one", "two"][i % 3].into()),
            label: None,
            speaker: Some(["ann", "bob"][i / 3 % 2].into()),
            path: Rc::new("data/train.jsonl".into()),
            line: i as u64 + 1,
        };
        (0..12).map(clip).collect()
    }

    #[test]
    fn lines_follow_from_the_seed_and_keep_to_one_speaker() {
        let joining = Joining {
            per: [2, 4],
            count: 50,
            gap: 0.1,
            seed: 7,
        };
        let lines = join(&clips(), &joining, Path::new("data/joined")).unwrap();
        assert_eq!(
            lines,
            join(&clips(), &joining, Path::new("data/joined")).unwrap()
        );
        assert_eq!(lines.len(), 50);
        let other = Joining { seed: 8, ..joining };
        assert_ne!(
            lines,
            join(&clips(), &other, Path::new("data/joined")).unwrap()
        );
        for line in &lines {
            let files: Vec<&str> = line["audio"]
                .as_array()
                .unwrap()
                .iter()
                .filter_map(Value::as_str)
                .collect();
            let words: Vec<&str> = line["text"].as_str().unwrap().split(' ').collect();
            assert!((2..=4).contains(&files.len()) && files.len() == words.len());
            for (file, word) in files.iter().zip(words) {
                let i: usize = file
                    .strip_prefix("../wav/")
                    .unwrap()
                    .strip_suffix(".wav")
                    .unwrap()
                    .parse()
                    .unwrap();
                assert_eq!(["zero", "one", "two"][i % 3], word);
                assert_eq!(line["speaker"], ["ann", "bob"][i / 3 % 2]);
            }
        }
    }
}
