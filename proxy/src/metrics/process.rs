//! The figures of this process, as Prometheus' process collector has them.

use procfs::WithCurrentSystemInfo;
use procfs::process::{LimitValue, Process};

use crate::table::ProcessStats;

/// Reads them; what cannot be read is 0.
#[must_use]
pub fn stats() -> ProcessStats {
    let mut stats = ProcessStats { pid: std::process::id(), ..ProcessStats::default() };
    let Ok(process) = Process::myself() else {
        return stats;
    };
    if let Ok(stat) = process.stat() {
        let ticks = procfs::ticks_per_second();
        #[expect(clippy::cast_precision_loss, reason = "seconds of CPU fit a float")]
        let seconds = |count: u64| count as f64 / ticks as f64;
        stats.cpu_seconds = seconds(stat.utime + stat.stime);
        stats.virtual_bytes = stat.vsize;
        stats.resident_bytes = stat.rss_bytes().get();
        stats.threads = u64::try_from(stat.num_threads).unwrap_or(0);
        if let Ok(boot) = procfs::boot_time_secs() {
            #[expect(clippy::cast_precision_loss, reason = "seconds since the epoch fit a float")]
            let boot = boot as f64;
            stats.start_seconds = boot + seconds(stat.starttime);
        }
    }
    stats.open_fds = process.fd_count().map_or(0, |count| count as u64);
    if let Ok(limits) = process.limits() {
        stats.max_fds = match limits.max_open_files.soft_limit {
            LimitValue::Unlimited => u64::MAX,
            LimitValue::Value(limit) => limit,
        };
    }
    stats
}
