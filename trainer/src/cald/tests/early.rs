//! Early stopping, best checkpoints, evaluation, and messages for what cannot work.

use super::world::{Recorder, World, weights};
use crate::RunConfig;
use crate::cald::{EvalOptions, convert, evaluate, finetune, predict};
use crate::config::{BestMetric, DeviceChoice, Guide, MixerChoice};
use crate::device::select_device;
use crate::metrics::{SavedKind, StopReason};

fn refused(config: &RunConfig, word: &str) {
    let error = convert(config, &Default::default(), &mut Recorder::default()).unwrap_err();
    assert!(
        format!("{error:#}").contains(word),
        "expected {word:?} in: {error:#}"
    );
}

#[test]
fn patience_ends_a_run_and_best_is_kept() {
    let world = World::new();
    let mut config = world.config("finetune");
    config.train.epochs = 40.0;
    config.train.patience = Some(2);
    config.train.best_metric = BestMetric::Loss;
    config.optimizer.learning_rate = 2e-2;
    let mut recorder = Recorder::default();
    let summary = finetune(&config, &Default::default(), &mut recorder).unwrap();
    assert_eq!(summary.stopped, StopReason::EarlyStopping);
    let best = summary.best.unwrap();
    let lowest = recorder
        .evaluations
        .iter()
        .map(|e| e.score.loss)
        .fold(f64::MAX, f64::min);
    assert_eq!(best.score.loss, lowest);
    let last_best = recorder
        .saved
        .iter()
        .rev()
        .find(|saved| saved.kind == SavedKind::Best)
        .unwrap();
    assert_eq!(last_best.step, best.step);

    let options = EvalOptions {
        model: config.output.join("best"),
        teacher: Some(config.output.join("last")),
        data: config.data.clone(),
        batch_size: 5,
        device: DeviceChoice::Cpu,
    };
    let found = evaluate(&options, &mut Recorder::default()).unwrap();
    assert!((found.loss - best.score.loss).abs() < 1e-6 && found.examples == 16);
    assert!(found.agreement.unwrap() <= 1.0 && found.teacher_accuracy.is_some());
    let texts = vec![
        ("the film was good".to_string(), None),
        ("bad".to_string(), None),
    ];
    let answers = predict(&options, &texts).unwrap();
    assert_eq!(
        (answers[0].name.as_str(), answers[1].name.as_str()),
        ("yes", "no")
    );
    assert!((answers[0].probabilities.iter().sum::<f64>() - 1.0).abs() < 1e-9);
}

#[test]
fn guidance_brings_the_student_to_the_teacher() {
    let world = World::new();
    let mut config = world.config("finetune");
    config.train.dropout = false;
    config.train.epochs = 10.0;
    finetune(&config, &Default::default(), &mut Recorder::default()).unwrap();
    let mut config = world.config("target");
    config.train.dropout = false;
    config.train.epochs = 6.0;
    config.cald.teacher = Some(world.path("finetune/best"));
    config.cald.task_weight = 0.0;
    let mut recorder = Recorder::default();
    convert(&config, &Default::default(), &mut recorder).unwrap();
    let layer = |i: usize| recorder.steps[i].layer_loss.unwrap();
    assert!(
        layer(recorder.steps.len() - 1) < 0.5 * layer(0),
        "{} {}",
        layer(0),
        layer(recorder.steps.len() - 1)
    );
    assert_ne!(
        weights(&world.path("target/last")),
        weights(&world.path("finetune/best"))
    );
}

/// On whatever adapter there is: clipping, AdamW and the losses take the same way as on the CPU.
#[test]
fn a_short_run_on_wgpu_agrees_with_the_cpu() {
    if let Err(reason) = select_device(DeviceChoice::Gpu) {
        eprintln!("left out: {reason}");
        return;
    }
    let world = World::new();
    let run = |device: DeviceChoice| {
        let mut config = world.config(&format!("{device:?}"));
        config.device = device;
        config.train.dropout = false;
        config.train.max_steps = Some(5);
        config.train.pad_to_multiple = 4;
        config.optimizer.clip = 0.5;
        config.cald.guide = Guide::Trajectory;
        config.cald.alpha_logits = 0.5;
        let mut recorder = Recorder::default();
        convert(&config, &Default::default(), &mut recorder).unwrap();
        recorder
    };
    let (cpu, gpu) = (run(DeviceChoice::Cpu), run(DeviceChoice::Gpu));
    for (cpu, gpu) in cpu.steps.iter().zip(&gpu.steps) {
        for (a, b) in [
            (cpu.loss, gpu.loss),
            (cpu.gradient_norm, gpu.gradient_norm),
            (cpu.teacher_loss, gpu.teacher_loss),
        ] {
            let (a, b) = (a.unwrap(), b.unwrap());
            assert!(
                (a - b).abs() < 1e-3 * a.abs().max(1.0),
                "step {}: {a} on the CPU, {b} on wgpu",
                cpu.step
            );
        }
    }
    assert!((cpu.evaluations[0].score.loss - gpu.evaluations[0].score.loss).abs() < 1e-2);
}

#[test]
fn what_cannot_work_says_why() {
    let world = World::new();
    let mut config = world.config("bad");
    config.cald.guide = Guide::Target;
    refused(&config, "--teacher");
    config.cald.teacher = Some(world.path("model"));
    refused(&config, "classification head");
    config.cald.guide = Guide::Waypoint;
    refused(&config, "--waypoints");
    std::fs::create_dir(world.path("none")).unwrap();
    config.cald.waypoints = vec![world.path("none")];
    refused(&config, "step-N");
    config.cald.waypoints.clear();
    config.cald.guide = Guide::Unguided;
    config.data.max_length = Some(999);
    refused(&config, "max_length");
    config.data.max_length = None;
    config.data.train = Vec::new();
    refused(&config, "data.train");
    config.data.train = vec![world.path("none.jsonl")];
    refused(&config, "none.jsonl");
    std::fs::write(world.path("empty.jsonl"), "").unwrap();
    config.data.train = vec![world.path("empty.jsonl")];
    refused(&config, "empty.jsonl");
    config.data.train = vec![world.path("train.jsonl")];
    config.data.labels = vec!["a".into(), "b".into()];
    refused(&config, "train.jsonl, line 1");
    config.data.labels.clear();
    config.cald.mixer = MixerChoice::BiMamba2;
    refused(&config, "expected linformer for the model in");
    refused(&config, "model_type is bert, found bimamba2");
    config.cald.mixer = MixerChoice::Mamba;
    refused(&config, "for task classify, found mamba");
    config.cald.mixer = MixerChoice::Linformer;
    config.model = None;
    refused(&config, "--model");
    config.model = Some(world.path("nowhere"));
    refused(&config, "nowhere");
    assert!(
        !world.path("bad").exists(),
        "nothing is written before all is known to be good"
    );
}
