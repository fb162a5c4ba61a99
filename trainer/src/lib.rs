//! The training engine of the `caldera` command: data, losses, AdamW, CALD (Cross-Architecture Layerwise
//! Distillation, arXiv 2410.06846) and exact resume.
//!
//! Start at [`config::RunConfig`] and [`cald`].

pub mod allocator;
pub mod batches;
pub mod bench;
pub mod cald;
pub mod check;
pub mod commands;
pub mod config;
pub mod data;
pub mod demo;
pub mod device;
pub mod error_rates;
pub mod losses;
pub mod metrics;
pub mod model;
pub mod optimizer;
mod panics;
pub mod report;
pub mod schedule;

pub use cald::{convert, evaluate, finetune, predict};
pub use config::RunConfig;
pub use device::{DeviceChoice, select_device};
