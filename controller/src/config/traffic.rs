//! Parsers of what stands on the way of a request: hosts, paths, endpoints, statuses.

use std::net::IpAddr;

use cutover_proxy::table::{Balance, HashKey, HostPattern};

use super::StaticEndpoint;
use super::tree::{Node, Refusal, Value};
use super::values::{Parsed, small, text, word};

/// The host of a route.
pub(crate) fn host_pattern(node: &Node) -> Parsed<HostPattern> {
    let typed = text(node)?;
    let host = typed.to_ascii_lowercase();
    let refused = |hint: &str| {
        Err(Refusal::new(node, format!("`{typed}` is not a host or host pattern")).hint(hint))
    };
    if host == "*" {
        return Ok(HostPattern::Any);
    }
    if host.contains("://") || host.contains('/') {
        return refused("only the host: no scheme, no path (that is the key `path`)");
    }
    if host.starts_with('[') || host.parse::<IpAddr>().is_ok() {
        let inner = host.trim_start_matches('[').trim_end_matches(']');
        return match inner.parse::<IpAddr>() {
            Ok(IpAddr::V4(ip)) => Ok(HostPattern::Exact(ip.to_string())),
            Ok(IpAddr::V6(ip)) => Ok(HostPattern::Exact(format!("[{ip}]"))),
            Err(_) => refused("an IPv6 address stands in brackets: \"[::1]\""),
        };
    }
    if host.contains(':') {
        return refused("a host has no port here: requests are matched without it");
    }
    let (wildcard, name) = match host.strip_prefix("*.") {
        Some(parent) => (true, parent),
        None => (false, host.as_str()),
    };
    if name.contains('*') {
        return refused("a wildcard is one whole label in front: \"*.example.com\"");
    }
    let name = name.strip_suffix('.').unwrap_or(name);
    if !is_host_name(name) {
        return refused("letters, digits, `-` and dots; international names in their xn-- form");
    }
    Ok(match wildcard {
        true => HostPattern::Wildcard(name.to_owned()),
        false => HostPattern::Exact(name.to_owned()),
    })
}

/// `Host` as it is sent upstream: a name or an address, with or without a port.
pub(crate) fn authority(node: &Node) -> Parsed<Option<String>> {
    let typed = text(node)?;
    match typed.parse::<http::uri::Authority>() {
        Ok(authority) if !typed.contains('@') => Ok(Some(authority.as_str().to_owned())),
        _ => Err(Refusal::new(node, format!("`{typed}` is not a host"))
            .hint("a name or an address, with or without a port: \"app.internal\"")),
    }
}

/// The path prefix of a route.
pub(crate) fn path_prefix(node: &Node) -> Parsed<String> {
    let typed = request_path(node)?;
    if typed.contains('?') {
        return Err(Refusal::new(node, "a route is a path without a query"));
    }
    Ok(match typed.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.to_owned(),
    })
}

/// A path to ask for, with or without a query.
pub(crate) fn request_path(node: &Node) -> Parsed<String> {
    let typed = text(node)?;
    if !typed.starts_with('/') {
        return Err(Refusal::new(node, format!("the path `{typed}` does not start with `/`"))
            .hint(format!("did you mean \"/{typed}\"?")));
    }
    let plain = |b: u8| b.is_ascii_graphic() && b != b'#';
    if !typed.bytes().all(plain) {
        return Err(Refusal::new(node, "a path is plain ASCII without spaces or `#`")
            .hint("other characters are written percent-encoded: %20"));
    }
    Ok(typed)
}

/// `"host:port"`, or a table of `address` and `weight`.
pub(crate) fn endpoint(node: &Node) -> Parsed<StaticEndpoint> {
    let Value::Table(entries) = &node.value else {
        let (host, port) = host_and_port(node)?;
        return Ok(StaticEndpoint { host, port, weight: 1 });
    };
    let mut address = None;
    let mut weight = 1;
    for entry in entries {
        match entry.key.as_str() {
            "address" => address = Some(host_and_port(&entry.node)?),
            "weight" => weight = small(1..=1000)(&entry.node)?,
            other => {
                let refusal = Refusal {
                    at: entry.at.clone(),
                    message: format!("unknown key `{other}` of an endpoint"),
                    hint: Some("an endpoint has `address` and `weight`".to_owned()),
                };
                return Err(refusal);
            }
        }
    }
    match address {
        Some((host, port)) => Ok(StaticEndpoint { host, port, weight }),
        None => Err(Refusal::new(node, "this endpoint has no `address`")),
    }
}

