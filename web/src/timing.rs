//! The worker's clock, the device's memory, and inputs that measurements share.

use burn::tensor::Device;
use wasm_bindgen::prelude::*;
use web_sys::WorkerGlobalScope;

use crate::{engine::refuse, memory};

/// Milliseconds on the worker's clock; browsers round it, so short work is timed in batches.
pub(crate) fn now() -> f64 {
    let scope: WorkerGlobalScope = js_sys::global().unchecked_into();
    scope
        .performance()
        .map_or_else(js_sys::Date::now, |clock| clock.now())
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

/// Even random numbers, always the same (xorshift: any even spread will do).
struct Random(u32);

impl Random {
    fn next(&mut self) -> u32 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 17;
        self.0 ^= self.0 << 5;
        self.0
    }
}

const SEED: u32 = 0x9e37_79b9;

/// `length` random token ids below `vocab_size`, always the same, none of them `not`.
pub(crate) fn random_ids(length: usize, vocab_size: usize, not: u32) -> Vec<u32> {
    let mut random = Random(SEED);
    let mut token = || match random.next() % vocab_size as u32 {
        id if id == not => (id + 1) % vocab_size as u32,
        id => id,
    };
    (0..length).map(|_| token()).collect()
}

/// `samples` of noise that comes and goes four times a second and has more of low frequencies, as speech has; always the
/// same, `rate` samples a second.
pub(crate) fn babble(samples: usize, rate: usize) -> Vec<f32> {
    let mut random = Random(SEED);
    let mut low = 0.0;
    let mut sample = |at: usize| {
        let white = random.next() as f32 / u32::MAX as f32 - 0.5;
        low += 0.3 * (white - low);
        let syllable = (at as f32 / rate as f32).fract() * 4.0 * std::f32::consts::PI;
        low * syllable.sin().abs()
    };
    (0..samples).map(&mut sample).collect()
}
