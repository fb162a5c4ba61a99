//! Whether a run may have its folder, and what is cleared there before a new one.
//!
//! A run writes `best/` and `last/` anew while it goes on, so they must not be models that it reads. And what another run left
//! is not mixed with its own: checkpoints of both would guide a student as one training.

use std::io::ErrorKind;
use std::path::{Component, Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::state::State;
use crate::config::RunConfig;

/// What a run leaves beside its configuration and state.
const RESULTS: [&str; 4] = ["metrics.jsonl", "best", "last", "checkpoints"];

/// Checks that a run may write into `config.output`; `converting` counts the models of `[cald]` among those that it reads.
///
/// # Errors
/// The folder is, holds or lies within one of a model that the run reads. Or it holds another run, which is neither to be
/// resumed nor to be written over.
pub fn check_output(config: &RunConfig, converting: bool) -> Result<()> {
    let output = real(&config.output);
    for (key, source) in sources(config, converting) {
        let found = real(source);
        let how = match (found.starts_with(&output), output.starts_with(&found)) {
            (false, false) => continue,
            (true, true) => "is",
            (true, false) => "holds",
            (false, true) => "lies within",
        };
        bail!(
            "{}: the run folder {how} {} ({key}), which this run reads and might write over. Name another folder with --out or `output`",
            config.output.display(),
            source.display()
        );
    }
    let folder = &config.output;
    let state = State::new(folder).exists();
    if config.overwrite || (config.resume && state) {
        return Ok(());
    }
    if config.resume {
        // Whoever resumes whatever comes may have been stopped before the first state; a run that has ended is worth more.
        if folder.join("last").exists() {
            bail!(
                "{}: holds a run that has ended (last/) and no state to go on from. Write over it with --overwrite (`overwrite`), or name \
                 another folder with --out or `output`",
                folder.display()
            );
        }
        return Ok(());
    }
    let there = |name: &&str| folder.join(name).symlink_metadata().is_ok();
    let found = ["config.toml"].into_iter().chain(RESULTS).find(there);
    if let Some(found) = found.or(state.then_some("state")) {
        bail!(
            "{}: holds a run already ({found}). Go on with it with --resume, write over it with --overwrite (`overwrite`), or name another \
             folder with --out or `output`",
            folder.display()
        );
    }
    Ok(())
}

/// Removes what another run left in the folder; its configuration is replaced as a whole.
pub(super) fn clear(folder: &Path) -> Result<()> {
    for name in RESULTS.into_iter().chain(["report.html"]) {
        remove(&folder.join(name))?;
    }
    State::new(folder).clear()
}

/// Removes a file, a link, or a folder with all that is in it; nothing where there is none.
pub(super) fn remove(path: &Path) -> Result<()> {
    let removed = match path.symlink_metadata() {
        Ok(found) if found.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("{}: cannot be removed", path.display()))
        }
        _ => Ok(()),
    }
}

/// The model folders that a run reads, and their keys.
fn sources(config: &RunConfig, converting: bool) -> impl Iterator<Item = (&'static str, &Path)> {
    let cald = Some(&config.cald).filter(|_| converting);
    let teacher = cald.and_then(|cald| cald.teacher.as_ref());
    let waypoints = cald.into_iter().flat_map(|cald| &cald.waypoints);
    let models = config.model.iter().map(|path| ("model", path));
    models
        .chain(teacher.map(|path| ("cald.teacher", path)))
        .chain(waypoints.map(|path| ("cald.waypoints", path)))
        .map(|(key, path)| (key, path.as_path()))
}

/// The path without links and dots; what is not there yet is taken as it is written.
fn real(path: &Path) -> PathBuf {
    let mut found = std::env::current_dir().unwrap_or_default();
    for part in path.components() {
        match part {
            Component::CurDir => {}
            Component::ParentDir => {
                found.pop();
            }
            other => found.push(other),
        }
        if let Ok(whole) = found.canonicalize() {
            found = whole;
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(config: &RunConfig, converting: bool) -> String {
        let error = check_output(config, converting).unwrap_err();
        format!("{error:#}")
    }

    #[test]
    fn a_run_does_not_write_where_it_reads() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        std::fs::create_dir_all(path("runs/x/best")).unwrap();
        let mut config = RunConfig {
            output: path("runs/x"),
            overwrite: true,
            ..RunConfig::default()
        };
        config.cald.teacher = Some(path("runs/x/best"));
        let said = refused(&config, true);
        for word in ["runs/x/best", "cald.teacher", "holds", "--out"] {
            assert!(said.contains(word), "{said}");
        }
        // A fine-tuning does not read [cald]: one file may describe both.
        check_output(&config, false).unwrap();
        config.output = path("runs/x/best");
        assert!(refused(&config, true).contains("folder is"));
        config.output = path("runs/x/best/student");
        assert!(refused(&config, true).contains("lies within"));
        config.output = path("runs/y/../x");
        assert!(refused(&config, true).contains("holds"));
        config.output = path("runs/x-student");
        check_output(&config, true).unwrap();
        #[cfg(unix)]
        {
            std::os::unix::fs::symlink(path("runs/x"), path("link")).unwrap();
            config.output = path("link");
            assert!(refused(&config, true).contains("holds"));
        }

        config.cald.teacher = None;
        config.cald.waypoints = vec![path("elsewhere"), path("runs/x/checkpoints/step-3")];
        config.output = path("runs/x");
        assert!(refused(&config, true).contains("cald.waypoints"));
        config.cald.waypoints.clear();
        config.model = Some(path("runs/x/last"));
        config.resume = true;
        assert!(refused(&config, false).contains("(model)"));
    }

    #[test]
    fn a_folder_with_a_run_is_not_taken_without_leave() {
        for name in [
            "config.toml",
            "metrics.jsonl",
            "best/x",
            "last/x",
            "checkpoints/x",
            "state/progress.json",
            "state.old/progress.json",
        ] {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(&path, "").unwrap();
            let mut config = RunConfig {
                output: dir.path().into(),
                ..RunConfig::default()
            };
            let said = refused(&config, false);
            for word in ["--resume", "--overwrite", "--out"] {
                assert!(said.contains(word), "{name}: {said}");
            }
            config.resume = true;
            match name {
                "last/x" => assert!(refused(&config, false).contains("no state")),
                _ => check_output(&config, false).unwrap(),
            }
            config.resume = false;
            config.overwrite = true;
            check_output(&config, false).unwrap();
            clear(dir.path()).unwrap();
            assert!(!path.exists() || name == "config.toml", "{name}");
        }
        let empty = tempfile::tempdir().unwrap();
        std::fs::write(empty.path().join("notes.txt"), "").unwrap();
        let config = RunConfig {
            output: empty.path().into(),
            ..RunConfig::default()
        };
        check_output(&config, false).unwrap();
    }
}
