//! Who is asking, and what the upstream is told about it: `X-Forwarded-*`, `Forwarded` (RFC 7239),
//! `X-Real-IP`, `X-Request-Id`, `X-Request-Start`.
//!
//! Pure. What a peer says about others counts only when the peer is a trusted proxy; everybody
//! else's fields are as if they were not there, and the writer of upstream heads removes them in
//! every spelling.

mod element;
mod hop;
mod request_id;
mod request_start;

use std::net::{IpAddr, SocketAddr};
use std::time::SystemTime;

use http::header::FORWARDED;
use http::{HeaderMap, HeaderName, HeaderValue};
use ipnet::IpNet;

use self::element::Element;
use self::hop::{MAX_HOPS, hop};
pub(crate) use self::request_id::{RequestId, RequestIds};
use self::request_start::RequestStart;
use crate::message::validate::HostPort;

/// The other end of a client connection, rendered once.
#[derive(Clone, Debug)]
pub(crate) struct Peer {
    /// Its address; IPv4 in IPv6 is shown as IPv4.
    pub(crate) ip: IpAddr,
    /// The address as text, as it stands in `X-Forwarded-For`.
    pub(crate) text: HeaderValue,
    /// What the connection speaks.
    pub(crate) scheme: Scheme,
}

impl Peer {
    /// A peer at this address.
    pub(crate) fn new(address: SocketAddr, scheme: Scheme) -> Self {
        let ip = address.ip().to_canonical();
        // The text of an address is ASCII; an empty value would only leave the field empty.
        let text = HeaderValue::try_from(ip.to_string());
        Self { ip, text: text.unwrap_or_else(|_| HeaderValue::from_static("")), scheme }
    }
}

/// What is spoken with the client.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    #[expect(dead_code, reason = "the TLS listener is yet to come")]
    Https,
}

impl Scheme {
    /// As in `X-Forwarded-Proto`.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// Where a request came from.
#[derive(Debug)]
pub(crate) struct Origin {
    /// The client: the peer, or whom the trusted proxies in front of us name.
    pub(crate) client: IpAddr,
    /// The name of this request in every log.
    pub(crate) request_id: RequestId,
    /// Whether the peer is a trusted proxy.
    pub(crate) is_trusted: bool,
    peer: Peer,
    started: RequestStart,
    proto: &'static str,
    /// The host that a trusted proxy says the client asked for.
    host: Option<String>,
    // What trusted proxies said of the hops before them.
    hops: Option<String>,
    elements: Option<String>,
}

impl Origin {
    /// Reads the fields of a request that came from `peer` at `now`.
    pub(crate) fn new(
        peer: &Peer,
        headers: &HeaderMap,
        trusted: &[IpNet],
        ids: &RequestIds,
        now: SystemTime,
    ) -> Self {
        let mut origin = Self {
            client: peer.ip,
            request_id: RequestId::Made([0; 32]),
            is_trusted: false,
            peer: peer.clone(),
            started: RequestStart::make(now),
            proto: peer.scheme.as_str(),
            host: None,
            hops: None,
            elements: None,
        };
        let is_trusted = |ip: IpAddr| trusted.iter().any(|net| net.contains(&ip));
        let mut kept_id = None;
        if is_trusted(peer.ip) {
            origin.is_trusted = true;
            kept_id = headers.get(&X_REQUEST_ID).and_then(RequestId::keep);
            if let Some(kept) = headers.get(&X_REQUEST_START).and_then(RequestStart::keep) {
                origin.started = kept;
            }
            origin.believe(headers, is_trusted);
        }
        origin.request_id = kept_id.unwrap_or_else(|| ids.make());
        origin
    }