/// How an endpoint is chosen.
pub(crate) fn balance(node: &Node) -> Parsed<Balance> {
    const PLAIN: [(&str, Balance); 5] = [
        ("p2c", Balance::P2c),
        ("round_robin", Balance::RoundRobin),
        ("weighted", Balance::Weighted),
        ("least_conn", Balance::LeastConn),
        ("first", Balance::First),
    ];
    let typed = text(node)?;
    let Some(key) = typed.strip_prefix("hash:") else {
        let hint = "p2c, round_robin, weighted, least_conn, first, hash:ip, hash:uri, \
                    hash:header:NAME or hash:cookie:NAME";
        return word(&PLAIN)(node).map_err(|refusal| match refusal.hint {
            Some(near) if near.starts_with("did") => Refusal { hint: Some(near), ..refusal },
            _ => refusal.hint(hint),
        });
    };
    let token = |name: &str| http::HeaderName::try_from(name).is_ok();
    match (key, key.split_once(':')) {
        ("ip", _) => Ok(Balance::Hash(HashKey::Ip)),
        ("uri", _) => Ok(Balance::Hash(HashKey::Uri)),
        (_, Some(("header", name))) if token(name) => {
            Ok(Balance::Hash(HashKey::Header(name.to_ascii_lowercase())))
        }
        (_, Some(("cookie", name))) if token(name) => {
            Ok(Balance::Hash(HashKey::Cookie(name.to_owned())))
        }
        _ => Err(Refusal::new(node, format!("`{typed}` names nothing to hash"))
            .hint("hash:ip, hash:uri, hash:header:NAME or hash:cookie:NAME")),
    }
}

/// Statuses as inclusive ranges: `"200-399"`, `"200,204"`, or a number.
pub(crate) fn status_set(node: &Node) -> Parsed<Vec<(u16, u16)>> {
    let ranges = match &node.value {
        Value::Integer(status) => status.to_string(),
        _ => text(node)?,
    };
    let status = |text: &str| text.trim().parse::<u16>().ok().filter(|s| (100..=599).contains(s));
    let range = |text: &str| match text.split_once('-') {
        Some((low, high)) => Some((status(low)?, status(high)?)).filter(|(low, high)| low <= high),
        None => status(text).map(|only| (only, only)),
    };
    ranges.split(',').map(range).collect::<Option<Vec<_>>>().ok_or_else(|| {
        Refusal::new(node, format!("`{ranges}` is not a set of statuses"))
            .hint("statuses and ranges from 100 to 599: \"200-399\", \"200,204\"")
    })
}

fn host_and_port(node: &Node) -> Parsed<(String, u16)> {
    let typed = text(node)?;
    let refused =
        |hint: &str| Refusal::new(node, format!("`{typed}` is not an endpoint address")).hint(hint);
    if typed.contains("://") {
        return Err(refused("only host and port, without a scheme: \"10.0.0.1:8000\""));
    }
    let (host, port) = typed
        .rsplit_once(':')
        .ok_or_else(|| refused("the port is missing: \"10.0.0.1:8000\", \"web-blue:8000\""))?;
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| refused("the port is a number from 1 to 65535"))?;
    let bracketed = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
    let host = match bracketed.map(str::parse::<IpAddr>) {
        Some(Ok(IpAddr::V6(ip))) => ip.to_string(),
        Some(_) => return Err(refused("only an IPv6 address stands in brackets")),
        None if host.contains(':') => {
            return Err(refused("an IPv6 address stands in brackets: \"[::1]:80\""));
        }
        None if is_host_name(host) => host.to_ascii_lowercase(),
        None => {
            return Err(refused("a host name or an IP address, and a port: \"web-blue:8000\""));
        }
    };
    Ok((host, port))
}

/// Whether DNS could know the name (RFC 1123 §2.1; `_` because Compose allows it).
fn is_host_name(name: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_';
    name.len() <= 253
        && name.split('.').all(|label| {
            (1..=63).contains(&label.len())
                && label.bytes().all(plain)
                && !label.starts_with('-')
                && !label.ends_with('-')
        })
}
