//! What RFC 9110, RFC 9112 and our policy ask of a request head beyond what hyper checks.
//!
//! Pure functions over the parsed head; each rule names its clause. What passes here has one
//! framing, one authority and one target form, so that no upstream can read it differently.

use std::borrow::Cow;

use http::header::{CONNECTION, CONTENT_LENGTH, EXPECT, HOST, TRANSFER_ENCODING, UPGRADE};
use http::request::Parts;
use http::uri::Authority;
use http::{HeaderMap, HeaderValue, Method, Uri, Version};

use crate::message::decoder::decimal;
use crate::message::reason::Reason;
use crate::table::Limits;

/// A request head that keeps every rule.
#[derive(Debug, Eq, PartialEq)]
pub(crate) struct Validated<'r> {
    /// The host to route by: lower case, no port, no trailing dot; `None` only in HTTP/1.0.
    pub(crate) host: Option<Cow<'r, str>>,
    /// Host and port as the client named them, the `Host` to send upstream: the target's where that
    /// has one (RFC 9112 §3.2.2). An empty port is left out. `None` where `host` is.
    pub(crate) authority: Option<&'r str>,
    /// The path to route by, byte for byte as it goes upstream; `*` where the target is.
    pub(crate) path: &'r str,
    /// The target in origin form: path and query; or `*`.
    pub(crate) target: Cow<'r, str>,
    /// The one protocol that the client asks to switch to (RFC 9110 §7.8). `None` also where an
    /// `Upgrade` field is there but must be ignored.
    pub(crate) upgrade: Option<&'r HeaderValue>,
}

/// Judges a head.
///
/// # Errors
/// The first rule that is broken. The connection must not be read on for a next request unless the
/// body has been read to its end.
pub(crate) fn validate<'r>(head: &'r Parts, limits: &Limits) -> Result<Validated<'r>, Reason> {
    method(&head.method)?;
    framing(head)?;
    expectation(head)?;
    target(head, limits)?;
    let host = host(head)?;
    Ok(Validated {
        host: host.map(HostPort::route_key),
        authority: host.map(|host| host.text),
        path: head.uri.path(),
        target: origin_form(&head.uri),
        upgrade: upgrade(head),
    })
}

/// RFC 9110 §9.1: unknown methods pass, within bounds. `CONNECT` (§9.3.6) would make us a forward
/// proxy, and `TRACE` (§9.3.8) shows a client what we added to its request.
fn method(method: &Method) -> Result<(), Reason> {
    let name = method.as_str();
    if *method == Method::CONNECT || *method == Method::TRACE || name.len() > MAX_METHOD_BYTES {
        return Err(Reason::Method);
    }
    Ok(())
}

/// RFC 9112 §6.1 and §6.3: one way to find the end of the body.
fn framing(head: &Parts) -> Result<(), Reason> {
    let mut codings = head.headers.get_all(TRANSFER_ENCODING).iter();
    let Some(coding) = codings.next() else {
        return length(&head.headers);
    };
    // §6.1: HTTP/1.0 has no transfer codings; its recipients would read another end.
    if codings.next().is_some() || head.version < Version::HTTP_11 {
        return Err(Reason::BadTransferCoding);
    }
    let value = coding.as_bytes();
    if !value.eq_ignore_ascii_case(b"chunked") {
        return Err(if is_unknown_coding(value) {
            Reason::UnknownCoding
        } else {
            Reason::BadTransferCoding
        });
    }
    // §6.3 (3): "ought to be handled as an error".
    if head.headers.contains_key(CONTENT_LENGTH) {
        return Err(Reason::LengthAndCoding);
    }
    Ok(())
}

/// RFC 9110 §8.6: one line of digits.
fn length(headers: &HeaderMap) -> Result<(), Reason> {
    let mut lengths = headers.get_all(CONTENT_LENGTH).iter();
    let Some(length) = lengths.next() else {
        return Ok(());
    };
    let is_one = decimal(length.as_bytes()).is_some() && lengths.next().is_none();
    if is_one { Ok(()) } else { Err(Reason::BadRequest) }
}

