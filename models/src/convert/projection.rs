//! Structured projections.

/// Projection [rows, k] whose slots stand for segments of the first `reference` positions.
///
/// Slot j takes the positions from `j * reference / k` up to `(j + 1) * reference / k`, at least one: with
/// `reference <= k` every slot holds one position (and a position about k / reference slots), with more it
/// averages its segment. Position i beyond `reference` goes where `i mod reference` goes.
///
/// The operator divides by √n, n being the sample's own length, so entries carry √reference: at n = reference
/// keys and values come out unscaled, and where k is a multiple of n the result is the softmax attention itself.
/// Slots that a shorter sample leaves empty have logit 0 and value 0.
pub(super) fn segments(rows: usize, k: usize, reference: usize) -> Vec<f32> {
    let mut values = vec![0.0; rows * k];
    let scale = (reference as f64).sqrt();
    for slot in 0..k {
        let begin = slot * reference / k;
        let end = ((slot + 1) * reference / k).max(begin + 1);
        let entry = (scale / (end - begin) as f64) as f32;
        for position in begin..end {
            for row in (position..rows).step_by(reference) {
                values[row * k + slot] = entry;
            }
        }
    }
    values
}
