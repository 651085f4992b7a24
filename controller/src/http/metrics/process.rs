//! The figures of Prometheus' process collector, for both processes.

use cutover_proxy::table::ProcessStats;
use prometheus::proto::MetricType::{COUNTER, GAUGE};

use super::count;
use super::family::Families;

/// One family for each figure, with the process as a label.
pub(super) fn families(families: &mut Families, processes: &[(&str, ProcessStats)]) {
    for (name, stats) in processes {
        let label = [("process", *name)];
        families
            .family("process_cpu_seconds_total", "User and system CPU time.", COUNTER)
            .value(&label, stats.cpu_seconds);
        let gauges = [
            ("process_resident_memory_bytes", "Resident memory.", count(stats.resident_bytes)),
            ("process_virtual_memory_bytes", "Virtual memory.", count(stats.virtual_bytes)),
            ("process_open_fds", "Open file descriptors.", count(stats.open_fds)),
            ("process_max_fds", "The limit of open file descriptors.", count(stats.max_fds)),
            ("process_start_time_seconds", "Start, since the epoch.", stats.start_seconds),
            ("process_threads", "Threads.", count(stats.threads)),
        ];
        for (metric, help, value) in gauges {
            families.family(metric, help, GAUGE).value(&label, value);
        }
    }
}
