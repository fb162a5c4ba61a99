//! Texts without labels: what they are good for, and where they are left out.

use std::path::{Path, PathBuf};

use burn::tensor::Device;
use caldera_models::{ForwardOptions, TextModel};

use super::resume::{go, same_when_broken};
use super::world::{Recorder, World};
use crate::batches::{Batch, Encoded, Encoder};
use crate::cald::convert;
use crate::config::{Guide, RunConfig, StudentFrom};
use crate::data::Example;
use crate::losses::layer_distance;

/// A world with a teacher that knows its task, and the teacher's folder.
fn taught() -> (World, PathBuf) {
    let world = World::new();
    let mut config = world.config("finetune");
    config.train.dropout = false;
    config.train.epochs = 10.0;
    go(&config, None);
    let best = world.path("finetune/best");
    (world, best)
}

/// A conversion on text without labels alone, from the teacher.
fn unlabelled(world: &World, teacher: &Path, output: &str) -> RunConfig {
    let mut config = world.config(output);
    config.train.dropout = false;
    config.cald.teacher = Some(teacher.into());
    config.data.unlabelled = std::mem::take(&mut config.data.train);
    config
}

/// The sum over embeddings and layers of the mean square difference between two models, on texts that no run was given.
fn apart(student: &Path, teacher: &Path) -> f64 {
    let device = Device::flex();
    let texts = [
        "the good film it was",
        "bad a very the",
        "it was it was a good",
        "film",
    ];
    let example = |text: &&str| Example {
        text: text.to_string(),
        pair: None,
        label: None,
    };
    let examples: Vec<Example> = texts.iter().map(example).collect();
    let states = |folder: &Path| {
        let model = TextModel::load(folder, &device).unwrap();
        let encoder = Encoder::load(folder, &model.config, None).unwrap();
        let encoded = encoder.encode(&examples).unwrap();
        let rows: Vec<&Encoded> = encoded.iter().collect();
        let batch = Batch::new(&rows, encoder.pad_token_id(), 1, &device);
        let options = ForwardOptions {
            hidden_states: true,
            dropout: false,
        };
        let states = model.forward(&batch.input, &options).hidden_states;
        (states, batch.input.lengths)
    };
    let ((one, lengths), (other, _)) = (states(student), states(teacher));
    let each = one.into_iter().zip(other).map(|(one, other)| {
        let distance = layer_distance(one, other, false, Some(&lengths));
        f64::from(distance.value.into_scalar::<f32>())
    });
    each.sum()
}

#[test]
fn text_without_labels_brings_the_student_nearer_on_text_of_neither() {
    let (world, teacher) = taught();
    // As it starts: a rate of 0 changes nothing.
    let mut start = unlabelled(&world, &teacher, "start");
    start.optimizer.learning_rate = 0.0;
    start.train.max_steps = Some(1);
    go(&start, None);
    let mut alone = unlabelled(&world, &teacher, "alone");
    alone.train.epochs = 24.0;
    let (_, recorder) = go(&alone, None);
    assert!(recorder.steps.iter().all(|step| step.task_loss.is_none()));
    let from = |run: &str| apart(&world.path(run).join("last"), &teacher);
    let (before, after) = (from("start"), from("alone"));
    assert!(after < 0.75 * before, "{before} {after}");

    // Beside a few labelled texts, over as many epochs, they make the difference.
    let mut few = world.config("few");
    few.train.dropout = false;
    few.cald.teacher = Some(teacher.clone());
    few.data.train_limit = Some(2);
    few.train.epochs = 8.0;
    go(&few, None);
    few.output = world.path("few-and-more");
    few.data.unlabelled = vec![world.path("train.jsonl")];
    let (_, recorder) = go(&few, None);
    assert!(recorder.steps.iter().any(|step| step.task_loss.is_some()));
    let (without, with) = (from("few"), from("few-and-more"));
    assert!(with < 0.9 * without, "{with} with, {without} without");
}

#[test]
fn the_second_part_of_a_hybrid_run_has_labels_only() {
    let (world, teacher) = taught();
    let hybrid = |name: &str| {
        let mut config = world.config(name);
        config.train.dropout = false;
        config.train.max_steps = Some(14);
        config.cald.guide = Guide::Hybrid;
        config.cald.hybrid_steps = Some(7);
        config.cald.teacher = Some(teacher.clone());
        config.data.train_limit = Some(10);
        config.data.unlabelled = vec![world.path("train.jsonl")];
        config
    };
    let (_, recorder) = go(&hybrid("parts"), None);
    let examples: Vec<usize> = recorder.steps[7..].iter().map(|s| s.examples).collect();
    // Ten labelled texts are a batch of eight and one of two.
    let mut epoch = examples[..2].to_vec();
    epoch.sort_unstable();
    assert_eq!(epoch, [2, 8], "{examples:?}");
    assert!(
        recorder.steps[7..]
            .iter()
            .all(|step| step.task_loss.is_some())
    );
    same_when_broken(hybrid, "hybrid", &[5, 9]);
}

#[test]
fn where_nobody_guides_they_are_left_out_and_that_is_said() {
    let world = World::new();
    let mut config = world.config("unguided");
    config.cald.guide = Guide::Unguided;
    config.train.max_steps = Some(2);
    config.data.unlabelled = vec![world.path("valid.csv")];
    let mut recorder = Recorder::default();
    convert(&config, &Default::default(), &mut recorder).unwrap();
    let said = |word: &str| {
        recorder
            .messages
            .iter()
            .filter(|m| m.contains(word))
            .count()
    };
    assert_eq!(said("data.unlabelled is not used under guide unguided"), 1);
    let first = std::fs::read_to_string(world.path("unguided/metrics.jsonl")).unwrap();
    let first = first.lines().next().unwrap();
    assert!(first.contains("\"unlabelled_examples\":0"), "{first}");
}

#[test]
fn a_conversion_without_labels_says_what_it_lacks() {
    let (world, teacher) = taught();
    let refused = |config: &RunConfig, word: &str| {
        let error = convert(config, &Default::default(), &mut Recorder::default()).unwrap_err();
        assert!(format!("{error:#}").contains(word), "{error:#}");
    };
    let mut config = unlabelled(&world, &teacher, "bad");
    for guide in [Guide::Trajectory, Guide::Hybrid] {
        config.cald.guide = guide;
        refused(&config, "no labelled data");
    }
    config.cald.guide = Guide::Unguided;
    refused(&config, "no training data");
    config.cald.guide = Guide::Target;
    config.cald.alpha_layer = 0.0;
    refused(&config, "no training data");
    config.cald.alpha_layer = 1.0;
    // A bare encoder has no answers of its own.
    config.cald.student_from = Some(StudentFrom::Initial);
    refused(&config, "--student-from teacher");
    assert!(!config.output.exists());
}
