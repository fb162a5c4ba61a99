//! `caldera bench ops --quick` as a program.

use std::process::Command;

#[test]
fn a_quick_run_writes_json_and_a_wrong_name_is_refused() {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let file = folder.path().join("ops.json");
    let run = |words: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_caldera"))
            .args(["bench", "ops", "--device", "cpu"])
            .args(words)
            .arg("--json")
            .arg(&file)
            .output()
            .expect("the program starts")
    };
    let refused = run(&["--ops", "sigmoid"]);
    assert_eq!(refused.status.code(), Some(2));
    assert!(!file.exists());
    let done = run(&["--quick", "--lengths", "17,40"]);
    let said = String::from_utf8_lossy(&done.stderr);
    assert_eq!(done.status.code(), Some(0), "{said}");
    let text = std::fs::read(&file).expect("the figures are there");
    let value: serde_json::Value = serde_json::from_slice(&text).expect("they are JSON");
    let points = value["points"].as_array().expect("points");
    assert!(points.len() > 20 && points.iter().all(|point| point["ratio"].is_f64()));
    let table = String::from_utf8_lossy(&done.stdout);
    assert!(
        table.contains("causal_conv1d") && table.contains("slope"),
        "{table}"
    );
}
