//! What the C library's allocator does with the memory of large tensors.

/// Keeps freed memory for the next tensor. glibc gives tensors of 32 MiB and more back to the system at once, and the first
/// touch of every page of the next one is a fault: three quarters of the time of an element-wise operator on 50 MB. Call it
/// before the first tensor. On other C libraries it does nothing.
pub fn keep_freed_memory() {
    #[cfg(all(target_os = "linux", target_env = "gnu"))]
    {
        const TOP_PAD: i32 = 64 << 20;
        // SAFETY: mallopt only sets numbers of the allocator, and is called before other threads exist. What it refuses stays
        // as it is.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TRIM_THRESHOLD, i32::MAX);
            libc::mallopt(libc::M_TOP_PAD, TOP_PAD);
        }
    }
}
