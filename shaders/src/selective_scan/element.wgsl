// Value (position, n) of a matrix [B, L, N] in `work` that begins at `first`; 0 past its end.
fn element(first: u32, sample: u32, position: u32, n: u32) -> f32 {
    let len = info[1];
    let state = info[3];
    let at = first + (sample * len + min(position, len - 1u)) * state + min(n, state - 1u);
    return select(0.0, work[at], position < len && n < state);
}
