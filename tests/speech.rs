//! Speech from sound files to a pair: join, finetune, convert, eval, transcribe, export, bench.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::{
    program::{caldera, text},
    resume::{Cut, resume_equals_unbroken},
    samples::{parse, read_json},
};

pub const RATE: u32 = 8000;

/// A WAV file: format 1 for integers, 3 for floats; `data` as it lies in the file.
pub fn wav(format: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
    let frame = u32::from(channels * bits / 8);
    let mut out = b"RIFF".to_vec();
    out.extend((36 + data.len() as u32).to_le_bytes());
    out.extend(b"WAVEfmt \x10\0\0\0");
    out.extend(format.to_le_bytes());
    out.extend(channels.to_le_bytes());
    out.extend(rate.to_le_bytes());
    out.extend((rate * frame).to_le_bytes());
    out.extend((frame as u16).to_le_bytes());
    out.extend(bits.to_le_bytes());
    out.extend(b"data");
    out.extend((data.len() as u32).to_le_bytes());
    out.extend(data);
    out
}

/// Samples of a tone from -1 to 1.
pub fn tone(frequency: f64, count: usize, rate: u32) -> Vec<f64> {
    let turn = std::f64::consts::TAU * frequency / f64::from(rate);
    (0..count).map(|n| 0.4 * (turn * n as f64).sin()).collect()
}

pub fn pcm16(samples: &[f64]) -> Vec<u8> {
    let values = samples.iter().map(|x| (x * 32767.0) as i16);
    values.flat_map(i16::to_le_bytes).collect()
}

/// Clips of two tones, "o" and "hi", and a model that was trained on them for a moment.
pub struct World {
    folder: PathBuf,
    pub teacher: PathBuf,
}

pub fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        // Lives as long as the process.
        let folder = tempfile::tempdir().unwrap().keep();
        let mut lines = String::new();
        for i in 0..12 {
            let (frequency, name) = [(300.0, "o"), (1400.0, "hi")][i % 2];
            let samples = tone(frequency, 1500 + 170 * i, RATE);
            let file = format!("{i}.wav");
            fs::write(folder.join(&file), wav(1, 1, RATE, 16, &pcm16(&samples))).unwrap();
            let speaker = ["ann", "bob"][i / 2 % 2];
            lines += &format!("{}\n", json!({"audio": file, "text": name, "label": name, "speaker": speaker}));
        }
        fs::write(folder.join("clips.jsonl"), lines).unwrap();
        for (name, count, seed) in [("train", "40", "1"), ("valid", "8", "2")] {
            let (clips, out) = (folder.join("clips.jsonl"), folder.join(format!("{name}.jsonl")));
            let printed = caldera([
                "join", "--manifest", text(&clips), "--per", "1..3", "--count", count, "--seed", seed, "--out", text(&out),
            ])
            .succeeded();
            assert!(printed.contains(&format!("{count} utterances")), "{printed}");
        }
        let config = json!({
            "model_type": "wav2vec2", "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2,
            "intermediate_size": 48, "feat_extract_norm": "layer", "do_stable_layer_norm": true, "conv_bias": true,
            "conv_dim": [16, 32], "conv_kernel": [20, 8], "conv_stride": [10, 8], "num_feat_extract_layers": 2,
            "num_conv_pos_embeddings": 8, "num_conv_pos_embedding_groups": 2, "ctc_loss_reduction": "mean",
            "mask_time_prob": 0.1, "mask_time_length": 2, "initializer_range": 0.2,
        });
        fs::write(folder.join("config.json"), config.to_string()).unwrap();
        let teacher = folder.join("teacher");
        caldera(finetune(&folder, &[]).iter().map(String::as_str).chain(["--out", text(&teacher)])).succeeded();
        World { folder, teacher }
    })
}

/// Arguments of a run from random weights, without `--out`.
fn finetune(folder: &Path, more: &[&str]) -> Vec<String> {
    let (architecture, train, valid) = (
        folder.join("config.json"),
        folder.join("train.jsonl"),
        folder.join("valid.jsonl"),
    );
    let words = [
        "finetune",
        "--task",
        "ctc",
        "--architecture",
        text(&architecture),
        "--sampling-rate",
        "8000",
        "--train",
        text(&train),
        "--valid",
        text(&valid),
        "--max-steps",
        "120",
        "--batch-size",
        "8",
        "--eval-every",
        "60",
        "--lr",
        "3e-3",
        "--min-lr",
        "1e-3",
        "--seed",
        "4",
        "--checkpoints",
        "2",
        "--device",
        "cpu",
    ];
    words.iter().chain(more).map(ToString::to_string).collect()
}

fn eval(model: &Path, teacher: Option<&Path>) -> Value {
    let valid = world().folder.join("valid.jsonl");
    let mut arguments = vec![
        "eval",
        "--model",
        text(model),
        "--data",
        text(&valid),
        "--device",
        "cpu",
        "--json",
    ];
    if let Some(teacher) = teacher {
        arguments.extend(["--teacher", text(teacher)]);
    }
    parse(&caldera(arguments).succeeded())
}

