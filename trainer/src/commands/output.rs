//! Standard output, where results go.

use anyhow::{Context, Result};
use serde_json::Value;
use std::io::{ErrorKind, Write};

/// Writes a line of results.
pub(super) fn line(text: &str) -> Result<()> {
    // Not println!, which panics when the reader of a pipe has gone.
    writeln!(std::io::stdout().lock(), "{text}").context("standard output")
}

/// Writes JSON over several lines.
pub(super) fn json(value: &Value) -> Result<()> {
    line(&serde_json::to_string_pretty(value).context("a result that is no JSON")?)
}

/// True for the error that a write to a pipe without a reader gives.
pub(super) fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|e| e.kind() == ErrorKind::BrokenPipe)
    })
}
