//! What an edge and its service take up.

use std::collections::BTreeMap;

use crate::Edge;
use crate::command::send;

/// What there is of an edge.
#[derive(Debug)]
pub struct Footprint {
    /// Containers of the service.
    pub containers: usize,
    /// Networks of the engine.
    pub networks: usize,
    /// By role.
    pub processes: BTreeMap<&'static str, Process>,
}

/// Resident memory and open files.
#[derive(Clone, Copy, Debug)]
pub struct Process {
    /// Resident memory.
    pub kib: u64,
    /// Open files.
    pub files: usize,
}

impl Edge {
    /// The process of a role, once there is one.
    ///
    /// # Panics
    /// When there is none within a minute.
    #[must_use]
    pub fn child(&self, role: &str) -> u32 {
        let mut found = None;
        crate::eventually(&format!("there is a {role}"), || {
            found = self.try_child(role);
            found.is_some()
        });
        found.unwrap()
    }

    fn try_child(&self, role: &str) -> Option<u32> {
        let children = format!("/proc/{pid}/task/{pid}/children", pid = self.supervisor());
        let children = std::fs::read_to_string(children).ok()?;
        let is = |child: &&str| {
            let command = std::fs::read(format!("/proc/{child}/cmdline")).unwrap_or_default();
            String::from_utf8_lossy(&command).contains(role)
        };
        children.split_whitespace().find(is)?.parse().ok()
    }

    /// Kills the process of a role with SIGKILL, if there is one.
    pub fn kill(&self, role: &str) {
        if let Some(pid) = self.try_child(role) {
            send("-KILL", pid);
        }
    }

    /// What the edge and its service take up.
    ///
    /// # Panics
    /// When a process has gone.
    #[must_use]
    pub fn footprint(&self) -> Footprint {
        let process = |pid: u32| {
            let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
            let resident = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
            let kib = resident.unwrap().trim().trim_end_matches(" kB").parse().unwrap();
            let files = std::fs::read_dir(format!("/proc/{pid}/fd")).unwrap().count();
            Process { kib, files }
        };
        let roles = ["proxy", "controller"].map(|role| (role, process(self.child(role))));
        let supervisor = ("supervisor", process(self.supervisor()));
        let ours = format!("name={}", self.service());
        Footprint {
            containers: self.containers().len(),
            networks: self.docker(&["network", "ls", "-q", "--filter", &ours]).lines().count(),
            processes: roles.into_iter().chain([supervisor]).collect(),
        }
    }
}
