//! The reports as JSON and as a table.

use caldera_shaders::fixture::{CaseReport, TensorReport};
use serde_json::{Value, json};
use std::io::{self, Write};

/// `{"cases": [{case, known, passed, worst: {tensor, error, tolerance}}]}`; each case also has all its tensors and, where it has one, a message.
pub fn json(device: &str, reports: &[CaseReport]) -> Value {
    let tensor = |t: &TensorReport| json!({"tensor": t.tensor, "error": t.error, "tolerance": t.tolerance, "relative_rms": t.relative_rms, "passed": t.passed});
    let cases: Vec<Value> = reports
        .iter()
        .map(|r| {
            let worst = r
                .worst()
                .map(|t| json!({"tensor": t.tensor, "error": t.error, "tolerance": t.tolerance}));
            let mut case =
                json!({"case": r.case, "known": r.known, "passed": r.passed, "worst": worst});
            if let Some(message) = &r.message {
                case["message"] = json!(message);
            }
            case["tensors"] = r.tensors.iter().map(tensor).collect();
            case
        })
        .collect();
    json!({ "device": device, "cases": cases })
}

/// One line a tensor under one line a case.
pub fn print(out: &mut impl Write, report: &CaseReport) -> io::Result<()> {
    let verdict = match (report.known, report.passed) {
        (false, _) => "not known",
        (true, true) => "ok",
        (true, false) => "MISSED",
    };
    writeln!(out, "{:<44} {verdict}", report.case)?;
    if let Some(message) = &report.message {
        writeln!(out, "    {message}")?;
    }
    for t in &report.tensors {
        let mark = if t.passed { "" } else { "  MISSED" };
        writeln!(
            out,
            "    {:<52} error {:>9.2e}  tolerance {:>9.2e}  relative RMS {:>9.2e}{mark}",
            t.tensor, t.error, t.tolerance, t.relative_rms
        )?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(passed: bool) -> CaseReport {
        let tensor = |name: &str, error: f64, passed| TensorReport {
            tensor: name.into(),
            error,
            tolerance: 1e-3,
            relative_rms: error,
            passed,
        };
        CaseReport {
            case: "ops/linear/tiny".into(),
            known: true,
            passed,
            tensors: vec![
                tensor("out.y", 1e-6, true),
                tensor("grad.x", if passed { 1e-5 } else { 1.0 }, passed),
            ],
            message: None,
        }
    }

    #[test]
    fn json_has_the_documented_shape() {
        let unknown = CaseReport {
            case: "models/new".into(),
            known: false,
            passed: false,
            tensors: vec![],
            message: None,
        };
        let value = json("cpu", &[report(true), report(false), unknown]);
        let cases = value["cases"].as_array().unwrap();
        assert_eq!(cases[0]["case"], "ops/linear/tiny");
        assert_eq!(
            (&cases[0]["known"], &cases[0]["passed"]),
            (&json!(true), &json!(true))
        );
        assert_eq!(
            cases[1]["worst"],
            json!({"tensor": "grad.x", "error": 1.0, "tolerance": 1e-3})
        );
        assert_eq!(
            (&cases[2]["known"], &cases[2]["worst"]),
            (&json!(false), &Value::Null)
        );
    }

    #[test]
    fn a_miss_is_marked_where_it_is() {
        let mut out = Vec::new();
        print(&mut out, &report(false)).unwrap();
        let text = String::from_utf8(out).unwrap();
        let line = text.lines().find(|l| l.contains("grad.x")).unwrap();
        assert!(
            line.ends_with("MISSED")
                && !text
                    .lines()
                    .any(|l| l.contains("out.y") && l.contains("MISSED"))
        );
    }
}
