//! `config.json` into a [`SpeechConfig`] and back.

use serde_json::{Map, Value, json};

use super::config::{
    CtcReduction, FeatureLayer, FeatureNorm, SpeechArchitecture, SpeechConfig, SpeechMixer,
};
use crate::layers::Activation;
use crate::settings::{Settings, put_labels};
use crate::{Mamba2Config, ModelError};

const SAVED: &str = "Use the config.json that was saved with the weights";

impl SpeechConfig {
    /// Interprets `config.json`; `file` is named in messages.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, what is allowed and what stands there.
    pub fn from_value(value: Value, file: &str) -> Result<Self, ModelError> {
        let mut r = Settings::new(value, file)?;
        match r.take("model_type").as_ref().and_then(Value::as_str) {
            Some("wav2vec2") => {}
            found => {
                let found = found.unwrap_or("nothing");
                const ADVICE: &str = "Give a Wav2Vec2; other speech models are not supported";
                return Err(r.error("model_type", "wav2vec2", found, ADVICE));
            }
        }
        for (key, advice) in [
            ("add_adapter", "Models with an adapter are not supported"),
            (
                "use_weighted_layer_sum",
                "Classifiers over all layers are not supported",
            ),
        ] {
            if r.map.get(key).is_some_and(|on| on == true) {
                return Err(r.error(key, "false", "true", advice));
            }
        }
        let architecture = architecture(&mut r);
        let hidden_size = r.integer("hidden_size", Some(768))?;
        let num_attention_heads = r.integer("num_attention_heads", Some(12))?;
        let groups = r.integer("num_conv_pos_embedding_groups", Some(16))?;
        for (key, value) in [
            ("num_attention_heads", num_attention_heads),
            ("num_conv_pos_embedding_groups", groups),
        ] {
            if !hidden_size.is_multiple_of(value) {
                let expected = format!("a divisor of hidden_size {hidden_size}");
                return Err(r.error(key, &expected, &value.to_string(), SAVED));
            }
        }
        let feat_extract_norm = r.choice(
            "feat_extract_norm",
            &[("group", FeatureNorm::Group), ("layer", FeatureNorm::Layer)],
        )?;
        let reduction = r.choice(
            "ctc_loss_reduction",
            &[("sum", CtcReduction::Sum), ("mean", CtcReduction::Mean)],
        )?;
        let has_classes = architecture == SpeechArchitecture::SequenceClassification;
        let (mixer, caldera) = mixer(&mut r, hidden_size)?;
        Ok(Self {
            architecture,
            vocab_size: r.integer("vocab_size", Some(32))?,
            hidden_size,
            num_hidden_layers: r.integer("num_hidden_layers", Some(12))?,
            num_attention_heads,
            intermediate_size: r.integer("intermediate_size", Some(3072))?,
            hidden_act: r.activation("hidden_act")?.unwrap_or(Activation::Gelu),
            hidden_dropout: r.number("hidden_dropout", 0.0..1.0)?.unwrap_or(0.1),
            activation_dropout: r.number("activation_dropout", 0.0..1.0)?.unwrap_or(0.1),
            feat_proj_dropout: r.number("feat_proj_dropout", 0.0..1.0)?.unwrap_or(0.0),
            final_dropout: r.number("final_dropout", 0.0..1.0)?.unwrap_or(0.1),
            layer_norm_eps: r.number("layer_norm_eps", 0.0..1.0)?.unwrap_or(1e-5),
            initializer_range: r.number("initializer_range", 0.0..10.0)?.unwrap_or(0.02),
            feat_extract_norm: feat_extract_norm.unwrap_or(FeatureNorm::Group),
            feat_extract_activation: r
                .activation("feat_extract_activation")?
                .unwrap_or(Activation::Gelu),
            conv_bias: r.flag("conv_bias")?.unwrap_or(false),
            conv_layers: conv_layers(&mut r)?,
            num_conv_pos_embeddings: r.integer("num_conv_pos_embeddings", Some(128))?,
            num_conv_pos_embedding_groups: groups,
            do_stable_layer_norm: r.flag("do_stable_layer_norm")?.unwrap_or(false),
            apply_spec_augment: r.flag("apply_spec_augment")?.unwrap_or(true),
            mask_time_prob: r.number("mask_time_prob", 0.0..1.0)?.unwrap_or(0.05),
            mask_time_length: r.integer("mask_time_length", Some(10))?,
            mask_time_min_masks: r.number("mask_time_min_masks", 0.0..1e6)?.unwrap_or(2.0) as usize,
            ctc_loss_reduction: reduction.unwrap_or(CtcReduction::Sum),
            ctc_zero_infinity: r.flag("ctc_zero_infinity")?.unwrap_or(false),
            classifier_proj_size: r.integer("classifier_proj_size", Some(256))?,
            pad_token_id: r.token("pad_token_id")?.unwrap_or(0),
            labels: r.labels(has_classes)?,
            mixer,
            caldera,
            other: r.map,
        })
    }

