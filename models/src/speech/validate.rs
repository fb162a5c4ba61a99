//! Clips are checked before anything is computed.

use super::SpeechModel;
use crate::ModelError;

impl SpeechModel {
    /// Whether the model can take these clips: each long enough for a frame, and finite.
    ///
    /// # Errors
    /// [`ModelError::Input`] with the clip's index.
    pub fn validate(&self, clips: &[&[f32]]) -> Result<(), ModelError> {
        let least = self.config.least_samples();
        for (sample, clip) in clips.iter().enumerate() {
            let bad = |detail: String, advice: &str| {
                Err(ModelError::Input {
                    sample,
                    detail,
                    advice: advice.to_string(),
                })
            };
            if clip.len() < least {
                let found = clip.len();
                return bad(
                    format!("expected at least {least} samples (one frame), found {found}"),
                    "Give a longer clip",
                );
            }
            if let Some(at) = clip.iter().position(|x| !x.is_finite()) {
                let detail = format!("expected finite samples, found {} at {at}", clip[at]);
                return bad(detail, "Record or decode the clip again");
            }
        }
        Ok(())
    }
}
