//! Text without labels, for language models: whole files, or a field of JSON Lines.

use std::path::{Path, PathBuf};

use super::{DataError, Fields, read_records};

/// One document after the other: a `.txt` file is one, a `.jsonl`, `.csv` or `.tsv` file has one a line.
///
/// # Errors
/// Names the file and the line; a file without any text is an error too.
pub fn read_documents(paths: &[PathBuf], fields: &Fields) -> Result<Vec<String>, DataError> {
    let mut documents = Vec::new();
    for path in paths {
        let plain = path
            .extension()
            .is_some_and(|extension| extension.eq_ignore_ascii_case("txt"));
        if plain {
            documents.push(read_whole(path)?);
        } else {
            let records = read_records(path, &fields.clone().unlabelled(), None)?;
            documents.extend(records.into_iter().map(|record| record.text));
        }
    }
    Ok(documents)
}

fn read_whole(path: &Path) -> Result<String, DataError> {
    let bytes = std::fs::read(path).map_err(|source| DataError::Io {
        path: path.into(),
        source,
    })?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|byte| **byte == b'\n')
            .count();
        DataError::Line {
            path: path.into(),
            line: line as u64 + 1,
            message: format!(
                "not valid UTF-8 at byte {} of the file; save it as UTF-8",
                valid + 1
            ),
        }
    })?;
    if text.trim().is_empty() {
        return Err(DataError::Empty(path.into()));
    }
    Ok(text.trim_start_matches('\u{feff}').to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_file_is_one_document_and_json_lines_are_many() {
        let folder = tempfile::tempdir().unwrap();
        let plain = folder.path().join("a.txt");
        let lines = folder.path().join("b.jsonl");
        std::fs::write(&plain, "one\ntwo\n").unwrap();
        std::fs::write(&lines, "{\"text\": \"three\"}\n{\"text\": \"four\"}\n").unwrap();
        let found = read_documents(&[plain, lines], &Fields::default()).unwrap();
        assert_eq!(found, ["one\ntwo\n", "three", "four"]);
    }

    #[test]
    fn bad_bytes_and_empty_files_are_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("bad.txt");
        std::fs::write(&path, b"fine\nnot \xff").unwrap();
        let error = read_documents(std::slice::from_ref(&path), &Fields::default()).unwrap_err();
        let text = error.to_string();
        assert!(
            text.contains("bad.txt, line 2") && text.contains("byte 10"),
            "{text}"
        );
        std::fs::write(&path, " \n").unwrap();
        let error = read_documents(&[path], &Fields::default()).unwrap_err();
        assert!(matches!(error, DataError::Empty(_)), "{error}");
    }
}
