//! The researcher's road: finetune, convert under every guide, eval, predict.

use std::{fs, path::Path};

use serde_json::Value;

use crate::{
    program::{caldera, fixtures, text},
    samples::{
        MODEL_FILES, Shared, copy_model, examples, parse, read_json, shared, write_examples,
    },
};

fn accuracy(model: &Path, data: &Path) -> f64 {
    let printed = caldera([
        "eval",
        "--model",
        text(model),
        "--data",
        text(data),
        "--device",
        "cpu",
        "--json",
    ])
    .succeeded();
    let value = parse(&printed);
    assert!(value["loss"].as_f64().unwrap().is_finite(), "{value}");
    value["accuracy"].as_f64().unwrap()
}

/// The values of a loss in a run's metrics, step by step.
fn losses(run: &Path, name: &str) -> Vec<f64> {
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let steps = metrics.lines().map(parse);
    steps.filter_map(|line| line[name].as_f64()).collect()
}

/// A short conversion of the shared teacher's task.
pub fn convert(guide: &str, more: &[&str], out: &Path) {
    let Shared { train, valid, .. } = shared();
    let mut arguments = vec![
        "convert",
        "--guide",
        guide,
        "--mixer",
        "linformer",
        "--k",
        "16",
        "--train",
        text(train),
        "--valid",
        text(valid),
        "--out",
        text(out),
        "--max-steps",
        "12",
        "--batch-size",
        "16",
        "--lr",
        "1e-3",
        "--log-every",
        "1",
        "--seed",
        "3",
        "--device",
        "cpu",
    ];
    arguments.extend(more);
    caldera(arguments).succeeded();
}

fn assert_run_folder(run: &Path) {
    for model in ["best", "last"] {
        for file in MODEL_FILES {
            assert!(
                run.join(model).join(file).is_file(),
                "{}/{model}/{file}",
                run.display()
            );
        }
    }
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    assert!(metrics.lines().count() > 1);
    for line in metrics.lines() {
        parse(line);
    }
    let report = fs::read_to_string(run.join("report.html")).unwrap();
    assert!(report.contains("<svg"), "no plot in report.html");
    for fetched in ["<script src", "<link", "<img src=\"http"] {
        assert!(!report.contains(fetched), "report.html is not one file");
    }
    assert!(run.join("config.toml").is_file());
}

#[test]
fn the_teacher_learns_and_leaves_a_whole_run_folder() {
    let Shared { valid, teacher, .. } = shared();
    assert_run_folder(teacher);
    let reached = accuracy(&teacher.join("best"), valid);
    assert!(reached > 0.9, "accuracy {reached} on a task of one word");
    let steps = fs::read_dir(teacher.join("checkpoints")).unwrap().count();
    assert_eq!(steps, 3);
}

#[test]
fn every_guide_converts() {
    let Shared { valid, teacher, .. } = shared();
    let best = teacher.join("best");
    let initial = crate::samples::encoder();
    let checkpoints = teacher.join("checkpoints");
    let from_best = ["--teacher", text(&best)];
    let guides: [(&str, Vec<&str>); 5] = [
        ("unguided", vec!["--initial", text(&initial)]),
        ("target", from_best.to_vec()),
        ("trajectory", vec!["--initial", text(&initial)]),
        (
            "waypoint",
            vec![
                "--initial",
                text(&initial),
                "--waypoints",
                text(&checkpoints),
            ],
        ),
        (
            "hybrid",
            [&from_best[..], &["--hybrid-steps", "6"]].concat(),
        ),
    ];
    let folder = tempfile::tempdir().unwrap();
    for (guide, arguments) in guides {
        let run = folder.path().join(guide);
        convert(guide, &arguments, &run);
        assert_run_folder(&run);
        let mixer = &read_json(&run.join("best/config.json"))["caldera"];
        assert_eq!(
            (&mixer["mixer"], &mixer["k"]),
            (&Value::from("linformer"), &Value::from(16)),
            "{guide}"
        );
        accuracy(&run.join("last"), valid);
        let (task, layer) = (losses(&run, "task_loss"), losses(&run, "layer_loss"));
        assert_eq!(task.len(), 12, "{guide}: {task:?}");
        let guided = match guide {
            "unguided" => 0,
            "hybrid" => 6,
            _ => 12,
        };
        assert_eq!(layer.len(), guided, "{guide}: {layer:?}");
        // A student comes nearer to a teacher that stays, or learns beside it. Six steps are an epoch: means of the same texts.
        if matches!(guide, "target" | "trajectory") {
            let (first, second) = layer.split_at(6);
            let sum = |losses: &[f64]| losses.iter().sum::<f64>();
            assert!(sum(second) < 0.95 * sum(first), "{guide}: {layer:?}");
        }
    }
}

