//! Constructors that crates leave to the linker, as those that register CubeCL's operations, run once.
//!
//! A module that never calls them is taken by the linker for a command, and gets a call of all of them at the beginning of every
//! exported function: that is, whenever JavaScript hands over an object. It took most of the time of a short pass.

use wasm_bindgen::prelude::*;

#[cfg(target_family = "wasm")]
unsafe extern "C" {
    fn __wasm_call_ctors();
}

/// Runs the constructors. Called by the generated JavaScript when the module has been instantiated.
#[wasm_bindgen(start)]
pub fn run_constructors() {
    // SAFETY: synthesized by the linker, it takes and gives nothing; this is the one call of it.
    #[cfg(target_family = "wasm")]
    unsafe {
        __wasm_call_ctors();
    }
}
