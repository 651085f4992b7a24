//! Docker engines: the one that is there, and one of our own that may be stopped, killed and starved.

use std::fmt::Write as _;
use std::io::Write as _;
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::Duration;

use super::{Said, eventually};

/// An engine with the images of the demo app.
pub(crate) struct Engine(Option<Own>);

/// An engine that nobody else uses.
struct Own {
    dir: tempfile::TempDir,
    /// As where it is a unit of its own: it outlives the daemon. One that the daemon starts itself
    /// dies with it, and as a zombie of nobody's it keeps the next daemon from starting another.
    containerd: Child,
    daemon: Child,
    name: String,
    live_restore: bool,
}

impl Engine {
    /// The one of this machine; `None` where none answers. With `CUTOVER_OWN_ENGINE=1` one of our own,
    /// where others use that of the machine: every edge sees every container with labels of ours.
    pub(crate) fn system() -> Option<Self> {
        static MADE: OnceLock<()> = OnceLock::new();
        if std::env::var_os("CUTOVER_OWN_ENGINE").is_some() {
            return Self::own(false);
        }
        let engine = Self(None);
        if engine.answers() {
            MADE.get_or_init(|| engine.make_images());
            return Some(engine);
        }
        missing("no Docker engine answers")
    }

    /// One of our own, with its own disk, containers and network; it leaves the others alone.
    /// `None` where none can be started.
    pub(crate) fn own(live_restore: bool) -> Option<Self> {
        // The storage driver that works here is the one that is in use here.
        let driver = Self(None).try_docker(&["info", "-f", "{{.Driver}}"]);
        let Some(driver) = driver.filter(|_| is_root()) else {
            return missing("an engine of our own needs root and an engine to take after");
        };
        let dir = tempfile::tempdir().unwrap();
        let name = format!("cut{}", std::process::id());
        let third = std::process::id();
        let address = format!("10.{}.{}.1/24", 200 + third % 50, third / 50 % 250);
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
        let engine = Self(Some(Own { dir, containerd, daemon, name, live_restore }));
        engine.until_it_answers();
        engine.make_images();
        Some(engine)
    }

    /// Where it listens.
    pub(crate) fn socket(&self) -> PathBuf {
        match &self.0 {
            Some(own) => own.dir.path().join("docker.sock"),
            None => PathBuf::from("/var/run/docker.sock"),
        }
    }

    /// Whether containers outlive it.
    pub(crate) fn live_restore(&self) -> bool {
        self.0.as_ref().is_some_and(|own| own.live_restore)
    }

    /// Sends our own engine a signal.
    pub(crate) fn signal(&self, signal: &str) {
        let own = self.0.as_ref().expect("only our own engine is sent signals");
        let pid = own.daemon.id().to_string();
        assert!(Command::new("kill").args([signal, &pid]).status().unwrap().success());
    }

    /// Ends our own engine by a signal and waits until it has gone.
    pub(crate) fn end(&mut self, signal: &str) {
        self.signal(signal);
        self.0.as_mut().expect("only our own engine is ended").daemon.wait().unwrap();
    }

    /// Starts our own engine again and waits until it answers.
    pub(crate) fn begin(&mut self) {
        let own = self.0.as_mut().expect("only our own engine is started");
        own.daemon = start_daemon(own.dir.path(), &own.name);
        self.until_it_answers();
    }

    pub(crate) fn docker(&self, arguments: &[&str]) -> String {
        let output = self.command(arguments).output().unwrap();
        let said = Said::of(&output);
        assert_eq!(said.code, 0, "docker {arguments:?}: {said:?}");
        said.stdout.trim().to_owned()
    }

    pub(crate) fn try_docker(&self, arguments: &[&str]) -> Option<String> {
        let output = self.command(arguments).output().ok()?;
        output.status.success().then(|| String::from_utf8_lossy(&output.stdout).trim().to_owned())
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new("docker");
        if self.0.is_some() {
            command.arg("-H").arg(format!("unix://{}", self.socket().display()));
        }
        command.args(arguments).stdin(Stdio::null());
        command
    }

