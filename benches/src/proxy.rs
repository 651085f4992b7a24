//! A proxy that runs.

use std::fs;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use anyhow::{Context as _, bail};
use rustix::process::{Pid, Signal, kill_process_group};

use crate::control::Control;
use crate::cpu::Usage;
use crate::peer::{Peer, Words};
use crate::rig::{self, Placement};

/// A proxy to be started, and how.
#[derive(Clone, Debug)]
pub struct Subject {
    /// Its name in tables and JSON.
    pub name: String,
    /// The program.
    pub peer: Peer,
    /// Worker threads or processes.
    pub workers: usize,
    /// What Cutover serves; the app without it.
    pub services: Option<Services>,
}

/// Other services than the app alone.
#[derive(Clone, Debug)]
pub struct Services {
    /// Their sections of the config file.
    pub sections: String,
    /// The host of one of them; where there is none, it takes any.
    pub host: Option<&'static str>,
}

impl Subject {
    /// A proxy in front of one app.
    #[must_use]
    pub fn new(peer: Peer, workers: usize) -> Self {
        Self { name: peer.name().to_owned(), peer, workers, services: None }
    }
}

/// Where proxies run, and what is behind them.
#[derive(Clone, Copy, Debug)]
pub struct Site<'a> {
    /// Cutover's binary.
    pub cutover: &'a Path,
    /// Where they have their files.
    pub directory: &'a Path,
    /// The app.
    pub upstream: SocketAddr,
    /// The processors.
    pub placement: Placement,
}

/// A proxy that runs; it ends when this is dropped.
#[derive(Debug)]
pub struct Proxy {
    /// Where it listens.
    pub address: SocketAddr,
    home: PathBuf,
    child: Child,
}

impl Proxy {
    /// Starts a proxy in front of an upstream and waits until it answers.
    ///
    /// # Errors
    /// Fails when it cannot be started or does not answer in time, with its own words.
    pub fn start(subject: &Subject, site: &Site<'_>) -> anyhow::Result<Self> {
        let address = rig::free_address()?;
        let home = site.directory.join(&subject.name);
        // What a proxy of the round before has left there is not to be found.
        fs::remove_dir_all(&home).ok();
        fs::create_dir_all(&home)?;
        let workers = subject.workers.to_string();
        let words = Words(vec![
            ("listen", address.to_string()),
            ("listen_port", address.port().to_string()),
            ("admin", rig::free_address()?.to_string()),
            ("upstream", site.upstream.to_string()),
            ("upstream_port", site.upstream.port().to_string()),
            ("workers", workers.clone()),
            ("directory", home.to_string_lossy().into_owned()),
        ]);
        if let Some((file, template)) = subject.peer.config() {
            let mut text = words.fill_in(template);
            if let Some(services) = &subject.services {
                let (head, _) =
                    text.split_once("[services").context("a config without services")?;
                text = format!("{head}{}", services.sections);
            }
            fs::write(home.join(file), text)?;
        }

        let log = home.join("log");
        let said = fs::File::create(&log)?;
        let mut command = subject.peer.command(site.cutover, &home, &words);
        command
            .env("GOMAXPROCS", workers)
            .stdin(Stdio::null())
            .stdout(said.try_clone()?)
            .stderr(said)
            .process_group(0);
        let child = site.placement.spawn_proxy(&mut command)?;
        let mut proxy = Self { address, home, child };
        let host = subject.services.as_ref().and_then(|services| services.host);
        proxy.wait_until_it_answers(host).with_context(|| {
            let said = fs::read_to_string(&log).unwrap_or_default();
            format!("{} did not start; it said:\n{said}", subject.name)
        })?;
        Ok(proxy)
    }

    fn wait_until_it_answers(&mut self, host: Option<&str>) -> anyhow::Result<()> {
        let address = self.address;
        let host = host.map_or_else(|| address.to_string(), str::to_owned);
        rig::wait_until_within(PATIENCE, "its first answer", || {
            if let Some(status) = self.child.try_wait()? {
                bail!("it ended with {status}");
            }
            Ok(answers(address, &host))
        })
    }

    /// Waits until it uses less than a twentieth of a processor.
    ///
    /// # Errors
    /// Fails when that takes too long.
    pub fn wait_until_quiet(&self) -> anyhow::Result<()> {
        rig::wait_until_within(PATIENCE, "its rest after the start", || {
            let before = self.usage();
            rig::pause(Duration::from_millis(500));
            Ok((self.usage() - before).total_ns < 25_000_000)
        })
    }

    /// The process that was started; the others are below it.
    #[must_use]
    pub fn root(&self) -> u32 {
        self.child.id()
    }

    /// The control socket of Cutover.
    #[must_use]
    pub fn control(&self) -> Control {
        Control(self.home.join("control.sock"))
    }

    /// What the proxy and all its children have used so far.
    #[must_use]
    pub fn usage(&self) -> Usage {
        Usage::of_tree(self.root())
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let group = i32::try_from(self.child.id()).ok().and_then(Pid::from_raw);
        if let Some(group) = group {
            // Children may have left already; the wait below is what matters.
            kill_process_group(group, Signal::TERM).ok();
            rig::wait_until("its end", || Ok(self.child.try_wait()?.is_some())).ok();
            kill_process_group(group, Signal::KILL).ok();
        }
        self.child.wait().ok();
    }
}

fn answers(address: SocketAddr, host: &str) -> bool {
    let ask = || -> std::io::Result<String> {
        let mut stream = TcpStream::connect(address)?;
        stream.set_read_timeout(Some(Duration::from_secs(1)))?;
        write!(stream, "GET /1k HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n")?;
        let mut head = [0; 12];
        stream.read_exact(&mut head)?;
        Ok(String::from_utf8_lossy(&head).into_owned())
    };
    ask().is_ok_and(|head| head == "HTTP/1.1 200")
}

/// For a proxy to start; one with 10,000 endpoints takes a while on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);
