//! `cutover controller`: the process that knows the config, probes, and answers the control socket.

pub(crate) mod assembly;

use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use tokio::sync::mpsc::{self, UnboundedSender};

use self::assembly::{Notice, Options};
use super::handoff::inherited::Inherited;
use super::memory::Code;
use super::signals::Orders;
use crate::config::file::read;
use crate::config::reload::Reload;
use crate::config::{Config, DEFAULT_PATH, Report};
use crate::process::handoff::{Handoff, Order};
use crate::process::sockets;

/// What a controller is started with.
#[derive(Clone, Debug)]
pub(crate) struct ControllerOptions {
    /// The config file; `None` is the default one, if it is there.
    pub config: Option<PathBuf>,
    /// Where the last config that was valid is kept, for a restart while the file is not.
    pub last_good: Option<PathBuf>,
    /// Standard input is the connection to a supervisor.
    pub handoff: bool,
}

/// Why a controller could not go on.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ControllerError {
    /// The config file cannot be used, and there is no older one.
    #[error("{0}")]
    Config(#[from] Report),
    /// Anything else.
    #[error("{0:#}")]
    Other(#[from] anyhow::Error),
}

/// Runs until told to stop.
///
/// # Errors
/// The config cannot be used, a socket not be bound, or the supervisor has gone.
pub(crate) fn run(options: &ControllerOptions) -> Result<(), ControllerError> {
    let handoff = options.handoff.then(Handoff::from_stdin).transpose().context("the handoff")?;
    let inherited = handoff.as_ref().map(Inherited::take).transpose()?;
    let path = options.config.as_deref();
    // Read before it is parsed: a change in between is seen as one.
    let text = read(path.unwrap_or_else(|| Path::new(DEFAULT_PATH))).ok();
    let last_good = options.last_good.as_deref().and_then(|path| Config::load(Some(path)).ok());
    let served = last_good.as_ref().is_some_and(|config| !config.services.is_empty());
    let (mut config, text) = match (Config::load_again(path, served), last_good) {
        (Ok(config), _) => (config, text),
        // Told as a change of the file: that is where it is refused, aloud.
        (Err(_), Some(last_good)) => (last_good, None),
        (Err(report), None) => return Err(report.into()),
    };
    if let Some(inherited) = &inherited {
        stay(&mut config, inherited, options.last_good.as_deref());
    }
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let runtime = runtime.context("no runtime")?;
    Ok(runtime.block_on(work(options, config, text, handoff, inherited))?)
}

async fn work(
    options: &ControllerOptions,
    config: Config,
    text: Option<String>,
    handoff: Option<Handoff>,
    inherited: Option<Inherited>,
) -> Result<()> {
    tokio::spawn(Code::mapped().unmap_start());
    let path = options.config.clone().or_else(default_path);
    // Kept until the end, when the file of a socket of our own goes.
    let mut own_control = None;
    let (control, admin) = match inherited {
        Some(inherited) => (inherited.control.context("no control socket came")?, inherited.admin),
        None => {
            let (file, admin) = sockets::bind_controller(&config)?;
            (own_control.insert(file).listener.try_clone()?, admin)
        }
    };
    let mut orders = Orders::new(handoff, config.runtime.shutdown_timeout)?;
    let serves = !config.services.is_empty();
    let mut reload = Reload::watch(options.config.as_deref(), text, serves);
    if let Some(last_good) = &options.last_good {
        reload.keep_at(last_good.clone());
    }
    let (notify, notices) = mpsc::unbounded_channel();
    let run = assembly::run(Options { config, config_path: path, control, admin, reload, notices });
    tokio::select! {
        ended = run => ended,
        ended = obey(&mut orders, &notify) => ended,
    }
}

/// A controller that starts again keeps what only a restart of all changes, though the file may say
/// otherwise by now: where its sockets are, and where its journal is.
fn stay(config: &mut Config, inherited: &Inherited, last_good: Option<&Path>) {
    let address = inherited.control.as_ref().and_then(|control| control.local_addr().ok());
    if let Some(path) = address.as_ref().and_then(|address| address.as_pathname()) {
        config.listen.control = path.to_owned();
    }
    if let Some(directory) = last_good.and_then(Path::parent) {
        config.runtime.state_dir = directory.to_owned();
    }
}

/// Passes orders on; ends only when the supervisor has gone.
async fn obey(orders: &mut Orders, notify: &UnboundedSender<Notice>) -> Result<()> {
    loop {
        let notice = match orders.next().await {
            None => bail!("the supervisor has gone"),
            Some(Order::Drain(_)) => Notice::Stop,
            Some(Order::Retire) => Notice::Retire,
            Some(Order::ReopenLog) => Notice::ReopenLog,
            Some(_) => continue,
        };
        // Nobody takes it any more: the end is under way.
        notify.send(notice).ok();
    }
}

fn default_path() -> Option<PathBuf> {
    Some(PathBuf::from(DEFAULT_PATH)).filter(|path| path.exists())
}
