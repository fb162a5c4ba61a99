use super::*;

#[test]
fn counts_tests_of_cargo_and_node() {
    let line = "test result: FAILED. 12 passed; 3 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.01s";
    assert_eq!(
        counted(line),
        Some(Counts {
            passed: 12,
            failed: 3
        })
    );
    assert_eq!(
        counted("# pass 7"),
        Some(Counts {
            passed: 7,
            failed: 0
        })
    );
    assert_eq!(
        counted("ℹ fail 2"),
        Some(Counts {
            passed: 0,
            failed: 2
        })
    );
    assert_eq!(counted("# tests 9"), None);
    assert_eq!(counted("anything else"), None);
}

#[test]
fn keeps_the_terminal_for_what_matters() {
    assert!(matches!(
        classify("\u{1b}[1m\u{1b}[32m   Compiling\u{1b}[0m burn v0.22.0"),
        Line::Progress
    ));
    assert!(matches!(classify("test masks::full ... ok"), Line::Quiet));
    assert!(matches!(
        classify("test masks::full ... FAILED"),
        Line::Shown
    ));
    assert!(matches!(
        classify("error[E0308]: mismatched types"),
        Line::Shown
    ));
}

/// A step that logs into a file of the machine's folder for such.
#[cfg(unix)]
fn step(name: &str) -> Step {
    let path = std::env::temp_dir().join(format!("caldera-{name}-{}.log", std::process::id()));
    Step {
        log: File::create(&path).unwrap(),
        path,
        counts: Counts::default(),
    }
}

#[cfg(unix)]
fn shell(script: &str) -> Command {
    let mut shell = Command::new("sh");
    shell.args(["-c", script]);
    shell
}

#[test]
#[cfg(unix)]
fn what_fails_once_is_run_again_and_named() {
    let failing = "echo '# pass 5'; echo '# fail 1'; echo 'test at page.test.mjs:57:5'; \
        echo 'test at page.test.mjs:9:1'; echo 'test at support/pair.mjs:1:1'; exit 1";
    let mut one = step("twice");
    let mut asked = Vec::new();
    let note = one.run_twice(&mut shell(failing), |files| {
        asked = files.to_vec();
        shell("echo '# pass 4'; echo '# fail 0'")
    });
    assert_eq!(note.unwrap(), "took two runs: page.test.mjs");
    assert_eq!(asked, ["page.test.mjs"]);
    let (passed, failed) = (6, 0);
    assert_eq!(one.counts, Counts { passed, failed });

    let error = one.run_twice(&mut shell(failing), |_| shell(failing));
    assert!(error.unwrap_err().to_string().contains("failed"));
    let (passed, failed) = (11, 1);
    assert_eq!(one.counts, Counts { passed, failed });
    fs::remove_file(&one.path).unwrap();

    // What names no file of tests is not a test's failure.
    let mut other = step("once");
    let again = other.run_twice(&mut shell("exit 1"), |_| unreachable!("no file is named"));
    again.unwrap_err();
    fs::remove_file(&other.path).unwrap();
}

#[test]
#[cfg(unix)]
fn a_command_that_hangs_is_ended() {
    let mut step = step("hung");
    let mut sleep = Command::new("sleep");
    let error = step.run_within(sleep.arg("600"), Duration::from_millis(200));
    let message = error.unwrap_err().to_string();
    assert!(message.contains("`sleep 600` printed nothing"), "{message}");
    fs::remove_file(&step.path).unwrap();
}

#[test]
fn spells_times() {
    assert_eq!(minutes(1.25), "1.2 s");
    assert_eq!(minutes(125.0), "2:05 min");
}
