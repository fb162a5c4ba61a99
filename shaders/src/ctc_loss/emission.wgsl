
// Stands for the logarithm of zero: differences and sums of a few stay finite.
const NEVER = -1e30;
// Whatever is below was made of NEVER.
const HARDLY = -1e29;

// The logarithm of the probability of a label. The two parts of the frame's normaliser one after the other: their sum would lose
// the digits of the smaller.
fn emission(frame: u32, label: u32, normaliser: vec2<f32>) -> f32 {
  return max(logits[frame * info[2] + label] - normaliser.x - normaliser.y, NEVER);
}

// The label of a state: blanks lie before, between and after the labels of the target.
fn label_of(sample: u32, state: u32) -> u32 {
  if (state % 2u == 0u) { return info[7]; }
  return targets[sample * (2u + 2u * info[3]) + 2u + state / 2u];
}
