// ln(1 + e^v) to a few units in the last place also where e^v is small: WGSL's log is not that good near 1.
fn softplus(v: f32) -> f32 {
  let e = exp(-abs(v));
  // ln(1 + e) = 2 artanh(z), z at most 1/3.
  let z = e / (2.0 + e);
  let q = z * z;
  var sum = 1.0 / 15.0;
  sum = sum * q + 1.0 / 13.0;
  sum = sum * q + 1.0 / 11.0;
  sum = sum * q + 1.0 / 9.0;
  sum = sum * q + 1.0 / 7.0;
  sum = sum * q + 0.2;
  sum = sum * q + 1.0 / 3.0;
  sum = sum * q + 1.0;
  return max(v, 0.0) + 2.0 * z * sum;
}

// 1 / (1 + e^-v); the exponent is never above 0.
fn sigmoid(v: f32) -> f32 {
  let e = exp(-abs(v));
  return select(e, 1.0, v >= 0.0) / (1.0 + e);
}
