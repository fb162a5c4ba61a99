//! End to end, through the `caldera` program: the whole walk on tiny models, reference results, resume, bad input.

// clippy.toml allows it in tests, and takes no helper of theirs for one.
#![allow(clippy::unwrap_used)]

mod bad_data;
mod bad_models;
mod language;
mod pairs;
mod program;
mod reference;
mod resume;
mod samples;
mod speech;
mod tasks;
mod transcribe;
mod walk;
