//! `index.json` beside the folders of pairs: those that the page offers, in its order.

use std::io::ErrorKind;
use std::path::Path;

use anyhow::{Context, Result};
use serde_json::{Map, Value};

use crate::report::write_whole;

const BUILD: &str =
    "build the page again to show the pair: trunk build --release, or cargo xtask demo";

/// Adds a pair's folder to the index that lies beside it; what to say of it, where there is one.
///
/// # Errors
/// The index cannot be read or written.
pub(super) fn list(pair: &Path) -> Result<Option<String>> {
    // `--out .` has a name too, but only when it is resolved.
    let whole = pair
        .canonicalize()
        .with_context(|| format!("{}: cannot be found", pair.display()))?;
    let (Some(name), Some(folder)) = (whole.file_name(), whole.parent()) else {
        return Ok(None);
    };
    let path = folder.join("index.json");
    let shown = path.display();
    let text = match std::fs::read_to_string(&path) {
        Ok(text) => text,
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error).with_context(|| format!("{shown}: cannot be read")),
    };
    let name = Value::from(name.to_string_lossy());
    let mut index: Map<String, Value> = serde_json::from_str(&text).unwrap_or_default();
    let Some(Value::Array(names)) = index.get_mut("pairs") else {
        return Ok(Some(format!(
            "{shown}: expected {{\"pairs\": [names of folders]}} as the page has it, found something else; left as it is"
        )));
    };
    if names.contains(&name) {
        return Ok(Some(format!("{shown} lists {name} already; {BUILD}")));
    }
    names.push(name.clone());
    let text = serde_json::to_string_pretty(&index).context("a list that is no JSON")? + "\n";
    write_whole(&path, text.as_bytes())?;
    Ok(Some(format!("{shown} now lists {name}; {BUILD}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_pair_is_listed_once_and_at_the_end() {
        let folder = tempfile::tempdir().unwrap();
        let (pair, index) = (folder.path().join("new"), folder.path().join("index.json"));
        std::fs::create_dir(&pair).unwrap();
        assert_eq!(list(&pair).unwrap(), None);
        assert!(!index.exists());
        std::fs::write(&index, r#"{ "note": 1, "pairs": ["z", "a"] }"#).unwrap();
        let said = list(&pair).unwrap().unwrap();
        assert!(
            said.contains("now lists") && said.contains("trunk build"),
            "{said}"
        );
        let read = || -> Value { serde_json::from_slice(&std::fs::read(&index).unwrap()).unwrap() };
        let want = serde_json::json!({"note": 1, "pairs": ["z", "a", "new"]});
        assert_eq!(read(), want);
        assert!(list(&pair).unwrap().unwrap().contains("already"));
        assert_eq!(read(), want);
        for other in ["[]", "{", "{\"pairs\": {}}"] {
            std::fs::write(&index, other).unwrap();
            assert!(list(&pair).unwrap().unwrap().contains("left as it is"));
            assert_eq!(std::fs::read_to_string(&index).unwrap(), other);
        }
    }
}
