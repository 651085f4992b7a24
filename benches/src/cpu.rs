//! What a process and everything under it has used.

use std::collections::BTreeMap;
use std::fs;
use std::ops::Sub;

/// Time on processors of a process tree.
#[derive(Clone, Copy, Debug, Default)]
pub struct Usage {
    /// Exact, from the scheduler.
    pub total_ns: u64,
    /// User time in clock ticks: coarse, only good for the share.
    pub user_ticks: u64,
    /// System time in clock ticks.
    pub system_ticks: u64,
}

impl Usage {
    /// Reads the usage of a process and all its descendants, every thread of each.
    #[must_use]
    pub fn of_tree(root: u32) -> Self {
        descendants(root).into_iter().fold(Self::default(), |sum, pid| {
            let one = Self::of_process(pid);
            Self {
                total_ns: sum.total_ns + one.total_ns,
                user_ticks: sum.user_ticks + one.user_ticks,
                system_ticks: sum.system_ticks + one.system_ticks,
            }
        })
    }

    /// Reads the usage of one process, every thread of it.
    #[must_use]
    pub fn of_process(pid: u32) -> Self {
        let mut total_ns = 0;
        for task in fs::read_dir(format!("/proc/{pid}/task")).into_iter().flatten() {
            let on_cpu = task
                .and_then(|task| fs::read_to_string(task.path().join("schedstat")))
                .ok()
                .and_then(|stat| stat.split(' ').next()?.parse::<u64>().ok());
            total_ns += on_cpu.unwrap_or(0);
        }
        let fields = stat_fields(pid);
        let ticks = |at: usize| fields.get(at).and_then(|n| n.parse().ok()).unwrap_or(0);
        Self { total_ns, user_ticks: ticks(11), system_ticks: ticks(12) }
    }
}

impl Sub for Usage {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            total_ns: self.total_ns.saturating_sub(earlier.total_ns),
            user_ticks: self.user_ticks.saturating_sub(earlier.user_ticks),
            system_ticks: self.system_ticks.saturating_sub(earlier.system_ticks),
        }
    }
}

/// A process and all its descendants.
#[must_use]
pub fn descendants(root: u32) -> Vec<u32> {
    let mut children: BTreeMap<u32, Vec<u32>> = BTreeMap::new();
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let Some(pid) = entry.file_name().to_str().and_then(|n| n.parse().ok()) else {
            continue;
        };
        if let Some(parent) = stat_fields(pid).get(1).and_then(|n| n.parse().ok()) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut next = vec![root];
    while let Some(pid) = next.pop() {
        found.push(pid);
        next.extend(children.remove(&pid).unwrap_or_default());
    }
    found
}

/// The fields of `/proc/PID/stat` behind the command name, which may itself hold spaces.
fn stat_fields(pid: u32) -> Vec<String> {
    fs::read_to_string(format!("/proc/{pid}/stat"))
        .ok()
        .and_then(|stat| {
            let (_, fields) = stat.rsplit_once(") ")?;
            Some(fields.split(' ').map(str::to_owned).collect())
        })
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tree_counts_what_its_children_use() {
        let mut child =
            std::process::Command::new("sh").args(["-c", "while :; do :; done"]).spawn().unwrap();
        let before = Usage::of_tree(std::process::id());
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(10);
        let grew = loop {
            let used = Usage::of_tree(std::process::id()) - before;
            let own = Usage::of_process(child.id());
            if own.total_ns > 1_000_000 && used.total_ns > 0 {
                break true;
            }
            if std::time::Instant::now() > deadline {
                break false;
            }
        };
        child.kill().unwrap();
        child.wait().unwrap();
        assert!(grew);
    }
}
