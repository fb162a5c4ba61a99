//! `cargo xtask demo | test | bench | precache`: brings what is missing, builds, runs, and says what it measured.

mod bench;
mod demo;
mod packages;
mod page;
mod precache;
mod process;
mod report;
mod serve;
mod test;
mod tools;
mod workspace;

use anyhow::Result;
use clap::{Parser, Subcommand};
use workspace::Workspace;

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Caldera's chores",
    version
)]
struct Arguments {
    #[command(subcommand)]
    chore: Chore,
}

#[derive(Subcommand)]
enum Chore {
    /// Train and convert the built-in teacher, build the page, serve it.
    ///
    /// Example: cargo xtask demo --port 8080
    Demo(demo::Arguments),
    /// Everything that continuous integration runs.
    ///
    /// Example: cargo xtask test --only fmt,clippy
    Test(test::Arguments),
    /// Latency of the demo pair, natively and in headless Chromium; JSON under out/.
    ///
    /// Example: cargo xtask bench --lengths 64,128,256
    Bench(bench::Arguments),
    /// Write precache.js, the sums of the built page's files, for its service worker; trunk calls this after every build.
    ///
    /// Example: cargo xtask precache --folder dist
    Precache(precache::Arguments),
}

fn main() -> Result<()> {
    let workspace = Workspace::find()?;
    match Arguments::parse().chore {
        Chore::Demo(arguments) => demo::run(&workspace, &arguments),
        Chore::Test(arguments) => test::run(&workspace, &arguments),
        Chore::Bench(arguments) => bench::run(&workspace, &arguments),
        Chore::Precache(arguments) => precache::run(&workspace, &arguments),
    }
}
