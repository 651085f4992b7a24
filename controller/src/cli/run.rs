//! `cutover run` and its two roles: what the operating system starts, not what people type.

use std::path::Path;

use super::failure::{Failure, code};
use super::options::{Controller, Proxy};
use crate::config::Config;
use crate::process::controller::{ControllerError, ControllerOptions};
use crate::process::proxy::ProxyOptions;
use crate::process::{self, log, supervisor};

/// `cutover run`.
pub(super) fn supervisor(path: Option<&Path>) -> Result<u8, Failure> {
    log::start("supervisor");
    let config = Config::load(path)?;
    for warning in config.warnings() {
        tracing::warn!("{warning}");
    }
    match supervisor::run(&config, path) {
        Ok(()) => Ok(code::DONE),
        Err(error) => Err(Failure::other(format!("{error:#}"))),
    }
}

/// `cutover proxy`.
pub(super) fn proxy(options: Proxy) -> Result<u8, Failure> {
    log::start("proxy");
    let options = ProxyOptions {
        listen: options.listen,
        link: options.link,
        workers: options.workers,
        shutdown_timeout: options.shutdown_timeout,
        user: options.user,
        handoff: options.handoff,
    };
    process::proxy::run(&options).map_err(|error| Failure::other(format!("{error:#}")))?;
    Ok(code::DONE)
}

/// `cutover controller`.
pub(super) fn controller(options: Controller) -> Result<u8, Failure> {
    log::start("controller");
    let options = ControllerOptions {
        config: options.config,
        last_good: options.last_good,
        handoff: options.handoff,
    };
    match process::controller::run(&options) {
        Ok(()) => Ok(code::DONE),
        Err(ControllerError::Config(report)) => Err(report.into()),
        Err(ControllerError::Other(error)) => Err(Failure::other(format!("{error:#}"))),
    }
}