#[test]
fn the_walk_of_a_recogniser() {
    let World { folder, teacher } = world();
    let best = teacher.join("best");
    for file in [
        "vocab.json",
        "tokenizer_config.json",
        "preprocessor_config.json",
    ] {
        assert!(best.join(file).is_file(), "{file}");
    }
    let score = eval(&best, None);
    assert!(
        score["wer"].as_f64().unwrap() < 0.7 && score["cer"].as_f64().is_some(),
        "{score}"
    );
    let manifest = folder.join("valid.jsonl");
    let first = fs::read_to_string(&manifest).unwrap();
    let first: Value = parse(first.lines().next().unwrap());
    assert!(first["audio"].is_array() && first["gap"] == 0.1, "{first}");

    let (train, checkpoints) = (folder.join("train.jsonl"), teacher.join("checkpoints"));
    for (guide, more) in [
        ("target", vec!["--teacher", text(&best)]),
        (
            "trajectory",
            vec!["--initial", text(&best), "--teacher-every", "2"],
        ),
        (
            "waypoint",
            vec!["--initial", text(&best), "--waypoints", text(&checkpoints)],
        ),
        (
            "hybrid",
            vec!["--teacher", text(&best), "--hybrid-steps", "3"],
        ),
        ("unguided", vec!["--initial", text(&best)]),
    ] {
        let out = folder.join(guide);
        let mut arguments = vec![
            "convert",
            "--guide",
            guide,
            "--d-state",
            "8",
            "--head-dim",
            "16",
        ];
        // Where nobody says it, the model does.
        if guide != "target" {
            arguments.extend(["--task", "ctc"]);
        }
        arguments.extend([
            "--train",
            text(&train),
            "--valid",
            text(&manifest),
            "--max-steps",
            "6",
            "--batch-size",
            "8",
        ]);
        arguments.extend(["--device", "cpu", "--out", text(&out)]);
        arguments.extend(more);
        let finished = caldera(arguments);
        let told = finished.stderr.contains("task ctc: ");
        assert_eq!(told, guide == "target", "{finished}");
        finished.succeeded();
        let config = read_json(&out.join("best/config.json"));
        assert_eq!(config["caldera"]["mixer"], "bimamba2", "{config}");
        let score = eval(&out.join("best"), Some(&best));
        for name in ["loss", "wer", "cer", "accuracy", "agreement", "teacher_wer"] {
            assert!(
                score[name].as_f64().is_some_and(f64::is_finite),
                "{guide}: {score}"
            );
        }
    }
    let student = folder.join("target/best");
    let pair = folder.join("pair");
    caldera([
        "export",
        "--teacher",
        text(&best),
        "--student",
        text(&student),
        "--eval",
        text(&manifest),
        "--samples",
        "2",
        "--data-name",
        "Tones",
        "--data-licence",
        "CC0-1.0",
        "--dtype",
        "f16",
        "--device",
        "cpu",
        "--out",
        text(&pair),
    ])
    .succeeded();
    let described = read_json(&pair.join("pair.json"));
    assert_eq!(described["task"], "automatic-speech-recognition");
    assert!(
        described["scores"]["student"]["wer"].as_f64().is_some(),
        "{described}"
    );
    let samples = described["samples"].as_array().unwrap();
    assert_eq!(samples.len(), 2);
    for sample in samples {
        let file = pair.join(sample["audio"].as_str().unwrap());
        assert!(fs::read(&file).unwrap().starts_with(b"RIFF"));
        assert!(
            sample["credit"]
                .as_str()
                .unwrap()
                .starts_with("Tones, CC0-1.0"),
            "{sample}"
        );
        let listed = described["files"].as_array().unwrap();
        assert!(listed.iter().any(|entry| entry["path"] == sample["audio"]));
        // A model of the pair is whole: it answers without the run's folder.
        caldera([
            "transcribe",
            "--model",
            text(&pair.join("linear")),
            text(&file),
            "--device",
            "cpu",
        ])
        .succeeded();
    }
    let latency = caldera([
        "bench",
        "latency",
        "--teacher",
        text(&best),
        "--student",
        text(&student),
        "--seconds",
        "1,2",
        "--runs",
        "2",
        "--device",
        "cpu",
    ])
    .succeeded();
    assert!(latency.contains("seconds"), "{latency}");
}

#[test]
fn clips_are_classified() {
    let World { folder, .. } = world();
    let (architecture, clips, out) = (
        folder.join("config.json"),
        folder.join("clips.jsonl"),
        folder.join("classifier"),
    );
    caldera([
        "finetune",
        "--architecture",
        text(&architecture),
        "--sampling-rate",
        "8000",
        "--train",
        text(&clips),
        "--valid",
        text(&clips),
        "--epochs",
        "20",
        "--batch-size",
        "4",
        "--lr",
        "3e-3",
        "--device",
        "cpu",
        "--out",
        text(&out),
    ])
    .succeeded();
    let best = out.join("best");
    let printed = caldera([
        "transcribe",
        text(&best),
        text(&folder.join("3.wav")),
        "--device",
        "cpu",
        "--json",
    ])
    .succeeded();
    let answer = parse(&printed);
    assert_eq!(answer["label"], "hi", "{answer}");
    assert_eq!(answer["probabilities"].as_array().unwrap().len(), 2);
}

#[test]
fn a_killed_speech_run_goes_on_exactly() {
    let arguments = finetune(
        &world().folder,
        &["--accumulation", "2", "--save-every", "7"],
    );
    resume_equals_unbroken(arguments, Cut::Kill);
}
