//! Numerical reference cases: a folder with `case.json`, `expected.safetensors` and, for a model, its files.
//!
//! `expected.safetensors` holds `in.*`, `up.*` (upstream gradients), `out.*` and `grad.*`; `case.json` holds `facts` and, for
//! each result, `atol` and `rtol`.

use std::collections::BTreeMap;

use burn::tensor::{Device, Int, Tensor, TensorData};
use safetensors::{Dtype, SafeTensors};
use serde_json::Value;

use crate::tolerance::{self, Tolerance};
use crate::{Lengths, is_gpu};

/// Why a case cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum FixtureError {
    /// A file of the case is not there.
    #[error("{case}/{file}: no such file; a case folder needs case.json and expected.safetensors")]
    MissingFile {
        /// The case.
        case: String,
        /// The file.
        file: String,
    },
    /// A file of the case cannot be read or parsed.
    #[error("{case}/{file}: {reason}")]
    Unreadable {
        /// The case.
        case: String,
        /// The file.
        file: String,
        /// What the reader says.
        reason: String,
    },
    /// A tensor is not in `expected.safetensors`.
    #[error("{case}/expected.safetensors: no tensor `{tensor}`")]
    MissingTensor {
        /// The case.
        case: String,
        /// The tensor.
        tensor: String,
    },
    /// A tensor or fact is of another kind than asked for.
    #[error("{case}, `{name}`: expected {expected}, found {found}")]
    Kind {
        /// The case.
        case: String,
        /// The tensor or fact.
        name: String,
        /// What was asked for.
        expected: String,
        /// What is there.
        found: String,
    },
}

/// One reference case with all its files in memory.
#[derive(Debug, Clone)]
pub struct Case {
    /// Path below the fixtures folder, such as `ops/softmax-attention/bidirectional-tiny`.
    pub path: String,
    /// `case.json`.
    pub json: Value,
    /// Every file of the folder by its path within the folder.
    pub files: BTreeMap<String, Vec<u8>>,
}

