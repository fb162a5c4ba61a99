//! `cargo xtask demo`: from a fresh clone to the page with a converted pair.

use std::{process::Stdio, time::Instant};

use anyhow::Result;

use crate::{page, process, serve, tools::Tools, workspace::Workspace};

/// Where the page looks for the demo pair, from the root.
pub const PAIR: &str = "web/pairs/demo";

#[derive(clap::Args)]
pub struct Arguments {
    /// Port of the page; the next free one is taken where it is not.
    #[arg(long, default_value_t = 8080)]
    port: u16,
    /// Stop once the page is built.
    #[arg(long)]
    no_serve: bool,
}

/// Tools, pair, page, server.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let tools = Tools::ensure(workspace)?;
    build_caldera(workspace)?;
    let start = Instant::now();
    make_pair(workspace)?;
    println!("pair made in {:.0} s", start.elapsed().as_secs_f64());
    process::run(&mut page::build(workspace, &tools)?)?;
    if arguments.no_serve {
        println!(
            "page built in {}",
            workspace.relative(&page::folder(workspace)).display()
        );
        return Ok(());
    }
    serve::serve(&page::folder(workspace), arguments.port)
}

/// Builds the `caldera` program with the release profile.
pub fn build_caldera(workspace: &Workspace) -> Result<()> {
    process::run(process::cargo(&workspace.root).args([
        "build",
        "--release",
        "--package",
        "caldera-trainer",
    ]))
}

/// Trains, converts and exports the demo pair.
pub fn make_pair(workspace: &Workspace) -> Result<()> {
    let mut caldera = process::command(workspace.caldera(), &workspace.root);
    // The terminal's own input, so that Ctrl-C and progress bars work as in the program itself.
    process::run(
        caldera
            .args(["demo", "--out", PAIR])
            .stdin(Stdio::inherit()),
    )
}