    /// Writes the fields, each line with its CRLF. `authority` is the host that the request names.
    pub(crate) fn write(&self, out: &mut Vec<u8>, authority: Option<&str>) {
        let host = self.host.as_deref().or(authority);
        let mut put = |bytes: &[u8]| out.extend_from_slice(bytes);
        let peer = self.peer.text.as_bytes();
        put(b"x-forwarded-for: ");
        if let Some(hops) = &self.hops {
            put(hops.as_bytes());
            put(b", ");
        }
        put(peer);
        put(b"\r\nx-forwarded-proto: ");
        put(self.proto.as_bytes());
        if let Some(host) = host {
            put(b"\r\nx-forwarded-host: ");
            put(host.as_bytes());
        }
        put(b"\r\nforwarded: ");
        if let Some(elements) = &self.elements {
            put(elements.as_bytes());
            put(b", ");
        }
        // RFC 7239 §4, §6: a colon or a bracket is no token character and must be quoted.
        let is_v6 = self.peer.ip.is_ipv6();
        put(if is_v6 { b"for=\"[" } else { b"for=" });
        put(peer);
        put(if is_v6 { b"]\"" } else { b"" });
        if let Some(host) = host {
            let host = host.as_bytes();
            let quote: &[u8] = if host.iter().any(|b| b":[".contains(b)) { b"\"" } else { b"" };
            put(b";host=");
            put(quote);
            put(host);
            put(quote);
        }
        put(b";proto=");
        put(self.peer.scheme.as_str().as_bytes());
        put(b"\r\nx-real-ip: ");
        if self.client == self.peer.ip {
            put(peer);
        } else {
            put(self.client.to_string().as_bytes());
        }
        put(b"\r\nx-request-id: ");
        put(self.request_id.as_str().as_bytes());
        put(b"\r\nx-request-start: ");
        self.started.write(out);
        out.extend_from_slice(b"\r\n");
    }

    /// Takes over what a trusted peer says, as far as it is well formed.
    fn believe(&mut self, headers: &HeaderMap, is_trusted: impl Fn(IpAddr) -> bool) {
        let hops = hops(headers);
        let elements = Element::parse_all(headers.get_all(FORWARDED)).unwrap_or_default();
        // X-Forwarded-For wins: it is what proxies in the field maintain.
        let named: Vec<Option<IpAddr>> = if hops.is_empty() {
            elements.iter().map(Element::client).collect()
        } else {
            hops.iter().copied().map(Some).collect()
        };
        // From the nearest hop outwards: the first that is no proxy of ours is the client.
        for hop in named.into_iter().rev() {
            let Some(hop) = hop else { break };
            self.client = hop;
            if !is_trusted(hop) {
                break;
            }
        }
        self.hops = (!hops.is_empty()).then(|| join(&hops));
        self.elements = (!elements.is_empty()).then(|| join(&elements));
        match headers.get(&X_FORWARDED_PROTO).map(HeaderValue::as_bytes) {
            Some(proto) if proto.eq_ignore_ascii_case(b"https") => self.proto = "https",
            Some(proto) if proto.eq_ignore_ascii_case(b"http") => self.proto = "http",
            _ => {}
        }
        let host = headers.get(&X_FORWARDED_HOST).and_then(|value| value.to_str().ok());
        self.host = host.and_then(HostPort::parse).map(|host| host.text.to_owned());
    }
}

/// The addresses of `X-Forwarded-For`, the nearest last: as many as can be read without a gap.
fn hops(headers: &HeaderMap) -> Vec<IpAddr> {
    let lines: Vec<_> = headers.get_all(&X_FORWARDED_FOR).iter().collect();
    let mut hops = Vec::new();
    for line in lines.into_iter().rev() {
        for entry in line.as_bytes().rsplit(|b| *b == b',') {
            let Some(ip) = hop(entry.trim_ascii()) else {
                hops.reverse();
                return hops;
            };
            hops.push(ip);
            if hops.len() == MAX_HOPS {
                hops.reverse();
                return hops;
            }
        }
    }
    hops.reverse();
    hops
}

fn join<T: ToString>(items: &[T]) -> String {
    items.iter().map(T::to_string).collect::<Vec<_>>().join(", ")
}

const X_FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const X_FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const X_FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");
const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const X_REQUEST_START: HeaderName = HeaderName::from_static("x-request-start");

#[cfg(test)]
mod tests;
