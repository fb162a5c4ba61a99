//! Tasks that nobody names, and those that a model cannot do.

use std::{
    fs,
    path::{Path, PathBuf},
};

use crate::{
    program::{Finished, caldera, fixtures, text},
    samples::{encoder, read_json, shared},
};

fn language_model() -> PathBuf {
    fixtures().join("models/gpt-neox-tiny")
}

/// A short run of `finetune` or `convert` on some text.
fn run(folder: &Path, command: &[&str], out: &Path, more: &[&str]) -> Finished {
    let train = folder.join("train.txt");
    fs::write(
        &train,
        "the old lake keeps what the river brings. ".repeat(20),
    )
    .unwrap();
    let data = ["--train", text(&train), "--out", text(out)];
    let short = [
        "--max-steps",
        "2",
        "--block-length",
        "16",
        "--batch-size",
        "4",
    ];
    caldera([command, &data, &short, &["--device", "cpu"], more].concat())
}

#[test]
fn a_language_model_is_one_without_being_called_so() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let (teacher, student) = (folder.join("teacher"), folder.join("student"));
    let model = language_model();
    // The rate is below the usual minimum, which follows it.
    let from = ["finetune", "--model", text(&model)];
    let finished = run(folder, &from, &teacher, &["--lr", "1e-5"]);
    assert!(finished.stderr.contains("task lm: "), "{finished}");
    finished.succeeded();
    let written = fs::read_to_string(teacher.join("config.toml")).unwrap();
    assert!(written.contains("task = \"lm\""), "{written}");
    let key = "minimum_learning_rate = ";
    let minimum = written.lines().find_map(|line| line.strip_prefix(key));
    let minimum: f64 = minimum.unwrap().parse().unwrap();
    assert!((minimum - 1e-6).abs() < 1e-12, "{minimum}");
    let last = teacher.join("last");
    run(
        folder,
        &["convert", "--teacher", text(&last)],
        &student,
        &[],
    )
    .succeeded();
    let config = read_json(&student.join("last/config.json"));
    assert_eq!(config["caldera"]["mixer"], "mamba");

    let (linear, json) = (student.join("last"), folder.join("latency.json"));
    let pair = ["--teacher", text(&last), "--student", text(&linear)];
    let lengths = ["--lengths", "4,16", "--runs", "2", "--device", "cpu"];
    let told = ["--json", text(&json)];
    caldera([&["bench", "latency"], &pair[..], &lengths, &told].concat()).succeeded();
    let figures = read_json(&json);
    assert_eq!(figures["unit"], "tokens");
    assert_eq!(figures["points"].as_array().unwrap().len(), 4);
    let stretched = ["--stretch", "64", "--device", "cpu"];
    caldera([&["bench", "latency"], &pair[..], &stretched].concat()).refused(&["--stretch"]);
    let long = ["--lengths", "100000", "--device", "cpu"];
    caldera([&["bench", "latency"], &pair[..], &long].concat()).refused(&["100000", "tokens"]);
}

#[test]
fn a_task_that_a_model_cannot_do_is_told_with_the_one_it_can() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let out = folder.join("out");
    let speech = fixtures().join("models/wav2vec2-tiny-group");
    for (model, task, words) in [
        (
            language_model(),
            "classify",
            "this is a language model: --task lm",
        ),
        (
            language_model(),
            "ctc",
            "this is a language model: --task lm",
        ),
        (encoder(), "lm", "--task classify"),
        (speech, "lm", "this is a speech model: --task ctc"),
    ] {
        let name = model.file_name().unwrap().to_str().unwrap();
        for command in [["finetune", "--model"], ["convert", "--initial"]] {
            let command = [&command[..], &[text(&model)]].concat();
            run(folder, &command, &out, &["--task", task]).refused(&[name, words]);
            assert!(!out.exists());
        }
    }
    // A file's task counts as one that somebody named.
    let file = folder.join("run.toml");
    fs::write(&file, "task = \"classify\"\n").unwrap();
    let model = language_model();
    let command = ["finetune", "--model", text(&model)];
    let words = ["this is a language model: --task lm"];
    run(folder, &command, &out, &["--config", text(&file)]).refused(&words);
    let teacher = shared().teacher.join("best");
    let train = ["bench", "train", "--device", "cpu", "--model"];
    caldera([&train[..], &[text(&model)]].concat()).refused(&["gpt-neox-tiny", "metrics.jsonl"]);
    let latency = [
        "bench",
        "latency",
        "--device",
        "cpu",
        "--teacher",
        text(&teacher),
    ];
    caldera([&latency[..], &["--student", text(&model)]].concat()).refused(&["gpt-neox-tiny"]);
}

#[test]
fn data_without_labels_says_what_to_do() {
    let folder = tempfile::tempdir().unwrap();
    let train = folder.path().join("train.jsonl");
    fs::write(&train, "{\"text\": \"a lake\"}\n").unwrap();
    let (model, out) = (encoder(), folder.path().join("out"));
    let arguments = ["finetune", "--model", text(&model), "--train", text(&train)];
    let more = ["--device", "cpu", "--out", text(&out)];
    let words = [
        "train.jsonl",
        "no example has a label",
        "--label-field",
        "--task ctc",
    ];
    caldera(arguments.into_iter().chain(more)).refused(&words);
}
