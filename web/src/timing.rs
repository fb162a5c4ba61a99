//! Timed forward passes, and what they take of the device's memory.

use burn::tensor::Device;
use caldera_models::{ForwardOptions, TextBatch, TextModel};
use wasm_bindgen::prelude::*;
use web_sys::WorkerGlobalScope;

use crate::{
    engine::{read, refuse},
    memory,
};

/// Milliseconds on the worker's clock; browsers round it, so short work is timed in batches.
pub(crate) fn now() -> f64 {
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    scope
        .performance()
        .map_or_else(js_sys::Date::now, |clock| clock.now())
}

/// Milliseconds of one of `forwards` passes that share one awaited read.
pub(crate) async fn measure(
    model: &TextModel,
    device: &Device,
    length: usize,
    forwards: usize,
) -> Result<f64, JsError> {
    let batch = batch(model, device, length)?;
    let start = now();
    for _ in 1..forwards {
        // Queued on the device in order; its output is dropped unread.
        model.forward(&batch, &ForwardOptions::default());
    }
    finish(model, &batch).await?;
    Ok((now() - start) / forwards as f64)
}

/// Bytes beyond the weights that one pass needs at the most.
pub(crate) async fn peak_bytes(
    model: &TextModel,
    device: &Device,
    gpu: bool,
    length: usize,
) -> Result<f64, JsError> {
    let batch = batch(model, device, length)?;
    let peak = Peak::start(device, gpu)?;
    finish(model, &batch).await?;
    peak.bytes()
}

/// The most bytes that a device holds at once, beyond those that it held at the start.
pub(crate) struct Peak<'a> {
    device: &'a Device,
    gpu: bool,
    before: u64,
}

impl<'a> Peak<'a> {
    pub(crate) fn start(device: &'a Device, gpu: bool) -> Result<Self, JsError> {
        let before = if gpu {
            // The pool keeps a buffer for each allocation alive at once and reuses it afterwards: what it reserves
            // after everything idle was given back is the peak.
            device.memory_cleanup();
            reserved(device)?
        } else {
            memory::reset_peak();
            memory::in_use() as u64
        };
        Ok(Self {
            device,
            gpu,
            before,
        })
    }

    pub(crate) fn bytes(&self) -> Result<f64, JsError> {
        let most = if self.gpu {
            reserved(self.device)?
        } else {
            memory::peak() as u64
        };
        Ok(most.saturating_sub(self.before) as f64)
    }
}

fn reserved(device: &Device) -> Result<u64, JsError> {
    device
        .memory_pool_usage()
        .map(|usage| usage.bytes_reserved)
        .ok_or_else(|| refuse("the device reports no memory use"))
}

/// One forward pass with its result read back.
async fn finish(model: &TextModel, batch: &TextBatch) -> Result<(), JsError> {
    let output = model.forward(batch, &ForwardOptions::default());
    match output.logits {
        Some(logits) => read(logits).await.map(drop),
        // A bare encoder: one value waits for all.
        None => read(output.last_hidden_state.slice([0..1, 0..1, 0..1]))
            .await
            .map(drop),
    }
}

/// `length` random token ids below `vocab_size`, always the same, none of them `not`.
pub(crate) fn random_ids(length: usize, vocab_size: usize, not: u32) -> Vec<u32> {
    let mut state = 0x9e37_79b9_u32;
    let mut token = || {
        // xorshift: any even spread will do.
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        match state % vocab_size as u32 {
            id if id == not => (id + 1) % vocab_size as u32,
            id => id,
        }
    };
    (0..length).map(|_| token()).collect()
}

/// One text of `length` random tokens, the same for every model with this vocabulary.
fn batch(model: &TextModel, device: &Device, length: usize) -> Result<TextBatch, JsError> {
    let config = &model.config;
    // A padding token among them would not be one.
    let ids = [random_ids(length, config.vocab_size, config.pad_token_id)];
    model.validate(&ids).map_err(refuse)?;
    Ok(TextBatch::new(&ids, None, config.pad_token_id, device))
}
