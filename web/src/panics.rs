//! Panics abort a wasm instance. The worker sees no more than "unreachable", so the message is left on its global object.

use std::panic;

use js_sys::{Reflect, global};

/// Where the worker looks for the last panic's message.
const PROPERTY: &str = "calderaPanic";

/// Prints panics on the console and leaves the last one as `globalThis.calderaPanic`.
pub fn install() {
    panic::set_hook(Box::new(|info| {
        console_error_panic_hook::hook(info);
        // Nothing is left to do where this fails: the instance ends either way.
        let _ = Reflect::set(&global(), &PROPERTY.into(), &info.to_string().into());
    }));
}
