//! What a thread has launched, as it was written: for tests that look at the kernels themselves.

use std::cell::RefCell;
use std::collections::{BTreeMap, BTreeSet};

use crate::launch::Kernel;

thread_local! {
    static TEXTS: RefCell<BTreeSet<String>> = const { RefCell::new(BTreeSet::new()) };
    static KERNELS: RefCell<BTreeMap<String, (&'static str, usize)>> = const { RefCell::new(BTreeMap::new()) };
}

/// WGSL of every kernel, with its name and the workgroup memory that it declares.
pub(crate) fn kernels() -> BTreeMap<String, (&'static str, usize)> {
    KERNELS.with_borrow(Clone::clone)
}

/// Template and parameters of a kernel.
pub(crate) fn note(kernel: &Kernel) {
    KERNELS.with_borrow_mut(|kernels| {
        kernels.insert(kernel.wgsl(), (kernel.name, kernel.workgroup_memory));
    });
    TEXTS.with_borrow_mut(|texts| {
        texts.insert(kernel.template.to_owned());
        texts.extend(kernel.parameters.iter().map(|(_, value)| value.clone()));
    });
}

/// Whether a kernel had this text in it, whatever stood for its parameters.
pub(crate) fn had(text: &str) -> bool {
    let pieces: Vec<&str> = text
        .trim()
        .split("{{")
        .map(|piece| piece.split_once("}}").map_or(piece, |(_, rest)| rest))
        .collect();
    let holds = |launched: &String| {
        let mut rest = launched.as_str();
        pieces.iter().all(|piece| match rest.find(piece) {
            Some(at) => {
                rest = &rest[at + piece.len()..];
                true
            }
            None => false,
        })
    };
    TEXTS.with_borrow(|texts| texts.iter().any(holds))
}
