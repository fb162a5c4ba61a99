use std::path::PathBuf;

use proptest::prelude::*;

use super::*;

fn file(dir: &tempfile::TempDir, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
    let path = dir.path().join(name);
    std::fs::write(&path, content).unwrap();
    path
}

fn fails(name: &str, content: &[u8]) -> String {
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, name, content);
    let message = read_records(&path, &Fields::default(), None)
        .unwrap_err()
        .to_string();
    assert!(message.contains(name), "{message}");
    message
}

#[test]
fn the_same_rows_in_every_format() {
    let dir = tempfile::tempdir().unwrap();
    let json = file(
        &dir,
        "a.jsonl",
        "{\"sentence1\": \"a, \\\"b\\\"\", \"sentence2\": \"c\", \"label\": \"yes\"}\n\n{\"sentence1\": \"d\", \"sentence2\": \"\", \"label\": null}\n",
    );
    let csv = file(
        &dir,
        "a.csv",
        "label,sentence2,sentence1\nyes,c,\"a, \"\"b\"\"\"\n,,d\n",
    );
    let tsv = file(
        &dir,
        "a.tsv",
        "\u{feff}sentence1\tsentence2\tlabel\na, \"b\"\tc\tyes\nd\t\t\n",
    );
    let strip = |path: &PathBuf| -> Vec<_> {
        read_records(path, &Fields::default(), None)
            .unwrap()
            .into_iter()
            .map(|r| (r.text, r.pair, r.label))
            .collect()
    };
    let rows = strip(&json);
    assert_eq!(
        rows[0],
        (
            "a, \"b\"".into(),
            Some("c".into()),
            Some(RawLabel::Name("yes".into()))
        )
    );
    assert_eq!(rows, strip(&csv));
    assert_eq!(rows, strip(&tsv));
    let txt = file(&dir, "a.txt", "one\n\ntwo\n");
    let fields = Fields::default().unlabelled();
    assert_eq!(read_records(&txt, &fields, None).unwrap().len(), 2);
    assert_eq!(read_records(&txt, &fields, Some(1)).unwrap().len(), 1);
    assert!(matches!(
        read_records(&txt, &Fields::default(), None),
        Err(DataError::Extension(_))
    ));
}

#[test]
fn errors_name_file_line_and_field() {
    assert!(fails("a.jsonl", b"").contains("no examples"));
    assert!(fails("a.csv", b"").contains("no examples"));
    assert!(fails("a.csv", b"text,label\n").contains("no examples"));
    assert!(fails("a.jsonl", b"{\"text\": \"x\"}\n{\"text\": ").contains("line 2"));
    let missing = fails("a.jsonl", b"{\"body\": \"x\", \"label\": 1}\n");
    assert!(
        missing.contains("line 1") && missing.contains("body"),
        "{missing}"
    );
    let kind = fails("a.jsonl", b"{\"text\": 7, \"label\": 1}\n");
    assert!(kind.contains("\"text\"") && kind.contains('7'), "{kind}");
    let label = fails("a.jsonl", b"{\"text\": \"x\", \"label\": 1.5}\n");
    assert!(
        label.contains("\"label\"") && label.contains("1.5"),
        "{label}"
    );
    assert!(
        fails("a.jsonl", b"{\"text\": \"ok\"}\n{\"text\": \"\xff\"}\n")
            .contains("line 2: not valid UTF-8")
    );
    assert!(fails("a.csv", b"text,label\nx,1\n\xff,1\n").contains("line 3"));
    let columns = fails("a.csv", b"text,label\nx,1,2\n");
    assert!(
        columns.contains("line 2") && columns.contains("found 3"),
        "{columns}"
    );
    assert!(fails("a.csv", b"body,label\nx,1\n").contains("body"));
    assert!(fails("a.xml", b"<a/>").contains("unknown kind"));
    let named = Fields {
        text: Some("body".into()),
        ..Fields::default()
    };
    let dir = tempfile::tempdir().unwrap();
    let path = file(&dir, "a.jsonl", "{\"text\": \"x\"}\n");
    assert!(
        read_records(&path, &named, None)
            .unwrap_err()
            .to_string()
            .contains("\"body\" is missing")
    );
    let gone = read_records(&dir.path().join("b.csv"), &named, None)
        .unwrap_err()
        .to_string();
    assert!(gone.contains("b.csv"), "{gone}");
}

#[test]
fn labels_by_name_and_number() {
    let dir = tempfile::tempdir().unwrap();
    let read = |name: &str, text: &str| {
        read_records(&file(&dir, name, text), &Fields::default(), None).unwrap()
    };
    let names = read("n.csv", "text,label\na,pos\nb,neg\nc,pos\n");
    let set = LabelSet::discover(&names).unwrap();
    assert_eq!(set.names(), ["neg", "pos"]);
    let examples = with_labels(names, &set, true).unwrap();
    assert_eq!(
        examples.iter().map(|e| e.label).collect::<Vec<_>>(),
        [Some(1), Some(0), Some(1)]
    );

    let numbers = read("i.csv", "text,label\na,0\nb,2\n");
    assert_eq!(LabelSet::discover(&numbers).unwrap().len(), 3);
    let two = LabelSet::new(vec!["a".into(), "b".into()]).unwrap();
    let message = with_labels(numbers, &two, true).unwrap_err().to_string();
    assert!(
        message.contains("i.csv, line 3") && message.contains("label 2 is out of range"),
        "{message}"
    );

    let stars = LabelSet::new(vec!["1".into(), "2".into()]).unwrap();
    let rated = with_labels(read("s.csv", "text,label\na,1\nb,2\n"), &stars, true).unwrap();
    assert_eq!(rated[1].label, Some(1));

    let none = read("u.csv", "text\na\n");
    assert!(
        with_labels(none.clone(), &two, true)
            .unwrap_err()
            .to_string()
            .contains("no label")
    );
    assert_eq!(
        with_labels(none.clone(), &two, false).unwrap()[0].label,
        None
    );
    assert!(LabelSet::discover(&none).is_err());
    let mixed = read(
        "m.jsonl",
        "{\"text\": \"a\", \"label\": 1}\n{\"text\": \"b\", \"label\": \"x\"}\n",
    );
    assert!(
        LabelSet::discover(&mixed)
            .unwrap_err()
            .to_string()
            .contains("line 2")
    );
    let negative = read("g.csv", "text,label\na,-1\n");
    assert!(
        LabelSet::discover(&negative)
            .unwrap_err()
            .to_string()
            .contains("-1")
    );
    assert!(
        with_labels(negative, &two, true)
            .unwrap_err()
            .to_string()
            .contains("out of range")
    );
}

proptest! {
    // Whatever the bytes, reading ends in records or an error, never in a panic.
    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200), kind in 0..4usize) {
        let dir = tempfile::tempdir().unwrap();
        let path = file(&dir, ["a.jsonl", "a.csv", "a.tsv", "a.txt"][kind], &bytes);
        if let Ok(records) = read_records(&path, &Fields::default(), None) {
            prop_assert!(!records.is_empty());
        }
    }
}
