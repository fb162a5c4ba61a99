
// One channel of a chunk of positions of a sample: what an invocation of the passes takes.
struct Place {
  exists: bool,
  sample: u32,
  channel: u32,
  block: u32, // of all samples' chunks
  first: u32,
  last: u32,  // one past it
}

fn place_of(number: u32, thread: u32) -> Place {
  let chunks = (info[1] + info[3] - 1u) / info[3];
  let across = (info[2] + {{ threads }}u - 1u) / {{ threads }}u;
  let channel = number % across * {{ threads }}u + thread;
  let block = number / across;
  let first = block % chunks * info[3];
  let sample = block / chunks;
  return Place(channel < info[2] && sample < info[0], sample, channel, block, first, min(first + info[3], info[1]));
}

// The input `at - (width - 1)` of a channel; what lies before the first comes from the state or is zero.
fn input(sample: u32, channel: u32, at: u32) -> f32 {
  if (at < {{ past }}u) { return {{ state }}; }
  return x[(sample * info[1] + at - {{ past }}u) * info[2] + channel];
}
