//! What the flags of a run come to.

use super::*;
use crate::config::{Guide, MixerChoice};
use clap::Parser;

#[derive(Parser)]
struct Line {
    #[command(flatten)]
    run: RunFlags,
    #[command(flatten)]
    cald: CaldFlags,
}

fn parse(words: &str) -> Line {
    Line::try_parse_from(std::iter::once("x").chain(words.split_whitespace())).unwrap()
}

#[test]
fn flags_go_over_the_file_and_the_file_over_defaults() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    std::fs::write(
        &file,
        "seed = 4\n[train]\nmax_steps = 9\nbatch_size = 5\n[cald]\nk = 32\nguide = \"hybrid\"\n",
    )
    .unwrap();
    let line = parse(&format!(
        "--config {} --epochs 2 --k 16 --schedule cosine-clipped --warmup 7",
        file.display()
    ));
    let mut config = line.run.resolve(None, true).unwrap();
    line.cald.apply(&mut config);
    assert_eq!(
        (config.seed, config.train.batch_size, config.cald.k),
        (4, 5, 16)
    );
    assert_eq!((config.train.max_steps, config.train.epochs), (None, 2.0));
    assert_eq!(
        (config.cald.guide, config.optimizer.schedule),
        (Guide::Hybrid, ScheduleKind::CosineClipped)
    );
    assert_eq!(
        (config.optimizer.warmup_steps, config.train.eval_batch_size),
        (Some(7), None)
    );
}

#[test]
fn an_unknown_key_is_an_error_that_names_key_and_file() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    std::fs::write(&file, "[train]\nepoch = 2\n").unwrap();
    let error = format!(
        "{:#}",
        parse(&format!("--config {}", file.display()))
            .run
            .resolve(None, true)
            .unwrap_err()
    );
    assert!(
        error.contains("epoch") && error.contains("run.toml"),
        "{error}"
    );
}

#[test]
fn a_rate_below_the_usual_minimum_is_no_contradiction() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("run.toml");
    let minimum = |toml: &str, words: &str| {
        std::fs::write(&file, toml).unwrap();
        let line = parse(&format!("--config {} {words}", file.display()));
        let config = line.run.resolve(None, true).unwrap();
        config.validate().unwrap();
        config.optimizer.minimum_learning_rate
    };
    let close = |a: f64, b: f64| assert!((a - b).abs() < 1e-9 * b, "{a} {b}");
    close(minimum("", "--task lm --lr 1e-5"), 1e-6);
    close(minimum("task = \"ctc\"", "--lr 1e-6"), 1e-8);
    let low = "task = \"lm\"\n[optimizer]\nlearning_rate = 1e-5\n";
    close(minimum(low, ""), 1e-6);
    close(minimum(low, "--lr 2e-5"), 2e-6);
    close(minimum(low, "--min-lr 3e-6"), 3e-6);
    close(
        minimum(&format!("{low}minimum_learning_rate = 4e-6"), "--lr 2e-5"),
        4e-6,
    );
}

