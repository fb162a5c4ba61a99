//! Measurements of time and memory.

pub mod latency;
pub mod memory;
pub mod statistics;
pub mod stretch;
pub mod training_step;
