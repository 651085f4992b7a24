//! The head of a request, from the bytes of a connection (RFC 9112 §2 to §6).

use std::borrow::Cow;
use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{
    CONNECTION, CONTENT_LENGTH, HeaderMap, HeaderName, HeaderValue, TRANSFER_ENCODING,
};
use http::request::Parts;
use http::uri::PathAndQuery;
use http::{Method, Request, Uri, Version};
use httparse::Status;
use smallvec::SmallVec;

use crate::message::decoder::{Framing, decimal, has_section_end};
use crate::message::headers;
use crate::message::reason::Reason;
use crate::table::Limits;

/// A head that could be parsed. Whether it keeps the rules is for `validate` to say.
#[derive(Debug)]
pub(crate) struct Head {
    pub(crate) parts: Parts,
    /// Where the body ends. Empty if the fields do not say it in one way; `validate` refuses the
    /// request then, and `keep_alive` is false.
    pub(crate) framing: Framing,
    /// Whether the client may send another request behind this one.
    pub(crate) keep_alive: bool,
}

/// Finds heads in what is read from a connection.
///
/// The work for one head is linear in its length, however it is split into reads: it is parsed when
/// its first bytes come, when its end has come, and in between only when it has doubled.
#[derive(Debug, Default)]
pub(crate) struct HeadParser {
    /// Bytes of the buffer that hold no end of a head.
    seen: usize,
    /// How long the buffer was when it was parsed last.
    parsed: usize,
    /// Bytes of empty lines ahead of this head.
    skipped: usize,
}

impl HeadParser {
    /// Whether bytes of the next head have come.
    pub(crate) fn has_begun(&self, buffer: &BytesMut) -> bool {
        !buffer.is_empty() || self.skipped > 0
    }

    /// Takes the next head from the front of `buffer`; `None` if it is not all here.
    ///
    /// # Errors
    /// The head can never be parsed, or is larger than the limits allow.
    pub(crate) fn parse(
        &mut self,
        buffer: &mut BytesMut,
        limits: &Limits,
    ) -> Result<Option<Head>, Reason> {
        self.skip_empty_lines(buffer);
        if self.is_due(buffer) {
            self.parsed = buffer.len();
            if let Some(head) = parse(buffer, limits)? {
                *self = Self::default();
                return Ok(Some(head));
            }
        }
        self.seen = buffer.len();
        if buffer.len() + self.skipped > limits.max_header_bytes {
            return Err(Reason::HeaderTooLarge);
        }
        Ok(None)
    }

    /// RFC 9112 §2.2: empty lines ahead of a request are ignored.
    fn skip_empty_lines(&mut self, buffer: &mut BytesMut) {
        if self.seen > 0 {
            return;
        }
        loop {
            let line = match buffer.as_ref() {
                [b'\r', b'\n', ..] => 2,
                [b'\n', ..] => 1,
                _ => return,
            };
            buffer.advance(line);
            self.skipped += line;
        }
    }

    fn is_due(&self, buffer: &BytesMut) -> bool {
        if buffer.is_empty() || self.seen == 0 || buffer.len() >= 2 * self.parsed {
            return !buffer.is_empty();
        }
        has_section_end(buffer, self.seen)
    }
}

fn parse(buffer: &mut BytesMut, limits: &Limits) -> Result<Option<Head>, Reason> {
    let scanned = if limits.max_headers <= USUAL_FIELDS {
        let mut fields = [const { MaybeUninit::uninit() }; USUAL_FIELDS];
        scan(buffer, fields.get_mut(..limits.max_headers).unwrap_or_default())?
    } else {
        scan(buffer, &mut vec![MaybeUninit::uninit(); limits.max_headers])?
    };
    let Some(scanned) = scanned else { return Ok(None) };
    if scanned.length > limits.max_header_bytes {
        return Err(Reason::HeaderTooLarge);
    }
    // Every value shares this memory with the buffer, which takes it over again after the request.
    let bytes = buffer.split_to(scanned.length).freeze();
    let mut request = Request::new(());
    *request.method_mut() = scanned.method;
    *request.version_mut() = scanned.version;
    *request.uri_mut() = uri(&bytes, scanned.target, request.method())?;
    *request.headers_mut() = header_map(&bytes, &scanned.fields)?;
    let (parts, ()) = request.into_parts();
    let framing = framing(&parts);
    let keep_alive = framing.is_some() && keep_alive(&parts);
    Ok(Some(Head { parts, framing: framing.unwrap_or(Framing::Empty), keep_alive }))
}

/// Where the parts of a head lie in its bytes.
struct Scanned {
    length: usize,
    method: Method,
    version: Version,
    target: Place,
    /// Name and value of each field.
    fields: SmallVec<[(Place, Place); 24]>,
}

/// From and to.
type Place = (usize, usize);

