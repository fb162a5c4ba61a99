//! The training engine of the `caldera` command: data, losses, AdamW, CALD (Cross-Architecture Layerwise
//! Distillation, arXiv 2410.06846) and exact resume.
//!
//! Start at [`config::RunConfig`] and [`cald`].

pub mod cald;
pub mod config;
pub mod data;
pub mod device;
pub mod metrics;
pub mod schedule;

pub use cald::{convert, evaluate, finetune, predict};
pub use config::RunConfig;
pub use device::{DeviceChoice, select_device};
