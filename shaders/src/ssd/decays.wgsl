
// Decays of a head inside the chunk of the plan, from `steps` [B, L, H, 4]. Exponents are never above 0.
fn step_at(p: Plan, head: u32, t: u32) -> u32 {
  return ((p.first + t) * p.heads + head) * 4u;
}

// From position u to position t >= u.
fn decay_between(p: Plan, head: u32, u: u32, t: u32) -> f32 {
  let from_u = step_at(p, head, u);
  let to_t = step_at(p, head, t);
  return exp((steps[to_t] - steps[from_u]) + (steps[to_t + 1u] - steps[from_u + 1u]));
}

// From the state before the chunk to position t.
fn from_start(p: Plan, head: u32, t: u32) -> f32 {
  let at = step_at(p, head, t);
  return exp(steps[at] + steps[at + 1u]);
}

// From position u to the state after the chunk.
fn to_end(p: Plan, head: u32, u: u32) -> f32 {
  return decay_between(p, head, u, p.count - 1u);
}

fn delta(p: Plan, head: u32, u: u32) -> f32 {
  return steps[step_at(p, head, u) + 2u];
}
