//! The one place that decides which fields cross the proxy, and which are ours.
//!
//! Pure functions: nothing in here reads a socket, a clock or a table. A message keeps its
//! end-to-end fields as they came; what belongs to one connection stays on it (RFC 9110 §7.6.1);
//! and a name that we set is ours alone, in every spelling that an application could take for it.

use http::header::{self, HeaderMap, HeaderName, HeaderValue};

use crate::message::forwarded::Origin;

#[cfg(test)]
mod tests;

/// What a request says upstream beside what the client said.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Outgoing<'a> {
    /// The request target in origin form, as it is to be sent.
    pub(crate) target: &'a str,
    /// The host that the client named, where it named one.
    pub(crate) authority: Option<&'a str>,
    /// Replaces it as `Host`.
    pub(crate) host: Option<&'a HeaderValue>,
    /// Who asks, and under which id: our forwarding fields.
    pub(crate) origin: &'a Origin,
    /// The protocols of a valid upgrade (RFC 9110 §7.8), which then is asked for again.
    pub(crate) upgrade: Option<&'a HeaderValue>,
    /// Whether the peer is a trusted proxy: its other `X-Forwarded-*` fields are then kept.
    pub(crate) trusted: bool,
}

/// Writes the fields of the client that go upstream, one line each.
pub(crate) fn write_kept(out: &mut Vec<u8>, headers: &HeaderMap, outgoing: &Outgoing<'_>) {
    let named = named(headers);
    for (name, value) in headers {
        if goes_upstream(name, outgoing.trusted) && !named.contains_key(name) {
            write_field(out, name.as_str(), value.as_bytes());
        }
    }
}

/// Writes the fields that are ours.
pub(crate) fn write_added(out: &mut Vec<u8>, headers: &HeaderMap, outgoing: &Outgoing<'_>) {
    outgoing.origin.write(out, outgoing.authority);
    // RFC 9110 §7.6.1: what holds for this connection only is named in `Connection`.
    let trailers = accepts_trailers(headers);
    match outgoing.upgrade {
        Some(_) if trailers => write_field(out, "connection", b"upgrade, te"),
        Some(_) => write_field(out, "connection", b"upgrade"),
        None if trailers => write_field(out, "connection", b"te"),
        None => {}
    }
    if let Some(upgrade) = outgoing.upgrade {
        write_field(out, "upgrade", upgrade.as_bytes());
    }
    if trailers {
        write_field(out, "te", b"trailers");
    }
}

/// Whether a field of the client goes upstream as it is, `Connection` options aside.
///
/// Not: what belongs to the client's connection or frames its message (RFC 9110 §7.6.1, §10.1.4,
/// §11.7, RFC 9112 §6), `Expect` (sent anew), `Host` (sent first), `Proxy` (httpoxy), and the names
/// that we set. CGI, WSGI and PHP fold `_` and `.` into `-`, so every such spelling counts.
#[must_use]
pub(crate) fn goes_upstream(name: &HeaderName, trusted: bool) -> bool {
    let name = name.as_str().as_bytes();
    let is = |ours: &str| folds_to(name, ours.as_bytes());
    let ours = match name.first() {
        Some(b'c') => is("connection") || is("content-length"),
        Some(b'e') => is("expect"),
        Some(b'f') => is("forwarded"),
        Some(b'h') => is("host") || is("http2-settings"),
        Some(b'k') => is("keep-alive"),
        Some(b'p') => is("proxy") || is("proxy-authorization") || is("proxy-connection"),
        Some(b't') => {
            is("te")
                || is("trailer")
                || is("transfer-encoding")
                || (is("true-client-ip") && !(trusted && is_plain(name)))
        }
        Some(b'u') => is("upgrade"),
        Some(b'x') => is_forwarding(name, trusted),
        _ => false,
    };
    !ours
}

/// Whether a field of the upstream goes to the client, `Connection` options aside.
///
/// Not: what belongs to the upstream's connection or frames its message (RFC 9110 §7.6.1, §11.7).
#[must_use]
pub(crate) fn passes_downstream(name: &HeaderName, trailers: bool) -> bool {
    match name.as_str() {
        "connection"
        | "content-length"
        | "http2-settings"
        | "keep-alive"
        | "proxy-authenticate"
        | "proxy-authentication-info"
        | "proxy-connection"
        | "te"
        | "transfer-encoding"
        | "upgrade" => false,
        "trailer" => trailers,
        _ => true,
    }
}

