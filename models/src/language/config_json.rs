//! `config.json` into a [`LanguageConfig`] and back.

use serde_json::{Map, Value, json};

use super::config::{GptNeoXConfig, LanguageArchitecture, LanguageConfig, LanguageMixer};
use crate::layers::Activation;
use crate::settings::Settings;
use crate::{Mamba2Config, MambaConfig, ModelError};

const AGAIN: &str = "Export the student again with this version";

impl LanguageConfig {
    /// Interprets `config.json`; `file` is named in messages.
    ///
    /// # Errors
    /// [`ModelError::Config`] with the key, what is allowed and what stands there.
    pub fn from_value(value: Value, file: &str) -> Result<Self, ModelError> {
        let mut r = Settings::new(value, file)?;
        let model_type = r.take("model_type");
        r.take("architectures");
        match model_type.as_ref().and_then(Value::as_str) {
            Some("gpt_neox") => Self::read_gpt_neox(r),
            Some("mamba") => {
                let mixer = mamba(&mut r)?;
                Self::read_mamba(r, mixer)
            }
            Some("mamba2") => {
                let mixer = mamba2(&mut r)?;
                Self::read_mamba(r, mixer)
            }
            found => Err(r.error(
                "model_type",
                "gpt_neox, mamba or mamba2",
                found.unwrap_or("nothing"),
                "Give a GPT-NeoX (Pythia) or Mamba checkpoint; other language models are not supported",
            )),
        }
    }

    fn read_gpt_neox(mut r: Settings<'_>) -> Result<Self, ModelError> {
        let hidden_size = r.integer("hidden_size", Some(6144))?;
        let num_attention_heads = r.integer("num_attention_heads", Some(64))?;
        if !hidden_size.is_multiple_of(num_attention_heads) {
            return Err(r.error(
                "num_attention_heads",
                &format!("a divisor of hidden_size {hidden_size}"),
                &num_attention_heads.to_string(),
                "Use the config.json that was saved with the weights",
            ));
        }
        let rotary = rotary(&mut r, hidden_size / num_attention_heads)?;
        let (mixer, caldera) = mixer(&mut r, hidden_size)?;
        let neox = GptNeoXConfig {
            num_attention_heads,
            intermediate_size: r.integer("intermediate_size", Some(24576))?,
            hidden_act: r.activation("hidden_act")?.unwrap_or(Activation::Gelu),
            rotary_pct: rotary.pct,
            rotary_emb_base: rotary.base,
            max_position_embeddings: r.integer("max_position_embeddings", Some(2048))?,
            use_parallel_residual: r.flag("use_parallel_residual")?.unwrap_or(true),
            attention_bias: r.flag("attention_bias")?.unwrap_or(true),
            hidden_dropout: r.number("hidden_dropout", 0.0..1.0)?.unwrap_or(0.0),
        };
        Ok(Self {
            architecture: LanguageArchitecture::GptNeoX(neox),
            mixer,
            vocab_size: r.integer("vocab_size", Some(50432))?,
            hidden_size,
            num_hidden_layers: r.integer("num_hidden_layers", Some(44))?,
            norm_eps: r.number("layer_norm_eps", 0.0..1.0)?.unwrap_or(1e-5),
            initializer_range: r.number("initializer_range", 0.0..10.0)?.unwrap_or(0.02),
            tie_word_embeddings: r.flag("tie_word_embeddings")?.unwrap_or(false),
            eos_token_ids: ends(&mut r, Some(2))?,
            pad_token_id: r.token("pad_token_id")?,
            caldera,
            other: r.map,
        })
    }

