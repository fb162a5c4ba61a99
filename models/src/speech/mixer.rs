//! What mixes the frames of a layer. Shapes: B batch, T frames, H hidden size.

use burn::tensor::{Tensor, TensorData};
use caldera_shaders::{Lengths, reverse_padded, softmax_attention};

use crate::layers::{Linear, ParameterMut, ParameterRef, Walk, parameters};
use crate::mamba::Mamba2Mixer;

/// Softmax attention over the unpadded frames.
#[derive(Debug, Clone)]
pub(crate) struct Attention {
    pub k_proj: Linear,
    pub v_proj: Linear,
    pub q_proj: Linear,
    pub out_proj: Linear,
}
parameters!(Attention {
    k_proj => "k_proj",
    v_proj => "v_proj",
    q_proj => "q_proj",
    out_proj => "out_proj",
});

impl Attention {
    fn forward(
        &self,
        x: Tensor<3>,
        lengths: &Lengths,
        heads: usize,
        keys: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        let [b, t, h] = x.dims();
        let split = |x: Tensor<3>| x.reshape([b, t, heads, h / heads]);
        let query = split(self.q_proj.forward(x.clone()));
        let key = self.k_proj.forward(x.clone());
        keys(&key);
        let value = split(self.v_proj.forward(x));
        let mixed = softmax_attention(query, split(key), value, lengths, false);
        self.out_proj.forward(mixed.reshape([b, t, h]))
    }
}

/// Two Mamba-2, one over the frames as they come, one over the unpadded frames reversed; their outputs are added (He &
/// Garner 2025, arXiv 2410.06846). No residual of its own: the layer round it has one.
#[derive(Debug, Clone)]
pub(crate) struct BiMamba2 {
    pub fw_mamba: Mamba2Mixer,
    pub bw_mamba: Mamba2Mixer,
}
parameters!(BiMamba2 { fw_mamba => "fw_mamba", bw_mamba => "bw_mamba" });

impl BiMamba2 {
    /// [B, T, H] to the same, 0 at padded frames; what stands in the padding changes nothing.
    pub fn forward(&self, x: Tensor<3>, lengths: &Lengths) -> Tensor<3> {
        let [b, t, _] = x.dims();
        let backward = self.bw_mamba.forward(reverse_padded(x.clone(), lengths)).0;
        let y = self.fw_mamba.forward(x).0 + reverse_padded(backward, lengths);
        if lengths.as_slice().iter().all(|&n| n as usize >= t) {
            return y;
        }
        let mask = TensorData::new(lengths.mask(t), [b, t, 1]);
        let mask = Tensor::<3>::from_data(mask, &y.device().without_autodiff());
        y * mask
    }
}

/// Either of them.
#[derive(Debug, Clone)]
#[expect(clippy::large_enum_variant, reason = "a model has one a layer")]
pub(crate) enum FrameMixer {
    Attention(Attention),
    BiMamba2(BiMamba2),
}

impl FrameMixer {
    /// [B, T, H] to the same; `keys` sees what a key projection gives before it is split into heads.
    pub fn forward(
        &self,
        x: Tensor<3>,
        lengths: &Lengths,
        heads: usize,
        keys: &mut dyn FnMut(&Tensor<3>),
    ) -> Tensor<3> {
        match self {
            Self::Attention(attention) => attention.forward(x, lengths, heads, keys),
            Self::BiMamba2(mixer) => mixer.forward(x, lengths),
        }
    }
}

impl Walk for FrameMixer {
    fn walk(&self, name: &str, visit: &mut dyn FnMut(&str, ParameterRef<'_>)) {
        match self {
            Self::Attention(attention) => attention.walk(name, visit),
            Self::BiMamba2(mixer) => mixer.walk(name, visit),
        }
    }
    fn walk_mut(&mut self, name: &str, visit: &mut dyn FnMut(&str, ParameterMut<'_>)) {
        match self {
            Self::Attention(attention) => attention.walk_mut(name, visit),
            Self::BiMamba2(mixer) => mixer.walk_mut(name, visit),
        }
    }
}