impl Case {
    /// A case from the files of its folder.
    ///
    /// # Errors
    /// When `case.json` is missing or is not JSON.
    pub fn from_files(path: &str, files: BTreeMap<String, Vec<u8>>) -> Result<Self, FixtureError> {
        let bytes = files
            .get("case.json")
            .ok_or_else(|| FixtureError::MissingFile {
                case: path.into(),
                file: "case.json".into(),
            })?;
        let json = serde_json::from_slice(bytes).map_err(|error| FixtureError::Unreadable {
            case: path.into(),
            file: "case.json".into(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            path: path.into(),
            json,
            files,
        })
    }

    /// Reads the case `path` (such as `ops/softmax-attention/bidirectional-tiny`) below the folder `root`.
    ///
    /// # Errors
    /// When a file cannot be read or `case.json` is not JSON.
    #[cfg(not(target_family = "wasm"))]
    pub fn read(root: &std::path::Path, path: &str) -> Result<Self, FixtureError> {
        fn collect(
            folder: &std::path::Path,
            prefix: &str,
            files: &mut BTreeMap<String, Vec<u8>>,
        ) -> std::io::Result<()> {
            for entry in std::fs::read_dir(folder)? {
                let entry = entry?;
                let name = format!("{prefix}{}", entry.file_name().to_string_lossy());
                if entry.file_type()?.is_dir() {
                    collect(&entry.path(), &format!("{name}/"), files)?;
                } else {
                    files.insert(name, std::fs::read(entry.path())?);
                }
            }
            Ok(())
        }
        let mut files = BTreeMap::new();
        collect(&root.join(path), "", &mut files).map_err(|error| FixtureError::Unreadable {
            case: path.into(),
            file: String::new(),
            reason: error.to_string(),
        })?;
        Self::from_files(path, files)
    }

    /// First part of the path: `ops`, `models`, `losses` or `tokenizers`.
    pub fn family(&self) -> &str {
        self.path.split('/').next().unwrap_or_default()
    }

    /// Second part of the path: the operator or model.
    pub fn name(&self) -> &str {
        self.path.split('/').nth(1).unwrap_or_default()
    }

    /// `facts` of `case.json`.
    pub fn facts(&self) -> &Value {
        &self.json["facts"]
    }

    /// The bytes of a file of the folder.
    ///
    /// # Errors
    /// When the folder has no such file.
    pub fn file(&self, name: &str) -> Result<&[u8], FixtureError> {
        self.files
            .get(name)
            .map(Vec::as_slice)
            .ok_or_else(|| FixtureError::MissingFile {
                case: self.path.clone(),
                file: name.into(),
            })
    }

    /// A whole-number fact.
    ///
    /// # Errors
    /// When the fact is missing or is no whole number.
    pub fn fact_usize(&self, name: &str) -> Result<usize, FixtureError> {
        let value = &self.facts()[name];
        value
            .as_u64()
            .map(|value| value as usize)
            .ok_or_else(|| self.kind(name, "a whole number", value.to_string()))
    }

    /// Shape and values of a tensor of any number type.
    ///
    /// # Errors
    /// When the tensor is missing or its file is damaged.
    pub fn f64s(&self, tensor: &str) -> Result<(Vec<usize>, Vec<f64>), FixtureError> {
        let (shape, dtype, bytes) = self.raw(tensor)?;
        let values = match dtype {
            Dtype::F32 => bytes
                .chunks_exact(4)
                .map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]]) as f64)
                .collect(),
            Dtype::F64 => bytes
                .chunks_exact(8)
                .map(|b| f64::from_bits(word(b)))
                .collect(),
            Dtype::I64 => bytes
                .chunks_exact(8)
                .map(|b| word(b) as i64 as f64)
                .collect(),
            other => return Err(self.kind(tensor, "F32, F64 or I64", format!("{other:?}"))),
        };
        Ok((shape, values))
    }

    /// Shape and values of a whole-number tensor.
    ///
    /// # Errors
    /// When the tensor is missing, is not I64, or its file is damaged.
    pub fn ints(&self, tensor: &str) -> Result<(Vec<usize>, Vec<i64>), FixtureError> {
        let (shape, dtype, bytes) = self.raw(tensor)?;
        if dtype != Dtype::I64 {
            return Err(self.kind(tensor, "I64", format!("{dtype:?}")));
        }
        Ok((
            shape,
            bytes.chunks_exact(8).map(|b| word(b) as i64).collect(),
        ))
    }

    /// A float tensor on a device.
    ///
    /// # Errors
    /// When the tensor is missing or has another rank than `D`.
    pub fn tensor<const D: usize>(
        &self,
        tensor: &str,
        device: &Device,
    ) -> Result<Tensor<D>, FixtureError> {
        let (shape, values) = self.f64s(tensor)?;
        let shape = self.rank::<D>(tensor, shape)?;
        let values: Vec<f32> = values.into_iter().map(|value| value as f32).collect();
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// A whole-number tensor on a device.
    ///
    /// # Errors
    /// When the tensor is missing, is not I64 or has another rank than `D`.
    pub fn int_tensor<const D: usize>(
        &self,
        tensor: &str,
        device: &Device,
    ) -> Result<Tensor<D, Int>, FixtureError> {
        let (shape, values) = self.ints(tensor)?;
        let shape = self.rank::<D>(tensor, shape)?;
        let values: Vec<i32> = values.into_iter().map(|value| value as i32).collect();
        Ok(Tensor::from_data(TensorData::new(values, shape), device))
    }

    /// `in.lengths`.
    ///
    /// # Errors
    /// When the case has none.
    pub fn lengths(&self) -> Result<Lengths, FixtureError> {
        Ok(Lengths::new(
            self.ints("in.lengths")?
                .1
                .into_iter()
                .map(|n| n as u32)
                .collect(),
        ))
    }

    /// Sorted names of the tensors whose names start with `prefix`; none when `expected.safetensors` is missing.
    pub fn names(&self, prefix: &str) -> Vec<String> {
        let mut names: Vec<String> = self
            .parsed()
            .map(|tensors| {
                tensors
                    .names()
                    .into_iter()
                    .filter(|name| name.starts_with(prefix))
                    .map(String::from)
                    .collect()
            })
            .unwrap_or_default();
        names.sort();
        names
    }

    /// The limits of a result.
    ///
    /// # Errors
    /// When `case.json` gives none.
    pub fn tolerance(&self, tensor: &str) -> Result<Tolerance, FixtureError> {
        let entry = &self.json["tolerance"][tensor];
        match (entry["atol"].as_f64(), entry["rtol"].as_f64()) {
            (Some(atol), Some(rtol)) => Ok(Tolerance { atol, rtol }),
            _ => Err(self.kind(
                &format!("tolerance.{tensor}"),
                "atol and rtol",
                entry.to_string(),
            )),
        }
    }

    fn parsed(&self) -> Result<SafeTensors<'_>, FixtureError> {
        SafeTensors::deserialize(self.file("expected.safetensors")?).map_err(|error| {
            FixtureError::Unreadable {
                case: self.path.clone(),
                file: "expected.safetensors".into(),
                reason: error.to_string(),
            }
        })
    }

    fn raw(&self, tensor: &str) -> Result<(Vec<usize>, Dtype, Vec<u8>), FixtureError> {
        let parsed = self.parsed()?;
        let view = parsed
            .tensor(tensor)
            .map_err(|_| FixtureError::MissingTensor {
                case: self.path.clone(),
                tensor: tensor.into(),
            })?;
        Ok((view.shape().to_vec(), view.dtype(), view.data().to_vec()))
    }

    fn rank<const D: usize>(
        &self,
        tensor: &str,
        shape: Vec<usize>,
    ) -> Result<[usize; D], FixtureError> {
        <[usize; D]>::try_from(shape)
            .map_err(|shape| self.kind(tensor, &format!("rank {D}"), format!("shape {shape:?}")))
    }

    fn kind(&self, name: &str, expected: &str, found: String) -> FixtureError {
        FixtureError::Kind {
            case: self.path.clone(),
            name: name.into(),
            expected: expected.into(),
            found,
        }
    }
}

