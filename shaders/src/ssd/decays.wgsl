
// Decays of a head inside the chunk of the plan, from `steps` [B, L, H]. Exponents are never above 0.
fn step_at(p: Plan, head: u32, t: u32) -> u32 {
  return (p.first + t) * p.heads + head;
}

// From position u to position t >= u.
fn decay_between(p: Plan, head: u32, u: u32, t: u32) -> f32 {
  let from_u = step_at(p, head, u);
  let to_t = step_at(p, head, t);
  return exp((steps[to_t].whole - steps[from_u].whole) + (steps[to_t].rest - steps[from_u].rest));
}

// From the state before the chunk to position t.
fn from_start(p: Plan, head: u32, t: u32) -> f32 {
  return steps[step_at(p, head, t)].from_start;
}

// From position u to the state after the chunk, times the step size.
fn to_state(p: Plan, head: u32, u: u32) -> f32 {
  return steps[step_at(p, head, u)].to_state;
}

fn delta(p: Plan, head: u32, u: u32) -> f32 {
  return steps[step_at(p, head, u)].delta;
}
