//! Language models from running text to a pair: finetune, convert under every guide, eval, generate, export, resume.

use std::{
    fs,
    path::{Path, PathBuf},
    sync::OnceLock,
};

use serde_json::{Value, json};

use crate::{
    program::{caldera, text},
    resume::{Cut, resume_equals_unbroken},
    samples::{MODEL_FILES, copy_model, parse, read_json},
};

/// A transformer of two layers that knows one sentence by heart, and what it was trained with.
struct World {
    train: PathBuf,
    valid: PathBuf,
    teacher: PathBuf,
}

const SENTENCE: &str = "the old lake keeps what the river brings. ";

fn world() -> &'static World {
    static WORLD: OnceLock<World> = OnceLock::new();
    WORLD.get_or_init(|| {
        // Lives as long as the process.
        let folder = tempfile::tempdir().unwrap().keep();
        let (train, valid) = (folder.join("train.txt"), folder.join("valid.txt"));
        fs::write(&train, SENTENCE.repeat(60)).unwrap();
        fs::write(&valid, SENTENCE.repeat(6)).unwrap();
        let architecture = folder.join("config.json");
        let config = json!({
            "architectures": ["GPTNeoXForCausalLM"], "model_type": "gpt_neox", "vocab_size": 257, "hidden_size": 32,
            "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64, "hidden_act": "gelu",
            "rotary_pct": 0.5, "max_position_embeddings": 128, "use_parallel_residual": true, "hidden_dropout": 0.0,
            "attention_dropout": 0.0, "initializer_range": 0.08,
        });
        fs::write(&architecture, config.to_string()).unwrap();
        let teacher = folder.join("teacher");
        let mut arguments = vec!["finetune", "--architecture", text(&architecture)];
        arguments.extend(["--tokenizer", "bpe:280", "--checkpoints", "2"]);
        arguments.extend(run(&train, &valid, &teacher, "60", "1e-2"));
        caldera(arguments).succeeded();
        World {
            train,
            valid,
            teacher,
        }
    })
}

/// Flags of a run over the text.
fn run<'a>(
    train: &'a Path,
    valid: &'a Path,
    out: &'a Path,
    steps: &'a str,
    rate: &'a str,
) -> Vec<&'a str> {
    let mut flags = vec![
        "--task",
        "lm",
        "--train",
        text(train),
        "--valid",
        text(valid),
    ];
    flags.extend(["--out", text(out), "--max-steps", steps, "--lr", rate]);
    flags.extend(["--block-length", "32", "--batch-size", "8", "--seed", "1"]);
    flags.extend(["--device", "cpu"]);
    flags
}

fn convert(guide: &str, more: &[&str], out: &Path, steps: &str) {
    let World { train, valid, .. } = world();
    let mut arguments = vec!["convert", "--mixer", "mamba", "--guide", guide];
    arguments.extend(["--d-state", "8"]);
    arguments.extend(run(train, valid, out, steps, "1e-2"));
    arguments.extend(more);
    caldera(arguments).succeeded();
}

fn eval(model: &Path) -> Value {
    let arguments = [
        "eval",
        "--model",
        text(model),
        "--data",
        text(&world().valid),
    ];
    let more = ["--block-length", "32", "--device", "cpu", "--json"];
    parse(&caldera(arguments.into_iter().chain(more)).succeeded())
}

#[test]
fn a_transformer_learns_and_writes_what_it_learnt() {
    let World { teacher, .. } = world();
    let best = teacher.join("best");
    for file in MODEL_FILES {
        assert!(best.join(file).is_file(), "{file}");
    }
    let found = eval(&best);
    let number = |key: &str| found[key].as_f64().unwrap();
    assert!(number("accuracy") > 0.9, "{found}");
    assert!((number("loss").exp() - number("perplexity")).abs() < 1e-6 * number("perplexity"));
    assert!(number("bits_per_byte") < number("loss") / std::f64::consts::LN_2);
    let arguments = [
        "generate",
        "--model",
        text(&best),
        "--prompt",
        "the old lake",
    ];
    let more = ["--max-new-tokens", "20", "--device", "cpu"];
    let told = caldera(arguments.into_iter().chain(more)).succeeded();
    assert!(
        told.starts_with("the old lake keeps what the river"),
        "{told}"
    );
    // The same seed, the same text; and the JSON says how it came about.
    let random = [
        "--temperature",
        "1.5",
        "--top-k",
        "50",
        "--seed",
        "3",
        "--json",
    ];
    let told = || caldera(arguments.into_iter().chain(more).chain(random)).succeeded();
    let (one, two) = (parse(&told()), parse(&told()));
    assert_eq!(one["text"], two["text"]);
    assert_eq!(one["tokens"].as_array().unwrap().len(), 20);
    assert!(one["state_bytes"].as_u64().unwrap() > 0 && one["prefill_ms"].as_f64().unwrap() > 0.0);
}

