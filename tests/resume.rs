//! A run that was killed or interrupted goes on to the same weights as one that was not.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use crate::{
    program::{caldera, command, text},
    samples::{Shared, encoder, parse, shared},
};

/// How a run is cut off.
#[derive(Clone, Copy)]
pub enum Cut {
    /// As the power failing: no chance to save.
    Kill,
    /// Ctrl-C, which saves.
    Interrupt,
    /// SIGTERM, as a scheduler or a shutdown sends it; saves too.
    Terminate,
}

/// Arguments of a run without `--out`; enough steps to be caught half way.
fn finetune() -> Vec<String> {
    let Shared { train, valid, .. } = shared();
    let encoder = encoder();
    let words = [
        "finetune",
        "--model",
        text(&encoder),
        "--train",
        text(train),
        "--valid",
        text(valid),
        "--lr",
        "1e-3",
    ];
    words.into_iter().chain(COMMON).map(String::from).collect()
}

/// Two models and two optimizers.
fn trajectory() -> Vec<String> {
    let Shared { train, valid, .. } = shared();
    let encoder = encoder();
    let words = [
        "convert",
        "--guide",
        "trajectory",
        "--initial",
        text(&encoder),
        "--k",
        "8",
        "--teacher-every",
        "2",
        "--train",
        text(train),
        "--valid",
        text(valid),
        "--lr",
        "1e-3",
    ];
    words.into_iter().chain(COMMON).map(String::from).collect()
}

/// A guide that leaves half way.
fn hybrid() -> Vec<String> {
    let Shared {
        train,
        valid,
        teacher,
    } = shared();
    let best = teacher.join("best");
    let words = [
        "convert",
        "--guide",
        "hybrid",
        "--teacher",
        text(&best),
        "--hybrid-steps",
        "33",
        "--k",
        "8",
        "--schedule",
        "cosine",
        "--train",
        text(train),
        "--valid",
        text(valid),
        "--lr",
        "1e-3",
    ];
    words.into_iter().chain(COMMON).map(String::from).collect()
}

const COMMON: [&str; 14] = [
    "--max-steps",
    "90",
    "--batch-size",
    "8",
    "--accumulation",
    "2",
    "--eval-every",
    "20",
    "--save-every",
    "7",
    "--seed",
    "11",
    "--device",
    "cpu",
];

fn with_out(mut arguments: Vec<String>, out: &Path) -> Vec<String> {
    arguments.extend(["--out".into(), text(out).into()]);
    arguments
}

/// Every file below a folder, with its content.
fn contents(folder: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = fs::read_dir(folder)
        .unwrap()
        .flatten()
        .map(|entry| entry.path())
        .collect();
    files.sort();
    files
        .iter()
        .map(|path| (path.file_name().unwrap().into(), fs::read(path).unwrap()))
        .collect()
}

