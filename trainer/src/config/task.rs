//! Whether a run's models can do its task.

use std::path::Path;

use anyhow::{Result, bail};

use super::{RunConfig, Task};
use crate::model::{ModelKind, kind_at};

impl RunConfig {
    /// Whether every model that the run names can do its task. A folder that cannot be read is told of when it is needed.
    ///
    /// # Errors
    /// Names the model and the task to ask for.
    pub fn check_task(&self) -> Result<()> {
        let named = [&self.architecture, &self.model, &self.cald.teacher];
        let mut named = named.into_iter().flatten().chain(&self.cald.waypoints);
        named.try_for_each(|path| fits(path, self.task))
    }
}

fn fits(source: &Path, task: Task) -> Result<()> {
    let model = source.display();
    match (kind_at(source), task) {
        (Some(ModelKind::Language), Task::Classify | Task::Ctc) => {
            bail!("{model}: this is a language model: --task lm")
        }
        (Some(ModelKind::Text), Task::Lm | Task::Ctc) => {
            bail!("{model}: this is an encoder of texts: --task classify")
        }
        (Some(ModelKind::Speech), Task::Lm) => bail!(
            "{model}: this is a speech model: --task ctc for what is said, or --task classify for labels"
        ),
        _ => Ok(()),
    }
}
