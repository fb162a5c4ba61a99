//! What is minimised: cross entropy, the distance of hidden states, the divergence of logits.

pub mod cases;
mod ctc;
mod layers;
mod logits;
mod next_token;
mod task;

pub use ctc::{ctc_losses, frames_needed, reduced};
pub use layers::{LayerDistance, Surrogate, layer_distance, layer_loss};
pub use logits::{LogitsMean, divergence, logits_loss};
pub use next_token::{next_token_loss, next_token_losses};
pub use task::cross_entropy;
