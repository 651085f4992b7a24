//! From one config to the next.

use std::path::{Path, PathBuf};

use cutover_api::ConfigStatus;
use cutover_proxy::table::Generation;
use tracing::{info, warn};

use crate::config::reload::is_pinned;
use crate::config::{Config, Report};
use crate::error::Error;
use crate::panics::detached;
use crate::serving::controller::Controller;
use crate::serving::edge::Applied;
use crate::state::events::EventKind;

impl Controller {
    /// Makes another config live, in one table.
    ///
    /// Without a proxy it is live as soon as there is one.
    ///
    /// # Errors
    /// [`Error::Refused`] when the proxy does not take the table; the old config stays.
    ///
    /// # Cancel safety
    /// Once begun it goes on to the end.
    pub async fn reload(&self, config: Config) -> Result<Generation, Error> {
        let this = self.clone();
        detached(async move { this.reload_in_turn(config).await }).await
    }

    async fn reload_in_turn(&self, mut config: Config) -> Result<Generation, Error> {
        let _turn = self.0.turn.lock().await;
        let old = self.change(|state| {
            let restart_needed = config.keep_bound(state.config());
            let status = ConfigStatus {
                path: state.config_status().path.clone(),
                ok: true,
                error: None,
                restart_needed,
                warnings: warnings(&config, state.config_status().path.as_deref()),
            };
            state.configure(config.into(), status)
        });
        if self.state(|state| state.config().access_log != old.0.access_log) {
            self.open_access_log().await;
        }
        match self.publish(None).await {
            Ok(Applied { generation, .. }) => {
                info!(%generation, "config live");
                self.counters(|counters| counters.reloads.ok += 1);
                self.0.events.send(EventKind::ConfigReloaded { generation });
                Ok(generation)
            }
            Err(Error::ProxyUnavailable) => {
                self.0.stale.notify_one();
                self.counters(|counters| counters.reloads.ok += 1);
                Ok(self.generation())
            }
            Err(error) => {
                let (config, status) = old;
                self.change(|state| {
                    state.configure(config, status);
                });
                self.refuse_config(error.to_string());
                Err(error)
            }
        }
    }

    /// Reads the config file again, and makes it live if it is valid and new.
    ///
    /// # Errors
    /// [`Error::ConfigInvalid`] with all that is wrong with it, and as [`Controller::reload`].
    pub async fn reload_file(&self) -> Result<Generation, Error> {
        let path = self.state(|state| state.config_status().path.clone()).map(PathBuf::from);
        let serves = self.state(|state| !state.config().services.is_empty());
        let load = move || Config::load_again(path.as_deref(), serves);
        let loaded = tokio::task::spawn_blocking(load).await;
        self.take_config(loaded.map_err(|error| Error::Failed(error.to_string()))?).await
    }

    /// Makes what was read from the config file live, if it is valid and new.
    ///
    /// # Errors
    /// As [`Controller::reload_file`].
    pub async fn take_config(&self, loaded: Result<Config, Report>) -> Result<Generation, Error> {
        match loaded {
            Ok(config) => {
                // What waits for a restart is not in the config that is live.
                let same = self.state(|state| {
                    let status = state.config_status();
                    status.ok && status.restart_needed.is_empty() && **state.config() == config
                });
                if same { Ok(self.generation()) } else { self.reload(config).await }
            }
            Err(report) => {
                let report = report.render();
                warn!(%report, "the config on the disk is not valid; the old one stays live");
                self.refuse_config(report.clone());
                Err(Error::ConfigInvalid(report))
            }
        }
    }

    /// Notes that what is on the disk is no valid config. What is live stays.
    pub fn refuse_config(&self, message: String) {
        self.counters(|counters| counters.reloads.refused += 1);
        self.change_quietly(|state| state.refuse_config(message.clone()));
        self.0.events.send(EventKind::ConfigRefused { message });
    }
}

/// What is allowed in a config, or about its file, and still worth a word.
pub(crate) fn warnings(config: &Config, path: Option<&str>) -> Vec<String> {
    let mut warnings = config.warnings();
    if path.is_some_and(|path| is_pinned(Path::new(path))) {
        warnings.push(PINNED.to_owned());
    }
    warnings
}

const PINNED: &str = "the config source is a pinned inode: the file is mounted by itself, so a \
                      replaced file is never seen; mount its directory instead";
