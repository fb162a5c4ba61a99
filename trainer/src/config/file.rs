//! The TOML file of a run, laid over defaults.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};

use super::{RunConfig, Task};

/// What a TOML file says, and nothing else: the defaults hang on it.
#[derive(Clone, Debug, Default)]
pub struct Stated {
    path: PathBuf,
    given: toml::Table,
    read: RunConfig,
}

impl Stated {
    /// Reads a file. Unknown keys are errors.
    ///
    /// # Errors
    /// Names the file, and line and key where there is one.
    pub fn read(path: &Path) -> Result<Self> {
        let text = std::fs::read_to_string(path)
            .with_context(|| format!("{}: cannot read the run's configuration", path.display()))?;
        // Read as it stands first: its errors name line and column.
        let read = toml::from_str(&text).with_context(|| bad(path))?;
        let given = toml::from_str(&text).with_context(|| bad(path))?;
        let path = path.into();
        Ok(Self { path, given, read })
    }

    /// The task, where the file says one.
    pub fn task(&self) -> Option<Task> {
        self.given.get("task").map(|_| self.read.task)
    }

    /// The highest learning rate, where the file says one.
    pub fn learning_rate(&self) -> Option<f64> {
        let optimizer = self.given.get("optimizer")?;
        optimizer.get("learning_rate")?;
        Some(self.read.optimizer.learning_rate)
    }

    /// The folder or file that says what kind of model the run begins with.
    pub fn source(&self) -> Option<&Path> {
        self.read.source()
    }

    /// The defaults with the file's keys over them; its task does not count, as the defaults are of one.
    ///
    /// # Errors
    /// Names the file.
    pub fn over(&self, defaults: RunConfig) -> Result<RunConfig> {
        let mut given = self.given.clone();
        given.remove("task");
        let defaults = toml::Table::try_from(defaults)?;
        let whole = laid_over(defaults, given).try_into();
        whole.with_context(|| bad(&self.path))
    }
}

fn bad(path: &Path) -> String {
    format!("{}: not a valid run configuration", path.display())
}

/// The keys of `over` in place of those of `under`, table by table.
fn laid_over(mut under: toml::Table, over: toml::Table) -> toml::Table {
    for (key, value) in over {
        let value = match (under.remove(&key), value) {
            (Some(toml::Value::Table(under)), toml::Value::Table(over)) => {
                toml::Value::Table(laid_over(under, over))
            }
            (_, value) => value,
        };
        under.insert(key, value);
    }
    under
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Decay;

    #[test]
    fn a_file_goes_over_the_defaults_of_its_task() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        let read = |converting| {
            let stated = Stated::read(&path).unwrap();
            let task = stated.task().unwrap();
            stated
                .over(RunConfig::defaults(task, false, converting))
                .unwrap()
        };
        std::fs::write(&path, "task = \"lm\"\n[cald]\nd_state = 8\n").unwrap();
        let config = read(true);
        assert_eq!((config.cald.d_state, config.cald.alpha_layer), (8, 15.0));
        assert_eq!(config.optimizer.decay, Decay::Mixer);
        assert_eq!(read(false).optimizer.decay, Decay::Weights);
        // What a run writes is read back as it was, whatever the defaults are.
        std::fs::write(&path, config.to_toml().unwrap()).unwrap();
        assert_eq!(read(false), config);
    }

    #[test]
    fn what_a_file_does_not_say_it_does_not_say() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("run.toml");
        std::fs::write(&path, "model = \"m\"\n[optimizer]\nclip = 2.0\n").unwrap();
        let stated = Stated::read(&path).unwrap();
        assert_eq!((stated.task(), stated.learning_rate()), (None, None));
        assert_eq!(stated.source(), Some(Path::new("m")));
        std::fs::write(
            &path,
            "task = \"classify\"\n[optimizer]\nlearning_rate = 5e-5\n",
        )
        .unwrap();
        let stated = Stated::read(&path).unwrap();
        let said = (stated.task(), stated.learning_rate());
        assert_eq!(said, (Some(Task::Classify), Some(5e-5)));
    }
}
