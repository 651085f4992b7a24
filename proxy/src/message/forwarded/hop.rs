//! One proxy or client that a request came through.

use std::net::{IpAddr, SocketAddr};

/// One entry: an address, with or without a port, IPv6 bare or in brackets.
pub(super) fn hop(entry: &[u8]) -> Option<IpAddr> {
    let text = std::str::from_utf8(entry).ok()?;
    let ip = text
        .parse::<IpAddr>()
        .ok()
        .or_else(|| text.parse::<SocketAddr>().ok().map(|address| address.ip()))
        .or_else(|| text.strip_prefix('[')?.strip_suffix(']')?.parse().ok().map(IpAddr::V6))?;
    Some(ip.to_canonical())
}

/// Proxies in front of us; what lies farther out is cut off.
pub(super) const MAX_HOPS: usize = 32;
