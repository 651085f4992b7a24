//! The proxies that are compared, and how each is started.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::cpu::Usage;
use crate::rig::{self, Placement};

/// A proxy that can be compared; the order is that of a round.
#[derive(Clone, Copy, Debug, Eq, PartialEq, clap::ValueEnum)]
pub enum Peer {
    /// What every ratio is taken to.
    Haproxy,
    /// nginx.
    Nginx,
    /// Caddy.
    Caddy,
    /// Ours.
    Cutover,
}

impl Peer {
    /// All of them.
    pub const ALL: [Self; 4] = [Self::Haproxy, Self::Nginx, Self::Caddy, Self::Cutover];

    /// The name in tables and JSON.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Haproxy => "haproxy",
            Self::Nginx => "nginx",
            Self::Caddy => "caddy",
            Self::Cutover => "cutover",
        }
    }

    /// The version that is installed; `None` when the program is not.
    #[must_use]
    pub fn version(self, cutover: &Path) -> Option<String> {
        let (program, argument) = match self {
            Self::Haproxy => (Path::new("haproxy"), "-v"),
            Self::Nginx => (Path::new("nginx"), "-v"),
            Self::Caddy => (Path::new("caddy"), "version"),
            Self::Cutover => (cutover, "--version"),
        };
        let output = Command::new(program).arg(argument).output().ok()?;
        // nginx says it on stderr.
        let said = [output.stdout, output.stderr].concat();
        let said = String::from_utf8_lossy(&said);
        let version = said
            .split(|c: char| c.is_whitespace() || c == '/')
            .find(|word| word.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit()));
        Some(version.unwrap_or("?").to_owned())
    }

    fn config(self) -> (&'static str, &'static str) {
        match self {
            Self::Haproxy => ("haproxy.cfg", include_str!("../peers/haproxy.cfg")),
            Self::Nginx => ("nginx.conf", include_str!("../peers/nginx.conf")),
            Self::Caddy => ("Caddyfile", include_str!("../peers/Caddyfile")),
            Self::Cutover => ("cutover.toml", include_str!("../peers/cutover.toml")),
        }
    }

    fn command(self, cutover: &Path, config: &Path, directory: &Path) -> Command {
        let mut command = match self {
            Self::Haproxy => Command::new("haproxy"),
            Self::Nginx => Command::new("nginx"),
            Self::Caddy => Command::new("caddy"),
            Self::Cutover => Command::new(cutover),
        };
        match self {
            Self::Haproxy => command.arg("-db").arg("-f").arg(config),
            Self::Nginx => command.arg("-p").arg(directory).arg("-c").arg(config),
            Self::Caddy => command
                .args(["run", "--adapter", "caddyfile", "--config"])
                .arg(config)
                .env("HOME", directory),
            Self::Cutover => command.args(["run", "--config"]).arg(config),
        };
        command
    }
}

/// A proxy that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Which one.
    pub peer: Peer,
    /// Where it listens.
    pub address: SocketAddr,
    child: Child,
}

impl Proxy {
    /// Starts a proxy in front of an upstream and waits until it answers.
    ///
    /// # Errors
    /// Fails when it cannot be started or does not answer in time; its own words are in
    /// `directory/NAME.log`.
    pub fn start(
        peer: Peer,
        cutover: &Path,
        upstream: SocketAddr,
        directory: &Path,
        placement: Placement,
    ) -> anyhow::Result<Self> {
        let address = rig::free_address()?;
        let home = directory.join(peer.name());
        fs::create_dir_all(&home)?;
        let (file, template) = peer.config();
        let workers = placement.workers().to_string();
        let text = template
            .replace("{listen}", &address.to_string())
            .replace("{admin}", &rig::free_address()?.to_string())
            .replace("{upstream}", &upstream.to_string())
            .replace("{workers}", &workers)
            .replace("{directory}", &home.to_string_lossy());
        let config = home.join(file);
        fs::write(&config, text)?;

        let log: PathBuf = home.join("log");
        let said = fs::File::create(&log)?;
        let mut command = peer.command(cutover, &config, &home);
        command
            .env("GOMAXPROCS", workers)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .process_group(0);
        let mut proxy = Self { peer, address, child: placement.spawn_proxy(&mut command)? };
        rig::wait_until("its first answer", || {
            if let Some(status) = proxy.child.try_wait()? {
                bail!("it ended with {status}");
            }
            Ok(answers(address))
        })
        .with_context(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("{} did not start; it said:\n{said}", peer.name())
        })?;
        Ok(proxy)
    }

    /// What the proxy and all its children have used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of_tree(self.child.id())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Children may have left already; the wait below is what matters.
            kill_process_group(group, Signal::TERM).ok();
            let ended = rig::wait_until("its end", || Ok(self.child.try_wait()?.is_some()));
            if ended.is_err() {
                kill_process_group(group, Signal::KILL).ok();
            }
        }
        self.child.wait().ok();
    }
}

fn answers(address: SocketAddr) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /1k HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    };
    ask().is_ok_and(|head| head == "HTTP/1.1 200")
}
