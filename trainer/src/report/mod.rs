//! What a run shows: progress in the terminal while it lasts, one HTML file with plots afterwards.

pub mod html;
pub mod plot;
pub mod progress;
pub mod run;

use anyhow::{Context, Result};
use std::io::Write as _;
use std::path::Path;

/// Writes a file beside its place and renames it there, so that a reader never sees half of it. Makes the folder where there is none.
///
/// # Errors
/// Names the file and what the system said.
pub fn write_whole(path: &Path, bytes: &[u8]) -> Result<()> {
    let folder = path
        .parent()
        .filter(|p| !p.as_os_str().is_empty())
        .unwrap_or(Path::new("."));
    let cannot = || format!("{}: cannot write the file", path.display());
    std::fs::create_dir_all(folder).with_context(cannot)?;
    let mut file = tempfile::Builder::new()
        .prefix(".part-")
        .tempfile_in(folder)
        .with_context(cannot)?;
    file.write_all(bytes).with_context(cannot)?;
    readable_by_all(file.path());
    file.persist(path).with_context(cannot)?;
    Ok(())
}

/// Temporary files are private to their owner; results are ordinary files.
fn readable_by_all(path: &Path) {
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        // Where it fails the file is merely private.
        let _ = std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o644));
    }
    #[cfg(not(unix))]
    let _ = path;
}
