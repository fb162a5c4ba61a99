//! Timed passes over inputs of a length, for the comparisons over length.

use burn::tensor::Tensor;
use caldera_shaders::GpuWindow;
use wasm_bindgen::prelude::*;

use super::{Engine, Loaded, read, unexpected};
use crate::timing::{self, Peak};

/// Queues a whole forward pass and gives what is read of it.
pub(super) type Pass = Box<dyn Fn() -> Tensor<1>>;

#[wasm_bindgen]
impl Engine {
    /// Milliseconds of one forward pass over an input of `length` (tokens of a text, seconds of a clip): `forwards` of
    /// them share one awaited read.
    pub async fn measure(
        &self,
        name: &str,
        length: usize,
        forwards: usize,
    ) -> Result<f64, JsError> {
        let (pass, forwards) = (self.pass(name, length)?, forwards.max(1));
        let start = timing::now();
        for _ in 1..forwards {
            // Queued on the device in order; its output is dropped unread.
            pass();
        }
        read(pass()).await?;
        Ok((timing::now() - start) / forwards as f64)
    }

    /// The same by the GPU's own timestamps, from the first kernel to the end of the last, the reading left out; none where
    /// it writes none.
    pub async fn device_ms(
        &self,
        name: &str,
        length: usize,
        forwards: usize,
    ) -> Result<Option<f64>, JsError> {
        let (pass, forwards) = (self.pass(name, length)?, forwards.max(1));
        // Nothing queued before belongs to the window.
        self.settle().await?;
        let Some(window) = GpuWindow::open(&self.device) else {
            return Ok(None);
        };
        for _ in 0..forwards {
            pass();
        }
        let ms = window.close().await;
        Ok(ms.map(|ms| ms / forwards as f64))
    }

    /// Bytes that the device held beyond the weights at the most during one forward pass over an input of `length`.
    pub async fn peak_bytes(&self, name: &str, length: usize) -> Result<f64, JsError> {
        let pass = self.pass(name, length)?;
        let peak = Peak::start(&self.device, self.gpu)?;
        read(pass()).await?;
        peak.bytes()
    }
}

impl Engine {
    fn pass(&self, name: &str, length: usize) -> Result<Pass, JsError> {
        match self.loaded(name)? {
            Loaded::Text(side) => side.pass(length, &self.device),
            Loaded::Speech(side) => side.pass(name, length, &self.device),
            other => Err(unexpected(
                name,
                "a text classifier or a speech model",
                &other,
            )),
        }
    }
}
