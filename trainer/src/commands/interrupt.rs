//! Ctrl-C, and the signals that end a job: the first one asks a run to save and stop, the second ends the process.

use anyhow::{Context, Result};
use std::io::Write as _;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The flag that a run looks at; set by Ctrl-C, SIGTERM (a scheduler, a shutdown) and SIGHUP (the terminal goes away).
pub(super) fn stop_flag() -> Result<Arc<AtomicBool>> {
    let stop = Arc::new(AtomicBool::new(false));
    let flag = stop.clone();
    let outlives_its_terminal = hangups_are_ignored();
    ctrlc::set_handler(move || {
        if flag.swap(true, Ordering::SeqCst) {
            std::process::exit(130);
        }
        // Not eprintln!, which panics when the terminal has gone.
        let _ = writeln!(
            std::io::stderr(),
            "\nstopping after this step and saving; press Ctrl-C again to leave at once"
        );
    })
    .context("cannot listen for Ctrl-C")?;
    if outlives_its_terminal {
        ignore_hangups();
    }
    Ok(stop)
}

/// Whether this process was started to go on without its terminal, as by `nohup`.
#[cfg(unix)]
fn hangups_are_ignored() -> bool {
    // SAFETY: without a new action the present one is only asked for, and written into a place that is large enough; zeros
    // are one of its values.
    unsafe {
        let mut present: libc::sigaction = std::mem::zeroed();
        let asked = libc::sigaction(libc::SIGHUP, std::ptr::null(), &mut present);
        asked == 0 && present.sa_sigaction == libc::SIG_IGN
    }
}

#[cfg(unix)]
fn ignore_hangups() {
    // SAFETY: no function of ours is called by it.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
    }
}

#[cfg(not(unix))]
fn hangups_are_ignored() -> bool {
    false
}

#[cfg(not(unix))]
fn ignore_hangups() {}
