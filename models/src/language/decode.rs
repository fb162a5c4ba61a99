//! From token ids to logits, one token after another.

use burn::tensor::{Int, Tensor};
use caldera_shaders::Lengths;

use super::LanguageModel;
use super::state::DecodeState;

impl LanguageModel {
    /// Runs prompts of one length: logits [B, V] of the token that follows, and the state to go on from.
    ///
    /// `input_ids` is [B, L], L at least 1, without padding, ids that [`LanguageModel::validate`] accepts. Nothing is
    /// read from the device.
    ///
    /// # Panics
    /// When L is 0 or the model is on a device with autodiff ([`Parameters::frozen`](crate::Parameters::frozen)
    /// takes it off).
    pub fn prefill(&self, input_ids: Tensor<2, Int>) -> (Tensor<2>, DecodeState) {
        let [b, l] = input_ids.dims();
        assert!(l > 0, "prefill: expected at least one token, found none");
        self.assert_frozen("prefill");
        let lengths = Lengths::full(b, l);
        let context = self.context(&lengths, 0, l, 0.0);
        let mut hidden = self.embeddings.look_up(input_ids);
        let mut layers = Vec::with_capacity(self.layers.len());
        for layer in &self.layers {
            let (y, state) = layer.forward(hidden, &context, true);
            hidden = y;
            layers.extend(state);
        }
        let h = self.config.hidden_size;
        // Only the last position's logits are wanted, and a vocabulary is wide.
        let last = hidden.narrow(1, l - 1, 1).reshape([b, h]);
        let last = self.final_norm.forward(last, self.config.norm_eps);
        (self.logits(last), DecodeState { layers, tokens: l })
    }

    /// Runs one more token of each sample: logits [B, V] of the one that follows.
    ///
    /// `tokens` is \[B\], on the model's device. With attention, time grows with the tokens so far; with Mamba it does
    /// not. Nothing is read from the device.
    ///
    /// # Panics
    /// When the state is that of another model or batch, or the model is on a device with autodiff.
    pub fn step(&self, tokens: Tensor<1, Int>, state: &mut DecodeState) -> Tensor<2> {
        let [b] = tokens.dims();
        self.assert_frozen("step");
        assert!(
            state.layers.len() == self.layers.len(),
            "step: expected the state of {} layers, found {}",
            self.layers.len(),
            state.layers.len()
        );
        let lengths = Lengths::full(b, 1);
        let context = self.context(&lengths, state.tokens, 1, 0.0);
        let hidden = self.embeddings.look_up(tokens.reshape([b, 1]));
        let mut hidden = hidden.reshape([b, self.config.hidden_size]);
        // Taken out, so that a cache has one owner and is written in place.
        for (layer, before) in self.layers.iter().zip(std::mem::take(&mut state.layers)) {
            let (y, after) = layer.step(hidden, before, &context);
            hidden = y;
            state.layers.push(after);
        }
        state.tokens += 1;
        self.logits(self.final_norm.forward(hidden, self.config.norm_eps))
    }

    fn assert_frozen(&self, call: &str) {
        assert!(
            !self.device().is_autodiff(),
            "{call}: expected a model outside of any graph, found one on a device with autodiff; call frozen() first"
        );
    }
}
