//! `cargo xtask test`: what continuous integration runs, here and there the same.

use anyhow::Result;
use clap::ValueEnum;

use crate::{packages, page, process, report::Report, tools, tools::Tools, workspace::Workspace};

/// Where proptest looks for the seed of its cases; set it to another number to try others.
const PROPERTY_SEED: &str = "PROPTEST_RNG_SEED";

/// Layout of kernels, product of matrices and instructions of the twins; see `tuning.rs`, `linear/select.rs` and `simd.rs` in `shaders/src`.
const TUNING: &str = "CALDERA_TUNING";
const PRODUCT: &str = "CALDERA_PRODUCT";
const SIMD: &str = "CALDERA_SIMD";

#[derive(clap::Args)]
pub struct Arguments {
    /// Only these steps, separated by commas.
    #[arg(long, value_enum, value_delimiter = ',')]
    only: Vec<Part>,
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// Formatting.
    Fmt,
    /// Lints, and documentation without warnings.
    Clippy,
    /// All native tests, the GPU's on whatever Vulkan adapter there is, and the crates' own once more in the layout for hardware.
    Native,
    /// The page's build and its size budget.
    Wasm,
    /// The page in headless Chromium.
    Browser,
}

/// Runs the steps; an error when any failed.
pub fn run(workspace: &Workspace, arguments: &Arguments) -> Result<()> {
    let wants = |part| arguments.only.is_empty() || arguments.only.contains(&part);
    let cargo = |words: &[&str]| {
        let mut cargo = process::cargo(&workspace.root);
        cargo.args(words).env("CARGO_TERM_PROGRESS_WHEN", "never");
        cargo
    };
    // Without the page's crate, and always the same set: another one would build Burn with other features once more.
    let tests = |more: &[&str]| {
        let mut test = cargo(&[
            "test",
            "--release",
            "--workspace",
            "--exclude",
            "caldera-web",
        ]);
        test.arg("--no-fail-fast")
            .args(more)
            .env_remove(TUNING)
            .env_remove(PRODUCT)
            .env_remove(SIMD);
        // The same cases every time, so that a failure is the commit's and not the day's.
        if std::env::var_os(PROPERTY_SEED).is_none() {
            test.env(PROPERTY_SEED, "1");
        }
        test
    };
    let mut report = Report::new(workspace)?;

    if wants(Part::Fmt) {
        report.step("fmt", |step| {
            tools::components(workspace)?;
            step.run(&mut cargo(&["fmt", "--all", "--check"]))?;
            Ok(String::new())
        });
    }
    if wants(Part::Clippy) {
        report.step("clippy", |step| {
            tools::components(workspace)?;
            step.run(&mut cargo(&[
                "clippy",
                "--release",
                "--workspace",
                "--all-targets",
                "--",
                "-D",
                "warnings",
            ]))?;
            Ok(String::new())
        });
        report.step("docs", |step| {
            let mut doc = cargo(&["doc", "--release", "--workspace", "--no-deps"]);
            step.run(doc.env("RUSTDOCFLAGS", "-D warnings"))?;
            Ok(String::new())
        });
    }
    if wants(Part::Native) {
        report.step("native", |step| {
            packages::ensure_vulkan(workspace)?;
            step.run(&mut tests(&[]))?;
            Ok(String::new())
        });
        // The layout and the product that a card in a browser gets, on whatever adapter there is; twins as on an old processor.
        report.step("layout", |step| {
            let mut tests = tests(&["--lib"]);
            tests.env(TUNING, "hardware").env(PRODUCT, "tiled");
            step.run(tests.env(SIMD, "baseline"))?;
            Ok(String::new())
        });
    }
    // The browser tests take the page as it stands, where it was not to be built.
    let mut built = page::folder(workspace).join("index.html").is_file();
    if wants(Part::Wasm) || (wants(Part::Browser) && !built) {
        built = report.step("wasm", |step| {
            let tools = Tools::ensure(workspace)?;
            step.run(&mut page::build(workspace, &tools)?)?;
            Ok(String::new())
        });
        if built {
            report.step("size", |_| {
                let line = page::check_size(workspace)?;
                println!("{line}");
                Ok(line)
            });
        }
    }
    if wants(Part::Browser) && built {
        report.step("browser", |step| {
            packages::ensure_browser(workspace)?;
            step.run(&mut packages::npm_ci(workspace))?;
            let folder = workspace.root.join("tests/browser");
            let node = |files: &[String]| {
                let mut node = process::command("node", &folder);
                node.args([
                    "--test",
                    // One file after the other: several browsers at once starve each other on few cores.
                    "--test-concurrency=1",
                    // Milliseconds for a file of tests as for one of them: what hangs fails.
                    "--test-timeout=600000",
                    "--test-reporter=spec",
                ])
                .args(files);
                node
            };
            step.run_twice(&mut node(&[]), node)
        });
    } else if wants(Part::Browser) {
        report.skip("browser", "the page was not built");
    }

    if !report.finish() {
        // The counts are the last line of the output: no error message after them.
        std::process::exit(1);
    }
    Ok(())
}
