// What a head does at a position. Exponents count from the start of the position's chunk.
struct Step {
  whole: f32,      // exponent, in whole sixteenths
  rest: f32,       // what is left of it
  delta: f32,      // step size
  slope: f32,      // its derivative
  from_start: f32, // decay from the state before the chunk
  to_state: f32,   // decay to the state after the chunk, times the step size
}

