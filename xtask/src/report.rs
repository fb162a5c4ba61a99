//! Steps with their time, logs and counted tests, and the summary that ends a run.

use std::{
    fs::{self, File},
    io::{BufRead, BufReader, Read, Write},
    path::PathBuf,
    process::{Command, Stdio},
    sync::mpsc::{self, RecvTimeoutError, Sender},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use crate::{process, workspace::Workspace};

/// Silence on the terminal after which a line says that the command still runs.
const HEARTBEAT: Duration = Duration::from_secs(60);

/// Silence of a command after which it is taken for hung and ended: no crate takes so long to compile, and no test to run.
const PATIENCE: Duration = Duration::from_secs(20 * 60);

/// What a run did, step by step.
pub struct Report {
    logs: PathBuf,
    steps: Vec<Finished>,
}

struct Finished {
    name: String,
    seconds: f64,
    counts: Counts,
    note: String,
    end: End,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum End {
    Passed,
    Failed,
    Skipped,
}

/// Tests that a step's programs reported.
#[derive(Clone, Copy, Default, Debug, PartialEq, Eq)]
struct Counts {
    passed: u64,
    failed: u64,
}

/// A step under way: runs commands into its log.
pub struct Step {
    log: File,
    path: PathBuf,
    counts: Counts,
}

impl Report {
    /// Logs go to `target/xtask/STEP.log`.
    pub fn new(workspace: &Workspace) -> Result<Self> {
        let logs = workspace.target.join("xtask");
        fs::create_dir_all(&logs).with_context(|| format!("cannot create {}", logs.display()))?;
        Ok(Self {
            logs,
            steps: Vec::new(),
        })
    }

    /// Runs one step, which gives a note for the summary. The steps after it run whether it passes or not; returns whether it did.
    pub fn step(&mut self, name: &str, body: impl FnOnce(&mut Step) -> Result<String>) -> bool {
        println!("\n== {name}");
        let start = Instant::now();
        let path = self.logs.join(format!("{name}.log"));
        let opened =
            File::create(&path).with_context(|| format!("cannot write {}", path.display()));
        let (counts, result) = match opened {
            Ok(log) => {
                let mut step = Step {
                    log,
                    path: path.clone(),
                    counts: Counts::default(),
                };
                let result = body(&mut step);
                (step.counts, result)
            }
            Err(error) => (Counts::default(), Err(error)),
        };
        let seconds = start.elapsed().as_secs_f64();
        let (end, note) = match result {
            Ok(note) => (End::Passed, note),
            Err(error) => {
                println!("{error:#}");
                (End::Failed, format!("see {}", path.display()))
            }
        };
        println!("== {name}: {} in {}", word(end), minutes(seconds));
        self.steps.push(Finished {
            name: name.to_owned(),
            seconds,
            counts,
            note,
            end,
        });
        end == End::Passed
    }

    /// Notes a step that cannot run because of another one's failure.
    pub fn skip(&mut self, name: &str, why: &str) {
        println!("\n== {name}: skipped, {why}");
        self.steps.push(Finished {
            name: name.to_owned(),
            seconds: 0.0,
            counts: Counts::default(),
            note: why.to_owned(),
            end: End::Skipped,
        });
    }

    /// Prints the table and, as the last line, `N passed, N failed`: steps and the tests within them.
    pub fn finish(&self) -> bool {
        println!(
            "\n{:<10} {:>8} {:>9} {:>8} {:>8}",
            "step", "time", "", "passed", "failed"
        );
        let mut total = Counts::default();
        for step in &self.steps {
            let Counts { passed, failed } = step.counts;
            println!(
                "{:<10} {:>8} {:>9} {passed:>8} {failed:>8}  {}",
                step.name,
                minutes(step.seconds),
                word(step.end),
                step.note
            );
            total.passed += passed + u64::from(step.end == End::Passed);
            // A step that fails by its tests is told by them; one that never came to its tests counts itself.
            total.failed += if step.end == End::Failed {
                failed.max(1)
            } else {
                failed
            };
        }
        println!("\n{} passed, {} failed", total.passed, total.failed);
        total.failed == 0 && self.steps.iter().all(|step| step.end == End::Passed)
    }
}

impl Step {
    /// Runs a command: everything into the log, what is worth reading onto the terminal.
    pub fn run(&mut self, command: &mut Command) -> Result<()> {
        self.run_within(command, PATIENCE)
    }

    /// Runs tests and, where some fail, their files once more, by `again`: a browser on a busy machine can fail by chance, and what
    /// fails twice fails. The note names what took two runs.
    pub fn run_twice(
        &mut self,
        command: &mut Command,
        again: impl FnOnce(&[String]) -> Command,
    ) -> Result<String> {
        let Err(error) = self.run(command) else {
            return Ok(String::new());
        };
        self.log.flush()?;
        let files = failed_files(&fs::read_to_string(&self.path)?);
        if files.is_empty() {
            return Err(error);
        }
        let names = files.join(", ");
        println!("{error:#}\nonce more: {names}");
        let first = std::mem::take(&mut self.counts);
        let second = self.run(&mut again(&files));
        let failed = match second {
            Ok(()) => 0,
            Err(_) => self.counts.failed.max(1),
        };
        self.counts = Counts {
            passed: (first.passed + first.failed).saturating_sub(failed),
            failed,
        };
        second.map(|()| format!("took two runs: {names}"))
    }

    fn run_within(&mut self, command: &mut Command, patience: Duration) -> Result<()> {
        let line = process::spelled(command);
        println!("$ {line}");
        writeln!(self.log, "$ {line}")?;
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{line}`"))?;
        let (sender, lines) = mpsc::channel();
        forward(child.stdout.take(), &sender);
        forward(child.stderr.take(), &sender);
        drop(sender);

        let start = Instant::now();
        let mut spoke = start;
        let mut heard = start;
        let mut built = 0;
        loop {
            match lines.recv_timeout(patience.min(Duration::from_secs(5))) {
                Ok(text) => {
                    heard = Instant::now();
                    writeln!(self.log, "{text}")?;
                    match classify(&text) {
                        Line::Progress => built += 1,
                        Line::Quiet => {}
                        Line::Counted(counts) => {
                            self.counts.passed += counts.passed;
                            self.counts.failed += counts.failed;
                            println!("{text}");
                            spoke = Instant::now();
                        }
                        Line::Shown => {
                            println!("{text}");
                            spoke = Instant::now();
                        }
                    }
                }
                // What it started may still hold its output open, so that is not waited for.
                Err(RecvTimeoutError::Timeout) if heard.elapsed() > patience => {
                    child.kill()?;
                    child.wait()?;
                    bail!(
                        "`{line}` printed nothing for {} and was ended; all its output: {}",
                        minutes(patience.as_secs_f64()),
                        self.path.display()
                    );
                }
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => break,
            }
            if spoke.elapsed() > HEARTBEAT {
                let time = minutes(start.elapsed().as_secs_f64());
                match built {
                    0 => println!("   … {time}"),
                    _ => println!("   … {time}, {built} crates so far"),
                }
                spoke = Instant::now();
            }
        }
        let status = child.wait()?;
        if !status.success() {
            bail!(
                "`{line}` failed ({status}); all its output: {}",
                self.path.display()
            );
        }
        Ok(())
    }
}

fn forward(stream: Option<impl Read + Send + 'static>, lines: &Sender<String>) {
    let Some(stream) = stream else { return };
    let lines = lines.clone();
    thread::spawn(move || {
        let mut reader = BufReader::new(stream);
        let mut bytes = Vec::new();
        while reader
            .read_until(b'\n', &mut bytes)
            .is_ok_and(|read| read > 0)
        {
            let text = String::from_utf8_lossy(&bytes);
            if lines.send(text.trim_end().to_owned()).is_err() {
                break;
            }
            bytes.clear();
        }
    });
}

/// Files of tests that failed, each once, by the lines `test at FILE:LINE:COLUMN` of node.
fn failed_files(log: &str) -> Vec<String> {
    let mut files = Vec::new();
    for line in log.lines() {
        let plain = without_colour(line);
        let Some(place) = plain.trim().strip_prefix("test at ") else {
            continue;
        };
        let Some(file) = place
            .split(':')
            .next()
            .filter(|file| file.ends_with(".test.mjs"))
        else {
            continue;
        };
        if !files.iter().any(|known| known == file) {
            files.push(file.to_owned());
        }
    }
    files
}

enum Line {
    /// A crate done.
    Progress,
    /// For the log only.
    Quiet,
    Counted(Counts),
    Shown,
}

fn classify(line: &str) -> Line {
    let plain = without_colour(line);
    let text = plain.trim();
    let first = text.split(' ').next().unwrap_or_default();
    if matches!(first, "Compiling" | "Checking" | "Documenting") {
        return Line::Progress;
    }
    if text.is_empty()
        || matches!(
            first,
            "Downloading" | "Downloaded" | "Updating" | "Locking" | "Adding" | "Blocking"
        )
        || (text.starts_with("test ") && text.ends_with("... ok"))
        || text == "running 0 tests"
    {
        return Line::Quiet;
    }
    counted(text).map_or(Line::Shown, Line::Counted)
}

/// `test result: ok. 3 passed; 1 failed; …` of cargo; `# pass 3`, `ℹ pass 3` and the same with `fail` of node.
fn counted(text: &str) -> Option<Counts> {
    if let Some(result) = text.strip_prefix("test result: ") {
        let before = |word: &str| {
            let words: Vec<&str> = result.split([' ', ';']).collect();
            let at = words.iter().position(|candidate| *candidate == word)?;
            words.get(at.checked_sub(1)?)?.parse().ok()
        };
        return Some(Counts {
            passed: before("passed")?,
            failed: before("failed")?,
        });
    }
    let rest = text
        .strip_prefix("# ")
        .or_else(|| text.strip_prefix("ℹ "))?;
    let (word, number) = rest.split_once(' ')?;
    let number = number.parse().ok()?;
    match word {
        "pass" => Some(Counts {
            passed: number,
            failed: 0,
        }),
        "fail" | "cancelled" => Some(Counts {
            passed: 0,
            failed: number,
        }),
        _ => None,
    }
}

/// Drops terminal escapes: ESC [ … letter.
fn without_colour(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(character) = characters.next() {
        if character == '\u{1b}' {
            for inner in characters.by_ref() {
                if inner.is_ascii_alphabetic() {
                    break;
                }
            }
        } else {
            plain.push(character);
        }
    }
    plain
}

fn word(end: End) -> &'static str {
    match end {
        End::Passed => "passed",
        End::Failed => "FAILED",
        End::Skipped => "skipped",
    }
}

fn minutes(seconds: f64) -> String {
    if seconds < 60.0 {
        format!("{seconds:.1} s")
    } else {
        let whole = seconds.round() as u64;
        format!("{}:{:02} min", whole / 60, whole % 60)
    }
}

#[cfg(test)]
mod tests;