fn word(bytes: &[u8]) -> u64 {
    u64::from_le_bytes(bytes.try_into().expect("chunks_exact(8) gives eight bytes"))
}

/// How one tensor compares.
#[derive(Debug, Clone)]
pub struct TensorReport {
    /// Name as in the case, such as `out.y`.
    pub tensor: String,
    /// `|got - want|` of the worst element.
    pub error: f64,
    /// `atol + rtol * |want|` of that element.
    pub tolerance: f64,
    /// Relative root mean square over all compared elements.
    pub relative_rms: f64,
    /// Whether every element is within its limit.
    pub passed: bool,
}

/// How one case compares.
#[derive(Debug, Clone)]
pub struct CaseReport {
    /// Path of the case.
    pub case: String,
    /// Whether this build knows the operator or model.
    pub known: bool,
    /// Whether every tensor passed and nothing else went wrong.
    pub passed: bool,
    /// The tensors in the order compared.
    pub tensors: Vec<TensorReport>,
    /// What went wrong apart from values.
    pub message: Option<String>,
}

impl CaseReport {
    /// A case that could not be run.
    pub fn failed(case: &Case, message: impl ToString) -> Self {
        Self {
            case: case.path.clone(),
            known: true,
            passed: false,
            tensors: Vec::new(),
            message: Some(message.to_string()),
        }
    }

    /// The tensor that comes closest to its limit, or lies furthest past it.
    pub fn worst(&self) -> Option<&TensorReport> {
        let ratio = |report: &TensorReport| report.error / report.tolerance.max(f64::MIN_POSITIVE);
        self.tensors
            .iter()
            .max_by(|a, b| ratio(a).total_cmp(&ratio(b)))
    }
}