/// Whether the client takes trailers (RFC 9110 §10.1.4).
#[must_use]
pub(crate) fn accepts_trailers(headers: &HeaderMap) -> bool {
    headers
        .get_all(header::TE)
        .iter()
        .flat_map(tokens)
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Whether the client waits for a `100` before it sends its body (RFC 9110 §10.1.1).
#[must_use]
pub(crate) fn expects_continue(headers: &HeaderMap) -> bool {
    headers
        .get(header::EXPECT)
        .is_some_and(|value| value.as_bytes().eq_ignore_ascii_case(b"100-continue"))
}

/// Whether an answer of ours ends its connection (RFC 9112 §9.6).
pub(crate) fn says_close(headers: &HeaderMap) -> bool {
    headers.get(header::CONNECTION).is_some_and(|value| value == "close")
}

/// Whether credentials or a list of challenges are of a scheme that authenticates the connection
/// they come on, and not the request.
///
/// A quoted string with such a word behind a comma counts too: an unbound connection that is taken
/// for a bound one is only not shared.
#[must_use]
pub(crate) fn binds_connection(authentication: &HeaderValue) -> bool {
    tokens(authentication).any(|member| {
        let scheme = member.split(u8::is_ascii_whitespace).next().unwrap_or_default();
        scheme.eq_ignore_ascii_case(b"ntlm") || scheme.eq_ignore_ascii_case(b"negotiate")
    })
}

/// Removes the fields that a `Connection` value names, in any case (RFC 9110 §7.6.1).
pub(crate) fn remove_named(headers: &mut HeaderMap, connection: &HeaderValue) {
    for option in options(connection) {
        headers.remove(option);
    }
}

/// Removes the trailers that must not be: a recipient may merge what is left into the head
/// (RFC 9110 §6.5.1).
pub(crate) fn retain_safe_trailers(trailers: &mut HeaderMap) {
    let unsafe_ones: Vec<_> =
        trailers.keys().filter(|name| !is_safe_trailer(name)).cloned().collect();
    for name in unsafe_ones {
        trailers.remove(name);
    }
}

/// Whether a field may stand behind a body: not if it frames, routes, authenticates, keeps state,
/// steers caches or browsers, belongs to one connection or is ours (RFC 9110 §6.5.1).
#[must_use]
pub(crate) fn is_safe_trailer(name: &HeaderName) -> bool {
    let bytes = name.as_str().as_bytes();
    let is = |other: &&str| folds_to(bytes, other.as_bytes());
    let starts = |prefix: &&str| {
        bytes.get(..prefix.len()).is_some_and(|start| folds_to(start, prefix.as_bytes()))
    };
    goes_upstream(name, false)
        && !UNSAFE_TRAILERS.iter().any(is)
        && !UNSAFE_TRAILER_PREFIXES.iter().any(starts)
}

/// The members of a comma-separated list, without the empty ones (RFC 9110 §5.6.1).
pub(crate) fn tokens(value: &HeaderValue) -> impl Iterator<Item = &[u8]> {
    value
        .as_bytes()
        .split(|&byte| byte == b',')
        .map(<[u8]>::trim_ascii)
        .filter(|member| !member.is_empty())
}

/// Whether `name` is `X-Forwarded-*`, `X-Real-IP`, `X-Request-Id`, `X-Request-Start` or
/// `X-Client-IP`, and not to be kept from a trusted peer.
fn is_forwarding(name: &[u8], trusted: bool) -> bool {
    const FAMILY: &[u8] = b"x-forwarded-";
    let ours = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-real-ip",
        "x-request-id",
        "x-request-start",
    ];
    if !matches!(name.get(2), Some(b'c' | b'f' | b'r')) {
        return false;
    }
    if ours.iter().any(|ours| folds_to(name, ours.as_bytes())) {
        return true;
    }
    let in_family = name.get(..FAMILY.len()).is_some_and(|start| folds_to(start, FAMILY));
    (in_family || folds_to(name, b"x-client-ip")) && !(trusted && is_plain(name))
}

/// Whether two names are one to an application that folds `_` and `.` into `-`. `canonical` is
/// spelled with `-`; both are lower case.
fn folds_to(name: &[u8], canonical: &[u8]) -> bool {
    name.len() == canonical.len()
        && name
            .iter()
            .zip(canonical)
            .all(|(&byte, &want)| byte == want || (want == b'-' && matches!(byte, b'_' | b'.')))
}

/// Whether a name has no `_` and no `.`: no alias of another.
fn is_plain(name: &[u8]) -> bool {
    memchr::memchr2(b'_', b'.', name).is_none()
}

/// The fields of a request that its `Connection` names (RFC 9110 §7.6.1), but for those that never go
/// upstream anyway: most often none.
///
/// Looked up by hash: to compare each option with each field would cost a client little and us much.
fn named(headers: &HeaderMap) -> HeaderMap<()> {
    const USUAL: [&str; 5] = ["keep-alive", "close", "upgrade", "te", "http2-settings"];
    let mut named = HeaderMap::default();
    for option in headers.get_all(header::CONNECTION).iter().flat_map(options) {
        let is_usual = USUAL.iter().any(|usual| option.eq_ignore_ascii_case(usual));
        if !is_usual
            && !named.contains_key(option)
            && headers.contains_key(option)
            && let Ok(name) = HeaderName::from_bytes(option.as_bytes())
        {
            named.insert(name, ());
        }
    }
    named
}

/// The options of a `Connection` value that could name a field.
fn options(connection: &HeaderValue) -> impl Iterator<Item = &str> {
    tokens(connection).filter_map(|option| std::str::from_utf8(option).ok())
}

fn write_field(out: &mut Vec<u8>, name: &str, value: &[u8]) {
    out.extend_from_slice(name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(value);
    out.extend_from_slice(b"\r\n");
}

/// Names that never stand behind a body, beside those that stay on one connection or are ours.
const UNSAFE_TRAILERS: [&str; 30] = [
    "age",
    "alt-svc",
    "authorization",
    "cache-control",
    "clear-site-data",
    "content-disposition",
    "content-encoding",
    "content-location",
    "content-range",
    "content-security-policy",
    "content-type",
    "cookie",
    "date",
    "expires",
    "link",
    "location",
    "max-forwards",
    "pragma",
    "proxy-authenticate",
    "proxy-authentication-info",
    "range",
    "refresh",
    "remote-user",
    "retry-after",
    "set-cookie",
    "strict-transport-security",
    "vary",
    "warning",
    "www-authenticate",
    "x-frame-options",
];
const UNSAFE_TRAILER_PREFIXES: [&str; 4] = ["access-control-", "cross-origin-", "if-", "sec-"];
