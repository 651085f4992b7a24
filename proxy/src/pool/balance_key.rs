//! What the choice of an endpoint may depend on.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::COOKIE;

use crate::pool::hash::fnv1a;
use crate::table::HashKey;

/// What the choice of an endpoint may depend on: parts of one request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct BalanceKey<'a> {
    /// The client's address, as far as we believe it.
    pub(crate) client: IpAddr,
    /// The request's fields.
    pub(crate) headers: &'a HeaderMap,
    /// Path and query.
    pub(crate) target: &'a str,
}

impl BalanceKey<'_> {
    /// The hash of what `part` names.
    pub(crate) fn hash(&self, part: &HashKey) -> u64 {
        match part {
            HashKey::Cookie(name) => fnv1a(cookie(self.headers, name).unwrap_or_default()),
            HashKey::Header(name) => fnv1a(
                self.headers.get(name.as_str()).map(|value| value.as_bytes()).unwrap_or_default(),
            ),
            HashKey::Ip => match self.client {
                IpAddr::V4(address) => fnv1a(&address.octets()),
                IpAddr::V6(address) => fnv1a(&address.octets()),
            },
            HashKey::Uri => fnv1a(self.target.as_bytes()),
        }
    }
}

fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a [u8]> {
    let pairs =
        headers.get_all(COOKIE).into_iter().flat_map(|line| line.as_bytes().split(|b| *b == b';'));
    pairs
        .map(<[u8]>::trim_ascii)
        .find_map(|pair| pair.strip_prefix(name.as_bytes())?.strip_prefix(b"="))
}
