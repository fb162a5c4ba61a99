//! The `caldera` command.
fn main() {}
