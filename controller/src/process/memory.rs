//! The allocator of the binary: what it is told at the start of every process, and when it is idle.

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

/// Runs before `main`, and before the allocator's first page is touched.
///
/// A huge page is 2 MiB, and mimalloc asks for them: three processes that need 1 MiB each would
/// hold 2 to 12 MiB instead. Requests cost the same without (measured with `benches`).
#[allow(unsafe_code, reason = "the one way to run code before the first allocation")]
// SAFETY: the entry is a function pointer, which is what this section holds; constructors with a
// number run before those without one, mimalloc's among them.
#[unsafe(link_section = ".init_array.00101")]
#[used]
static SMALL_PAGES: extern "C" fn() = {
    extern "C" fn small_pages() {
        // One system call. A kernel that does not know it goes on with huge pages.
        rustix::thread::disable_transparent_huge_pages(true).ok();
    }
    small_pages
};

#[cfg(test)]
mod tests {
    #[test]
    fn a_process_asks_for_no_huge_pages() {
        assert_eq!(rustix::thread::transparent_huge_pages_are_disabled(), Ok(true));
    }
}
