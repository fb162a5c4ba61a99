//! The engine of Caldera's page: it lives in one worker, owns the device, and answers the worker's calls.
//!
//! * [`engine`]: the device, the loaded pair, answers, generated text, what was heard, timed passes.
//! * [`timing`]: the clock, the peak memory, and the inputs of measurements.
//! * [`memory`]: a counting allocator, for the CPU engine's peak.
//! * `report`: a reference case's outcome, as an object for JavaScript.
//! * `constructors`: what crates leave to the linker, run once.
//! * [`panics`]: a panic's message, left where the worker finds it.
//!
//! Every read is awaited: a browser cannot block.

mod constructors;
pub mod engine;
pub mod memory;
pub mod panics;
mod report;
pub mod timing;
