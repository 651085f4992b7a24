//! What is allowed, and still worth a word at every start.

use super::{Config, ProbeKind};

impl Config {
    /// One sentence each.
    #[must_use]
    pub fn warnings(&self) -> Vec<String> {
        let mut warnings = Vec::new();
        if let Some(admin) = self.listen.admin.filter(|admin| !admin.ip().is_loopback()) {
            warnings.push(format!(
                "listen.admin {admin} is not a loopback address: whoever reaches it reads the status page and the metrics"
            ));
        }
        if self.listen.trusted_proxies.iter().any(|net| net.prefix_len() == 0) {
            warnings.push(
                "listen.trusted_proxies believes everyone: any client can choose the address that the app sees"
                    .to_owned(),
            );
        }
        for (name, service) in &self.services {
            if service.drain.timeout > service.drain.streams {
                warnings.push(format!(
                    "services.{name}.drain: streams end before requests do ({:?} and {:?})",
                    service.drain.streams, service.drain.timeout
                ));
            }
            if service.probe.timeout > service.probe.interval * 10 {
                warnings.push(format!(
                    "services.{name}.probe: a timeout of {:?} delays every verdict",
                    service.probe.timeout
                ));
            }
            let has_endpoints = !service.blue.is_empty() || !service.green.is_empty();
            if service.probe.kind == ProbeKind::Tcp && has_endpoints {
                warnings.push(format!(
                    "services.{name}.probe has no path: an open port is all that is asked before a flip"
                ));
            }
        }
        warnings
    }
}
