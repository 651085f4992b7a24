//! What each process holds: what the allocator is told, and what the start leaves mapped.

use std::ops::Range;
use std::time::Duration;

use rustix::mm::{Advice, madvise};

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

/// Where the code of the binary and of its libraries lies in this process.
#[derive(Debug)]
pub(crate) struct Code(Vec<Range<usize>>);

impl Code {
    /// Reads it from `/proc`; nothing where that cannot be read.
    pub(crate) fn mapped() -> Self {
        let maps = std::fs::read_to_string("/proc/self/maps").unwrap_or_default();
        Self(maps.lines().filter_map(code).collect())
    }

    /// Waits until the start is over, and unmaps what it has used of the code. Each of the three
    /// processes reads its options and its config, and would hold the pages of that for as long as it
    /// lives. A page that is used again is mapped again, from the page cache.
    ///
    /// # Cancel safety
    /// Safe; nothing is unmapped then.
    pub(crate) async fn unmap_start(self) {
        tokio::time::sleep(START).await;
        for Range { start, end } in self.0 {
            #[allow(unsafe_code, reason = "pages of this process are given back")]
            // SAFETY: only mappings of a file that are executable, hence never written: relocations
            // are in others. The kernel maps the same pages of the same file on the next access.
            let unmapped = unsafe {
                madvise(std::ptr::without_provenance_mut(start), end - start, Advice::LinuxDontNeed)
            };
            if let Err(error) = unmapped {
                tracing::debug!(%error, "the pages of the start stay mapped");
            }
        }
    }
}

/// The range of a line of `/proc/self/maps`, if it is code of a file.
fn code(line: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights) = (fields.next()?, fields.next()?);
    let file = fields.nth(3)?;
    let (start, end) = range.split_once('-')?;
    let address = |hex| usize::from_str_radix(hex, 16).ok();
    (rights == "r-xp" && file.starts_with('/')).then_some(address(start)?..address(end)?)
}

/// By then a process has begun to do what it is for.
const START: Duration = Duration::from_secs(2);

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
    use super::*;

    #[test]
    fn code_is_what_may_be_executed_and_is_of_a_file() {
        let lines = [
            "55d0-55e0 r--p 00000000 fe:00 1 /bin/cutover",
            "55e0-55f0 r-xp 00010000 fe:00 1 /bin/cutover",
            "5600-5610 rw-p 00020000 fe:00 1 /bin/cutover",
            "7ff0-7fff r-xp 00000000 00:00 0 [vdso]",
            "7000-7010 rw-p 00000000 00:00 0",
        ];
        let found: Vec<_> = lines.into_iter().filter_map(code).collect();
        assert_eq!(found.len(), 1);
        assert_eq!(found[0], 0x55e0..0x55f0);
    }

    #[test]
    fn a_process_asks_for_no_huge_pages() {
        assert_eq!(rustix::thread::transparent_huge_pages_are_disabled(), Ok(true));
    }
}
