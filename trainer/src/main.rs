//! The `caldera` command.

/// Counts live bytes, so that `bench` can tell the peak of a forward pass on the CPU.
#[global_allocator]
static ALLOCATOR: caldera_trainer::bench::memory::CountingAllocator =
    caldera_trainer::bench::memory::CountingAllocator;

fn main() -> std::process::ExitCode {
    caldera_trainer::allocator::keep_freed_memory();
    caldera_trainer::commands::main()
}
