//! Data, configurations and command lines that cannot be: the message names the file and the line or key.

use std::{fs, path::Path};

use crate::{
    program::{Finished, caldera, command, finished, fixtures, text},
    samples::{copy_model, encoder, shared},
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
fn a_run_is_not_written_over_unless_that_is_asked_for() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let train = |more: &[&str]| {
        let (model, steps) = (encoder(), ["--max-steps", "2", "--batch-size", "4"]);
        let words = ["finetune", "--model", text(&model), "--device", "cpu"];
        let data = ["--train", text(&shared().train), "--out", text(&run)];
        caldera([&words[..], &data, &steps, more].concat())
    };
    let weights = || fs::read(run.join("last/model.safetensors")).unwrap();
    train(&["--checkpoints", "2"]).succeeded();
    let (before, report) = (weights(), fs::read(run.join("report.html")).unwrap());
    fs::write(run.join("report.html"), "mine").unwrap();
    train(&["--seed", "9"]).refused(&[text(&run), "--resume", "--overwrite", "--out"]);
    train(&["--overwrite", "--resume"]).refused(&["--resume"]);
    assert!(before == weights());
    assert_eq!(fs::read(run.join("report.html")).unwrap(), b"mine");
    // What cannot begin removes nothing.
    train(&["--overwrite", "--valid", "absent.csv"]).refused(&["absent.csv"]);
    train(&["--overwrite", "--labels", "a,a"]).refused(&["twice"]);
    assert!(before == weights());

    train(&["--seed", "9", "--overwrite"]).succeeded();
    assert!(before != weights(), "another seed, the same weights");
    assert!(!run.join("checkpoints").exists(), "old waypoints are left");
    assert_ne!(report, fs::read(run.join("report.html")).unwrap());
    // Leave was given once: the run's own file does not pass it on.
    let config = run.join("config.toml");
    train(&["--config", text(&config)]).refused(&["--overwrite"]);
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt as _;
        let mode = fs::metadata(&config).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "{mode:o}");
    }
}

#[test]
fn a_run_does_not_write_over_its_teacher() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let teacher = copy_model(&shared().teacher.join("best"), &run.join("best"));
    for (out, word) in [
        (run.clone(), "holds"),
        (teacher.clone(), "folder is"),
        (teacher.join("student"), "lies within"),
    ] {
        let train = &shared().train;
        let words = ["convert", "--guide", "target", "--teacher", text(&teacher)];
        let more = ["--train", text(train), "--overwrite", "--out", text(&out)];
        let refused = caldera([words, more].concat());
        refused.refused(&[text(&teacher), "cald.teacher", "--out", word]);
    }
    for (given, flag) in [("model", "--model"), ("waypoints", "--waypoints")] {
        let words = match given {
            "model" => vec!["finetune"],
            _ => vec!["convert", "--guide", "waypoint", "--initial", "elsewhere"],
        };
        let more = [flag, text(&teacher), "--out", text(&run)];
        let data = ["--train", text(&shared().train)];
        caldera([&words[..], &more, &data].concat()).refused(&[text(&teacher), given]);
    }
    assert!(!run.join("config.toml").exists());
}

#[test]
fn a_mixer_that_does_not_fit_the_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let out = folder.path().join("student");
    let teacher = shared().teacher.join("best");
    let words = [
        "convert",
        "--mixer",
        "bimamba2",
        "--teacher",
        text(&teacher),
    ];
    let more = [
        "--train",
        text(&shared().train),
        "--device",
        "cpu",
        "--out",
        text(&out),
    ];
    caldera(words.into_iter().chain(more)).refused(&[
        "cald.mixer",
        "linformer",
        "bert",
        "bimamba2",
    ]);
    let mamba = ["convert", "--mixer", "mamba", "--teacher", text(&teacher)];
    caldera(mamba.into_iter().chain(more)).refused(&[
        "cald.mixer",
        "linformer",
        "classify",
        "mamba",
    ]);
    assert!(!out.exists());
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
    let (teacher, unlabelled) = (text(&teacher), ["--unlabelled", text(train)]);
    let convert = [
        "convert",
        "--teacher",
        teacher,
        "--initial",
        teacher,
        "--guide",
    ];
    for guide in ["unguided", "trajectory", "hybrid"] {
        let run = caldera(convert.into_iter().chain([guide]).chain(unlabelled));
        run.refused(&["--train"]);
    }
    caldera(["eval", "--model", teacher]).refused(&["--data"]);
}

#[test]
fn choices_of_the_environment_that_there_are_not() {
    for (variable, value, expected) in [
        ("CALDERA_TUNING", "fast", "hardware or software"),
        ("CALDERA_PRODUCT", "Burn", "tiled or burn"),
        ("CALDERA_SIMD", "sse", "baseline or avx2 or avx512"),
    ] {
        let mut command = command(["check", text(&fixtures()), "--device", "cpu"]);
        command.env(variable, value);
        let run = finished(command);
        run.refused(&[variable, &format!("`{value}`"), expected]);
        assert_eq!(run.code, Some(2), "{run}");
    }
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
