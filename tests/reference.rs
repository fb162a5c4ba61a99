//! Results of the program against the stored reference results.

use std::{collections::BTreeMap, fs, path::Path};

use safetensors::{Dtype, SafeTensors};

use crate::{
    program::{caldera, fixtures, text},
    samples::{classifier, parse, read_json},
};

/// Cases below a folder: those with a case.json.
fn cases(folder: &Path, prefix: &str, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap().flatten() {
        if entry.path().is_dir() {
            let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
            if entry.path().join("case.json").is_file() {
                found.push(name);
            } else {
                cases(&entry.path(), &format!("{name}/"), found);
            }
        }
    }
}

fn check_everything(device: &str) {
    let printed = caldera(["check", text(&fixtures()), "--device", device, "--json"]).succeeded();
    let report = parse(&printed);
    let mut stored = Vec::new();
    cases(&fixtures(), "", &mut stored);
    stored.sort();
    let mut reported: Vec<String> = Vec::new();
    for case in report["cases"].as_array().unwrap() {
        assert!(case["known"] == true && case["passed"] == true, "{case}");
        reported.push(case["case"].as_str().unwrap().into());
    }
    reported.sort();
    assert_eq!(reported, stored);
}

#[test]
fn every_stored_case_passes_on_the_cpu() {
    check_everything("cpu");
}

#[test]
fn every_stored_case_passes_on_the_gpu() {
    check_everything("gpu");
}

#[test]
fn without_fixtures_the_gpu_is_held_against_the_cpu() {
    let printed = caldera(["check", "--device", "gpu", "--json"]).succeeded();
    let report = parse(&printed);
    let cases = report["cases"].as_array().unwrap();
    assert!(cases.len() > 20, "{report}");
    for case in cases {
        assert!(case["passed"] == true, "{case}");
        assert!(case["worst"]["tolerance"].as_f64().unwrap() > 0.0, "{case}");
    }
    caldera(["check", "--device", "cpu"]).refused(&["--device gpu", "fixtures"]);
}

#[test]
fn a_missed_case_is_told_by_the_exit_code() {
    let folder = tempfile::tempdir().unwrap();
    let case = folder
        .path()
        .join("ops/softmax-attention/bidirectional-tiny");
    fs::create_dir_all(&case).unwrap();
    let source = fixtures().join("ops/softmax-attention/bidirectional-tiny");
    fs::copy(source.join("case.json"), case.join("case.json")).unwrap();
    let mut bytes = fs::read(source.join("expected.safetensors")).unwrap();
    // The first output's first value: 4 bytes of its data turned into another number.
    let header = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
    let described: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let at = 8 + header + described["out.y"]["data_offsets"][0].as_u64().unwrap() as usize;
    bytes[at..at + 4].copy_from_slice(&1e6f32.to_le_bytes());
    fs::write(case.join("expected.safetensors"), bytes).unwrap();
    let run = caldera(["check", text(folder.path()), "--device", "cpu"]);
    assert_eq!(run.code, Some(1), "{run}");
    assert!(run.stdout.contains("1 missed"), "{run}");
    assert!(
        run.stdout
            .contains("ops/softmax-attention/bidirectional-tiny"),
        "{run}"
    );
}

fn floats(file: &SafeTensors<'_>, name: &str) -> (Vec<usize>, Vec<f32>) {
    let view = file
        .tensor(name)
        .unwrap_or_else(|_| panic!("no tensor {name} among {:?}", file.names()));
    assert_eq!(view.dtype(), Dtype::F32, "{name}");
    (
        view.shape().to_vec(),
        view.data()
            .chunks_exact(4)
            .map(|b| f32::from_le_bytes(b.try_into().unwrap()))
            .collect(),
    )
}

#[test]
fn forward_writes_the_logits_and_states_of_transformers() {
    forward_equals(
        &classifier(),
        &["input_ids", "attention_mask", "token_type_ids"],
        "attention_mask",
        &["logits", "hidden_states.0", "hidden_states.3"],
    );
    forward_equals(
        &fixtures().join("models/gpt-neox-tiny"),
        &["input_ids", "attention_mask"],
        "attention_mask",
        &["logits", "final_norm", "hidden_states.0", "hidden_states.2"],
    );
    for style in ["group", "layer"] {
        forward_equals(
            &fixtures().join(format!("models/wav2vec2-tiny-{style}")),
            &["input_values", "attention_mask"],
            "feature_mask",
            &["logits", "hidden_states.0", "hidden_states.3"],
        );
    }
    forward_equals(
        &fixtures().join("models/wav2vec2-tiny-group-classifier"),
        &["input_values", "attention_mask"],
        "attention_mask",
        &["logits"],
    );
}

/// `caldera forward` on the stored inputs gives the stored outputs, where `mask` says that a position is real.
fn forward_equals(model: &Path, inputs: &[&str], mask: &str, outputs: &[&str]) {
    let expected = fs::read(model.join("expected.safetensors")).unwrap();
    let expected = SafeTensors::deserialize(&expected).unwrap();
    let folder = tempfile::tempdir().unwrap();
    let (input, output) = (
        folder.path().join("in.safetensors"),
        folder.path().join("out.safetensors"),
    );
    let views: BTreeMap<&str, _> = inputs
        .iter()
        .map(|name| (*name, expected.tensor(&format!("in.{name}")).unwrap()))
        .collect();
    fs::write(&input, safetensors::serialize(views, None).unwrap()).unwrap();

    caldera([
        "forward",
        "--model",
        text(model),
        "--input",
        text(&input),
        "--output",
        text(&output),
        "--device",
        "cpu",
    ])
    .succeeded();

    let got = fs::read(&output).unwrap();
    let got = SafeTensors::deserialize(&got).unwrap();
    let mask = expected.tensor(&format!("in.{mask}")).unwrap();
    let real: Vec<bool> = mask.data().chunks_exact(8).map(|b| b[0] == 1).collect();
    let tolerance = &read_json(&model.join("case.json"))["tolerance"];
    for &name in outputs {
        let stored = format!("out.{name}");
        let (shape, values) = floats(&got, name);
        let (wanted_shape, wanted) = floats(&expected, &stored);
        assert_eq!(shape, wanted_shape, "{name}");
        let limit = |key: &str| {
            tolerance[&stored][key]
                .as_f64()
                .unwrap_or_else(|| panic!("no {key} for {stored}"))
        };
        let width = shape[shape.len() - 1];
        for (i, (value, want)) in values.iter().zip(&wanted).enumerate() {
            // Padded positions of hidden states are nobody's business.
            if shape.len() == 2 || real[i / width] {
                let error = f64::from((value - want).abs());
                let allowed = limit("atol") + limit("rtol") * f64::from(want.abs());
                assert!(error <= allowed, "{name}[{i}]: got {value}, want {want}");
            }
        }
    }
}
