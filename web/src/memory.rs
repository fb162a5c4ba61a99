//! A counting allocator: what the CPU engine's tensors take is what was allocated. And what the engine holds in all.

use std::{
    alloc::{GlobalAlloc, Layout, System},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
};

use burn::tensor::Device;
use js_sys::{ArrayBuffer, WebAssembly};
use serde::Serialize;
use wasm_bindgen::prelude::*;

static IN_USE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);
/// What was asked for last and not to be had; 0 while all was.
static REFUSED: AtomicUsize = AtomicUsize::new(0);

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn add(bytes: usize) {
    let now = IN_USE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(now, Relaxed);
}

/// Counts what was allocated, or notes that it was not.
fn count(pointer: *mut u8, bytes: usize) -> *mut u8 {
    match pointer.is_null() {
        true => REFUSED.store(bytes, Relaxed),
        false => add(bytes),
    }
    pointer
}

// SAFETY: every call is passed on to the system's allocator unchanged; only counters are kept beside it.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc`.
        let pointer = unsafe { System.alloc(layout) };
        count(pointer, layout.size())
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `alloc_zeroed`.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        count(pointer, layout.size())
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps the contract of `dealloc`.
        unsafe { System.dealloc(pointer, layout) };
        IN_USE.fetch_sub(layout.size(), Relaxed);
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller keeps the contract of `realloc`.
        let moved = unsafe { System.realloc(pointer, layout, size) };
        if !moved.is_null() {
            IN_USE.fetch_sub(layout.size(), Relaxed);
        }
        count(moved, size)
    }
}

/// Bytes allocated at the moment.
pub fn in_use() -> usize {
    IN_USE.load(Relaxed)
}

/// Bytes that the wasm memory had no room for, where that ever was so. Answers after the instance has trapped, too.
#[wasm_bindgen]
pub fn exhausted() -> Option<f64> {
    let bytes = REFUSED.load(Relaxed);
    (bytes > 0).then_some(bytes as f64)
}

/// Starts a new peak at what is allocated at the moment.
pub fn reset_peak() {
    PEAK.store(in_use(), Relaxed);
}

/// The most bytes allocated at once since [`reset_peak`].
pub fn peak() -> usize {
    PEAK.load(Relaxed)
}

/// What the engine holds, in bytes.
#[derive(Serialize)]
pub(crate) struct Held {
    /// The wasm memory, which never shrinks.
    wasm_bytes: u32,
    /// Allocated in it at the moment.
    allocated_bytes: usize,
    /// The device's buffers, and what of them is in use; none without a GPU.
    reserved_bytes: Option<u64>,
    used_bytes: Option<u64>,
}

impl Held {
    /// At the moment.
    pub(crate) fn now(gpu: Option<&Device>) -> Self {
        let memory: WebAssembly::Memory = wasm_bindgen::memory().unchecked_into();
        let buffer: ArrayBuffer = memory.buffer().unchecked_into();
        let usage = gpu.and_then(Device::memory_pool_usage);
        Self {
            wasm_bytes: buffer.byte_length(),
            allocated_bytes: in_use(),
            reserved_bytes: usage.as_ref().map(|usage| usage.bytes_reserved),
            used_bytes: usage.map(|usage| usage.bytes_in_use),
        }
    }
}
