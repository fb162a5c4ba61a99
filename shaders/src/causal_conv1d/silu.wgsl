// 1 / (1 + e^-z) without an exponential that overflows.
fn sigmoid(z: f32) -> f32 {
  let e = exp(-abs(z));
  return select(e, 1.0, z >= 0.0) / (1.0 + e);
}

// z sigmoid(z). Bounded below: from there on it is zero, which a sigmoid that has underflown times a huge z need not be.
fn silu(z: f32) -> f32 {
  let bounded = max(z, -88.0);
  return bounded * sigmoid(bounded);
}

fn silu_slope(z: f32) -> f32 {
  let bounded = max(z, -88.0);
  let s = sigmoid(bounded);
  return s * (1.0 + bounded * (1.0 - s));
}
