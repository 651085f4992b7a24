//! What would change from one service's settings to another's, in words.

use super::{ProbeConfig, ProbeKind, ServiceConfig};

/// One line per key that differs: `probe.path: /health -> /ready`. What only a rollout reads is left
/// out.
#[must_use]
pub(crate) fn changes(from: &ServiceConfig, to: &ServiceConfig) -> Vec<String> {
    let (before, after) = (traffic(from), traffic(to));
    let pairs = before.into_iter().zip(after).filter(|(before, after)| before.1 != after.1);
    pairs.map(|((key, before), (_, after))| format!("{key}: {before} -> {after}")).collect()
}

/// The keys that requests and probes are treated by.
fn traffic(config: &ServiceConfig) -> Vec<(&'static str, String)> {
    let time = |duration| humantime::format_duration(duration).to_string();
    let hosts: Vec<_> = config.hosts.iter().map(ToString::to_string).collect();
    let hosts = if hosts.is_empty() { "any".to_owned() } else { hosts.join(",") };
    let ProbeConfig { kind, interval, timeout, rise, fall } = &config.probe;
    let probe = match kind {
        ProbeKind::Http { method, path, .. } => format!("{method} {path}"),
        ProbeKind::Tcp => "a connection".to_owned(),
    };
    let max_body = config.max_body.map_or_else(|| "default".to_owned(), |max| format!("{max:?}"));
    vec![
        ("hosts", hosts),
        ("path", config.path.clone()),
        ("strip_prefix", config.strip_prefix.to_string()),
        ("balance", format!("{:?}", config.balance)),
        ("host", config.host.clone().unwrap_or_else(|| "the client's".to_owned())),
        ("max_body", max_body),
        ("timeouts.connect", time(config.timeouts.connect)),
        ("timeouts.response_header", time(config.timeouts.response_header)),
        ("timeouts.upstream_idle", time(config.timeouts.upstream_idle)),
        ("timeouts.hold", time(config.timeouts.hold)),
        ("probe", probe),
        ("probe.interval", time(*interval)),
        ("probe.timeout", time(*timeout)),
        ("probe.rise", rise.to_string()),
        ("probe.fall", fall.to_string()),
        ("drain.timeout", time(config.drain.timeout)),
        ("drain.streams", time(config.drain.streams)),
    ]
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn only_what_differs_is_told() {
        let from = ServiceConfig::default();
        let mut to = from.clone();
        to.path = "/shop".to_owned();
        to.timeouts.hold = Duration::ZERO;
        assert_eq!(changes(&from, &from), Vec::<String>::new());
        assert_eq!(changes(&from, &to), ["path: / -> /shop", "timeouts.hold: 5s -> 0s"]);
    }
}