    fn answers(&self) -> bool {
        self.try_docker(&["version", "--format", "{{.Server.Version}}"]).is_some()
    }

    fn until_it_answers(&self) {
        eventually("the engine answers", || self.answers());
    }

    /// Images of the demo app, from this very binary and the libraries it needs: nothing is pulled.
    fn make_images(&self) {
        let root = tempfile::tempdir().unwrap();
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_cutover"));
        std::fs::copy(&binary, root.path().join("cutover")).unwrap();
        // Symbols make a debug binary ten times as large; without `strip` it is only slower.
        Command::new("strip").arg(root.path().join("cutover")).status().ok();
        for library in libraries(&binary) {
            let to = root.path().join(library.strip_prefix("/").unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(&library, to).unwrap();
        }
        let mut import = format!("tar -C {} -c . | docker", root.path().display());
        if self.0.is_some() {
            write!(import, " -H unix://{}", self.socket().display()).unwrap();
        }
        write!(
            import,
            " import --change 'ENTRYPOINT [\"/cutover\",\"demo-app\"]' --change 'EXPOSE 8000' \
             --change 'ENV RELEASE=1' - {IMAGE}:1"
        )
        .unwrap();
        let imported = Command::new("sh").args(["-c", &import]).output().unwrap();
        assert!(imported.status.success(), "{imported:?}");
        for release in ["2", "3"] {
            self.variant(release, &format!("ENV RELEASE={release}"));
        }
        for fault in FAULTS {
            self.variant(fault, &format!("ENV DEMO_FAULT={fault}"));
        }
    }

    fn variant(&self, tag: &str, change: &str) {
        let base = format!("{IMAGE}:1");
        let container = self.docker(&["create", "--network", "none", &base]);
        self.docker(&["commit", "--change", change, &container, &format!("{IMAGE}:{tag}")]);
        self.docker(&["rm", &container]);
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        if self.0.is_none() {
            return;
        }
        if std::thread::panicking() {
            let log = std::fs::read_to_string(self.socket().with_file_name("log"));
            for line in log.unwrap_or_default().lines().rev().take(20) {
                println!("engine: {line}");
            }
        }
        // A test may have stopped it, or ended it.
        if let Some(own) = &self.0 {
            Command::new("kill").args(["-CONT", &own.daemon.id().to_string()]).status().ok();
        }
        // Containers first: with live-restore they would outlive it.
        for id in self.try_docker(&["ps", "-aq"]).unwrap_or_default().lines() {
            self.try_docker(&["rm", "-f", "-v", id]);
        }
        let Some(own) = &mut self.0 else { return };
        Command::new("kill").arg(own.daemon.id().to_string()).status().ok();
        own.daemon.wait().ok();
        let under = own.dir.path().display().to_string();
        own.containerd.kill().ok();
        own.containerd.wait().ok();
        Command::new("ip").args(["link", "del", &own.name]).status().ok();
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

fn is_root() -> bool {
    let id = Command::new("id").arg("-u").output();
    id.is_ok_and(|id| id.stdout.trim_ascii() == b"0")
}

fn missing<T>(why: &str) -> Option<T> {
    not_tested(why);
    None
}

/// Says so past the test harness, which shows nothing of a test that passes.
pub(crate) fn not_tested(reason: &str) {
    let required = std::env::var_os("CUTOVER_REQUIRE_DOCKER").is_some();
    assert!(!required, "{reason}, and CUTOVER_REQUIRE_DOCKER is set");
    let line = format!("NOT TESTED with Docker: {reason}\n");
    std::io::stderr().write_all(line.as_bytes()).unwrap();
}

/// The shared libraries of a binary, its loader among them; none for a static one.
fn libraries(binary: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(binary).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

/// A pause of a loop that waits for a condition.
pub(crate) fn breathe() {
    std::thread::park_timeout(Duration::from_millis(10));
}

pub(crate) const IMAGE: &str = "cutover-test-app";
const FAULTS: [&str; 8] =
    ["errors", "exit", "exit-later", "hang", "leak", "never-ready", "slow-start", "wrong-port"];
