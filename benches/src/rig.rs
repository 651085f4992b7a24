//! Where processes run: on which processors, in which network.

use std::env;
use std::ffi::OsStr;
use std::fs;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use anyhow::{Context as _, bail};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

/// How the proxy and the load share the processors.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Placement {
    /// Two workers, nothing pinned.
    Free2,
    /// One worker pinned to processor 0, load and upstream pinned to processor 1.
    Pin1,
}

impl Placement {
    /// Worker threads of the proxy.
    #[must_use]
    pub fn workers(self) -> usize {
        match self {
            Self::Free2 => 2,
            Self::Pin1 => 1,
        }
    }

    /// Starts a proxy on its processors.
    ///
    /// # Errors
    /// Fails when the program cannot be started.
    pub fn spawn_proxy(self, command: &mut Command) -> anyhow::Result<Child> {
        self.spawn(command, 0)
    }

    /// Starts a load generator or the upstream on theirs.
    ///
    /// # Errors
    /// Fails when the program cannot be started.
    pub fn spawn_load(self, command: &mut Command) -> anyhow::Result<Child> {
        self.spawn(command, 1)
    }

    /// Children inherit the affinity of the thread that starts them.
    fn spawn(self, command: &mut Command, processor: usize) -> anyhow::Result<Child> {
        if self == Self::Free2 {
            return Ok(command.spawn()?);
        }
        let ours = sched_getaffinity(None)?;
        let mut theirs = CpuSet::new();
        theirs.set(processor);
        sched_setaffinity(None, &theirs).with_context(|| {
            format!("pinning to processor {processor}: pin1 needs two, --placement free2 none")
        })?;
        let child = command.spawn();
        sched_setaffinity(None, &ours)?;
        Ok(child?)
    }
}

/// A command whose process is told to end when this one does, however that ends.
pub fn command(program: impl AsRef<OsStr>) -> Command {
    static SETPRIV: OnceLock<bool> = OnceLock::new();
    let works = || {
        let tried = Command::new("setpriv").args(TIED).arg("true").stderr(Stdio::null()).status();
        tried.is_ok_and(|status| status.success())
    };
    if !*SETPRIV.get_or_init(works) {
        return Command::new(program);
    }
    let mut command = Command::new("setpriv");
    command.args(TIED).arg(program);
    command
}

const TIED: [&str; 3] = ["--pdeathsig", "TERM", "--"];

/// A process that is killed when this is dropped.
#[derive(Debug)]
pub struct Running(pub Child);

impl Drop for Running {
    fn drop(&mut self) {
        // Where it has ended by itself there is nothing to kill.
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// A directory for configs and logs, removed when this is dropped.
#[derive(Debug)]
pub struct Workplace(pub PathBuf);

impl Workplace {
    /// Makes one, named after a program.
    ///
    /// # Errors
    /// Fails when it cannot be made.
    pub fn new(program: &str) -> io::Result<Self> {
        let path = env::temp_dir().join(format!("cutover-{program}-{}", std::process::id()));
        fs::create_dir_all(&path)?;
        Ok(Self(path))
    }
}

impl Drop for Workplace {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}

/// Lets this process and its children have as many files open as they may.
///
/// # Errors
/// Fails when even that is not allowed.
pub fn raise_file_limit() -> io::Result<()> {
    let limit = getrlimit(Resource::Nofile);
    Ok(setrlimit(Resource::Nofile, Rlimit { current: limit.maximum, ..limit })?)
}

/// Set in the environment of the process that runs in a network of its own.
const INSIDE: &str = "CUTOVER_BENCH_NETNS";

/// Starts this program again in a network of its own (loopback only), so that the machine's packet
/// filters and connection tracking cost nobody anything. Returns only inside of it.
///
/// # Errors
/// Fails when the kernel or `unshare` does not allow it.
pub fn enter_network() -> anyhow::Result<()> {
    if inside_network() {
        return Ok(());
    }
    let allowed = Command::new("unshare").args(["-n", "true"]).status();
    if !allowed.is_ok_and(|status| status.success()) {
        bail!("`unshare -n` does not work here; --no-netns measures on the machine's own network");
    }
    let error = Command::new("unshare")
        .args(["-n", "sh", "-c", "ip link set lo up && exec \"$@\"", "sh"])
        .arg(env::current_exe()?)
        .args(env::args_os().skip(1))
        .env(INSIDE, "1")
        .exec();
    Err(error).context("starting again inside `unshare -n`")
}

/// Whether this process has been started again by [`enter_network`].
#[must_use]
pub fn inside_network() -> bool {
    env::var_os(INSIDE).is_some()
}

/// Builds Cutover as users do, unless that was done outside of the network; where it lies.
///
/// # Errors
/// Fails when it does not build.
pub fn built_cutover() -> anyhow::Result<PathBuf> {
    let ours = env::current_exe()?;
    let path = ours.parent().map(|directory| directory.join("cutover"));
    let path = path.context("this program lies nowhere")?;
    if !inside_network() {
        let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
        let built = Command::new("cargo")
            .args(["build", "--release", "--locked", "--bin", "cutover"])
            .current_dir(workspace)
            .status()
            .context("starting cargo; --cutover names a binary that is built")?;
        if !built.success() {
            bail!("cutover does not build");
        }
    }
    Ok(path)
}

/// An address on loopback that nobody listens on.
///
/// # Errors
/// Fails when there is no port left.
pub fn free_address() -> io::Result<SocketAddr> {
    TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()
}

/// Waits until a condition holds.
///
/// # Errors
/// Fails when it does not within ten seconds.
pub fn wait_until(what: &str, holds: impl FnMut() -> anyhow::Result<bool>) -> anyhow::Result<()> {
    wait_until_within(Duration::from_secs(10), what, holds)
}

/// Waits until a condition holds, up to a limit.
///
/// # Errors
/// Fails when it does not within the limit.
pub fn wait_until_within(
    limit: Duration,
    what: &str,
    mut holds: impl FnMut() -> anyhow::Result<bool>,
) -> anyhow::Result<()> {
    let deadline = Instant::now() + limit;
    while !holds()? {
        if Instant::now() > deadline {
            bail!("{what}: not within {limit:?}");
        }
        pause(Duration::from_millis(20));
    }
    Ok(())
}

/// Lets time pass.
pub fn pause(duration: Duration) {
    #[expect(clippy::disallowed_methods, reason = "a bench has one thread and no worker")]
    std::thread::sleep(duration);
}