fn scan<'b>(
    bytes: &'b [u8],
    fields: &mut [MaybeUninit<httparse::Header<'b>>],
) -> Result<Option<Scanned>, Reason> {
    let mut parsed = httparse::Request::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_request_with_uninit_headers(&mut parsed, bytes, fields) {
        Ok(Status::Complete(length)) => length,
        Ok(Status::Partial) => return Ok(None),
        Err(httparse::Error::TooManyHeaders) => return Err(Reason::HeaderTooLarge),
        Err(httparse::Error::Version) if bytes.starts_with(H2_PREFACE) => {
            return Err(Reason::Version);
        }
        Err(_) => return Err(Reason::BadRequest),
    };
    let origin = bytes.as_ptr() as usize;
    let place = |part: &[u8]| {
        let from = (part.as_ptr() as usize).wrapping_sub(origin);
        (from, from.wrapping_add(part.len()))
    };
    let method = parsed.method.unwrap_or_default().as_bytes();
    let fields = parsed.headers.iter();
    Ok(Some(Scanned {
        length,
        method: Method::from_bytes(method).map_err(|_| Reason::BadRequest)?,
        version: if parsed.version == Some(1) { Version::HTTP_11 } else { Version::HTTP_10 },
        target: place(parsed.path.unwrap_or_default().as_bytes()),
        fields: fields.map(|field| (place(field.name.as_bytes()), place(field.value))).collect(),
    }))
}

/// RFC 9112 §3.2. People's links have raw `"`, `<` and `>` in them, which `http::Uri` does not take
/// everywhere: they are percent-encoded, for the router and the app alike.
fn uri(bytes: &Bytes, (from, to): Place, method: &Method) -> Result<Uri, Reason> {
    let raw = bytes.get(from..to).unwrap_or_default();
    // A fragment is never sent (RFC 9110 §4.2.5); `Uri` would drop it, and with it what every rule of
    // paths is for.
    if memchr::memchr(b'#', raw).is_some() {
        return Err(Reason::BadTarget);
    }
    let target = match encoded(raw) {
        Cow::Borrowed(_) => bytes.slice(from..to),
        Cow::Owned(encoded) => Bytes::from(encoded),
    };
    if target.len() > MAX_URI_BYTES {
        return Err(Reason::TargetTooLong);
    }
    // RFC 9112 §3.2.4: what an absolute target without a path asks of `OPTIONS` is `*`.
    let is_star = *method == Method::OPTIONS && is_without_path(raw);
    let uri = Uri::from_maybe_shared(target).map_err(|_| Reason::BadRequest)?;
    if !is_star {
        return Ok(uri);
    }
    let mut parts = uri.into_parts();
    parts.path_and_query = Some(PathAndQuery::from_static("*"));
    Uri::from_parts(parts).map_err(|_| Reason::BadTarget)
}

/// Whether a target is absolute and ends with its authority: `Uri` adds a `/`.
fn is_without_path(target: &[u8]) -> bool {
    let rest = memchr::memmem::find(target, b"://").and_then(|at| target.get(at + 3..));
    rest.is_some_and(|rest| memchr::memchr2(b'/', b'?', rest).is_none())
}

fn encoded(raw: &[u8]) -> Cow<'_, [u8]> {
    if memchr::memchr3(b'"', b'<', b'>', raw).is_none() && memchr::memchr(b'`', raw).is_none() {
        return Cow::Borrowed(raw);
    }
    let mut encoded = Vec::with_capacity(raw.len() + 32);
    for byte in raw {
        match byte {
            b'"' => encoded.extend_from_slice(b"%22"),
            b'<' => encoded.extend_from_slice(b"%3C"),
            b'>' => encoded.extend_from_slice(b"%3E"),
            b'`' => encoded.extend_from_slice(b"%60"),
            byte => encoded.push(*byte),
        }
    }
    Cow::Owned(encoded)
}

fn header_map(bytes: &Bytes, places: &[(Place, Place)]) -> Result<HeaderMap, Reason> {
    let mut headers = HeaderMap::with_capacity(places.len());
    for &((name_from, name_to), (from, to)) in places {
        let name = HeaderName::from_bytes(bytes.get(name_from..name_to).unwrap_or_default());
        let value = if from == to {
            Ok(HeaderValue::from_static("")) // an empty value points nowhere
        } else {
            HeaderValue::from_maybe_shared(bytes.slice(from..to))
        };
        let (Ok(name), Ok(value)) = (name, value) else {
            return Err(Reason::BadRequest);
        };
        headers.append(name, value);
    }
    Ok(headers)
}

/// RFC 9112 §6.3; `None` if the fields can be read in more than one way, or in none.
fn framing(parts: &Parts) -> Option<Framing> {
    let mut codings = parts.headers.get_all(TRANSFER_ENCODING).iter();
    let mut lengths = parts.headers.get_all(CONTENT_LENGTH).iter();
    match (codings.next(), lengths.next()) {
        (None, None) => Some(Framing::Empty),
        (Some(coding), None) => {
            let is_chunked = coding.as_bytes().eq_ignore_ascii_case(b"chunked");
            let is_one = is_chunked && codings.next().is_none();
            (is_one && parts.version == Version::HTTP_11).then_some(Framing::Chunked)
        }
        (None, Some(length)) if lengths.next().is_none() => match decimal(length.as_bytes())? {
            0 => Some(Framing::Empty),
            length => Some(Framing::Length(length)),
        },
        (_, Some(_)) => None,
    }
}

/// RFC 9112 §9.3.
fn keep_alive(parts: &Parts) -> bool {
    let mut keep_alive = parts.version == Version::HTTP_11;
    for option in parts.headers.get_all(CONNECTION).iter().flat_map(headers::tokens) {
        if option.eq_ignore_ascii_case(b"close") {
            return false;
        }
        keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
    }
    keep_alive
}

/// RFC 9113 §3.4.
const H2_PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n";
/// More fields than this take memory from the heap.
const USUAL_FIELDS: usize = 128;
/// The longest target that `http::Uri` takes.
const MAX_URI_BYTES: usize = (u16::MAX - 1) as usize;

#[cfg(test)]
mod tests;