    /// A pure Mamba or Mamba-2; transformers' defaults of the two differ.
    fn read_mamba(mut r: Settings<'_>, mixer: LanguageMixer) -> Result<Self, ModelError> {
        let first = matches!(mixer, LanguageMixer::Mamba(_));
        let default = |mamba: usize, mamba2: usize| Some(if first { mamba } else { mamba2 });
        if let Some(activation) = r.take("hidden_act") {
            if activation != "silu" {
                let found = activation.to_string();
                const ADVICE: &str = "Models with other activations are not supported";
                return Err(r.error("hidden_act", "\"silu\"", &found, ADVICE));
            }
            r.map.insert("hidden_act".to_string(), activation);
        }
        let caldera = match r.take("caldera") {
            Some(Value::Object(map)) => map,
            _ => Map::new(),
        };
        Ok(Self {
            architecture: LanguageArchitecture::Mamba,
            mixer,
            vocab_size: r.integer("vocab_size", default(50280, 32768))?,
            hidden_size: r.integer("hidden_size", default(768, 4096))?,
            num_hidden_layers: r.integer("num_hidden_layers", default(32, 64))?,
            norm_eps: r.number("layer_norm_epsilon", 0.0..1.0)?.unwrap_or(1e-5),
            initializer_range: r.number("initializer_range", 0.0..10.0)?.unwrap_or(0.1),
            tie_word_embeddings: r.flag("tie_word_embeddings")?.unwrap_or(first),
            eos_token_ids: ends(&mut r, Some(if first { 0 } else { 2 }))?,
            pad_token_id: r.token("pad_token_id")?,
            caldera,
            other: r.map,
        })
    }

    /// `config.json`, keys sorted as transformers does.
    pub fn to_value(&self) -> Value {
        let mut map = self.other.clone();
        let mut put = |key: &str, value: Value| map.insert(key.to_string(), value);
        let mut caldera = self.caldera.clone();
        put("vocab_size", json!(self.vocab_size));
        put("hidden_size", json!(self.hidden_size));
        put("num_hidden_layers", json!(self.num_hidden_layers));
        put("initializer_range", json!(self.initializer_range));
        put("tie_word_embeddings", json!(self.tie_word_embeddings));
        put(
            "eos_token_id",
            match self.eos_token_ids.as_slice() {
                [] => Value::Null,
                [one] => json!(one),
                many => json!(many),
            },
        );
        if let Some(padding) = self.pad_token_id {
            put("pad_token_id", json!(padding));
        }
        match &self.architecture {
            LanguageArchitecture::GptNeoX(neox) => {
                put("architectures", json!(["GPTNeoXForCausalLM"]));
                put("model_type", json!("gpt_neox"));
                put("layer_norm_eps", json!(self.norm_eps));
                put("num_attention_heads", json!(neox.num_attention_heads));
                put("intermediate_size", json!(neox.intermediate_size));
                put("hidden_act", json!(neox.hidden_act.name()));
                put("rotary_pct", json!(neox.rotary_pct));
                put("rotary_emb_base", whole_or_not(neox.rotary_emb_base));
                put(
                    "max_position_embeddings",
                    json!(neox.max_position_embeddings),
                );
                put("use_parallel_residual", json!(neox.use_parallel_residual));
                put("attention_bias", json!(neox.attention_bias));
                put("hidden_dropout", json!(neox.hidden_dropout));
                if let LanguageMixer::Mamba(mamba) = self.mixer {
                    caldera.insert("mixer".to_string(), json!(self.mixer.name()));
                    for (key, value) in [
                        ("d_state", mamba.d_state),
                        ("d_conv", mamba.d_conv),
                        ("expand", mamba.expand),
                        ("dt_rank", mamba.dt_rank),
                    ] {
                        caldera.insert(key.to_string(), json!(value));
                    }
                    caldera.insert("conv_bias".to_string(), json!(mamba.conv_bias));
                    caldera.insert("proj_bias".to_string(), json!(mamba.proj_bias));
                }
            }
            LanguageArchitecture::Mamba => {
                put("model_type", json!(self.mixer.name()));
                put("layer_norm_epsilon", json!(self.norm_eps));
                match self.mixer {
                    LanguageMixer::Mamba(mamba) => {
                        put("architectures", json!(["MambaForCausalLM"]));
                        put("state_size", json!(mamba.d_state));
                        put("conv_kernel", json!(mamba.d_conv));
                        put("expand", json!(mamba.expand));
                        put("intermediate_size", json!(mamba.expand * self.hidden_size));
                        put("time_step_rank", json!(mamba.dt_rank));
                        put("use_conv_bias", json!(mamba.conv_bias));
                        put("use_bias", json!(mamba.proj_bias));
                    }
                    LanguageMixer::Mamba2(mamba) => {
                        put("architectures", json!(["Mamba2ForCausalLM"]));
                        put("num_heads", json!(mamba.num_heads));
                        put("head_dim", json!(mamba.head_dim));
                        put("state_size", json!(mamba.d_state));
                        put("n_groups", json!(mamba.n_groups));
                        put("conv_kernel", json!(mamba.d_conv));
                        put("use_conv_bias", json!(mamba.conv_bias));
                        put("use_bias", json!(mamba.proj_bias));
                    }
                    LanguageMixer::Attention => {}
                }
            }
        }
        if !caldera.is_empty() {
            put("caldera", Value::Object(caldera));
        }
        map.sort_keys();
        Value::Object(map)
    }
}

