//! The program starts and tells what it can do. As the package's integration test it also makes `cargo test` build
//! the program, which the workspace's end-to-end tests run.

use std::process::Command;

#[test]
fn help_names_every_command() {
    let output = Command::new(env!("CARGO_BIN_EXE_caldera"))
        .arg("--help")
        .output()
        .unwrap();
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(output.status.success(), "{text}");
    for command in [
        "finetune",
        "convert",
        "eval",
        "predict",
        "generate",
        "transcribe",
        "join",
        "export",
        "bench",
        "forward",
        "check",
        "demo",
    ] {
        // At the head of a line: an example or a description may name it too.
        let listed = text
            .lines()
            .any(|line| line.starts_with("  ") && line.split_whitespace().next() == Some(command));
        assert!(listed, "{command} is not in\n{text}");
    }
}
