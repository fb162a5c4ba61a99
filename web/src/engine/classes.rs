//! What a classifier's logits say.

/// The likeliest of the classes, and every class with its probability in the order of the logits.
pub(super) fn classes(logits: &[f32], labels: &[String]) -> (String, Vec<(String, f64)>) {
    let label = |i: usize| {
        let known = labels.get(i).cloned();
        known.unwrap_or_else(|| format!("LABEL_{i}"))
    };
    let best = largest(logits);
    let probabilities = softmax(logits).into_iter().enumerate();
    (
        label(best),
        probabilities.map(|(i, p)| (label(i), p)).collect(),
    )
}

/// The index of the largest value, the last of equal ones; 0 where there is none.
pub(super) fn largest(values: &[f32]) -> usize {
    (0..values.len())
        .max_by(|&a, &b| values[a].total_cmp(&values[b]))
        .unwrap_or(0)
}

fn softmax(logits: &[f32]) -> Vec<f64> {
    let largest = logits.iter().copied().fold(f32::NEG_INFINITY, f32::max) as f64;
    let powers: Vec<f64> = logits
        .iter()
        .map(|&logit| (logit as f64 - largest).exp())
        .collect();
    let sum: f64 = powers.iter().sum();
    powers.into_iter().map(|power| power / sum).collect()
}
