//! Data, configurations and command lines that cannot be: the message names the file and the line or key.

use std::{fs, path::Path};

use crate::{
    program::{Finished, caldera, text},
    samples::{encoder, shared},
};

fn eval(folder: &Path, name: &str, content: &str) -> Finished {
    let path = folder.join(name);
    fs::write(&path, content).unwrap();
    caldera([
        "eval",
        "--model",
        text(&shared().teacher.join("best")),
        "--data",
        text(&path),
        "--device",
        "cpu",
        "--json",
    ])
}

fn finetune(folder: &Path, train: &Path, more: &[&str]) -> Finished {
    let out = folder.join("run");
    let model = encoder();
    let run = caldera(
        [
            &[
                "finetune",
                "--model",
                text(&model),
                "--train",
                text(train),
                "--device",
                "cpu",
                "--out",
                text(&out),
            ][..],
            more,
        ]
        .concat(),
    );
    for model in ["best", "last"] {
        assert!(
            !out.join(model).exists(),
            "a refused run wrote a model\n{run}"
        );
    }
    run
}

#[test]
fn examples_that_cannot_be_read() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = "{\"text\": \"a bright lake\", \"label\": 1}\n";
    eval(folder, "good.jsonl", good).succeeded();
    eval(folder, "empty.jsonl", "").refused(&["empty.jsonl"]);
    eval(folder, "blank.jsonl", "\n\n").refused(&["blank.jsonl"]);
    eval(folder, "header.csv", "text,label\n").refused(&["header.csv"]);
    eval(folder, "nothing.tsv", "").refused(&["nothing.tsv"]);
    eval(
        folder,
        "half.jsonl",
        &format!("{good}{good}{{\"text\": \"a"),
    )
    .refused(&["half.jsonl", "line 3"]);
    eval(folder, "list.jsonl", &format!("{good}[1, 2]\n")).refused(&["list.jsonl", "line 2"]);
    eval(folder, "field.jsonl", "{\"words\": \"a\", \"label\": 1}\n").refused(&[
        "field.jsonl",
        "line 1",
        "words",
    ]);
    eval(folder, "number.jsonl", "{\"text\": 3, \"label\": 1}\n").refused(&[
        "number.jsonl",
        "line 1",
        "text",
    ]);
    eval(
        folder,
        "unlabelled.jsonl",
        &format!("{good}{{\"text\": \"a\"}}\n"),
    )
    .refused(&["unlabelled.jsonl", "line 2", "label"]);
    eval(
        folder,
        "fraction.jsonl",
        "{\"text\": \"a\", \"label\": 0.5}\n",
    )
    .refused(&["fraction.jsonl", "line 1", "0.5"]);
    eval(folder, "ragged.csv", "text,label\na,1\nb,0,c\n").refused(&["ragged.csv", "line 3"]);
    eval(folder, "data.parquet", good).refused(&["data.parquet", ".jsonl"]);
    fs::write(
        folder.join("bytes.jsonl"),
        b"{\"text\": \"\xff\xfe\", \"label\": 1}\n",
    )
    .unwrap();
    caldera([
        "eval",
        "--model",
        text(&shared().teacher.join("best")),
        "--data",
        text(&folder.join("bytes.jsonl")),
        "--device",
        "cpu",
    ])
    .refused(&["bytes.jsonl", "line 1", "UTF-8"]);
}

#[test]
fn labels_out_of_range() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let good = "{\"text\": \"a bright lake\", \"label\": 1}\n";
    for label in ["7", "-1", "2", "\"good\""] {
        let rows = format!("{good}{{\"text\": \"a\", \"label\": {label}}}\n");
        eval(folder, "labels.jsonl", &rows).refused(&[
            "labels.jsonl",
            "line 2",
            label.trim_matches('"'),
        ]);
    }
    let train = folder.join("train.jsonl");
    fs::write(
        &train,
        format!("{good}{{\"text\": \"a\", \"label\": -3}}\n"),
    )
    .unwrap();
    finetune(folder, &train, &[]).refused(&["train.jsonl", "line 2", "-3"]);
    fs::write(&train, format!("{good}{{\"text\": \"a\", \"label\": 5}}\n")).unwrap();
    finetune(folder, &train, &["--labels", "bad,good"]).refused(&["train.jsonl", "line 2", "5"]);
}

#[test]
fn files_that_are_not_there() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    finetune(folder, &folder.join("absent.jsonl"), &[]).refused(&["absent.jsonl"]);
    finetune(folder, &shared().train, &["--valid", "absent.csv"]).refused(&["absent.csv"]);
    finetune(folder, &shared().train, &["--config", "absent.toml"]).refused(&["absent.toml"]);
    caldera(["check", "no-such-fixtures"]).refused(&["no-such-fixtures"]);
    caldera([
        "forward",
        "--model",
        text(&encoder()),
        "--input",
        "absent.safetensors",
        "--output",
        "out",
        "--device",
        "cpu",
    ])
    .refused(&["absent.safetensors"]);
}

#[test]
fn configurations_that_cannot_be() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let config = folder.join("run.toml");
    for (toml, words) in [
        ("[train]\nepoch = 3\n", &["run.toml", "epoch"][..]),
        ("[trian]\nepochs = 3\n", &["run.toml", "trian"]),
        ("seed = \"seven\"\n", &["run.toml", "seed"]),
        ("seed = \n", &["run.toml"]),
        (
            "[cald]\nguide = \"nobody\"\n",
            &["run.toml", "nobody", "trajectory"],
        ),
        ("[train]\nbatch_size = 0\n", &["batch_size"]),
        ("[optimizer]\nlearning_rate = -1.0\n", &["learning_rate"]),
        ("[optimizer]\nwarmup_ratio = nan\n", &["warmup_ratio"]),
    ] {
        fs::write(&config, toml).unwrap();
        finetune(folder, &shared().train, &["--config", text(&config)]).refused(words);
    }
}

#[test]
fn command_lines_that_cannot_be() {
    let teacher = shared().teacher.join("best");
    let train = &shared().train;
    caldera(["convert", "--guide", "nobody"]).refused(&["nobody", "waypoint"]);
    caldera(["convert", "--guide", "target", "--train", text(train)]).refused(&["--teacher"]);
    caldera([
        "convert",
        "--guide",
        "waypoint",
        "--teacher",
        text(&teacher),
        "--train",
        text(train),
    ])
    .refused(&["--waypoints"]);
    caldera([
        "convert",
        "--guide",
        "trajectory",
        "--teacher",
        text(&teacher),
        "--train",
        text(train),
    ])
    .refused(&["--initial"]);
    caldera(["finetune", "--train", text(train)]).refused(&["--model"]);
    caldera(["finetune", "--model", text(&encoder())]).refused(&["--train"]);
    caldera(["eval", "--model", text(&teacher)]).refused(&["--data"]);
}

#[test]
fn a_student_is_not_converted_again_and_a_teacher_must_fit() {
    let folder = tempfile::tempdir().unwrap();
    let teacher = shared().teacher.join("best");
    let out = folder.path().join("student");
    let convert = |from: &Path, out: &Path| {
        caldera([
            "convert",
            "--guide",
            "target",
            "--teacher",
            text(from),
            "--train",
            text(&shared().train),
            "--max-steps",
            "1",
            "--k",
            "8",
            "--batch-size",
            "4",
            "--device",
            "cpu",
            "--out",
            text(out),
        ])
    };
    convert(&teacher, &out).succeeded();
    convert(&out.join("last"), &folder.path().join("again")).refused(&["linformer"]);
}
