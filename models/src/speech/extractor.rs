//! What transformers' `Wav2Vec2FeatureExtractor` does to a clip.

use serde_json::{Map, Value, json};

use crate::ModelError;
use crate::settings::Settings;

/// Added to the variance before the root (transformers' `zero_mean_unit_var_norm`).
const EPSILON: f64 = 1e-7;

/// `preprocessor_config.json`: how samples become the input of a model.
///
/// Batches are padded at the right with zeros after this, clip by clip, so a clip's mean and variance are always its own.
#[derive(Debug, Clone, PartialEq)]
pub struct FeatureExtractor {
    /// Samples a second.
    pub sampling_rate: u32,
    /// Mean 0 and variance 1 for every clip.
    pub do_normalize: bool,
    /// Whether the model was trained with padding masked; those with group norm in their feature encoder were not.
    pub return_attention_mask: bool,
    /// Every other key, as it was.
    other: Map<String, Value>,
}

impl FeatureExtractor {
    /// The settings of transformers' own default at another rate: normalised, without a mask.
    pub fn new(sampling_rate: u32) -> Self {
        Self {
            sampling_rate,
            do_normalize: true,
            return_attention_mask: false,
            other: Map::new(),
        }
    }

    /// Reads `preprocessor_config.json`; `file` is named in messages.
    ///
    /// # Errors
    /// [`ModelError::NotJson`]; [`ModelError::Config`] for a setting that is of the wrong kind or not supported.
    pub fn from_json(bytes: &[u8], file: &str) -> Result<Self, ModelError> {
        const OTHER: &str = "Only the feature extractors of Wav2Vec2 are supported";
        let value: Value = serde_json::from_slice(bytes).map_err(|e| ModelError::NotJson {
            file: file.to_string(),
            detail: e.to_string(),
        })?;
        let mut r = Settings::new(value, file)?;
        if let Some(kind) = r.take("feature_extractor_type")
            && kind != "Wav2Vec2FeatureExtractor"
        {
            let found = kind.to_string();
            let key = "feature_extractor_type";
            return Err(r.error(key, "\"Wav2Vec2FeatureExtractor\"", &found, OTHER));
        }
        let channels = r.integer("feature_size", Some(1))?;
        if channels != 1 {
            return Err(r.error("feature_size", "1", &channels.to_string(), OTHER));
        }
        let padding = r.number("padding_value", f64::MIN..f64::MAX)?;
        if let Some(padding) = padding.filter(|padding| *padding != 0.0) {
            return Err(r.error("padding_value", "0", &padding.to_string(), OTHER));
        }
        if let Some(side) = r.take("padding_side")
            && side != "right"
        {
            let found = side.to_string();
            return Err(r.error("padding_side", "\"right\"", &found, OTHER));
        }
        let rate = r.integer("sampling_rate", Some(16_000))?;
        let Ok(sampling_rate) = u32::try_from(rate) else {
            return Err(r.error(
                "sampling_rate",
                "samples a second, below 4294967296",
                &rate.to_string(),
                "Correct the value",
            ));
        };
        Ok(Self {
            sampling_rate,
            do_normalize: r.flag("do_normalize")?.unwrap_or(true),
            return_attention_mask: r.flag("return_attention_mask")?.unwrap_or(false),
            other: r.map,
        })
    }

    /// `preprocessor_config.json`.
    pub fn to_json(&self) -> Vec<u8> {
        let mut value = json!({
            "feature_extractor_type": "Wav2Vec2FeatureExtractor",
            "feature_size": 1,
            "sampling_rate": self.sampling_rate,
            "do_normalize": self.do_normalize,
            "return_attention_mask": self.return_attention_mask,
            "padding_side": "right",
            "padding_value": 0.0,
        });
        if let Some(settings) = value.as_object_mut() {
            settings.extend(self.other.clone());
            settings.sort_keys();
        }
        let mut text = format!("{value:#}");
        text.push('\n');
        text.into_bytes()
    }

