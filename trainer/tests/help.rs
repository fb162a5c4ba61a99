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
        "finetune", "convert", "eval", "predict", "export", "bench", "forward", "check", "demo",
    ] {
        assert!(text.contains(command), "{command} is not in\n{text}");
    }
}
