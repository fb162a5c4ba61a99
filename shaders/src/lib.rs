//! Caldera's operators on Burn tensors.
//!
//! Every operator lives in one folder: `mod.rs` (the public function, its shapes, its place in the autodiff graph),
//! `launch.rs` with `.wgsl` files (the kernels), `cpu.rs` (the twin that runs on Burn's `flex` backend), `reference.rs`
//! (the same function in plain Burn operations) and `tests.rs`. What they share:
//!
//! * [`lengths`]: how long each sample of a padded batch is,
//! * [`launch`]: WGSL templates, checked against WebGPU's default limits and the device's own before they run,
//! * `block_product`: the tiled product that the kernels over chunks and samples are written around,
//! * [`sixteen_bit`]: weights of 16-bit floats, how kernels read them and how they are widened,
//! * [`tuning`]: what kind of adapter the kernels are laid out for, and the switch that forces one,
//! * [`simd`]: which vector instructions the CPU twins take, and the switch that forbids the wider ones,
//! * [`environment`]: what becomes of a switch that names what there is not,
//! * [`tolerance`], [`fixture`], [`cases`]: comparison with numerical reference cases, natively and in a browser,
//! * [`twins`]: every operator on a device against the same on the CPU, natively and in a browser.

pub mod adamw;
mod block_product;
pub mod cases;
pub mod causal_conv1d;
mod column_sum;
pub mod conv1d;
mod cpu;
pub mod ctc_loss;
#[cfg(test)]
mod default_limits;
#[cfg(test)]
mod degenerate;
mod device;
pub mod embedding;
pub mod environment;
pub mod fixture;
pub mod gated_rmsnorm;
pub mod gelu;
#[cfg(test)]
mod gradcheck;
pub mod launch;
#[cfg(test)]
mod launched;
pub mod layer_norm;
pub mod lengths;
pub mod linear;
pub mod linear_attention;
pub mod linformer_attention;
mod product;
#[cfg(test)]
mod ratios;
pub mod reverse_padded;
pub mod rotary;
pub mod selective_scan;
pub mod simd;
pub mod sixteen_bit;
pub mod softmax_attention;
pub mod ssd;
pub mod sum_of_squares;
mod timestamps;
pub mod tolerance;
pub mod tuning;
pub mod twins;

pub use adamw::{AdamWStep, adamw_step};
pub use causal_conv1d::{ConvOutput, causal_conv1d, causal_conv1d_step};
pub use conv1d::{conv1d, conv1d_frames};
pub use ctc_loss::{ctc_loss, try_ctc_loss};
pub use device::{block_on, is_gpu};
pub use embedding::embedding;
pub use environment::check_environment;
pub use gated_rmsnorm::gated_rmsnorm;
pub use gelu::gelu;
pub use layer_norm::layer_norm;
pub use lengths::{Lengths, ShapeError};
pub use linear::linear;
pub use linear_attention::step::linear_attention_step;
pub use linear_attention::{LinearAttentionOutput, linear_attention};
pub use linformer_attention::linformer_attention;
pub use reverse_padded::reverse_padded;
pub use rotary::rotary;
pub use selective_scan::{selective_scan, selective_scan_step};
pub use sixteen_bit::{is_sixteen_bit, widen};
pub use softmax_attention::decode::softmax_attention_step;
pub use softmax_attention::softmax_attention;
pub use ssd::{SsdInput, SsdOutput, ssd, ssd_step};
pub use sum_of_squares::sum_of_squares;
pub use timestamps::GpuWindow;
pub use tuning::{Tuning, force_tuning};
