//! Every operator, its gradients and its step on a device against the CPU twin, on the spot: whether an adapter, a driver or a browser
//! computes what it should. Small odd sizes, chosen so that every kernel is compiled and runs past the edges of its tiles.

mod call;
#[cfg(test)]
mod folded;
mod operators;

pub(crate) use call::Call;
#[cfg(test)]
pub(crate) use call::values;
pub(crate) use operators::{OPERATORS, Run};

use burn::tensor::{Device, Tensor};

use crate::fixture::{CaseReport, TensorReport};
use crate::tolerance::relative_rms;

/// Relative root mean square that a result may lie off; a single value ten times as much of the largest.
const ALLOWED: f64 = 4e-5;

/// What a device refuses, or loses.
fn failed(error: &dyn std::fmt::Debug) -> String {
    format!("the device failed: {error:?}")
}

async fn read(tensor: Tensor<1>) -> Result<Vec<f64>, String> {
    let data = tensor.into_data_async().await.map_err(|e| failed(&e))?;
    Ok(data.iter::<f64>().collect())
}

fn compare(tensor: &str, got: &[f64], want: &[f64]) -> TensorReport {
    let largest = want.iter().fold(0f64, |largest, x| largest.max(x.abs()));
    let off = got.iter().zip(want).map(|(got, want)| (got - want).abs());
    // NaN must not vanish in a maximum.
    let error = off.fold(0f64, |most, off| match most.is_nan() || off <= most {
        true => most,
        false => off,
    });
    let relative_rms = relative_rms(got, want);
    let tolerance = 10.0 * ALLOWED * largest;
    TensorReport {
        tensor: tensor.to_owned(),
        error,
        tolerance,
        relative_rms,
        // Zeros alone would agree with a kernel that does nothing.
        passed: relative_rms <= ALLOWED && error <= tolerance && largest > 0.0,
    }
}

/// Every operator and step, by name.
pub fn names() -> impl Iterator<Item = &'static str> {
    OPERATORS.iter().map(|(name, _)| *name)
}

/// Runs the operator `name`, one of [`names`], on `device` and on the CPU. `None` for another name.
pub async fn check(name: &str, device: &Device) -> Option<CaseReport> {
    let (name, run) = OPERATORS.iter().find(|(known, _)| *known == name)?;
    Some(check_call(name, *run, device).await)
}

/// The results of `call` on `device` against those on the CPU.
async fn check_call(name: &str, call: Run, device: &Device) -> CaseReport {
    let mut report = CaseReport {
        case: format!("twins/{name}"),
        known: true,
        passed: true,
        tensors: Vec::new(),
        message: None,
    };
    let run = |device: &Device| {
        let mut made = Call::new(device);
        call(&mut made);
        made.into_results()
    };
    let (results, twins) = (run(device), run(&Device::flex()));
    if results.is_empty() || results.len() != twins.len() {
        report.message = Some(format!(
            "{} results, the CPU twin has {}",
            results.len(),
            twins.len()
        ));
    }
    for ((what, got), (_, want)) in results.into_iter().zip(twins) {
        match (read(got).await, read(want).await) {
            (Ok(got), Ok(want)) => report.tensors.push(compare(&what, &got, &want)),
            (Err(error), _) | (_, Err(error)) => report.message = Some(format!("{what}: {error}")),
        }
    }
    report.passed = report.message.is_none() && report.tensors.iter().all(|tensor| tensor.passed);
    report
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::block_on;
    use crate::gradcheck::places;
    use crate::launched;
    use burn::tensor::wgpu::wgpu::naga;
    use std::path::{Path, PathBuf};

    #[test]
    fn every_operator_agrees_with_its_twin() {
        // Not the CPU: it would be held against itself.
        for place in places().into_iter().filter(|place| place.name == "wgpu") {
            for name in names() {
                let report = block_on(check(name, &place.device)).expect("it is in the list");
                assert!(
                    report.passed && !report.tensors.is_empty(),
                    "{}: {report:#?}",
                    place.name
                );
            }
        }
        assert!(block_on(check("sigmoid", &Device::flex())).is_none());
    }

    /// WGSL files below `folder`, with their text.
    fn wgsl(folder: &Path, found: &mut Vec<(PathBuf, String)>) {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            let path = entry.path();
            if path.is_dir() {
                wgsl(&path, found);
            } else if path
                .extension()
                .is_some_and(|extension| extension == "wgsl")
            {
                let text = std::fs::read_to_string(&path).unwrap();
                found.push((path, text));
            }
        }
    }

    #[test]
    fn every_wgsl_file_is_in_a_kernel_that_runs_and_declares_its_memory() {
        let places = places();
        let Some(gpu) = places.iter().find(|place| place.name == "wgpu") else {
            return;
        };
        for name in names() {
            block_on(check(name, &gpu.device)).expect("it is in the list");
        }
        let root = std::env::var("CARGO_MANIFEST_DIR").expect("cargo says where the package lies");
        let mut files = Vec::new();
        wgsl(&Path::new(&root).join("src"), &mut files);
        assert!(files.len() > 40, "{} files", files.len());
        let missing: Vec<_> = files
            .iter()
            .filter(|(_, text)| !launched::had(text))
            .map(|(path, _)| path)
            .collect();
        assert!(missing.is_empty(), "not run by any twin: {missing:#?}");
        for (source, (name, declared)) in launched::kernels() {
            let used = workgroup_memory(&source);
            assert!(
                used <= declared,
                "kernel {name}: {used} bytes, declared {declared}"
            );
        }
    }

    /// Bytes of a kernel's variables in workgroup memory.
    fn workgroup_memory(source: &str) -> usize {
        let module = naga::front::wgsl::parse_str(source).expect("a kernel that has run is WGSL");
        let mut layouter = naga::proc::Layouter::default();
        layouter
            .update(module.to_ctx())
            .expect("its types have sizes");
        let variables = module.global_variables.iter();
        variables
            .filter(|(_, variable)| variable.space == naga::AddressSpace::WorkGroup)
            .map(|(_, variable)| layouter[variable.ty].size as usize)
            .sum()
    }

    #[test]
    fn what_is_off_or_no_number_is_seen() {
        assert!(compare("y", &[1.0, 2.0], &[1.0, 2.0]).passed);
        assert!(!compare("y", &[1.0, 2.001], &[1.0, 2.0]).passed);
        let report = compare("y", &[f64::NAN, 2.0], &[1.0, 2.0]);
        assert!(!report.passed && report.error.is_nan());
        assert!(!compare("y", &[1.0], &[1.0, 2.0]).passed);
        assert!(!compare("y", &[0.0], &[0.0]).passed);
    }
}