/// A list of tokens that ends in `chunked` is well formed, and says what we cannot do (§6.1: 501).
fn is_unknown_coding(value: &[u8]) -> bool {
    let mut codings = value.split(|b| *b == b',').map(<[u8]>::trim_ascii);
    let Some(last) = codings.next_back() else {
        return false;
    };
    last.eq_ignore_ascii_case(b"chunked")
        && codings.all(|coding| is_token(coding) && !coding.eq_ignore_ascii_case(b"chunked"))
}

/// RFC 9110 §10.1.1; an HTTP/1.0 client cannot expect anything.
fn expectation(head: &Parts) -> Result<(), Reason> {
    let known = |value: &HeaderValue| value.as_bytes().eq_ignore_ascii_case(b"100-continue");
    if head.version >= Version::HTTP_11 && !head.headers.get_all(EXPECT).iter().all(known) {
        return Err(Reason::Expectation);
    }
    Ok(())
}

/// RFC 9112 §3.2: origin-form, absolute-form, or `*` for `OPTIONS`.
fn target(head: &Parts, limits: &Limits) -> Result<(), Reason> {
    let uri = &head.uri;
    let path_bytes = uri.path_and_query().map_or(0, |target| target.as_str().len());
    let authority_bytes = uri.authority().map_or(0, |authority| authority.as_str().len());
    if path_bytes + authority_bytes > limits.max_target_bytes {
        return Err(Reason::TargetTooLong);
    }
    match (uri.scheme_str(), uri.authority()) {
        // origin-form (§3.2.1) or asterisk-form (§3.2.4).
        (None, None) if uri.path().starts_with('/') => {}
        (None, None) if uri.path() == "*" && head.method == Method::OPTIONS => {}
        // absolute-form (§3.2.2).
        (Some(scheme), Some(_))
            if scheme.eq_ignore_ascii_case("http") || scheme.eq_ignore_ascii_case("https") => {}
        // authority-form (§3.2.3) is for CONNECT alone.
        _ => return Err(Reason::BadTarget),
    }
    Ok(())
}

/// RFC 9112 §3.2.1: an absolute target without a path has an empty one, which is sent as `/`.
fn origin_form(uri: &Uri) -> Cow<'_, str> {
    match uri.path_and_query().map_or("/", |target| target.as_str()) {
        target if target.starts_with('?') => Cow::Owned(format!("/{target}")),
        target => Cow::Borrowed(target),
    }
}

/// RFC 9112 §3.2: exactly one `Host`, a valid authority, the same as that of an absolute-form target,
/// which counts then (§3.2.2).
fn host(head: &Parts) -> Result<Option<HostPort<'_>>, Reason> {
    let mut hosts = head.headers.get_all(HOST).iter();
    let (first, second) = (hosts.next(), hosts.next());
    if second.is_some() || (first.is_none() && head.version >= Version::HTTP_11) {
        return Err(Reason::BadHost);
    }
    let named = first
        .map(|value| value.to_str().ok().and_then(HostPort::parse).ok_or(Reason::BadHost))
        .transpose()?;
    let default_port = if head.uri.scheme_str() == Some("https") { 443 } else { 80 };
    let targeted = head
        .uri
        .authority()
        .map(|authority| HostPort::parse(Authority::as_str(authority)).ok_or(Reason::BadTarget))
        .transpose()?;
    if let (Some(named), Some(targeted)) = (&named, &targeted)
        && !named.is_same(targeted, default_port)
    {
        return Err(Reason::HostMismatch);
    }
    Ok(targeted.or(named))
}

