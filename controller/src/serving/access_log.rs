//! The access log's file: opened here, written by the proxy, which opens nothing.

use std::fs::{File, OpenOptions};
use std::io;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;
use std::sync::Arc;

use tracing::warn;

use crate::config::AccessLogOutput;
use crate::serving::controller::Controller;
use crate::serving::edge::AccessLogTarget;

impl Controller {
    /// Opens what the config says, anew, and gives it to the proxy; as after a log rotation.
    ///
    /// A file that cannot be opened is a warning and no log: requests are worth more than lines.
    pub async fn open_access_log(&self) {
        let target = match &self.config().access_log {
            AccessLogOutput::File(path) => match open(path) {
                Ok(file) => AccessLogTarget::File(Arc::new(file)),
                Err(error) => {
                    warn!(path = %path.display(), %error, "no access log");
                    AccessLogTarget::Off
                }
            },
            AccessLogOutput::Off => AccessLogTarget::Off,
            AccessLogOutput::Stdout => AccessLogTarget::Stdout,
        };
        // Without a proxy the next one gets it.
        self.access_log(target).await.ok();
    }
}

fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o640).open(path)
}
