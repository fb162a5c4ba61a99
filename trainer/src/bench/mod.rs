//! Measurements of time and memory.

pub mod latency;
mod latency_language;
mod latency_speech;
pub mod memory;
pub mod ops;
pub mod statistics;
pub mod stretch;
pub mod training_step;