/// RFC 9110 §7.8: `Upgrade` counts in HTTP/1.1, when `Connection` names it.
///
/// Any method may ask, with a body or without: the new protocol begins behind the whole request. We
/// relay one protocol per request, and never another version of HTTP or TLS: what would be said in
/// them would pass by every rule of ours.
fn upgrade(head: &Parts) -> Option<&HeaderValue> {
    let mut upgrades = head.headers.get_all(UPGRADE).iter();
    let value = upgrades.next()?;
    let protocol = value.to_str().ok()?;
    if upgrades.next().is_some() || head.version != Version::HTTP_11 {
        return None;
    }
    let is_named = head.headers.get_all(CONNECTION).iter().any(|value| {
        let mut options = value.as_bytes().split(|b| *b == b',');
        options.any(|option| option.trim_ascii().eq_ignore_ascii_case(b"upgrade"))
    });
    let (name, version) = protocol.split_once('/').unwrap_or((protocol, "1"));
    let is_one = is_token(name.as_bytes()) && is_token(version.as_bytes());
    let is_transport =
        ["h2", "h2c", "h3", "http", "tls"].iter().any(|t| name.eq_ignore_ascii_case(t));
    (is_named && is_one && !is_transport).then_some(value)
}

/// RFC 9110 §5.6.2.
fn is_token(bytes: &[u8]) -> bool {
    !bytes.is_empty()
        && bytes.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

/// `uri-host [ ":" port ]` of RFC 9110 §7.2, borrowed and checked.
///
/// Narrower than RFC 3986 §3.2.2: a registered name is made of letters, digits, `-`, `.`, `_` and
/// `~` without empty labels, since sub-delims and percent-escapes name no host on earth but read
/// differently everywhere.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) struct HostPort<'a> {
    /// The whole authority as sent, but for a `:` without a port.
    pub(crate) text: &'a str,
    /// The name as sent; IPv6 literals keep their brackets.
    pub(crate) host: &'a str,
    /// The port, when there is one: 1 to 65535.
    pub(crate) port: Option<u16>,
}

impl<'a> HostPort<'a> {
    /// Reads an authority without userinfo. An empty port is none (RFC 3986 §3.2.3).
    pub(crate) fn parse(text: &'a str) -> Option<Self> {
        let text = text.strip_suffix(':').unwrap_or(text);
        let host_end = match text.strip_prefix('[') {
            Some(literal) => literal.find(']')? + 2,
            None => text.find(':').unwrap_or(text.len()),
        };
        let (host, rest) = text.split_at_checked(host_end)?;
        let port = match rest.strip_prefix(':') {
            Some(digits) => Some(port(digits)?),
            None if rest.is_empty() => None,
            None => return None,
        };
        let is_host = match host.strip_prefix('[').and_then(|rest| rest.strip_suffix(']')) {
            Some(literal) => literal.parse::<std::net::Ipv6Addr>().is_ok(),
            None => is_name(host),
        };
        is_host.then_some(Self { text, host, port })
    }

    fn is_same(&self, other: &Self, default_port: u16) -> bool {
        self.host.eq_ignore_ascii_case(other.host)
            && self.port.unwrap_or(default_port) == other.port.unwrap_or(default_port)
    }

    /// Lower case, without the trailing dot that makes a name absolute.
    pub(crate) fn route_key(self) -> Cow<'a, str> {
        let host = self.host.strip_suffix('.').unwrap_or(self.host);
        if host.bytes().any(|b| b.is_ascii_uppercase()) {
            Cow::Owned(host.to_ascii_lowercase())
        } else {
            Cow::Borrowed(host)
        }
    }
}

/// RFC 3986 §3.2.3, but 0 is no port.
fn port(digits: &str) -> Option<u16> {
    let plain = (1..=5).contains(&digits.len()) && digits.bytes().all(|b| b.is_ascii_digit());
    digits.parse().ok().filter(|port| plain && *port > 0)
}

fn is_name(host: &str) -> bool {
    let name = host.strip_suffix('.').unwrap_or(host);
    let allowed = |b: u8| b.is_ascii_alphanumeric() || b"-._~".contains(&b);
    (1..=MAX_HOST_BYTES).contains(&name.len())
        && name.bytes().all(allowed)
        && !name.starts_with('.')
        && !name.ends_with('.')
        && !name.contains("..")
}

/// Longer than any registered method (`UPDATEREDIRECTREF`).
const MAX_METHOD_BYTES: usize = 32;

/// RFC 1035 §2.3.4.
const MAX_HOST_BYTES: usize = 253;

#[cfg(test)]
mod tests;
