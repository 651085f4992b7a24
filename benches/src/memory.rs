//! What memory a process and everything under it holds.

use std::fs;

use anyhow::Context as _;

use crate::cpu::descendants;

/// Bytes resident in a process tree; a page that is shared counts in equal parts for each process
/// that has it (`Pss` in `/proc/PID/smaps_rollup`).
///
/// # Errors
/// Fails when the root has ended, or may not be read.
pub fn proportional_bytes(root: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for pid in descendants(root) {
        let path = format!("/proc/{pid}/smaps_rollup");
        match fs::read_to_string(&path) {
            Ok(rollup) => sum += pss_bytes(&rollup).with_context(|| format!("{path}: no Pss"))?,
            Err(_) if pid != root => {} // it has ended meanwhile
            Err(error) => return Err(error).context(path),
        }
    }
    Ok(sum)
}

fn pss_bytes(rollup: &str) -> Option<u64> {
    let line = rollup.lines().find_map(|line| line.strip_prefix("Pss:"))?;
    line.trim().strip_suffix(" kB")?.parse::<u64>().ok().map(|kib| kib << 10)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pss_is_read_and_not_its_parts() {
        let rollup = "55e0-7ffd ---p 00000000 00:00 0 [rollup]\nRss:     4096 kB\nPss:     1500 kB\nPss_Anon: 12 kB\n";
        assert_eq!(pss_bytes(rollup), Some(1500 << 10));
        assert_eq!(pss_bytes("Rss: 4096 kB\n"), None);
    }

    #[test]
    fn this_process_holds_memory() {
        assert!(proportional_bytes(std::process::id()).unwrap() > 1 << 16);
    }
}