    /// Samples (mono, at [`sampling_rate`](Self::sampling_rate)) as the model takes them: (x - mean) / sqrt(variance + 1e-7)
    /// where the model asks for it. Sums run in f64.
    ///
    /// # Errors
    /// [`ModelError::Audio`] for a clip without samples, or with one that is no finite number.
    pub fn extract(&self, samples: &[f32]) -> Result<Vec<f32>, ModelError> {
        if samples.is_empty() {
            return Err(ModelError::Audio {
                detail: "expected samples, found an empty clip".to_string(),
                advice: "Record or export the clip again".to_string(),
            });
        }
        if let Some(index) = samples.iter().position(|sample| !sample.is_finite()) {
            return Err(ModelError::Audio {
                detail: format!(
                    "expected finite samples, found {} at sample {index} ({:.3} s)",
                    samples[index],
                    index as f64 / f64::from(self.sampling_rate)
                ),
                advice: "Record or export the clip again".to_string(),
            });
        }
        if !self.do_normalize {
            return Ok(samples.to_vec());
        }
        let count = samples.len() as f64;
        let mean = samples.iter().map(|x| f64::from(*x)).sum::<f64>() / count;
        let square = |x: &f32| (f64::from(*x) - mean).powi(2);
        let variance = samples.iter().map(square).sum::<f64>() / count;
        let scale = 1.0 / (variance + EPSILON).sqrt();
        let normal = |x: &f32| ((f64::from(*x) - mean) * scale) as f32;
        Ok(samples.iter().map(normal).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_clip_gets_mean_zero_and_variance_one() {
        let extractor = FeatureExtractor::new(8000);
        // Mean 2.5, variance 1.25.
        let got = extractor.extract(&[1.0, 2.0, 3.0, 4.0]).unwrap();
        let want = [-1.5, -0.5, 0.5, 1.5].map(|x: f64| x / (1.25f64 + 1e-7).sqrt());
        for (got, want) in got.iter().zip(want) {
            assert!((f64::from(*got) - want).abs() < 1e-6, "{got} {want}");
        }
        assert_eq!(extractor.extract(&[0.5; 5]).unwrap(), [0.0; 5]);
    }

    #[test]
    fn a_model_without_normalisation_gets_the_samples() {
        let text = br#"{"do_normalize": false, "sampling_rate": 8000, "processor_class": "Wav2Vec2Processor"}"#;
        let extractor = FeatureExtractor::from_json(text, "preprocessor_config.json").unwrap();
        assert_eq!(extractor.extract(&[0.5, -0.25]).unwrap(), [0.5, -0.25]);
        let again = FeatureExtractor::from_json(&extractor.to_json(), "again").unwrap();
        assert_eq!(again, extractor);
        assert!(
            String::from_utf8(extractor.to_json())
                .unwrap()
                .contains("Wav2Vec2Processor")
        );
    }

    #[test]
    fn bad_clips_and_settings_are_named() {
        let extractor = FeatureExtractor::new(8000);
        let said = |samples: &[f32]| extractor.extract(samples).unwrap_err().to_string();
        assert!(said(&[]).contains("empty clip"));
        assert!(said(&[0.0, f32::NAN]).contains("found NaN at sample 1 (0.000 s)"));
        assert!(said(&[f32::INFINITY]).contains("found inf at sample 0"));
        for (text, key) in [
            (r#"{"sampling_rate": 0}"#, "sampling_rate"),
            (r#"{"feature_size": 80}"#, "feature_size"),
            (r#"{"padding_value": 1.0}"#, "padding_value"),
            (
                r#"{"feature_extractor_type": "WhisperFeatureExtractor"}"#,
                "feature_extractor_type",
            ),
        ] {
            let said = FeatureExtractor::from_json(text.as_bytes(), "p.json")
                .unwrap_err()
                .to_string();
            assert!(said.contains("p.json") && said.contains(key), "{said}");
        }
    }
}
