//! Rust tools at pinned versions: wasm32 target, clippy, rustfmt, wasm-bindgen, trunk.

use std::{
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result};

use crate::{process, workspace::Workspace};

/// Version of trunk that builds the page.
const TRUNK: &str = "0.21.14";
const WASM_TARGET: &str = "wasm32-unknown-unknown";

/// Folders with the tools that build the page.
pub struct Tools {
    trunk: PathBuf,
    wasm_bindgen: PathBuf,
}

impl Tools {
    /// Finds or installs wasm-bindgen (as in Cargo.lock) and trunk, and adds the wasm32 target.
    ///
    /// A tool of the right version on the PATH is taken; another one is left alone and ours goes to `target/tools`.
    pub fn ensure(workspace: &Workspace) -> Result<Self> {
        wasm_target(workspace)?;
        // Without --locked: wasm-bindgen-cli's own lock file may name crates that registries no longer serve.
        let version = workspace.locked_version("wasm-bindgen")?;
        let wasm_bindgen = tool(workspace, "wasm-bindgen", "wasm-bindgen-cli", &version, &[])?;
        let trunk = tool(workspace, "trunk", "trunk", TRUNK, &["--locked"])?;
        Ok(Self {
            trunk,
            wasm_bindgen,
        })
    }

    /// `trunk`, with the right wasm-bindgen first on its PATH.
    pub fn trunk(&self, workspace: &Workspace) -> Result<Command> {
        let mut command = process::command(&self.trunk, &workspace.root);
        let bindgen = self.wasm_bindgen.parent().map(Path::to_path_buf);
        let path = std::env::var_os("PATH").unwrap_or_default();
        let path = std::env::join_paths(bindgen.into_iter().chain(std::env::split_paths(&path)))?;
        // trunk reads NO_COLOR as its own flag and refuses the customary "1".
        command.env("PATH", path).env_remove("NO_COLOR");
        Ok(command)
    }
}

/// Adds clippy and rustfmt where a minimal toolchain lacks them.
pub fn components(workspace: &Workspace) -> Result<()> {
    for (component, subcommand) in [("clippy", "clippy"), ("rustfmt", "fmt")] {
        if !process::succeeds(process::cargo(&workspace.root).args([subcommand, "--version"])) {
            println!("adding {component}");
            rustup(workspace, &["component", "add", component])?;
        }
    }
    Ok(())
}

fn wasm_target(workspace: &Workspace) -> Result<()> {
    let mut rustc = process::command("rustc", &workspace.root);
    let libraries =
        process::stdout(rustc.args(["--print", "target-libdir", "--target", WASM_TARGET]))?;
    if Path::new(libraries.trim()).is_dir() {
        return Ok(());
    }
    println!("adding the Rust target {WASM_TARGET}");
    rustup(workspace, &["target", "add", WASM_TARGET])
}

fn rustup(workspace: &Workspace, arguments: &[&str]) -> Result<()> {
    process::run(process::command("rustup", &workspace.root).args(arguments)).with_context(|| {
        format!(
            "without rustup, bring it from where your Rust comes from: `rustup {}`",
            arguments.join(" ")
        )
    })
}

fn tool(
    workspace: &Workspace,
    program: &str,
    package: &str,
    version: &str,
    flags: &[&str],
) -> Result<PathBuf> {
    let root = workspace.target.join("tools");
    let ours = root
        .join("bin")
        .join(format!("{program}{}", std::env::consts::EXE_SUFFIX));
    let found = process::on_path(&[program]);
    for candidate in found.iter().chain([&ours]) {
        if version_of(candidate).as_deref() == Some(version) {
            return Ok(candidate.clone());
        }
    }
    println!(
        "installing {package} {version} into {} (once, some minutes)",
        workspace.relative(&root).display()
    );
    let mut cargo = process::cargo(&workspace.root);
    cargo
        .args([
            "install",
            package,
            "--version",
            version,
            "--force",
            "--root",
        ])
        .arg(&root)
        .args(flags)
        // Built in a temporary folder, little optimised: these tools wait for rustc, and compile in half the time.
        .env_remove("CARGO_TARGET_DIR")
        .env("CARGO_PROFILE_RELEASE_OPT_LEVEL", "1")
        .env("CARGO_PROFILE_RELEASE_LTO", "off")
        .env("CARGO_PROFILE_RELEASE_CODEGEN_UNITS", "16");
    process::run(&mut cargo).with_context(|| {
        format!("{package} {version} could not be installed; install it by hand and run this again")
    })?;
    Ok(ours)
}

/// `trunk 0.21.14` → `0.21.14`.
fn version_of(program: &Path) -> Option<String> {
    let output = Command::new(program)
        .arg("--version")
        .env_remove("NO_COLOR")
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    Some(text.split_whitespace().nth(1)?.to_owned())
}
