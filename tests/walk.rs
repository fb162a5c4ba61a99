//! The researcher's road: finetune, convert under every guide, eval, predict, export, bench.

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

fn convert(guide: &str, more: &[&str], out: &Path) {
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
        let reached = accuracy(&run.join("last"), valid);
        assert!((0.0..=1.0).contains(&reached), "{guide}: {reached}");
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
fn a_pair_is_exported_and_measured() {
    let best = shared().teacher.join("best");
    let folder = tempfile::tempdir().unwrap();
    let student = folder.path().join("student");
    convert("target", &["--teacher", text(&best)], &student);
    let linear = student.join("last");
    let mut sizes = Vec::new();
    for dtype in ["f32", "f16"] {
        let out = folder.path().join(dtype);
        caldera([
            "export",
            "--teacher",
            text(&best),
            "--student",
            text(&linear),
            "--name",
            "sample",
            "--dtype",
            dtype,
            "--out",
            text(&out),
        ])
        .succeeded();
        let pair = read_json(&out.join("pair.json"));
        assert_eq!(pair["name"], "sample");
        let files = pair["files"].as_array().unwrap();
        for side in ["transformer", "linear"] {
            for file in MODEL_FILES {
                let path = format!("{side}/{file}");
                let entry = files.iter().find(|entry| entry["path"] == path.as_str());
                let entry = entry.unwrap_or_else(|| panic!("{path} is not listed in {pair}"));
                assert_eq!(
                    entry["size"],
                    fs::metadata(out.join(&path)).unwrap().len(),
                    "{path}"
                );
                assert_eq!(entry["sha256"].as_str().unwrap().len(), 64);
            }
        }
        sizes.push(
            fs::metadata(out.join("linear/model.safetensors"))
                .unwrap()
                .len(),
        );
        let agreement = parse(
            &caldera([
                "eval",
                "--model",
                text(&out.join("linear")),
                "--teacher",
                text(&linear),
                "--data",
                text(&shared().valid),
                "--device",
                "cpu",
                "--json",
            ])
            .succeeded(),
        );
        assert!(
            agreement["agreement"].as_f64().unwrap() > 0.9,
            "exported as {dtype}, the model answers otherwise: {agreement}"
        );
    }
    assert!(sizes[1] * 3 < sizes[0] * 2, "f16 is not smaller: {sizes:?}");

    let json = folder.path().join("latency.json");
    caldera([
        "bench",
        "latency",
        "--teacher",
        text(&best),
        "--student",
        text(&linear),
        "--lengths",
        "8,32",
        "--runs",
        "3",
        "--device",
        "cpu",
        "--json",
        text(&json),
    ])
    .succeeded();
    let points = read_json(&json)["points"].as_array().unwrap().clone();
    assert_eq!(points.len(), 4);
    for point in points {
        let time = |name: &str| {
            point[name]
                .as_f64()
                .unwrap_or_else(|| panic!("{name} in {point}"))
        };
        assert!(
            time("p10_ms") <= time("median_ms") && time("median_ms") <= time("p90_ms"),
            "{point}"
        );
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
