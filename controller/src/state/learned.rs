//! What the state is told by those who do the I/O: about the config file, the engine, the proxy and
//! the disk.

use std::sync::Arc;

use cutover_api::ConfigStatus;
use cutover_proxy::table::{ServiceName, Snapshot, TableSpec};

use super::State;
use crate::config::Config;
use crate::engine::EngineVersion;

impl State {
    /// Another config is live. Gives the one before.
    pub(crate) fn configure(
        &mut self,
        config: Arc<Config>,
        status: ConfigStatus,
    ) -> (Arc<Config>, ConfigStatus) {
        let status = std::mem::replace(&mut self.config_status, status);
        let config = std::mem::replace(&mut self.config, config);
        self.observed.reread(&self.config.services);
        self.look_up_literals();
        (config, status)
    }

    /// What is on the disk is no valid config.
    pub(crate) fn refuse_config(&mut self, message: String) {
        self.config_status.ok = false;
        self.config_status.error = Some(message);
    }

    /// The engine has answered, or has not and why. Says whether it has come back with that.
    pub(crate) fn engine_answered(&mut self, error: Option<String>) -> bool {
        let is_back = self.docker_error.is_some() && error.is_none();
        self.docker_error = error;
        is_back
    }

    /// The engine has said which one it is; where it has not, it is the one that it was.
    pub(crate) fn engine_is(&mut self, version: Option<EngineVersion>) {
        self.docker_version = version.or_else(|| self.docker_version.take());
    }

    /// The journal has been written, or not and why. Gives why it was not the time before.
    pub(crate) fn journal_written(&mut self, error: Option<String>) -> Option<String> {
        std::mem::replace(&mut self.journal_error, error)
    }

    /// The proxy has counted.
    pub(crate) fn counted(&mut self, snapshot: Snapshot) {
        self.snapshot = snapshot;
    }

    /// The proxy has been sent a table: it is live, or nobody knows what is.
    pub(crate) fn sent(&mut self, live: Option<TableSpec>) {
        self.table = live;
    }

    /// Whether this is the table that is live.
    pub(crate) fn has_live(&self, table: &TableSpec) -> bool {
        self.table.as_ref() == Some(table)
    }

    /// What people should know of a service, in words; a command makes it a thing of the past.
    pub(crate) fn forget_note(&mut self, service: &ServiceName) {
        self.notes.remove(service);
    }
}
