//! A run that was stopped and resumed ends with the same bytes as one that was not.

use super::world::{Recorder, World, weights};
use crate::cald::{convert, finetune};
use crate::config::{Guide, RunConfig};
use crate::metrics::{MetricsLine, RunSummary, StopReason, read_metrics};

pub(super) fn go(config: &RunConfig, stop_after: Option<u64>) -> (RunSummary, Recorder) {
    let mut recorder = Recorder {
        stop_after,
        ..Recorder::default()
    };
    let stop = &recorder.stop.0;
    let run = if config.output.ends_with("finetune") || config.output.ends_with("finetune-broken") {
        finetune
    } else {
        convert
    };
    let summary = run(config, stop, &mut recorder).unwrap();
    (summary, recorder)
}

/// Runs `name` unbroken, and broken after each of `stops`; compares weights, optimizer state and metrics.
fn same_after(world: &World, name: &str, stops: &[u64], change: impl Fn(&mut RunConfig)) {
    let config = |name: &str| {
        let mut config = world.config(name);
        change(&mut config);
        config
    };
    same_when_broken(config, name, stops);
}

/// The same for whatever configuration `config` gives for a run's name.
pub(super) fn same_when_broken(config: impl Fn(&str) -> RunConfig, name: &str, stops: &[u64]) {
    let whole = config(name);
    let (summary, recorder) = go(&whole, None);
    assert_eq!(summary.stopped, StopReason::Finished);
    let first = recorder.steps.first().unwrap().loss.unwrap();
    assert!(first.is_finite() && first > 0.0);

    let mut broken = config(&format!("{name}-broken"));
    for stop in stops {
        let (summary, _) = go(&broken, Some(*stop));
        assert_eq!(
            (summary.stopped, summary.steps),
            (StopReason::Interrupted, *stop)
        );
        broken.resume = true;
    }
    let (resumed, _) = go(&broken, None);
    assert_eq!(resumed.stopped, StopReason::Finished);
    for file in [
        "last/model.safetensors",
        "best/model.safetensors",
        "state/student_optimizer.safetensors",
    ] {
        let read = |config: &RunConfig| std::fs::read(config.output.join(file)).unwrap();
        assert!(read(&whole) == read(&broken), "{name}: {file} differs");
    }
    if whole.cald.guide == Guide::Trajectory {
        assert!(
            weights(&whole.output.join("state/teacher"))
                == weights(&broken.output.join("state/teacher")),
            "{name}: teacher differs"
        );
    }
    let losses = |config: &RunConfig| -> Vec<(u64, Option<f64>)> {
        let lines = read_metrics(&config.output.join("metrics.jsonl")).unwrap();
        lines
            .into_iter()
            .filter_map(|line| match line {
                MetricsLine::Step(step) => Some((step.step, step.loss)),
                _ => None,
            })
            .collect()
    };
    assert_eq!(losses(&whole), losses(&broken), "{name}");
    assert_eq!(
        summary.best.map(|b| (b.step, b.score.accuracy)),
        resumed.best.map(|b| (b.step, b.score.accuracy))
    );

    // A finished run that is resumed changes nothing.
    let before = weights(&broken.output.join("last"));
    assert_eq!(go(&broken, None).0.steps, resumed.steps);
    assert!(before == weights(&broken.output.join("last")));
}

#[test]
fn finetune_resumes_exactly() {
    same_after(&World::new(), "finetune", &[4, 9], |config| {
        config.train.accumulation = 2;
        config.train.epochs = 4.0;
    });
}

#[test]
fn every_guide_resumes_exactly() {
    let world = World::new();
    let mut teacher = world.config("finetune");
    teacher.train.checkpoints = 3;
    teacher.train.epochs = 10.0;
    let (_, recorder) = go(&teacher, None);
    assert!(
        recorder.evaluations.last().unwrap().score.accuracy > 0.8,
        "{:?}",
        recorder.evaluations
    );
    let kept = std::fs::read_dir(world.path("finetune/checkpoints"))
        .unwrap()
        .count();
    assert_eq!(kept, 3);
    let best = world.path("finetune/best");
    same_after(&world, "target", &[3], |config| {
        config.cald.guide = Guide::Target;
        config.cald.teacher = Some(best.clone());
        config.cald.alpha_logits = 0.5;
    });
    same_after(&world, "trajectory", &[1, 7], |config| {
        config.cald.guide = Guide::Trajectory;
        config.cald.teacher_every = 2;
        config.cald.teacher_learning_rate = Some(1e-3);
    });
    same_after(&world, "waypoint", &[7], |config| {
        config.cald.guide = Guide::Waypoint;
        config.cald.waypoints = vec![world.path("finetune/checkpoints")];
    });
    for guide in [Guide::Target, Guide::Trajectory] {
        same_after(&world, &format!("hybrid-{guide:?}"), &[5, 8], |config| {
            config.cald.guide = Guide::Hybrid;
            config.cald.hybrid_guide = guide;
            config.cald.teacher = Some(best.clone());
        });
    }
    same_after(&world, "unguided", &[2], |config| {
        config.cald.guide = Guide::Unguided;
        config.data.unlabelled = vec![world.path("valid.csv")];
    });
}

#[test]
fn another_configuration_is_refused_and_a_torn_swap_is_survived() {
    let world = World::new();
    let mut config = world.config("finetune");
    go(&config, Some(3));
    config.resume = true;
    config.optimizer.learning_rate = 1e-3;
    let error = finetune(&config, &Default::default(), &mut Recorder::default()).unwrap_err();
    assert!(
        format!("{error:#}").contains("optimizer.learning_rate"),
        "{error:#}"
    );
    config.optimizer.learning_rate = world.config("").optimizer.learning_rate;
    // Killed between the two renames of a save.
    std::fs::rename(config.output.join("state"), config.output.join("state.old")).unwrap();
    std::fs::create_dir(config.output.join("state.new")).unwrap();
    assert_eq!(go(&config, None).1.steps.first().unwrap().step, 4);
    // A damaged file is named.
    std::fs::write(
        config.output.join("state/student_optimizer.safetensors"),
        b"no",
    )
    .unwrap();
    let error = finetune(&config, &Default::default(), &mut Recorder::default()).unwrap_err();
    assert!(
        format!("{error:#}").contains("student_optimizer.safetensors"),
        "{error:#}"
    );
}
