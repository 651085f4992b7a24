//! The allocator of the binary, and the one thing it has to be asked for.

/// Gives what this thread has freed back to the system.
pub(crate) fn trim() {
    #[allow(
        unsafe_code,
        reason = "mimalloc's own entry point; it takes a flag and has no invariant"
    )]
    // SAFETY: callable from any thread at any time; `true` only makes it thorough.
    unsafe {
        libmimalloc_sys::mi_collect(true);
    }
}
