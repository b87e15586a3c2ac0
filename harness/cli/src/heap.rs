//! How the C library's heap is kept: one for all threads, and what is freed goes back at once.
//!
//! hil allocates a lot while it reads boards and images, and little afterwards; its many threads
//! do next to nothing. By default each would get a heap of its own, and one large block freed
//! early would stop all later ones from being given back (decision 0007).

/// Blocks as large as this are mapped by themselves; more than this is never kept free at the top.
const LARGE: i32 = 128 << 10;

/// To be called before a second thread is started.
#[expect(unsafe_code, reason = "the C library takes these settings by a call only")]
pub(crate) fn keep_small() {
    // A setting that is refused leaves the default.
    let set = |setting, value| {
        // SAFETY: it changes numbers of the allocator, under its own lock.
        unsafe { libc::mallopt(setting, value) };
    };
    set(libc::M_ARENA_MAX, 1);
    set(libc::M_MMAP_THRESHOLD, LARGE);
    set(libc::M_TRIM_THRESHOLD, LARGE);
}
