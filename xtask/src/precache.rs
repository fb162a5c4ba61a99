//! `precache.js`: the SHA-256 of every file of the built page, by which its service worker keeps them (web/service-worker.js).

use std::{
    collections::BTreeMap,
    env, fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use sha2::{Digest, Sha256};

use crate::{page, workspace::Workspace};

/// The file that is written.
const NAME: &str = "precache.js";
/// The worker itself is the browser's to keep.
const WORKER: &str = "service-worker.js";

#[derive(clap::Args)]
pub struct Arguments {
    /// The built page [default: where trunk is building it, else dist/]
    #[arg(long)]
    folder: Option<PathBuf>,
}

/// Writes `precache.js` into the built page.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let staged = || env::var_os("TRUNK_STAGING_DIR").map(PathBuf::from);
    let folder = arguments.folder.clone().or_else(staged);
    write(&folder.unwrap_or_else(|| page::folder(workspace)))
}

fn write(folder: &Path) -> Result<()> {
    let mut sums = BTreeMap::new();
    add(folder, "", &mut sums)?;
    if !sums.contains_key("index.html") {
        bail!(
            "no index.html in {}: build the page first",
            folder.display()
        );
    }
    let file = folder.join(NAME);
    let text = format!(
        "self.PRECACHE = {};\n",
        serde_json::to_string_pretty(&sums)?
    );
    fs::write(&file, text).with_context(|| format!("cannot write {}", file.display()))
}

/// Adds the sums of a folder's files by path with `/`. Hidden files are left out: hosts do not serve them.
fn add(folder: &Path, below: &str, sums: &mut BTreeMap<String, String>) -> Result<()> {
    let reading = || format!("cannot read {}", folder.display());
    for entry in fs::read_dir(folder).with_context(reading)? {
        let entry = entry.with_context(reading)?;
        let Ok(name) = entry.file_name().into_string() else {
            bail!("{}: expected a name in UTF-8", entry.path().display());
        };
        let path = format!("{below}{name}");
        if name.starts_with('.') || path == NAME || path == WORKER {
            continue;
        }
        let file = entry.path();
        if file.is_dir() {
            add(&file, &format!("{path}/"), sums)?;
            continue;
        }
        let bytes = fs::read(&file).with_context(|| format!("cannot read {}", file.display()))?;
        let sum = Sha256::digest(&bytes);
        let sum = sum.iter().map(|byte| format!("{byte:02x}")).collect();
        sums.insert(path, sum);
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sums_by_path_without_the_worker_and_hidden_files() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let put = |path: &str, text: &str| -> Result<()> {
            let file = folder.path().join(path);
            fs::create_dir_all(file.parent().context("a folder")?)?;
            Ok(fs::write(file, text)?)
        };
        for (path, text) in [
            ("index.html", "abc"),
            ("pairs/one/pair.json", ""),
            (".nojekyll", ""),
            (WORKER, "worker"),
            (NAME, "old"),
        ] {
            put(path, text)?;
        }
        write(folder.path())?;
        let text = fs::read_to_string(folder.path().join(NAME))?;
        let json = text
            .strip_prefix("self.PRECACHE = ")
            .and_then(|rest| rest.strip_suffix(";\n"))
            .context("a script that sets PRECACHE")?;
        let sums: BTreeMap<String, String> = serde_json::from_str(json)?;
        let expected = [
            (
                "index.html",
                "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad",
            ),
            (
                "pairs/one/pair.json",
                "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
            ),
        ];
        let expected = expected.map(|(path, sum)| (path.to_string(), sum.to_string()));
        assert_eq!(sums, BTreeMap::from(expected));
        Ok(())
    }

    #[test]
    fn a_folder_without_a_page_is_refused() -> Result<()> {
        let folder = tempfile::tempdir()?;
        let error = write(folder.path()).expect_err("there is no page");
        assert!(error.to_string().contains("no index.html"), "{error}");
        Ok(())
    }
}