/// A whole number without a decimal point, as transformers has written `rotary_emb_base` all along.
fn whole_or_not(number: f64) -> Value {
    // Exact: whole numbers up to 2^53 are.
    if number.fract() == 0.0 && number.abs() < 9e15 {
        json!(number as i64)
    } else {
        json!(number)
    }
}

/// `eos_token_id`: a token, a list of tokens, or null for none; `default` where the key is absent.
fn ends(r: &mut Settings<'_>, default: Option<u32>) -> Result<Vec<u32>, ModelError> {
    let absent = !r.map.contains_key("eos_token_id");
    let Some(value) = r.take("eos_token_id") else {
        return Ok(default.filter(|_| absent).into_iter().collect());
    };
    let token = |v: &Value| v.as_u64().and_then(|v| u32::try_from(v).ok());
    let tokens: Option<Vec<u32>> = match &value {
        Value::Array(list) => list.iter().map(token).collect(),
        one => token(one).map(|one| vec![one]),
    };
    tokens.ok_or_else(|| {
        const EXPECTED: &str = "a token id or a list of them";
        r.error(
            "eos_token_id",
            EXPECTED,
            &value.to_string(),
            "Correct the value",
        )
    })
}

struct Rotary {
    pct: f64,
    base: f64,
}

/// Rotary positions in the spelling of transformers 4 (`rotary_pct`, `rotary_emb_base`) or 5 (`rope_parameters`).
fn rotary(r: &mut Settings<'_>, head_size: usize) -> Result<Rotary, ModelError> {
    const PLAIN: &str = "Scaled rotary positions are not supported";
    if let Some(scaling) = r.map.get("rope_scaling").filter(|v| !v.is_null()) {
        return Err(r.error("rope_scaling", "null", &scaling.to_string(), PLAIN));
    }
    let (mut pct, mut base) = (None, None);
    if let Some(value) = r.map.get("rope_parameters").filter(|v| !v.is_null()) {
        let mut inner = Settings::section("rope_parameters", value.clone(), r)?;
        if let Some(kind) = inner.take("rope_type").filter(|kind| kind != "default") {
            return Err(inner.error("rope_type", "\"default\"", &kind.to_string(), PLAIN));
        }
        pct = inner.number("partial_rotary_factor", 0.0..1.0 + f64::EPSILON)?;
        base = inner.number("rope_theta", 1.0..1e12)?;
    }
    // Both spellings may stand in a file; the newer one is what transformers 5 goes by.
    let old_pct = r.number("rotary_pct", 0.0..1.0 + f64::EPSILON)?;
    let old_base = r.number("rotary_emb_base", 1.0..1e12)?;
    let pct = pct.or(old_pct).unwrap_or(0.25);
    let base = base.or(old_base).unwrap_or(10_000.0);
    let dims = (head_size as f64 * pct) as usize;
    if !dims.is_multiple_of(2) {
        return Err(r.error(
            "rotary_pct",
            &format!("an even number of the {head_size} dimensions of a head"),
            &format!("{pct}, which are {dims}"),
            "Use the config.json that was saved with the weights",
        ));
    }
    Ok(Rotary { pct, base })
}

