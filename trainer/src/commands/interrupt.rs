//! Ctrl-C: the first one asks a run to save and stop, the second ends the process.

use anyhow::{Context, Result};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag that a run looks at; set by Ctrl-C (or SIGTERM).
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        eprintln!("\nstopping after this step and saving; press Ctrl-C again to leave at once");
    })
    .context("cannot listen for Ctrl-C")?;
    Ok(stop)
}
