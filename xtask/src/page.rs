//! Building the page into `dist/`, and its size budget.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::{process, tools::Tools, workspace::Workspace};

/// What the page's wasm may weigh gzipped, in bytes.
const BUDGET: u64 = 6_000_000;

/// The command that builds the page into `dist/`; downloads nothing.
pub fn build(workspace: &Workspace, tools: &Tools) -> Result<Command> {
    let mut trunk = tools.trunk(workspace)?;
    trunk.args(["build", "--release", "--offline", "--skip-version-check"]);
    Ok(trunk)
}

/// Where the built page lies.
pub fn folder(workspace: &Workspace) -> PathBuf {
    workspace.root.join("dist")
}

/// Gzips every wasm file of the built page and compares the sum with the budget. One line on success.
pub fn check_size(workspace: &Workspace) -> Result<String> {
    let folder = folder(workspace);
    let mut files = Vec::new();
    wasm_files(&folder, &mut files)?;
    if files.is_empty() {
        bail!(
            "no .wasm file in {}: build the page first (`cargo xtask test --only wasm`)",
            folder.display()
        );
    }
    let (mut plain, mut packed) = (0, 0);
    for file in &files {
        plain += fs::metadata(file)?.len();
        packed += gzipped(workspace, file)?;
    }
    let line = format!(
        "wasm {:.2} MB, gzipped {:.2} MB of {:.2} MB",
        plain as f64 / 1e6,
        packed as f64 / 1e6,
        BUDGET as f64 / 1e6
    );
    if packed > BUDGET {
        bail!("over the size budget: {line}");
    }
    Ok(line)
}

/// Size that `gzip -9` gives. The program and not a crate: a crate would change the features that Burn's dependencies are
/// built with, and with them every build that includes this package.
fn gzipped(workspace: &Workspace, file: &Path) -> Result<u64> {
    let output = process::command("gzip", &workspace.root)
        .args(["-9", "-c"])
        .arg(file)
        .output()
        .context("the size budget is measured with the program `gzip`: install it")?;
    if !output.status.success() {
        bail!(
            "gzip refused {}: {}",
            file.display(),
            String::from_utf8_lossy(&output.stderr)
        );
    }
    Ok(output.stdout.len() as u64)
}

fn wasm_files(folder: &Path, found: &mut Vec<PathBuf>) -> Result<()> {
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?
    {
        let path = entry?.path();
        if path.is_dir() {
            wasm_files(&path, found)?;
        } else if path.extension().is_some_and(|kind| kind == "wasm") {
            found.push(path);
        }
    }
    Ok(())
}