/// Collects comparisons with the `out.*` and `grad.*` of a case.
///
/// Limits are those of `case.json` on the CPU and ten times those on a GPU.
#[derive(Debug)]
pub struct Comparer<'a> {
    case: &'a Case,
    factor: f64,
    report: CaseReport,
}

impl<'a> Comparer<'a> {
    /// Starts a comparison of results from `device`.
    pub fn new(case: &'a Case, device: &Device) -> Self {
        let report = CaseReport {
            case: case.path.clone(),
            known: true,
            passed: true,
            tensors: Vec::new(),
            message: None,
        };
        Self {
            case,
            factor: if is_gpu(device) { 10.0 } else { 1.0 },
            report,
        }
    }

    /// Compares every element with the tensor `name` of the case.
    pub async fn compare<const D: usize>(&mut self, name: &str, got: Tensor<D>) {
        self.compare_where(name, got, |_| true).await;
    }

    /// Compares the unpadded positions: those whose index along `axis` is below the length of the sample (dimension 0).
    pub async fn compare_valid<const D: usize>(
        &mut self,
        name: &str,
        got: Tensor<D>,
        lengths: &Lengths,
        axis: usize,
    ) {
        let lengths = lengths.as_slice();
        self.compare_where(name, got, |index| index[axis] < lengths[index[0]] as usize)
            .await;
    }

    /// Compares the elements whose index `keep` accepts.
    pub async fn compare_where<const D: usize>(
        &mut self,
        name: &str,
        got: Tensor<D>,
        keep: impl Fn(&[usize]) -> bool,
    ) {
        let shape = got.dims().to_vec();
        match got.into_data_async().await {
            Ok(data) => self.compare_values(name, &shape, data.iter::<f64>().collect(), keep),
            Err(error) => self.fail(format!(
                "{name}: reading it from the device failed: {error:?}"
            )),
        }
    }

    /// Compares values that are already on the host.
    pub fn compare_values(
        &mut self,
        name: &str,
        shape: &[usize],
        got: Vec<f64>,
        keep: impl Fn(&[usize]) -> bool,
    ) {
        let (want, tolerance) = match self
            .case
            .f64s(name)
            .and_then(|want| Ok((want, self.case.tolerance(name)?)))
        {
            Ok(found) => found,
            Err(error) => return self.fail(error.to_string()),
        };
        let (want_shape, want) = want;
        if want_shape != shape {
            return self.fail(format!(
                "{name}: expected shape {want_shape:?}, found {shape:?}"
            ));
        }
        let mut index = vec![0; shape.len()];
        let (mut kept_got, mut kept_want) = (Vec::new(), Vec::new());
        for (got, want) in got.into_iter().zip(want) {
            if keep(&index) {
                kept_got.push(got);
                kept_want.push(want);
            }
            for axis in (0..shape.len()).rev() {
                index[axis] += 1;
                if index[axis] < shape[axis] {
                    break;
                }
                index[axis] = 0;
            }
        }
        let (error, allowed) =
            tolerance::worst(&kept_got, &kept_want, tolerance.times(self.factor));
        let passed = error <= allowed;
        self.report.passed &= passed;
        self.report.tensors.push(TensorReport {
            tensor: name.into(),
            error,
            tolerance: allowed,
            relative_rms: tolerance::relative_rms(&kept_got, &kept_want),
            passed,
        });
    }

    /// Records that something else than a value went wrong.
    pub fn fail(&mut self, message: String) {
        self.report.passed = false;
        let message = match self.report.message.take() {
            Some(earlier) => format!("{earlier}; {message}"),
            None => message,
        };
        self.report.message = Some(message);
    }

    /// The report.
    pub fn finish(self) -> CaseReport {
        self.report
    }
}
