//! Where the checkout, the build folder and the pinned versions are.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::process;

/// The checkout and the folder that cargo builds into.
pub struct Workspace {
    /// Root of the checkout.
    pub root: PathBuf,
    /// Cargo's target folder: CARGO_TARGET_DIR, configuration files, or `target`.
    pub target: PathBuf,
}

impl Workspace {
    /// Asks cargo, so that CARGO_TARGET_DIR and configuration files count.
    pub fn find() -> Result<Self> {
        // At run time first: a build folder shared by two checkouts may hold the other one's binary.
        let manifest = std::env::var_os("CARGO_MANIFEST_DIR")
            .map_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")), PathBuf::from);
        let root = manifest
            .parent()
            .context("xtask lies in the root of a workspace")?
            .to_path_buf();
        let mut cargo = process::cargo(&root);
        cargo.args(["metadata", "--no-deps", "--format-version", "1"]);
        let metadata = process::stdout(&mut cargo)?;
        let metadata: serde_json::Value =
            serde_json::from_str(&metadata).context("`cargo metadata` gave no JSON")?;
        let target = metadata["target_directory"]
            .as_str()
            .context("`cargo metadata` names no target_directory")?;
        Ok(Self {
            root,
            target: target.into(),
        })
    }

    /// The `caldera` program of the release profile.
    pub fn caldera(&self) -> PathBuf {
        self.target
            .join("release")
            .join(format!("caldera{}", std::env::consts::EXE_SUFFIX))
    }

    /// Version of a package in Cargo.lock; an error where it is absent or stands there twice.
    pub fn locked_version(&self, package: &str) -> Result<String> {
        let path = self.root.join("Cargo.lock");
        let lock = std::fs::read_to_string(&path)
            .with_context(|| format!("cannot read {}", path.display()))?;
        locked_version(&lock, package).with_context(|| path.display().to_string())
    }

    /// A path relative to the root where it lies inside, for messages.
    pub fn relative<'a>(&self, path: &'a Path) -> &'a Path {
        path.strip_prefix(&self.root).unwrap_or(path)
    }
}

fn locked_version(lock: &str, package: &str) -> Result<String> {
    let name = format!("name = \"{package}\"");
    let mut versions = lock
        .split("[[package]]")
        .filter(|entry| entry.lines().any(|line| line == name))
        .filter_map(|entry| {
            entry
                .lines()
                .find_map(|line| line.strip_prefix("version = \""))
        })
        .map(|version| version.trim_end_matches('"').to_owned());
    match (versions.next(), versions.next()) {
        (Some(version), None) => Ok(version),
        (None, _) => bail!("no package `{package}`"),
        (Some(first), Some(second)) => {
            bail!("`{package}` stands twice, {first} and {second}: unify them")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOCK: &str = "version = 4\n\n[[package]]\nname = \"a\"\nversion = \"1.2.3\"\n\n\
        [[package]]\nname = \"a-b\"\nversion = \"4.5.6\"\n\n\
        [[package]]\nname = \"twice\"\nversion = \"1.0.0\"\n\n\
        [[package]]\nname = \"twice\"\nversion = \"2.0.0\"\n";

    #[test]
    fn reads_the_version_of_exactly_that_package() {
        assert_eq!(locked_version(LOCK, "a").unwrap(), "1.2.3");
        assert_eq!(locked_version(LOCK, "a-b").unwrap(), "4.5.6");
    }

    #[test]
    fn refuses_an_absent_or_ambiguous_package() {
        assert!(locked_version(LOCK, "c").is_err());
        assert!(
            locked_version(LOCK, "twice")
                .unwrap_err()
                .to_string()
                .contains("2.0.0")
        );
    }
}
