//! Panics as errors: what a check or a measurement runs may hit one inside Burn or a driver, and the others are still worth running.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};

/// What a panic said.
pub(crate) fn panic_text(panic: &(dyn Any + Send)) -> String {
    let text = panic
        .downcast_ref::<&str>()
        .map(ToString::to_string)
        .or_else(|| panic.downcast_ref::<String>().cloned());
    text.unwrap_or_else(|| "an unknown reason".into())
}

/// What `work` gives, or what its panic said.
pub(crate) fn caught<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    // What a panic leaves half done is not looked at again: the result is dropped with it.
    catch_unwind(AssertUnwindSafe(work)).map_err(|panic| panic_text(&*panic))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_keeps_its_words() {
        assert_eq!(caught(|| 3), Ok(3));
        assert_eq!(caught::<()>(|| panic!("as it is")), Err("as it is".into()));
        let number = 7;
        assert_eq!(
            caught::<()>(|| panic!("with {number}")),
            Err("with 7".into())
        );
        let other = caught::<()>(|| std::panic::panic_any(7));
        assert_eq!(other, Err("an unknown reason".into()));
    }
}