#[test]
fn sharing_and_initialisation_are_choices() {
    let best = shared().teacher.join("best");
    let folder = tempfile::tempdir().unwrap();
    let mut sizes = Vec::new();
    for sharing in ["none", "kv", "layer"] {
        let run = folder.path().join(sharing);
        convert(
            "target",
            &[
                "--teacher",
                text(&best),
                "--sharing",
                sharing,
                "--init",
                "segments",
            ],
            &run,
        );
        let config = read_json(&run.join("last/config.json"));
        assert_eq!(config["caldera"]["sharing"], sharing);
        sizes.push(
            fs::metadata(run.join("last/model.safetensors"))
                .unwrap()
                .len(),
        );
        accuracy(&run.join("last"), &shared().valid);
    }
    assert!(
        sizes[0] > sizes[1] && sizes[1] > sizes[2],
        "shared projections are stored once: {sizes:?}"
    );
}

#[test]
fn a_toml_file_describes_a_run_and_flags_override_it() {
    let Shared {
        train,
        valid,
        teacher,
    } = shared();
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("run.toml");
    let toml = format!(
        "seed = 4\n[data]\ntrain = [{train:?}]\nvalid = [{valid:?}]\n[train]\nmax_steps = 4\nbatch_size = 8\n[cald]\nguide = \"target\"\nteacher = {:?}\nk = 8\n",
        teacher.join("best")
    );
    fs::write(&config, toml).unwrap();
    let run = folder.path().join("run");
    caldera([
        "convert",
        "--config",
        text(&config),
        "--k",
        "12",
        "--out",
        text(&run),
        "--device",
        "cpu",
    ])
    .succeeded();
    assert_eq!(read_json(&run.join("last/config.json"))["caldera"]["k"], 12);
    let written = fs::read_to_string(run.join("config.toml")).unwrap();
    assert!(
        written.contains("batch_size = 8") && written.contains("k = 12"),
        "{written}"
    );
    // The run's own file repeats the run.
    let again = folder.path().join("again");
    caldera([
        "convert",
        "--config",
        text(&run.join("config.toml")),
        "--out",
        text(&again),
    ])
    .succeeded();
    let weights = |run: &Path| fs::read(run.join("last/model.safetensors")).unwrap();
    assert!(
        weights(&run) == weights(&again),
        "the same configuration gave other weights"
    );
}

#[test]
fn predictions_do_not_hang_on_the_batch_or_the_format() {
    let best = shared().teacher.join("best");
    let folder = tempfile::tempdir().unwrap();
    let student = folder.path().join("student");
    convert("target", &["--teacher", text(&best)], &student);
    let rows = examples(24, 500);
    let files = ["jsonl", "csv", "tsv"]
        .map(|kind| write_examples(&folder.path().join(format!("rows.{kind}")), &rows));
    for model in [best, student.join("last")] {
        let predict = |file: &Path, batch: &str| -> Vec<Value> {
            caldera([
                "predict",
                "--model",
                text(&model),
                "--file",
                text(file),
                "--batch-size",
                batch,
                "--device",
                "cpu",
                "--json",
            ])
            .succeeded()
            .lines()
            .map(parse)
            .collect()
        };
        let alone = predict(&files[0], "1");
        assert_eq!(alone.len(), rows.len());
        for (file, batch) in files.iter().zip(["24", "5", "64"]) {
            for (one, other) in alone.iter().zip(predict(file, batch)) {
                assert_eq!(one["text"], other["text"]);
                let pairs = one["probabilities"]
                    .as_array()
                    .unwrap()
                    .iter()
                    .zip(other["probabilities"].as_array().unwrap());
                for (p, q) in pairs {
                    let difference = (p.as_f64().unwrap() - q.as_f64().unwrap()).abs();
                    assert!(
                        difference < 1e-4,
                        "padding changed a probability by {difference}: {one}"
                    );
                }
            }
        }
    }
}

#[test]
fn roberta_takes_the_same_road() {
    let Shared { train, valid, .. } = shared();
    let folder = tempfile::tempdir().unwrap();
    let model = copy_model(
        &fixtures().join("models/roberta-tiny"),
        &folder.path().join("roberta"),
    );
    let (teacher, student) = (folder.path().join("teacher"), folder.path().join("student"));
    let common = [
        "--train",
        text(train),
        "--valid",
        text(valid),
        "--labels",
        "a,b,c",
        "--max-steps",
        "6",
        "--batch-size",
        "8",
        "--device",
        "cpu",
        "--out",
    ];
    caldera(
        [
            &["finetune", "--model", text(&model)][..],
            &common,
            &[text(&teacher)],
        ]
        .concat(),
    )
    .succeeded();
    let best = teacher.join("best");
    caldera(
        [
            &["convert", "--teacher", text(&best), "--k", "8"][..],
            &common,
            &[text(&student)],
        ]
        .concat(),
    )
    .succeeded();
    assert_eq!(
        read_json(&student.join("last/config.json"))["model_type"],
        "roberta"
    );
    accuracy(&student.join("last"), valid);
}
