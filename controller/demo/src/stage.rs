//! The processes of the demo: two apps and a Cutover, the very binary that runs the demo.

use std::fs;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, bail};
use cutover_proxy::table::Color;
use rustix::process::{Pid, Signal, kill_process};
use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep, timeout};

use crate::control::SERVICE;
use crate::load;

/// How long everything may take to be ready, and to end.
const PATIENCE: Duration = Duration::from_secs(15);

/// Everything that runs; it is struck when dropped, and in good order by [`Stage::strike`].
#[derive(Debug)]
pub(super) struct Stage {
    /// Where the apps listen.
    pub(super) blue: SocketAddr,
    pub(super) green: SocketAddr,
    /// Where Cutover listens.
    pub(super) edge: SocketAddr,
    /// Its control socket.
    pub(super) control: PathBuf,
    cutover: Child,
    apps: [Child; 2],
    log: PathBuf,
    _directory: Directory,
}

impl Stage {
    /// Starts everything and waits until the first request gets through.
    pub(super) async fn set() -> anyhow::Result<Self> {
        let directory = Directory::create()?;
        let (blue_app, blue) = start_app(Color::Blue).await?;
        let (green_app, green) = start_app(Color::Green).await?;
        let (edge, admin) = (free_address()?, free_address()?);
        let control = directory.0.join("control.sock");
        let config = directory.0.join("cutover.toml");
        fs::write(&config, config_text(&directory.0, edge, admin, blue, green))?;

        let log = directory.0.join("cutover.log");
        let said = fs::File::create(&log)?;
        let cutover = Command::new(std::env::current_exe()?)
            .args(["run", "--config"])
            .arg(&config)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .kill_on_drop(true)
            .spawn()
            .context("starting Cutover")?;
        let mut stage = Self {
            blue,
            green,
            edge,
            control,
            cutover,
            apps: [blue_app, green_app],
            log,
            _directory: directory,
        };
        stage.await_first_answer().await?;
        Ok(stage)
    }

    async fn await_first_answer(&mut self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            if let Some(status) = self.cutover.try_wait()? {
                bail!("Cutover ended with {status}; it said:\n{}", self.last_words());
            }
            let Err(error) = load::fetch(self.edge, "/health").await else {
                return Ok(());
            };
            if Instant::now() > deadline {
                let words = self.last_words();
                return Err(error.context(format!("no answer through Cutover; it said:\n{words}")));
            }
            sleep(Duration::from_millis(20)).await;
        }
    }

    /// The end of Cutover's log.
    pub(super) fn last_words(&self) -> String {
        let log = fs::read_to_string(&self.log).unwrap_or_default();
        let lines: Vec<_> = log.lines().collect();
        let from = lines.len().saturating_sub(20);
        lines.get(from..).unwrap_or_default().join("\n")
    }

    /// Ends everything as a service manager would, with SIGTERM and some patience.
    pub(super) async fn strike(mut self) {
        let [blue, green] = &mut self.apps;
        for child in [&mut self.cutover, blue, green] {
            terminate(child);
        }
        for child in [&mut self.cutover, blue, green] {
            // Who does not end in time is killed when dropped.
            timeout(PATIENCE, child.wait()).await.ok();
        }
    }
}

fn terminate(child: &Child) {
    let pid = child.id().and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    if let Some(pid) = pid {
        kill_process(pid, Signal::TERM).ok();
    }
}

async fn start_app(color: Color) -> anyhow::Result<(Child, SocketAddr)> {
    let mut child = Command::new(std::env::current_exe()?)
        .args(["demo-app", "--with-stdin", "--listen", "127.0.0.1:0"])
        .args(["--color", color.as_str()])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .with_context(|| format!("starting the {color} app"))?;
    let stdout = child.stdout.take().context("its output is a pipe")?;
    let mut lines = BufReader::new(stdout).lines();
    let line = timeout(PATIENCE, lines.next_line()).await??;
    let address = line.with_context(|| format!("the {color} app does not say where it listens"))?;
    Ok((child, address.parse()?))
}

fn config_text(
    directory: &Path,
    edge: SocketAddr,
    admin: SocketAddr,
    blue: SocketAddr,
    green: SocketAddr,
) -> String {
    let directory = directory.display();
    format!(
        r#"[listen]
http = "{edge}"
admin = "{admin}"
control = "{directory}/control.sock"
[runtime]
state_dir = "{directory}/state"
[docker]
enable = false
[services.{SERVICE}]
active = "blue"
blue = ["{blue}"]
green = ["{green}"]
[services.{SERVICE}.probe]
path = "/health"
"#
    )
}

fn free_address() -> anyhow::Result<SocketAddr> {
    Ok(TcpListener::bind((Ipv4Addr::LOCALHOST, 0))?.local_addr()?)
}

/// A directory of our own, removed when dropped.
#[derive(Debug)]
struct Directory(PathBuf);

impl Directory {
    fn create() -> anyhow::Result<Self> {
        let path = std::env::temp_dir().join(format!("cutover-demo-{}", std::process::id()));
        fs::DirBuilder::new()
            .mode(0o700)
            .create(&path)
            .with_context(|| format!("creating {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        fs::remove_dir_all(&self.0).ok();
    }
}
