//! Finds case folders and reads them.

use anyhow::{Context, Result, bail};
use caldera_shaders::fixture::Case;
use std::collections::BTreeMap;
use std::path::{Component, Path, PathBuf};

/// The first folder of a case's name.
const FAMILIES: [&str; 4] = ["ops", "models", "losses", "tokenizers"];

/// A folder that holds one case.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CaseFolder {
    /// `ops/softmax-attention/tiny`: the folder from its family on.
    pub name: String,
    /// Where it is.
    pub path: PathBuf,
}

/// Every folder with a `case.json` at or below `path`, by name.
///
/// # Errors
/// When `path` is no folder, cannot be listed, or holds no case.
pub fn find_cases(path: &Path) -> Result<Vec<CaseFolder>> {
    let root = path
        .canonicalize()
        .with_context(|| format!("{}: no such folder of fixtures", path.display()))?;
    if !root.is_dir() {
        bail!(
            "{}: a file, but a folder of fixtures is needed (the root, a family or one case)",
            path.display()
        );
    }
    let mut found = Vec::new();
    walk(&root, &root, &mut found)?;
    if found.is_empty() {
        bail!(
            "{}: no folder with a case.json in it; give the root of the fixtures, a family or one case",
            path.display()
        );
    }
    found.sort_by(|a, b| a.name.cmp(&b.name));
    Ok(found)
}

fn walk(root: &Path, folder: &Path, found: &mut Vec<CaseFolder>) -> Result<()> {
    if folder.join("case.json").is_file() {
        found.push(CaseFolder {
            name: case_name(root, folder),
            path: folder.to_path_buf(),
        });
        return Ok(());
    }
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: cannot list the folder", folder.display()))?;
    for entry in entries {
        let entry =
            entry.with_context(|| format!("{}: cannot list the folder", folder.display()))?;
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            walk(root, &entry.path(), found)?;
        }
    }
    Ok(())
}

/// The name below the root, or, when the root lies inside a family, from that family on.
fn case_name(root: &Path, folder: &Path) -> String {
    let names = |path: &Path| -> Vec<String> {
        path.components()
            .filter_map(|c| {
                if let Component::Normal(name) = c {
                    Some(name.to_string_lossy().into_owned())
                } else {
                    None
                }
            })
            .collect()
    };
    let family = |name: &String| FAMILIES.contains(&name.as_str());
    let below = names(folder.strip_prefix(root).unwrap_or(folder));
    if below.first().is_some_and(family) {
        return below.join("/");
    }
    let whole = names(folder);
    match whole.iter().rposition(family) {
        Some(start) if start + 1 < whole.len() => whole[start..].join("/"),
        _ if below.is_empty() => whole.last().cloned().unwrap_or_default(),
        _ => below.join("/"),
    }
}

/// Reads every file of a case folder (and of its folders, named `sub/file`).
///
/// # Errors
/// Names the file that cannot be read or the place where `case.json` is no JSON.
pub fn read_case(folder: &CaseFolder) -> Result<Case> {
    let mut files = BTreeMap::new();
    read_files(&folder.path, "", &mut files)?;
    Case::from_files(&folder.name, files)
        .with_context(|| format!("{}: not a case; restore the folder", folder.path.display()))
}

fn read_files(folder: &Path, prefix: &str, files: &mut BTreeMap<String, Vec<u8>>) -> Result<()> {
    let entries = std::fs::read_dir(folder)
        .with_context(|| format!("{}: cannot list the folder", folder.display()))?;
    for entry in entries {
        let path = entry
            .with_context(|| format!("{}: cannot list the folder", folder.display()))?
            .path();
        let name = format!(
            "{prefix}{}",
            path.file_name().unwrap_or_default().to_string_lossy()
        );
        if path.is_dir() {
            read_files(&path, &format!("{name}/"), files)?;
        } else {
            let bytes = std::fs::read(&path)
                .with_context(|| format!("{}: cannot read the file", path.display()))?;
            files.insert(name, bytes);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn touch(root: &Path, case: &str, text: &str) {
        std::fs::create_dir_all(root.join(case)).unwrap();
        std::fs::write(root.join(case).join("case.json"), text).unwrap();
    }

    #[test]
    fn a_case_has_the_same_name_from_the_root_its_family_and_itself() {
        let root = tempfile::tempdir().unwrap();
        touch(root.path(), "ops/softmax-attention/tiny", "{}");
        touch(root.path(), "models/bert-tiny", "{}");
        let names = |at: &str| -> Vec<String> {
            find_cases(&root.path().join(at))
                .unwrap()
                .into_iter()
                .map(|c| c.name)
                .collect()
        };
        assert_eq!(
            names(""),
            ["models/bert-tiny", "ops/softmax-attention/tiny"]
        );
        assert_eq!(names("ops"), ["ops/softmax-attention/tiny"]);
        assert_eq!(
            names("ops/softmax-attention"),
            ["ops/softmax-attention/tiny"]
        );
        assert_eq!(
            names("ops/softmax-attention/tiny"),
            ["ops/softmax-attention/tiny"]
        );
        assert_eq!(names("models/bert-tiny"), ["models/bert-tiny"]);
    }

    #[test]
    fn a_broken_case_names_its_file_and_an_empty_folder_says_what_is_needed() {
        let root = tempfile::tempdir().unwrap();
        let error = find_cases(root.path()).unwrap_err().to_string();
        assert!(error.contains("case.json"), "{error}");
        touch(root.path(), "ops/x", "{ no");
        let case = &find_cases(root.path()).unwrap()[0];
        let error = format!("{:#}", read_case(case).unwrap_err());
        assert!(
            error.contains("ops/x") && error.contains("case.json"),
            "{error}"
        );
        assert!(find_cases(&root.path().join("nowhere")).is_err());
    }
}