    /// `config.json`, keys sorted as transformers does.
    pub fn to_value(&self) -> Value {
        let mut map = self.other.clone();
        let mut put = |key: &str, value: Value| map.insert(key.to_string(), value);
        put("architectures", json!([self.architecture.name()]));
        put("model_type", json!("wav2vec2"));
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("num_attention_heads", json!(self.num_attention_heads));
        put("intermediate_size", json!(self.intermediate_size));
        put("hidden_act", json!(self.hidden_act.name()));
        put("hidden_dropout", json!(self.hidden_dropout));
        put("activation_dropout", json!(self.activation_dropout));
        put("feat_proj_dropout", json!(self.feat_proj_dropout));
        put("final_dropout", json!(self.final_dropout));
        put("layer_norm_eps", json!(self.layer_norm_eps));
        put("initializer_range", json!(self.initializer_range));
        let norm = match self.feat_extract_norm {
            FeatureNorm::Group => "group",
            FeatureNorm::Layer => "layer",
        };
        put("feat_extract_norm", json!(norm));
        put(
            "feat_extract_activation",
            json!(self.feat_extract_activation.name()),
        );
        put("conv_bias", json!(self.conv_bias));
        let list = |of: fn(&FeatureLayer) -> usize| -> Value {
            self.conv_layers.iter().map(of).collect::<Vec<_>>().into()
        };
        put("conv_dim", list(|layer| layer.dim));
        put("conv_kernel", list(|layer| layer.kernel));
        put("conv_stride", list(|layer| layer.stride));
        put("num_feat_extract_layers", json!(self.conv_layers.len()));
        put(
            "num_conv_pos_embeddings",
            json!(self.num_conv_pos_embeddings),
        );
        put(
            "num_conv_pos_embedding_groups",
            json!(self.num_conv_pos_embedding_groups),
        );
        put("do_stable_layer_norm", json!(self.do_stable_layer_norm));
        put("apply_spec_augment", json!(self.apply_spec_augment));
        put("mask_time_prob", json!(self.mask_time_prob));
        put("mask_time_length", json!(self.mask_time_length));
        put("mask_time_min_masks", json!(self.mask_time_min_masks));
        put("ctc_loss_reduction", json!(self.ctc_loss_reduction));
        put("ctc_zero_infinity", json!(self.ctc_zero_infinity));
        put("classifier_proj_size", json!(self.classifier_proj_size));
        put("pad_token_id", json!(self.pad_token_id));
        put_labels(&mut map, &self.labels);
        let mut caldera = self.caldera.clone();
        if let SpeechMixer::BiMamba2(mamba) = self.mixer {
            caldera.insert("mixer".to_string(), json!(self.mixer.name()));
            for (key, value) in [
                ("num_heads", mamba.num_heads),
                ("head_dim", mamba.head_dim),
                ("d_state", mamba.d_state),
                ("n_groups", mamba.n_groups),
                ("d_conv", mamba.d_conv),
            ] {
                caldera.insert(key.to_string(), json!(value));
            }
            caldera.insert("conv_bias".to_string(), json!(mamba.conv_bias));
            caldera.insert("proj_bias".to_string(), json!(mamba.proj_bias));
        }
        if !caldera.is_empty() {
            map.insert("caldera".to_string(), Value::Object(caldera));
        }
        map.sort_keys();
        Value::Object(map)
    }
}