#[test]
fn every_guide_makes_a_mamba_of_it() {
    let World { teacher, .. } = world();
    let folder = tempfile::tempdir().unwrap();
    let (best, checkpoints) = (teacher.join("best"), teacher.join("checkpoints"));
    let from = ["--teacher", text(&best)];
    let initial = ["--initial", text(&best)];
    let along = [&initial[..], &["--waypoints", text(&checkpoints)]].concat();
    let guides: [(&str, &[&str], &str); 5] = [
        ("unguided", &initial, "4"),
        ("trajectory", &initial, "4"),
        ("waypoint", &along, "4"),
        (
            "hybrid",
            &[
                &from[..],
                &["--hybrid-steps", "2", "--student-from", "teacher"],
            ]
            .concat(),
            "4",
        ),
        ("target", &from, "60"),
    ];
    for (guide, more, steps) in guides {
        let out = folder.path().join(guide);
        convert(guide, more, &out, steps);
        let config = read_json(&out.join("last/config.json"));
        assert_eq!(config["caldera"]["mixer"], "mamba", "{guide}");
        assert_eq!(config["caldera"]["d_state"], 8, "{guide}");
        let lines = fs::read_to_string(out.join("metrics.jsonl")).unwrap();
        let layer = lines
            .lines()
            .any(|line| parse(line)["layer_loss"].as_f64() > Some(0.0));
        assert_eq!(
            layer,
            guide != "unguided",
            "{guide}: layer loss in metrics.jsonl"
        );
    }
    let student = folder.path().join("target/best");
    assert!(eval(&student)["accuracy"].as_f64().unwrap() > 0.8);

    let pair = folder.path().join("pair");
    let mut arguments = vec![
        "export",
        "--teacher",
        text(&best),
        "--student",
        text(&student),
    ];
    arguments.extend([
        "--block-length",
        "32",
        "--dtype",
        "f16",
        "--eval",
        text(&world().valid),
        "--prompt",
        "the old",
    ]);
    arguments.extend(["--device", "cpu", "--out", text(&pair)]);
    caldera(arguments).succeeded();
    let described = read_json(&pair.join("pair.json"));
    assert_eq!(described["task"], "language-modeling");
    assert_eq!(described["samples"][0]["text"], "the old");
    assert!(
        described["scores"]["student"]["perplexity"]
            .as_f64()
            .unwrap()
            < 5.0
    );
    // What the pair stores in half precision is a model again.
    assert!(eval(&pair.join("linear"))["accuracy"].as_f64().unwrap() > 0.8);
}

#[test]
fn a_killed_conversion_goes_on_with_both_models() {
    let World {
        train,
        valid,
        teacher,
    } = world();
    let best = teacher.join("best");
    let mut arguments = vec!["convert", "--task", "lm", "--guide", "trajectory"];
    arguments.extend([
        "--initial",
        text(&best),
        "--d-state",
        "8",
        "--save-every",
        "7",
    ]);
    arguments.extend([
        "--train",
        text(train),
        "--valid",
        text(valid),
        "--max-steps",
        "60",
    ]);
    arguments.extend([
        "--block-length",
        "32",
        "--batch-size",
        "8",
        "--device",
        "cpu",
    ]);
    let arguments = arguments.into_iter().map(String::from).collect();
    resume_equals_unbroken(arguments, Cut::Kill);
}

