//! End to end, through the `caldera` program: the whole walk on tiny models, reference results, resume, bad input.

mod bad_data;
mod bad_models;
mod program;
mod reference;
mod resume;
mod samples;
mod walk;
