//! Peak bytes of a piece of work: counted by the allocator on the CPU, told by the device's pool on a GPU.

use burn::tensor::Device;
use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};

static COUNTING: AtomicBool = AtomicBool::new(false);
static LIVE: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

/// The system's allocator with a count of live and most live bytes. The `caldera` binary installs it; where it is not installed
/// [`peak_of`] has no CPU figure to give.
pub struct CountingAllocator;

fn grown(bytes: usize) {
    let live = LIVE.fetch_add(bytes, Relaxed) + bytes;
    PEAK.fetch_max(live, Relaxed);
}

// SAFETY: every call goes to `System` unchanged; the counters neither allocate nor touch the memory.
unsafe impl GlobalAlloc for CountingAllocator {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's promise about `layout` is passed on.
        let pointer = unsafe { System.alloc(layout) };
        if !pointer.is_null() {
            COUNTING.store(true, Relaxed);
            grown(layout.size());
        }
        pointer
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: as above. Passed on as such because the system hands out zeroed pages for free.
        let pointer = unsafe { System.alloc_zeroed(layout) };
        if !pointer.is_null() {
            grown(layout.size());
        }
        pointer
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        LIVE.fetch_sub(layout.size(), Relaxed);
        // SAFETY: the pointer came from `System` with this layout.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        // SAFETY: as above.
        let moved = unsafe { System.realloc(pointer, layout, new_size) };
        if !moved.is_null() {
            grown(new_size);
            LIVE.fetch_sub(layout.size(), Relaxed);
        }
        moved
    }
}

/// Runs `work` and returns its result with the most bytes that it held at once beyond those held before: on a GPU what the device's pool
/// had to reserve beyond the allocations that were live (it keeps freed pages, so that nothing escapes it, and rounds up to pages); on the CPU the allocator's count.
/// None where neither can tell.
pub fn peak_of<R>(device: &Device, work: impl FnOnce() -> R) -> (R, Option<usize>) {
    // Pages kept for reuse would hide what the work needs.
    device.memory_cleanup();
    if let Some(before) = device.memory_pool_usage() {
        let result = work();
        // A failed sync shows as an error in the read that `work` ends with.
        let _ = device.sync();
        let peak = device
            .memory_pool_usage()
            .map(|after| after.bytes_reserved.saturating_sub(before.bytes_in_use) as usize);
        return (result, peak);
    }
    let start = LIVE.load(Relaxed);
    PEAK.store(start, Relaxed);
    let result = work();
    let peak = PEAK.load(Relaxed).saturating_sub(start);
    (result, COUNTING.load(Relaxed).then_some(peak))
}