#[test]
fn bad_input_is_told_by_name() {
    let World {
        train,
        valid,
        teacher,
    } = world();
    let folder = tempfile::tempdir().unwrap();
    let best = teacher.join("best");
    let refused = |arguments: &[&str], words: &[&str]| {
        caldera(arguments.iter().copied().chain(["--device", "cpu"])).refused(words);
    };
    let model = text(&best);
    refused(
        &["generate", "--model", model, "--prompt", ""],
        &["prompt is empty"],
    );
    let long = folder.path().join("long.txt");
    fs::write(&long, "lake ".repeat(200)).unwrap();
    refused(
        &["generate", "--model", model, "--prompt-file", text(&long)],
        &["long.txt", "128"],
    );
    refused(
        &[
            "generate",
            "--model",
            model,
            "--prompt",
            "a",
            "--temperature",
            "0",
        ],
        &["temperature", "above 0"],
    );
    let classifier = crate::samples::classifier();
    refused(
        &["generate", "--model", text(&classifier), "--prompt", "a"],
        &["bert-tiny", "writes no text", "language model"],
    );
    // A tokenizer without a letter, and one that makes nothing of blanks.
    let lacking = copy_model(&best, &folder.path().join("lacking"));
    let mut tokenizer = read_json(&best.join("tokenizer.json"));
    let vocabulary = tokenizer["model"]["vocab"].as_object_mut().unwrap();
    assert!(vocabulary.remove("Q").is_some());
    fs::write(lacking.join("tokenizer.json"), tokenizer.to_string()).unwrap();
    refused(
        &["generate", "--model", text(&lacking), "--prompt", "A Queen"],
        &["--prompt", "tokenizer.json", "“Q”", "character 3"],
    );
    let words = json!({"version": "1.0", "added_tokens": [], "pre_tokenizer": {"type": "Whitespace"},
        "model": {"type": "WordLevel", "vocab": {"[UNK]": 0, "lake": 1}, "unk_token": "[UNK]"}});
    fs::write(lacking.join("tokenizer.json"), words.to_string()).unwrap();
    refused(
        &["generate", "--model", text(&lacking), "--prompt", "  "],
        &["--prompt", "at least one token", "tokenizer.json"],
    );
    // A tokenizer that can give tokens for which the tables have no rows.
    let foreign = copy_model(&best, &folder.path().join("foreign"));
    let tokenizer = fs::read_to_string(foreign.join("tokenizer.json")).unwrap();
    let vocabulary = "\"vocab\": {";
    assert!(tokenizer.contains(vocabulary));
    let larger = tokenizer.replacen(vocabulary, "\"vocab\": {\"surplus\": 999,", 1);
    fs::write(foreign.join("tokenizer.json"), larger).unwrap();
    refused(
        &["generate", "--model", text(&foreign), "--prompt", "a"],
        &["tokenizer.json", "vocab_size", "999"],
    );
    // Blocks beyond the position table, a missing file, bytes that are no text, the wrong mixer.
    let out = folder.path().join("out");
    let data = [
        "--train",
        text(train),
        "--valid",
        text(valid),
        "--out",
        text(&out),
    ];
    let with = |more: &[&str]| -> Vec<String> {
        let all = [
            "convert",
            "--task",
            "lm",
            "--guide",
            "unguided",
            "--initial",
            model,
        ];
        all.iter()
            .chain(&data)
            .chain(more)
            .map(|s| s.to_string())
            .collect()
    };
    let refused_all = |arguments: Vec<String>, words: &[&str]| {
        refused(
            &arguments.iter().map(String::as_str).collect::<Vec<_>>(),
            words,
        );
    };
    refused_all(with(&["--block-length", "512"]), &["block_length", "128"]);
    refused_all(with(&["--mixer", "linformer"]), &["mixer", "mamba"]);
    let more = text(&world().train);
    refused_all(
        with(&["--unlabelled", more]),
        &["data.unlabelled", "train.txt", "--train"],
    );
    let broken = folder.path().join("broken.txt");
    fs::write(&broken, b"fine\n\xff\xfe").unwrap();
    refused(
        &[
            "finetune",
            "--task",
            "lm",
            "--model",
            model,
            "--block-length",
            "32",
            "--train",
            text(&broken),
            "--out",
            text(&out),
        ],
        &["broken.txt, line 2", "UTF-8"],
    );
}
