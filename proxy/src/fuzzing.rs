//! What the fuzz targets of `fuzz/` check: one pure function each, with an invariant stronger than
//! "does not crash". Compiled for fuzzing, and for the tests that play the seeds.

mod request;

use std::net::SocketAddr;
use std::time::SystemTime;

use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

pub use self::request::request;
use crate::link::{FromProxy, ToProxy};
use crate::message::forwarded::{Origin, Peer, RequestIds, Scheme};
use crate::route::router::Router;
use crate::table::{HostPattern, RouteSpec};
pub use crate::upstream::fuzzing::response;

/// Whatever a trusted proxy says of its clients, each field goes upstream once, on one line, and
/// its last hop is the peer itself. Input: lines of `name: value`.
pub fn forwarded(bytes: &[u8]) {
    let mut headers = HeaderMap::new();
    for line in bytes.split(|byte| *byte == b'\n') {
        let mut halves = line.splitn(2, |byte| *byte == b':');
        let (Some(name), Some(value)) = (halves.next(), halves.next()) else {
            continue;
        };
        let name = HeaderName::from_bytes(name);
        if let (Ok(name), Ok(value)) = (name, HeaderValue::from_bytes(value.trim_ascii())) {
            headers.append(name, value);
        }
    }
    let peer = SocketAddr::from(([192, 0, 2, 1], 40_000));
    let trusted: Vec<IpNet> =
        ["192.0.2.0/24", "10.0.0.0/8"].into_iter().filter_map(|net| net.parse().ok()).collect();
    let peer = Peer::new(peer, Scheme::Http);
    let origin = Origin::new(&peer, &headers, &trusted, &RequestIds::new(), SystemTime::UNIX_EPOCH);
    let mut written = Vec::new();
    origin.write(&mut written, Some("app.test"));
    written.extend_from_slice(b"\r\n");

    let mut fields = [httparse::EMPTY_HEADER; 16];
    let Ok(httparse::Status::Complete((length, fields))) =
        httparse::parse_headers(&written, &mut fields)
    else {
        panic!("cannot be read back: {}", written.escape_ascii());
    };
    assert_eq!(length, written.len());
    let mut names: Vec<_> = fields.iter().map(|field| field.name).collect();
    names.sort_unstable();
    assert!(names.windows(2).all(|pair| pair.first() != pair.last()), "{names:?}");
    let hops = fields.iter().find(|field| field.name == "x-forwarded-for");
    let last = hops.and_then(|hops| hops.value.rsplit(|byte| *byte == b' ').next());
    assert_eq!(last, Some(&b"192.0.2.1"[..]));
    for field in fields.iter() {
        // A quoted-string may hold a tab (RFC 9110 §5.6.4), and no other control character.
        assert!(!field.value.iter().any(|b| b.is_ascii_control() && *b != b'\t'), "{field:?}");
    }
}

/// The router finds what a plain search over all routes finds. Input: a host, a path, then routes
/// of `host path`, one per line.
pub fn route(text: &str) {
    let mut lines = text.lines();
    let (Some(host), Some(path)) = (lines.next(), lines.next()) else {
        return;
    };
    let host = host.to_ascii_lowercase();
    let mut routes = Vec::new();
    for (host, path) in lines.filter_map(|line| line.split_once(' ')).take(64) {
        let host = host.to_ascii_lowercase();
        let Ok(service) = format!("s{}", routes.len()).parse() else {
            continue;
        };
        routes.push(RouteSpec {
            host: match host.strip_prefix("*.") {
                _ if host == "*" => HostPattern::Any,
                Some(parent) => HostPattern::Wildcard(parent.to_owned()),
                None => HostPattern::Exact(host),
            },
            path: format!("/{}", path.trim_start_matches('/')),
            strip_prefix: false,
            service,
        });
    }
    let services: Vec<_> = routes.iter().map(|route| route.service.clone()).collect();
    let router = Router::new(&routes, |name| services.iter().position(|service| service == name));
    let Ok(router) = router else {
        panic!("a route names an unknown service");
    };
    let found = router.find(&host, path).map(|route| route.service);
    assert_eq!(found, search(&routes, &host, path));
}

/// The best match: the narrowest host, then the longest prefix, then the first.
fn search(routes: &[RouteSpec], host: &str, path: &str) -> Option<usize> {
    let mut best = None;
    for (index, route) in routes.iter().enumerate() {
        let class = match &route.host {
            HostPattern::Exact(exact) if exact == host => 2,
            HostPattern::Wildcard(parent)
                if host.split_once('.').is_some_and(|(_, rest)| rest == parent) =>
            {
                1
            }
            HostPattern::Any => 0,
            HostPattern::Exact(_) | HostPattern::Wildcard(_) => continue,
        };
        let prefix = route.path.trim_end_matches('/');
        let matches = match path.strip_prefix(prefix) {
            Some(rest) => prefix.is_empty() || rest.is_empty() || rest.starts_with('/'),
            None => false,
        };
        let rank = (class, prefix.len());
        if matches && best.is_none_or(|(best, _)| rank > best) {
            best = Some((rank, index));
        }
    }
    best.map(|(_, index)| index)
}

/// A message of the link that can be read is written so that it reads back the same.
pub fn link(bytes: &[u8]) {
    if let Ok(message) = serde_json::from_slice::<ToProxy>(bytes) {
        let again = serde_json::to_vec(&message).map(|text| serde_json::from_slice(&text));
        assert!(matches!(again, Ok(Ok(again)) if message == again));
    }
    if let Ok(message) = serde_json::from_slice::<FromProxy>(bytes) {
        let again = serde_json::to_vec(&message).map(|text| serde_json::from_slice(&text));
        assert!(matches!(again, Ok(Ok(again)) if message == again));
    }
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::path::Path;

    #[test]
    fn every_seed_keeps_its_invariant() {
        let seeds = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/seeds");
        type Check = fn(&[u8]);
        let targets: [(&str, Check); 5] = [
            ("request", super::request),
            ("response", super::response),
            ("forwarded", super::forwarded),
            ("route", |bytes| super::route(std::str::from_utf8(bytes).unwrap())),
            ("link", super::link),
        ];
        for (target, check) in targets {
            let mut played = 0;
            for seed in fs::read_dir(seeds.join(target)).unwrap() {
                check(&fs::read(seed.unwrap().path()).unwrap());
                played += 1;
            }
            assert!(played > 0, "{target} has no seeds");
        }
    }
}