#[test]
fn a_task_that_nobody_names_is_that_of_the_model() {
    let folder = tempfile::tempdir().unwrap();
    let source = folder.path().join("config.json");
    let task = |json: &str, words: &str| {
        std::fs::write(&source, json).unwrap();
        // A folder and its config.json say the same.
        let [one, two] = [folder.path(), &source].map(|source| {
            let config = parse(words).run.resolve(Some(source), true).unwrap();
            (config.task, config.cald.mixer)
        });
        assert_eq!(one, two);
        one
    };
    let of = |kind: &str, class: &str| {
        format!("{{\"model_type\": \"{kind}\", \"architectures\": [\"{class}\"]}}")
    };
    let neox = of("gpt_neox", "GPTNeoXForCausalLM");
    let ctc = of("wav2vec2", "Wav2Vec2ForCTC");
    assert_eq!(task(&neox, ""), (Task::Lm, MixerChoice::Mamba));
    assert_eq!(task(&ctc, ""), (Task::Ctc, MixerChoice::BiMamba2));
    assert_eq!(
        task(&ctc, "--task classify"),
        (Task::Classify, MixerChoice::BiMamba2)
    );
    let bare = of("wav2vec2", "Wav2Vec2Model");
    assert_eq!(task(&bare, ""), (Task::Classify, MixerChoice::BiMamba2));
    assert_eq!(
        task(&bare, "--task ctc"),
        (Task::Ctc, MixerChoice::BiMamba2)
    );
    let bert = of("bert", "BertModel");
    assert_eq!(task(&bert, ""), (Task::Classify, MixerChoice::Linformer));
    assert_eq!(task("{", ""), (Task::Classify, MixerChoice::Linformer));
    // What a file says goes before what a model is.
    let file = folder.path().join("run.toml");
    std::fs::write(&file, "task = \"classify\"\n").unwrap();
    let words = format!("--config {}", file.display());
    assert_eq!(task(&ctc, &words).0, Task::Classify);
}

#[test]
fn help_tells_the_defaults() {
    let command = <Line as clap::CommandFactory>::command();
    let help = |flag: &str| {
        let named = command.get_arguments().find(|a| a.get_long() == Some(flag));
        named.and_then(|a| a.get_help()).unwrap().to_string()
    };
    let [classify, lm, ctc] =
        [Task::Classify, Task::Lm, Task::Ctc].map(|task| RunConfig::defaults(task, false, true));
    let (c, l, s) = (&classify.optimizer, &lm.optimizer, &ctc.optimizer);
    let dashed = |kind| spelled(kind).replace('_', "-");
    assert_eq!(l.learning_rate, s.learning_rate);
    let rates = format!(
        "[default: {:e}; {:e} for lm and speech]",
        c.learning_rate, l.learning_rate
    );
    assert!(help("lr").contains(&rates));
    let kinds = [c, l, s].map(|optimizer| dashed(optimizer.schedule));
    let kinds = format!(
        "[default: {}; {} for lm, {} for speech]",
        kinds[0], kinds[1], kinds[2]
    );
    assert!(help("schedule").contains(&kinds));
    for (flag, values, whose) in [
        ("warmup", [c, l, s].map(|o| o.warmup_ratio), "lm"),
        ("weight-decay", [c, l, s].map(|o| o.weight_decay), "lm"),
        (
            "alpha-layer",
            [&classify, &lm, &ctc].map(|r| r.cald.alpha_layer),
            "lm and speech",
        ),
        (
            "alpha-logits",
            [&classify, &lm, &ctc].map(|r| r.cald.alpha_logits),
            "ctc",
        ),
    ] {
        let [usual, lm, ctc] = values;
        let other = if whose == "ctc" { ctc } else { lm };
        assert_eq!(
            [lm == other, ctc == other],
            [whose != "ctc", whose != "lm"],
            "{flag}"
        );
        let words = format!("[default: {usual}; {other} for {whose}]");
        assert!(help(flag).contains(&words), "{flag}: {}", help(flag));
    }
    let losses = [&classify, &lm].map(|run| spelled(run.cald.layer_loss).replace('_', "-"));
    let losses = format!("[default: {}; {} for lm and speech]", losses[0], losses[1]);
    assert!(help("layer-loss").contains(&losses));
}

#[test]
fn a_bad_choice_lists_the_good_ones() {
    let error = Line::try_parse_from(["x", "--guide", "nobody"])
        .err()
        .unwrap()
        .to_string();
    for name in ["unguided", "target", "trajectory", "waypoint", "hybrid"] {
        assert!(error.contains(name), "{error}");
    }
    assert!(Line::try_parse_from(["x", "--warmup", "1.5"]).is_err());
    assert_eq!(parse("--warmup 0.25").run.warmup, Some(WarmUp::Share(0.25)));
}
