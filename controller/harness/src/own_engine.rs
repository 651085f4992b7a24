//! A Docker engine of a test's own, which may be stopped, killed and starved.

use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use crate::Subnet;

/// An engine that nobody else uses.
#[derive(Debug)]
pub(crate) struct OwnEngine {
    dir: tempfile::TempDir,
    /// As where it is a unit of its own: it outlives the daemon. One that the daemon starts itself
    /// dies with it, and as a zombie of nobody's it keeps the next daemon from starting another.
    containerd: Child,
    daemon: Mutex<Child>,
    name: String,
    _subnet: Subnet,
    live_restore: bool,
}

impl OwnEngine {
    /// Starts its daemons; it answers a moment later.
    pub(crate) fn start(live_restore: bool, driver: &str) -> Self {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let dir = tempfile::tempdir().unwrap();
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        // At most 15 bytes, as the kernel wants it of a device.
        let name = format!("cut{}-{number}", std::process::id());
        let subnet = Subnet::claim();
        let address = format!("{}/24", subnet.address(1));
        // A bridge of its own: without a name it would take, and with `none` remove, the system's.
        ip(&["link", "add", &name, "type", "bridge"]);
        ip(&["addr", "add", &address, "dev", &name]);
        ip(&["link", "set", &name, "up"]);
        // Nor does it touch the firewall, which is the system engine's.
        let config = format!(
            "{{\"live-restore\":{live_restore},\"storage-driver\":\"{driver}\",\"bridge\":\"{name}\",\
             \"iptables\":false,\"ip6tables\":false,\"ip-forward\":false,\"userland-proxy\":false,\
             \"log-level\":\"warn\",\"shutdown-timeout\":5}}"
        );
        std::fs::write(dir.path().join("daemon.json"), config).unwrap();
        let containerd = start_containerd(dir.path());
        let daemon = start_daemon(dir.path(), &name);
        Self { dir, containerd, daemon: Mutex::new(daemon), name, _subnet: subnet, live_restore }
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.dir.path().join("docker.sock")
    }

    pub(crate) fn live_restore(&self) -> bool {
        self.live_restore
    }

    pub(crate) fn signal(&self, signal: &str) {
        crate::command::send(signal, self.daemon().id());
    }

    pub(crate) fn end(&self, signal: &str) {
        self.signal(signal);
        self.daemon().wait().unwrap();
    }

    pub(crate) fn begin(&self) {
        *self.daemon() = start_daemon(self.dir.path(), &self.name);
    }

    fn daemon(&self) -> MutexGuard<'_, Child> {
        self.daemon.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for OwnEngine {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.dir.path().join("log"));
            for line in log.unwrap_or_default().lines().rev().take(20) {
                println!("engine: {line}");
            }
        }
        self.signal("-TERM");
        self.daemon().wait().ok();
        let under = self.dir.path().display().to_string();
        self.containerd.kill().ok();
        self.containerd.wait().ok();
        Command::new("ip").args(["link", "del", &self.name]).status().ok();
        let mounts = std::fs::read_to_string("/proc/mounts").unwrap_or_default();
        for mount in mounts.lines().filter_map(|line| line.split(' ').nth(1)) {
            if mount.starts_with(&under) {
                Command::new("umount").args(["-l", mount]).stderr(Stdio::null()).status().ok();
            }
        }
    }
}

fn ip(arguments: &[&str]) {
    assert!(Command::new("ip").args(arguments).status().unwrap().success(), "ip {arguments:?}");
}

fn start_containerd(dir: &Path) -> Child {
    let at = |name: &str| dir.join(name).display().to_string();
    let config = format!(
        "version = 2\nroot = \"{}\"\nstate = \"{}\"\n[grpc]\naddress = \"{}\"\n",
        at("containerd/root"),
        at("containerd/state"),
        at("containerd.sock")
    );
    std::fs::write(at("containerd.toml"), config).unwrap();
    Command::new("containerd")
        .args(["--config", &at("containerd.toml"), "--log-level", "error"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .process_group(0)
        .spawn()
        .unwrap()
}

fn start_daemon(dir: &Path, name: &str) -> Child {
    let at = |name: &str| dir.join(name).display().to_string();
    // One that was killed leaves this behind, and the number may be another process's by now.
    std::fs::remove_file(at("pid")).ok();
    let log = std::fs::File::options().create(true).append(true).open(at("log")).unwrap();
    Command::new("dockerd")
        .args(["--config-file", &at("daemon.json"), "--pidfile", &at("pid")])
        .args(["--data-root", &at("data"), "--exec-root", &at("exec")])
        .args(["-H", &format!("unix://{}", at("docker.sock"))])
        .args(["--containerd", &at("containerd.sock"), "--containerd-namespace", name])
        .args(["--containerd-plugins-namespace", &format!("{name}-plugins")])
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log)
        // A Ctrl-C for the tests is not for it: they end it in order.
        .process_group(0)
        .spawn()
        .unwrap()
}
