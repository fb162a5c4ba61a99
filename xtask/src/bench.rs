//! `cargo xtask bench`: latency of the demo pair, natively and on the page.

use std::fs;

use anyhow::{Context, Result};

use crate::{demo, packages, page, process, tools::Tools, workspace::Workspace};

#[derive(clap::Args)]
pub struct Arguments {
    /// Lengths in tokens, separated by commas.
    #[arg(long, default_value = "64,128,256,512")]
    lengths: String,
    /// Runs a length in the browser.
    #[arg(long, default_value_t = 5)]
    runs: u32,
    /// Leave the browser out.
    #[arg(long)]
    native_only: bool,
}

/// Native figures to out/bench-native.json, the page's to out/bench-page.json; both are printed.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let out = workspace.root.join("out");
    fs::create_dir_all(&out).with_context(|| format!("cannot create {}", out.display()))?;
    demo::build_caldera(workspace)?;
    if !workspace.root.join(demo::PAIR).join("pair.json").is_file() {
        demo::make_pair(workspace)?;
    }

    let native = out.join("bench-native.json");
    let mut caldera = process::command(workspace.caldera(), &workspace.root);
    caldera
        .args(["bench", "latency", "--teacher"])
        .arg(format!("{}/transformer", demo::PAIR))
        .arg("--student")
        .arg(format!("{}/linear", demo::PAIR))
        .args(["--lengths", &arguments.lengths, "--json"])
        .arg(&native);
    process::run(&mut caldera)?;
    let mut written = vec![native];

    if !arguments.native_only {
        packages::ensure_browser(workspace)?;
        let tools = Tools::ensure(workspace)?;
        process::run(&mut page::build(workspace, &tools)?)?;
        process::run(&mut packages::npm_ci(workspace))?;
        let swept = out.join("bench-page.json");
        let mut node = process::command("node", &workspace.root);
        node.args(["xtask/sweep.mjs", "--pair", "demo", "--lengths"])
            .args([&arguments.lengths, "--runs"])
            .args([&arguments.runs.to_string(), "--out"])
            .arg(&swept)
            .arg("--picture")
            .arg(out.join("page.png"));
        process::run(&mut node)?;
        written.push(swept);
    }

    for file in &written {
        let text =
            fs::read_to_string(file).with_context(|| format!("cannot read {}", file.display()))?;
        println!("\n{}\n{text}", workspace.relative(file).display());
    }
    Ok(())
}