fn architecture(r: &mut Settings<'_>) -> SpeechArchitecture {
    let list = r.take("architectures");
    let named = list.as_ref().and_then(Value::as_array);
    let named = |part: &str| {
        named.is_some_and(|list| {
            let mut names = list.iter().filter_map(Value::as_str);
            names.any(|name| name.ends_with(part))
        })
    };
    if named("ForCTC") {
        SpeechArchitecture::Ctc
    } else if named("ForSequenceClassification") {
        SpeechArchitecture::SequenceClassification
    } else {
        SpeechArchitecture::Bare
    }
}

/// `conv_dim`, `conv_kernel` and `conv_stride`, equally long.
fn conv_layers(r: &mut Settings<'_>) -> Result<Vec<FeatureLayer>, ModelError> {
    let dims = r.integers("conv_dim", &[512; 7])?;
    let kernels = r.integers("conv_kernel", &[10, 3, 3, 3, 3, 2, 2])?;
    let strides = r.integers("conv_stride", &[5, 2, 2, 2, 2, 2, 2])?;
    r.take("num_feat_extract_layers");
    for (key, list) in [("conv_kernel", &kernels), ("conv_stride", &strides)] {
        if list.len() != dims.len() {
            let expected = format!("{} numbers, as conv_dim has", dims.len());
            return Err(r.error(key, &expected, &list.len().to_string(), SAVED));
        }
    }
    let sizes = dims.into_iter().zip(kernels).zip(strides);
    let layer = |((dim, kernel), stride)| FeatureLayer {
        dim,
        kernel,
        stride,
    };
    Ok(sizes.map(layer).collect())
}

/// `caldera`: the mixer, and what else stands there.
fn mixer(
    r: &mut Settings<'_>,
    hidden_size: usize,
) -> Result<(SpeechMixer, Map<String, Value>), ModelError> {
    let Some(value) = r.take("caldera") else {
        return Ok((SpeechMixer::Attention, Map::new()));
    };
    let mut c = Settings::section("caldera", value, r)?;
    let name = c.take("mixer");
    match name.as_ref().map(|v| v.as_str().unwrap_or_default()) {
        None | Some("softmax") => Ok((SpeechMixer::Attention, c.map)),
        Some("bimamba2") => {
            let usual = Mamba2Config::for_width(hidden_size);
            let mamba = Mamba2Config {
                num_heads: c.integer("num_heads", Some(usual.num_heads))?,
                head_dim: c.integer("head_dim", Some(usual.head_dim))?,
                d_state: c.integer("d_state", Some(usual.d_state))?,
                n_groups: c.integer("n_groups", Some(usual.n_groups))?,
                d_conv: c.integer("d_conv", Some(usual.d_conv))?,
                conv_bias: c.flag("conv_bias")?.unwrap_or(usual.conv_bias),
                proj_bias: c.flag("proj_bias")?.unwrap_or(usual.proj_bias),
            };
            mamba.check(r.file)?;
            Ok((SpeechMixer::BiMamba2(mamba), c.map))
        }
        Some(other) => {
            const AGAIN: &str = "Export the student again with this version";
            Err(c.error("mixer", "softmax or bimamba2", other, AGAIN))
        }
    }
}

impl TryFrom<Value> for SpeechConfig {
    type Error = ModelError;
    fn try_from(value: Value) -> Result<Self, ModelError> {
        Self::from_value(value, "config.json")
    }
}

impl From<SpeechConfig> for Value {
    fn from(config: SpeechConfig) -> Self {
        config.to_value()
    }
}
