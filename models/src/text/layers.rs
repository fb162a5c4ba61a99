//! The encoder's parts. Shapes: B batch, L length, H hidden size, N heads, P head width.

use burn::tensor::{Int, Tensor, module};
use caldera_shaders::{Lengths, linformer_attention, softmax_attention};

use super::config::TextConfig;
use crate::layers::{LayerNorm, Linear, Table, Walk, dropout, parameters};

/// The three tables and the norm over their sum.
#[derive(Debug, Clone)]
pub(crate) struct Embeddings {
    /// [vocab_size, H]
    pub words: Table,
    /// [max_position_embeddings, H]
    pub positions: Tensor<2>,
    /// [type_vocab_size, H]
    pub types: Tensor<2>,
    pub norm: LayerNorm,
}
parameters!(Embeddings {
    words => "word_embeddings.weight",
    positions => "position_embeddings.weight",
    types => "token_type_embeddings.weight",
    norm => "LayerNorm",
});

/// Where a sample's positions begin in the position table.
pub(crate) enum Positions {
    /// Row i for token i (BERT).
    FromZero,
    /// Row `padding + 1 + i` for the i-th token that is no padding, row `padding` for padding (RoBERTa).
    AfterPadding,
}

impl Embeddings {
    /// [B, L, H] of ids [B, L]. Padding tokens give no gradient to the row of the word table (and of
    /// RoBERTa's position table) that is theirs, as `padding_idx` has it in PyTorch.
    pub fn forward(
        &self,
        ids: Tensor<2, Int>,
        types: Option<Tensor<2, Int>>,
        positions: &Positions,
        padding: u32,
        eps: f64,
    ) -> Tensor<3> {
        let [_, length] = ids.dims();
        let [_, hidden] = self.positions.dims();
        let words = self.words.look_up(ids.clone());
        // Only where gradients are recorded does the padding row need its protection.
        let real = self
            .words
            .is_tracked()
            .then(|| ids.clone().not_equal_elem(padding as i64));
        let protect = |x: Tensor<3>| match &real {
            Some(real) => {
                let [b, l, h] = x.dims();
                let padded = real.clone().bool_not().reshape([b, l, 1]).expand([b, l, h]);
                x.clone().mask_where(padded, x.detach())
            }
            None => x,
        };
        let (words, places) = match positions {
            Positions::FromZero => {
                let rows = self.positions.clone().slice([0..length, 0..hidden]);
                (protect(words), rows.reshape([1, length, hidden]))
            }
            Positions::AfterPadding => {
                let real = ids.not_equal_elem(padding as i64).int();
                let rows = real.clone().cumsum(1).mul(real).add_scalar(padding as i64);
                (
                    protect(words),
                    protect(module::embedding(self.positions.clone(), rows)),
                )
            }
        };
        let types = match types {
            Some(types) if self.types.dims()[0] > 1 => module::embedding(self.types.clone(), types),
            // All of type 0: one row for everybody.
            _ => self
                .types
                .clone()
                .slice([0..1, 0..hidden])
                .reshape([1, 1, hidden]),
        };
        self.norm.forward(words + types + places, eps)
    }
}

/// Attention with its output projection and norm.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub query: Linear,
    pub key: Linear,
    pub value: Linear,
    /// [max_position_embeddings, k], Linformer only; where absent, that of layer 0.
    pub proj_k: Option<Tensor<2>>,
    /// [max_position_embeddings, k], Linformer only; where absent, the projection of the keys.
    pub proj_v: Option<Tensor<2>>,
    pub output: Linear,
    pub norm: LayerNorm,
}
parameters!(Attention {
    query => "self.query",
    key => "self.key",
    value => "self.value",
    proj_k => "self.proj_k",
    proj_v => "self.proj_v",
    output => "output.dense",
    norm => "output.LayerNorm",
});

/// What a layer does with its input beyond its own parameters.
pub(crate) struct LayerContext<'a> {
    pub config: &'a TextConfig,
    pub lengths: &'a Lengths,
    /// `hidden_dropout_prob`, or 0 in evaluation.
    pub dropout: f64,
    /// The projection of layer 0, for layers that have none of their own.
    pub shared: Option<Tensor<2>>,
}

impl Attention {
    /// [B, L, H] → [B, L, H]; `keys` sees what the key projection gives before it is split into heads.
    fn forward(
        &self,
        x: Tensor<3>,
        context: &LayerContext,
        keys: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let [b, l, h] = x.dims();
        let config = context.config;
        let heads = [b, l, config.num_attention_heads, config.head_size()];
        let query = self.query.forward(x.clone()).reshape(heads);
        let key = self.key.forward(x.clone());
        keys(&key);
        let key = key.reshape(heads);
        let value = self.value.forward(x.clone()).reshape(heads);
        let proj_k = self.proj_k.clone().or_else(|| context.shared.clone());
        let mixed = match proj_k {
            None => softmax_attention(query, key, value, context.lengths, false),
            Some(proj_k) => {
                let proj_v = self.proj_v.clone().unwrap_or_else(|| proj_k.clone());
                linformer_attention(query, key, value, proj_k, proj_v, context.lengths)
            }
        };
        let out = self.output.forward(mixed.reshape([b, l, h]));
        self.norm
            .forward(dropout(out, context.dropout) + x, config.layer_norm_eps)
    }
}

/// Attention, then the feed-forward block.
#[derive(Debug, Clone)]
pub(crate) struct Layer {
    pub attention: Attention,
    pub intermediate: Linear,
    pub output: Linear,
    pub norm: LayerNorm,
}
parameters!(Layer {
    attention => "attention",
    intermediate => "intermediate.dense",
    output => "output.dense",
    norm => "output.LayerNorm",
});

impl Layer {
    pub fn forward(
        &self,
        x: Tensor<3>,
        context: &LayerContext,
        keys: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let x = self.attention.forward(x, context, keys);
        let inner = self.intermediate.forward(x.clone());
        let inner = context.config.hidden_act.forward(inner);
        let out = dropout(self.output.forward(inner), context.dropout);
        self.norm.forward(out + x, context.config.layer_norm_eps)
    }
}

/// What stands on the encoder, by family.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has one")]
pub(crate) enum Head {
    /// On the pooler's output.
    Bert(Linear),
    /// On the first token's hidden state: dense, tanh, out_proj.
    Roberta { dense: Linear, out: Linear },
}

impl Walk for Head {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, super::ParameterRef<'_>)) {
        match self {
            Self::Bert(linear) => linear.walk(name, visit),
            Self::Roberta { dense, out } => {
                dense.walk(&format!("{name}.dense"), visit);
                out.walk(&format!("{name}.out_proj"), visit);
            }
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, super::ParameterMut<'_>)) {
        match self {
            Self::Bert(linear) => linear.walk_mut(name, visit),
            Self::Roberta { dense, out } => {
                dense.walk_mut(&format!("{name}.dense"), visit);
                out.walk_mut(&format!("{name}.out_proj"), visit);
            }
        }
    }
}

/// Embeddings, layers, and BERT's pooler.
#[derive(Debug, Clone)]
pub(crate) struct Encoder {
    pub embeddings: Embeddings,
    pub layers: Vec<Layer>,
    pub pooler: Option<Linear>,
}
parameters!(Encoder {
    embeddings => "embeddings",
    layers => "encoder.layer",
    pooler => "pooler.dense",
});
