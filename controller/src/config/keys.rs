//! Every key there is, once: what it is called, what it takes, where it goes.

use cutover_proxy::table::{Limits, ServiceName, Timeouts};

use super::tree::{Entry, Refusal, Section, Value};
use super::{
    Config, Docker, DrainConfig, Listen, ProbeConfig, ProbeKind, RolloutConfig, Runtime,
    ServiceConfig, Written, traffic, values,
};

/// Reads the keys of a table over what the config already says.
type Read = fn(&mut Section<'_>, &mut Config);

/// The tables of the edge itself: each key of theirs can be an environment variable, too.
pub(super) const TABLES: [(&str, Read); 4] = [
    ("listen", |section, config| listen(section, &mut config.listen)),
    ("runtime", |section, config| runtime(section, &mut config.runtime)),
    ("limits", |section, config| limits(section, &mut config.limits)),
    ("docker", |section, config| docker(section, &mut config.docker)),
];

/// Reads a whole file.
pub(crate) fn config(root: &mut Section<'_>, config: &mut Config) {
    for (table, read) in TABLES {
        root.section(table, |section| read(section, config));
    }
    root.section("access_log", |section| {
        section.value("output", &mut config.access_log, values::access_log);
    });
    root.section("services", |section| {
        for entry in section.named() {
            named_service(section, entry, config);
        }
    });
    not_yet(root, "tls");
}

/// Reads the keys of one service over what `service` already says.
pub(crate) fn service(section: &mut Section<'_>, service: &mut ServiceConfig) {
    section.value("hosts", &mut service.hosts, values::list(traffic::host_pattern));
    section.value("path", &mut service.path, traffic::path_prefix);
    section.value("strip_prefix", &mut service.strip_prefix, values::boolean);
    section.value("balance", &mut service.balance, traffic::balance);
    section.value("host", &mut service.host, traffic::authority);
    section.value("active", &mut service.active, values::active);
    section.value("port", &mut service.port, values::port);
    section.value("network", &mut service.network, |node| values::text(node).map(Some));
    section.value("max_body", &mut service.max_body, |node| values::body_limit(node).map(Some));
    section.section("timeouts", |section| timeouts(section, &mut service.timeouts));
    section.section("probe", |section| probe(section, &mut service.probe));
    section.section("drain", |section| drain(section, &mut service.drain));
    section.section("rollout", |section| rollout(section, &mut service.rollout));
}

fn named_service(section: &mut Section<'_>, entry: &Entry, config: &mut Config) {
    let name = match entry.key.parse::<ServiceName>() {
        Ok(name) => name,
        Err(error) => {
            let message = format!("`{}` cannot name a service", entry.key);
            section.fault(&entry.key, entry.at.clone(), message, Some(error.to_string()));
            return;
        }
    };
    let mut new = ServiceConfig::default();
    section.child(entry, |section| service_of_file(section, &mut new));
    if let Value::Table(entries) = &entry.node.value {
        new.written = Written(entries.iter().map(Entry::unplaced).collect());
    }
    config.services.insert(name, new);
}

/// The keys of a service in the file: those of labels, and static endpoints.
pub(crate) fn service_of_file(section: &mut Section<'_>, config: &mut ServiceConfig) {
    service(section, config);
    section.value("blue", &mut config.blue, values::list(traffic::endpoint));
    section.value("green", &mut config.green, values::list(traffic::endpoint));
}

fn listen(section: &mut Section<'_>, listen: &mut Listen) {
    section.value("http", &mut listen.http, |node| {
        let addresses = values::list(values::socket_address)(node)?;
        if addresses.is_empty() {
            return Err(Refusal::new(node, "at least one address is needed"));
        }
        match first_repeated(&addresses) {
            Some(address) if address.port() != 0 => {
                Err(Refusal::new(node, format!("{address} is listed twice")))
            }
            _ => Ok(addresses),
        }
    });
    not_yet(section, "https");
    section.value("admin", &mut listen.admin, values::socket_address_or_off);
    section.value("control", &mut listen.control, values::socket_path);
    section.value("trusted_proxies", &mut listen.trusted_proxies, values::list(values::network));
    section.value(
        "control_gids",
        &mut listen.control_gids,
        values::list(values::small(0..=u64::from(u32::MAX))),
    );
}

fn runtime(section: &mut Section<'_>, runtime: &mut Runtime) {
    section.value("workers", &mut runtime.workers, values::auto_or_count(1..=1024));
    section.value("state_dir", &mut runtime.state_dir, values::file_path);
    section.value("shutdown_timeout", &mut runtime.shutdown_timeout, values::duration);
    section.value(
        "proxy_user",
        &mut runtime.proxy_user,
        values::small(1..=u64::from(u32::MAX - 1)),
    );
}

fn limits(section: &mut Section<'_>, limits: &mut Limits) {
    section.value("header_timeout", &mut limits.header_timeout, values::some_time);
    section.value("idle_timeout", &mut limits.idle_timeout, values::some_time);
    section.value("body_idle_timeout", &mut limits.body_idle_timeout, values::some_time);
    section.value("write_idle_timeout", &mut limits.write_idle_timeout, values::some_time);
    section.value("min_body_rate", &mut limits.min_body_rate, values::size);
    section.value("min_write_rate", &mut limits.min_write_rate, values::size);
    // The codec's smallest read buffer is 8 KiB.
    let header_bytes = values::size_within(8 << 10..=16 << 20);
    section.value("max_header_bytes", &mut limits.max_header_bytes, header_bytes);
    section.value("max_headers", &mut limits.max_headers, values::count(1..=10_000));
    let target_bytes = values::size_within(64..=1 << 20);
    section.value("max_target_bytes", &mut limits.max_target_bytes, target_bytes);
    section.value(
        "max_connections",
        &mut limits.max_connections,
        values::auto_or_count(1..=u64::MAX),
    );
    section.value(
        "max_connections_per_client",
        &mut limits.max_connections_per_client,
        values::count(1..=u64::MAX),
    );
    section.value("max_waiting", &mut limits.max_waiting, values::count(0..=u64::MAX));
    section.value("max_body", &mut limits.max_body, values::body_limit);
}

fn docker(section: &mut Section<'_>, docker: &mut Docker) {
    section.value("enable", &mut docker.enable, values::boolean);
    section.value("socket", &mut docker.socket, values::file_path);
}

fn timeouts(section: &mut Section<'_>, timeouts: &mut Timeouts) {
    section.value("connect", &mut timeouts.connect, values::some_time);
    section.value("response_header", &mut timeouts.response_header, values::some_time);
    section.value("upstream_idle", &mut timeouts.upstream_idle, values::duration);
    section.value("hold", &mut timeouts.hold, values::duration);
}

fn probe(section: &mut Section<'_>, probe: &mut ProbeConfig) {
    #[derive(Clone, Copy, Eq, PartialEq)]
    enum Kind {
        Http,
        Tcp,
    }
    let mut kind = None;
    section.value("type", &mut kind, |node| {
        values::word(&[("http", Kind::Http), ("tcp", Kind::Tcp)])(node).map(Some)
    });
    section.value("interval", &mut probe.interval, values::some_time);
    section.value("timeout", &mut probe.timeout, values::some_time);
    section.value("rise", &mut probe.rise, values::small(1..=1000));
    section.value("fall", &mut probe.fall, values::small(1..=1000));

    let (mut method, mut path, mut host, mut status) = match &probe.kind {
        ProbeKind::Http { method, path, host, status } => {
            (method.clone(), path.clone(), host.clone(), status.clone())
        }
        ProbeKind::Tcp => ("GET".to_owned(), "/".to_owned(), None, vec![(200, 399)]),
    };
    if kind == Some(Kind::Tcp) {
        for key in ["method", "path", "host", "status"] {
            if let Some(entry) = section.entry(key) {
                let message = format!("a TCP probe has no `{key}`");
                let hint = Some("leave it out, or set type = \"http\"".to_owned());
                section.fault(key, entry.at.clone(), message, hint);
            }
        }
        probe.kind = ProbeKind::Tcp;
        return;
    }
    let asks_http =
        ["method", "path", "host", "status"].iter().any(|key| section.entry(key).is_some());
    section.value("method", &mut method, |node| {
        values::word(&[("GET", "GET"), ("HEAD", "HEAD")])(node).map(str::to_owned)
    });
    section.value("path", &mut path, traffic::request_path);
    section.value("host", &mut host, traffic::authority);
    section.value("status", &mut status, traffic::status_set);
    if asks_http || kind == Some(Kind::Http) {
        probe.kind = ProbeKind::Http { method, path, host, status };
    }
}

fn drain(section: &mut Section<'_>, drain: &mut DrainConfig) {
    section.value("timeout", &mut drain.timeout, values::duration);
    section.value("streams", &mut drain.streams, values::duration);
}

fn rollout(section: &mut Section<'_>, rollout: &mut RolloutConfig) {
    section.value("strategy", &mut (), values::word(&[("blue-green", ())]));
    section.value("auto", &mut rollout.auto, values::boolean);
    section.value("keep_warm", &mut rollout.keep_warm, values::duration);
    section.value("monitor", &mut rollout.monitor, values::duration);
    section.value("min_requests", &mut rollout.min_requests, values::integer(1..=u64::MAX));
    section.value("max_error_rate", &mut rollout.max_error_rate, values::share);
    section.value("failover", &mut rollout.failover, values::some_time_or_off);
    section.value("deploy_timeout", &mut rollout.deploy_timeout, values::some_time);
    section.value("min_ready", &mut rollout.min_ready, values::duration);
    section.value("retain", &mut rollout.retain, values::count(0..=100));
    section.value("on_failure", &mut rollout.on_failure, values::on_failure);
}

/// A key that the contract has and this version does not.
fn not_yet(section: &mut Section<'_>, key: &'static str) {
    if let Some(entry) = section.entry(key) {
        let message = format!("`{key}` is not available in this version");
        let hint =
            Some("put a TLS terminator in front and list it in `trusted_proxies`".to_owned());
        section.fault(key, entry.at.clone(), message, hint);
    }
}

fn first_repeated<T: Copy + PartialEq>(items: &[T]) -> Option<T> {
    items
        .iter()
        .enumerate()
        .find_map(|(n, item)| items.iter().take(n).find(|i| *i == item))
        .copied()
}
