//! `caldera export` and `caldera bench latency`: a pair that answers as its models do, scores from data of any shape, a pair over an old one, the list beside it.

use std::{fs, path::Path};

use serde_json::json;

use crate::{
    program::{Finished, caldera, text},
    samples::{MODEL_FILES, examples, parse, read_json, shared},
    walk::convert,
};

/// A student that has hardly been trained: a pair needs no better one.
fn student(out: &Path) {
    let (teacher, train) = (shared().teacher.join("best"), &shared().train);
    let arguments = [
        "convert",
        "--teacher",
        text(&teacher),
        "--k",
        "8",
        "--out",
        text(out),
    ];
    let more = [
        "--train",
        text(train),
        "--max-steps",
        "2",
        "--device",
        "cpu",
    ];
    caldera(arguments.into_iter().chain(more)).succeeded();
}

fn export(student: &Path, out: &Path, more: &[&str]) -> Finished {
    let teacher = shared().teacher.join("best");
    let student = student.join("last");
    let models = ["--teacher", text(&teacher), "--student", text(&student)];
    caldera(
        [
            &["export", "--device", "cpu", "--out", text(out)],
            &models[..],
            more,
        ]
        .concat(),
    )
}

#[test]
fn a_pair_takes_the_fields_of_eval_and_joins_the_list() {
    let folder = tempfile::tempdir().unwrap();
    let (run, pairs) = (folder.path().join("run"), folder.path().join("pairs"));
    student(&run);
    let data = folder.path().join("data.csv");
    let rows = examples(24, 300).into_iter();
    let rows: String = rows
        .map(|(words, class)| format!("{words},{}\n", ["no", "yes"][class]))
        .collect();
    fs::write(&data, format!("words,class\n{rows}")).unwrap();
    fs::create_dir(&pairs).unwrap();
    let index = pairs.join("index.json");
    fs::write(&index, json!({"pairs": ["other"]}).to_string()).unwrap();
    let out = pairs.join("lakes");
    let eval = ["--eval", text(&data)];
    export(&run, &out, &eval).refused(&["data.csv", "words"]);
    assert!(!out.exists());
    let named = [
        "--text-field",
        "words",
        "--label-field",
        "class",
        "--labels",
        "no,yes",
    ];
    let told = export(&run, &out, &[&eval[..], &named].concat()).succeeded();
    assert!(
        told.contains("lists \"lakes\"") && told.contains("trunk build"),
        "{told}"
    );
    assert_eq!(read_json(&index), json!({"pairs": ["other", "lakes"]}));
    let pair = read_json(&out.join("pair.json"));
    assert_eq!(pair["scores"]["student"]["examples"], 24.0, "{pair}");
    assert_eq!(pair["samples"].as_array().unwrap().len(), 4);
    // Again, over it: the list stays, and what lies beside the pair's files too.
    fs::write(out.join("README.md"), "mine").unwrap();
    export(&run, &out, &["--dtype", "f16"]).succeeded();
    assert_eq!(read_json(&index), json!({"pairs": ["other", "lakes"]}));
    assert_eq!(fs::read_to_string(out.join("README.md")).unwrap(), "mine");
    assert!(
        read_json(&out.join("pair.json"))["samples"]
            .as_array()
            .unwrap()
            .is_empty()
    );
    for entry in fs::read_dir(&out).unwrap() {
        let name = entry.unwrap().file_name().into_string().unwrap();
        assert!(!name.starts_with('.'), "{name} was left behind");
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
    let measured: Vec<_> = points
        .iter()
        .map(|point| (point["model"].as_str(), point["length"].as_u64()))
        .collect();
    let (one, other) = (Some("transformer"), Some("linear"));
    for want in [(one, 8), (one, 32), (other, 8), (other, 32)] {
        assert!(
            measured.contains(&(want.0, Some(want.1))),
            "{want:?}: {measured:?}"
        );
    }
    assert_eq!(points.len(), 4);
    for point in points {
        assert_eq!(point["runs"], 3, "{point}");
        for name in ["p10_ms", "median_ms", "p90_ms"] {
            let time = point[name].as_f64();
            assert!(
                time.is_some_and(|time| time > 0.0 && time < 60_000.0),
                "{name} in {point}"
            );
        }
    }
}