/// The keys of a `MambaConfig` of transformers.
fn mamba(r: &mut Settings<'_>) -> Result<LanguageMixer, ModelError> {
    let hidden_size = r.map.get("hidden_size").and_then(Value::as_u64);
    let hidden_size = hidden_size.and_then(|h| usize::try_from(h).ok());
    let usual = MambaConfig::for_width(hidden_size.unwrap_or(768));
    // "auto" is the usual rank.
    if r.map.get("time_step_rank").is_some_and(|v| v == "auto") {
        r.take("time_step_rank");
    }
    let mamba = MambaConfig {
        d_state: r.integer("state_size", Some(usual.d_state))?,
        d_conv: r.integer("conv_kernel", Some(usual.d_conv))?,
        expand: r.integer("expand", Some(usual.expand))?,
        dt_rank: r.integer("time_step_rank", Some(usual.dt_rank))?,
        conv_bias: r.flag("use_conv_bias")?.unwrap_or(true),
        proj_bias: r.flag("use_bias")?.unwrap_or(false),
    };
    mamba.check(r.file, "")?;
    Ok(LanguageMixer::Mamba(mamba))
}

/// The keys of a `Mamba2Config` of transformers.
fn mamba2(r: &mut Settings<'_>) -> Result<LanguageMixer, ModelError> {
    if let Some(limit) = r.map.get("time_step_limit").filter(|v| !v.is_null()) {
        // Reading makes 1e308 of Python's Infinity.
        let end = |i: usize| limit.get(i).and_then(Value::as_f64);
        if end(0) != Some(0.0) || end(1).is_none_or(|most| most < 1e30) {
            let found = limit.to_string();
            const ADVICE: &str = "Models that cut their step sizes are not supported";
            return Err(r.error("time_step_limit", "[0.0, Infinity]", &found, ADVICE));
        }
    }
    if r.map.get("rms_norm").is_some_and(|v| v == false) {
        const ADVICE: &str = "Models without the gated norm are not supported";
        return Err(r.error("rms_norm", "true", "false", ADVICE));
    }
    let mamba = Mamba2Config {
        num_heads: r.integer("num_heads", Some(128))?,
        head_dim: r.integer("head_dim", Some(64))?,
        d_state: r.integer("state_size", Some(128))?,
        n_groups: r.integer("n_groups", Some(8))?,
        d_conv: r.integer("conv_kernel", Some(4))?,
        conv_bias: r.flag("use_conv_bias")?.unwrap_or(true),
        proj_bias: r.flag("use_bias")?.unwrap_or(false),
    };
    mamba.check(r.file)?;
    Ok(LanguageMixer::Mamba2(mamba))
}

/// `caldera`: the mixer, and what else stands there.
fn mixer(
    r: &mut Settings<'_>,
    hidden_size: usize,
) -> Result<(LanguageMixer, Map<String, Value>), ModelError> {
    let Some(value) = r.take("caldera") else {
        return Ok((LanguageMixer::Attention, Map::new()));
    };
    let mut c = Settings::section("caldera", value, r)?;
    let name = c.take("mixer");
    match name.as_ref().map(|v| v.as_str().unwrap_or_default()) {
        None | Some("softmax") => Ok((LanguageMixer::Attention, c.map)),
        Some("mamba") => {
            let usual = MambaConfig::for_width(hidden_size);
            let mamba = MambaConfig {
                d_state: c.integer("d_state", Some(usual.d_state))?,
                d_conv: c.integer("d_conv", Some(usual.d_conv))?,
                expand: c.integer("expand", Some(usual.expand))?,
                dt_rank: c.integer("dt_rank", Some(usual.dt_rank))?,
                conv_bias: c.flag("conv_bias")?.unwrap_or(usual.conv_bias),
                proj_bias: c.flag("proj_bias")?.unwrap_or(usual.proj_bias),
            };
            mamba.check(r.file, "caldera")?;
            Ok((LanguageMixer::Mamba(mamba), c.map))
        }
        Some(other) => Err(c.error("mixer", "softmax or mamba", other, AGAIN)),
    }
}

impl TryFrom<Value> for LanguageConfig {
    type Error = ModelError;
    fn try_from(value: Value) -> Result<Self, ModelError> {
        Self::from_value(value, "config.json")
    }
}

impl From<LanguageConfig> for Value {
    fn from(config: LanguageConfig) -> Self {
        config.to_value()
    }
}
