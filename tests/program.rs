//! Running `caldera` as a user would.

use std::{
    ffi::OsStr,
    fmt::Display,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

/// What a run of the program left.
pub struct Finished {
    line: String,
    /// Exit code; none where a signal ended it.
    pub code: Option<i32>,
    /// Standard output.
    pub stdout: String,
    /// Standard error.
    pub stderr: String,
}

/// The program, ready for arguments.
///
/// `cargo test --workspace` builds it for the trainer's own integration test and puts it beside ours.
pub fn command<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Command {
    let test = std::env::current_exe().expect("a running test has a path");
    let release = test.ancestors().nth(2).expect("tests lie in PROFILE/deps");
    let path = release.join(format!("caldera{}", std::env::consts::EXE_SUFFIX));
    assert!(
        path.is_file(),
        "{} is missing: run `cargo test --release --workspace --exclude caldera-web`",
        path.display()
    );
    let mut command = Command::new(path);
    command
        .args(arguments)
        .stdin(Stdio::null())
        .env_remove("RUST_LOG")
        .env("NO_COLOR", "1");
    command
}

/// Runs the program to its end.
pub fn caldera<S: AsRef<OsStr>>(arguments: impl IntoIterator<Item = S>) -> Finished {
    finished(command(arguments))
}

/// Runs a command to its end.
pub fn finished(mut command: Command) -> Finished {
    let line = format!("{command:?}");
    let output = command.output().expect("the program starts");
    Finished {
        line,
        code: output.status.code(),
        stdout: String::from_utf8_lossy(&output.stdout).into_owned(),
        stderr: String::from_utf8_lossy(&output.stderr).into_owned(),
    }
}

impl Finished {
    /// Asserts exit code 0 and gives standard output.
    #[track_caller]
    pub fn succeeded(self) -> String {
        assert_eq!(self.code, Some(0), "{self}");
        self.stdout
    }

    /// Asserts a clean refusal: exit code 1 or 2, nothing on standard output, every word in the message, no crash behind it.
    #[track_caller]
    pub fn refused(&self, words: &[&str]) {
        assert!(
            matches!(self.code, Some(1 | 2)),
            "expected a refusal\n{self}"
        );
        for crash in ["panicked", "this is a bug", "RUST_BACKTRACE"] {
            assert!(
                !self.stderr.contains(crash),
                "a crash instead of a message\n{self}"
            );
        }
        for word in words {
            assert!(
                self.stderr.contains(word),
                "the message does not name {word:?}\n{self}"
            );
        }
        assert!(self.stdout.is_empty(), "results beside a refusal\n{self}");
    }
}

impl Display for Finished {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "{}\nexit code {:?}\n-- stdout\n{}\n-- stderr\n{}",
            self.line, self.code, self.stdout, self.stderr
        )
    }
}

/// The stored reference results.
pub fn fixtures() -> PathBuf {
    PathBuf::from(std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies"))
        .join("fixtures")
}

/// Paths as arguments.
pub fn text(path: &Path) -> &str {
    path.to_str().expect("test folders have plain names")
}