/// Starts a run, cuts it off once it has saved a state and made some steps more, and tells whether it was still running.
fn cut_off(arguments: &[String], run: &Path, cut: Cut) -> bool {
    let mut child = command(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    let start = Instant::now();
    while !run.join("state").is_dir() && child.try_wait().unwrap().is_none() {
        assert!(
            start.elapsed() < Duration::from_secs(120),
            "no state was saved in two minutes"
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    std::thread::sleep(Duration::from_millis(20));
    match cut {
        Cut::Kill => {
            let running = child.try_wait().unwrap().is_none();
            child.kill().unwrap();
            child.wait().unwrap();
            running
        }
        Cut::Interrupt | Cut::Terminate => {
            let signal = match cut {
                Cut::Terminate => "-TERM",
                _ => "-INT",
            };
            send(signal, &child);
            child.wait().unwrap().code() == Some(130)
        }
    }
}

/// The standard library sends no signal but SIGKILL.
fn send(signal: &str, child: &Child) {
    Command::new("kill")
        .args([signal, &child.id().to_string()])
        .status()
        .unwrap();
}

/// Runs to the end, and again with a cut and `--resume`: `last/` and `best/` are the same.
pub fn resume_equals_unbroken(arguments: Vec<String>, cut: Cut) {
    let folder = tempfile::tempdir().unwrap();
    let (whole, broken) = (folder.path().join("whole"), folder.path().join("broken"));
    caldera(with_out(arguments.clone(), &whole)).succeeded();
    let mut arguments = with_out(arguments, &broken);
    // On a busy machine this thread may sleep through the rest of the run: then once more.
    let caught = (0..3).any(|_| {
        let _ = fs::remove_dir_all(&broken);
        cut_off(&arguments, &broken, cut)
    });
    assert!(
        caught,
        "the run ended before it could be cut off: give it more steps"
    );
    arguments.push("--resume".into());
    let resumed = caldera(&arguments);
    assert!(
        resumed.stderr.contains("going on after step"),
        "it began anew\n{resumed}"
    );
    resumed.succeeded();
    for model in ["last", "best"] {
        // By name: a kill in the middle of a write leaves a temporary file beside them.
        for (name, want) in contents(&whole.join(model)) {
            let got = fs::read(broken.join(model).join(&name)).unwrap();
            assert!(
                want == got,
                "{model}/{} differs between the unbroken and the resumed run",
                name.display()
            );
        }
    }
}

#[test]
#[cfg(unix)]
fn an_interrupted_fine_tuning_goes_on() {
    resume_equals_unbroken(finetune(), Cut::Interrupt);
}

#[test]
#[cfg(unix)]
fn a_terminated_fine_tuning_goes_on() {
    resume_equals_unbroken(finetune(), Cut::Terminate);
}

/// As `nohup` starts it.
#[test]
#[cfg(unix)]
fn a_run_that_outlives_its_terminal_is_not_stopped_with_it() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let caldera = command(with_out(finetune(), &run));
    let mut child = Command::new("sh")
        .args(["-c", "trap '' HUP; exec \"$@\"", "sh"])
        .arg(caldera.get_program())
        .args(caldera.get_args())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    while !run.join("metrics.jsonl").is_file() {
        assert!(child.try_wait().unwrap().is_none(), "it did not begin");
        std::thread::sleep(Duration::from_millis(2));
    }
    send("-HUP", &child);
    assert_eq!(child.wait().unwrap().code(), Some(0));
}

/// Without validation data and `--save-every`, every epoch's end saves.
#[test]
fn a_run_without_validation_saves_at_every_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let (run, encoder) = (folder.path().join("run"), encoder());
    let words = ["finetune", "--model", text(&encoder), "--epochs", "3"];
    let data = ["--train", text(&shared().train), "--device", "cpu"];
    caldera(
        words
            .into_iter()
            .chain(data)
            .chain(["--out", text(&run), "--batch-size", "32"]),
    )
    .succeeded();
    let metrics = fs::read_to_string(run.join("metrics.jsonl")).unwrap();
    let saved: Vec<u64> = metrics
        .lines()
        .map(parse)
        .filter(|line| line["event"] == "saved" && line["kind"] == "state")
        .map(|line| line["step"].as_u64().unwrap())
        .collect();
    // 96 examples are three steps an epoch.
    assert_eq!(saved, [3, 6, 9]);
}

#[test]
fn a_killed_fine_tuning_goes_on() {
    resume_equals_unbroken(finetune(), Cut::Kill);
}

#[test]
fn a_killed_trajectory_goes_on_with_both_models() {
    resume_equals_unbroken(trajectory(), Cut::Kill);
}

#[test]
fn a_killed_hybrid_goes_on() {
    resume_equals_unbroken(hybrid(), Cut::Kill);
}

#[test]
fn a_damaged_state_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let run = folder.path().join("run");
    let mut arguments = with_out(finetune(), &run);
    assert!(cut_off(&arguments, &run, Cut::Kill));
    let state = find_safetensors(&run.join("state"));
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    arguments.push("--resume".into());
    caldera(&arguments).refused(&[state.file_name().unwrap().to_str().unwrap()]);
}

fn find_safetensors(folder: &Path) -> PathBuf {
    let mut folders = vec![folder.to_path_buf()];
    while let Some(folder) = folders.pop() {
        let mut entries: Vec<PathBuf> = fs::read_dir(&folder)
            .unwrap()
            .flatten()
            .map(|entry| entry.path())
            .collect();
        entries.sort();
        for path in entries {
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|kind| kind == "safetensors") {
                return path;
            }
        }
    }
    panic!("no safetensors file in {}", folder.display());
}
