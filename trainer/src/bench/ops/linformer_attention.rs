//! Linformer attention with projections of the length at hand.

use super::operator::{Argument, Given, ModelShape, Operator, Results, Size, Work, row};
use caldera_shaders::{Lengths, linformer_attention};

pub(super) struct LinformerAttention;

/// Values of `[L, k]`.
fn projection(size: &Size) -> f64 {
    (size.len * size.model.slots) as f64
}

/// Products of a value with a slot: B L k D.
fn products(size: &Size) -> f64 {
    size.values(size.model.hidden) * size.model.slots as f64
}

impl Operator for LinformerAttention {
    fn name(&self) -> &'static str {
        "linformer_attention"
    }

    fn applies(&self, model: &ModelShape) -> bool {
        model.slots > 0
    }

    fn arguments(&self, size: &Size) -> Vec<Argument> {
        let dims = [
            size.batch,
            size.len,
            size.model.heads,
            size.model.head_width,
        ];
        let mut arguments: Vec<_> = ["query", "key", "value"]
            .map(|name| Argument::within(name, dims, -2.0, 2.0))
            .into();
        let dims = [size.len, size.model.slots];
        arguments
            .extend(["proj_key", "proj_value"].map(|name| Argument::within(name, dims, -1.7, 1.7)));
        arguments
    }

    fn run(&self, size: &Size, mut given: Given) -> Results {
        let lengths = Lengths::full(size.batch, size.len);
        let [q, k, v] = std::array::from_fn(|_| given.take::<4>());
        let [e, f] = std::array::from_fn(|_| given.take::<2>());
        row(linformer_attention(q, k, v, e, f, &lengths))
    }

    fn reference(&self, size: &Size, mut given: Given) -> Results {
        use caldera_shaders::linformer_attention::reference::linformer_attention;
        let lengths = Lengths::full(size.batch, size.len);
        let [q, k, v] = std::array::from_fn(|_| given.take::<4>());
        let [e, f] = std::array::from_fn(|_| given.take::<2>());
        row(linformer_attention(q, k, v, e, f, &lengths))
    }

    /// Reads Q, K, V, E, F, writes O. Two projections and two products of the attention, two operations a value and slot each;
    /// softmax over the slots: five a query, head and slot.
    fn forward(&self, size: &Size) -> Work {
        let softmax = 5.0 * size.values(size.model.heads) * size.model.slots as f64;
        Work::new(
            4.0 * size.values(size.model.hidden) + 2.0 * projection(size),
            8.0 * products(size) + softmax,
        )
    }

    /// Reads Q, K, V, O, dO, E, F and a logarithm a row, writes dQ, dK, dV, dE, dF. Five products of the attention, four of the
    /// projections.
    fn backward(&self, size: &Size) -> Option<Work> {
        let softmax = 5.0 * size.values(size.model.heads) * size.model.slots as f64;
        Some(Work::new(
            8.0 * size.values(size.model.hidden)
                + 4.0 * projection(size)
                + size.values(size.model.heads),
            18.0 * products(size) + softmax,
        ))
    }

    /// Half a dozen matrices of a value a query, head and slot.
    fn reference_bytes(&self, size: &Size) -> f64 {
        24.0 * size.values(size.model.heads) * size.model.slots as f64
            + 16.0 * self.forward(size).bytes
    }
}
