//! The head of a response, judged before anybody may believe it.

use std::mem::MaybeUninit;

use bytes::{Buf, Bytes, BytesMut};
use http::header::{self, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode, response};
use httparse::Status;

use crate::message::decoder::{Framing, Malformed, decimal};
use crate::message::headers;
use crate::message::reason_phrase::ReasonPhrase;

/// What the judgement must know of the request.
#[derive(Debug)]
pub(super) struct Asked<'a> {
    /// It was a `HEAD`: there is no body, whatever the fields say.
    pub(super) head: bool,
    /// The client takes trailers.
    pub(super) trailers: bool,
    /// The protocols we asked to change to.
    pub(super) upgrade: Option<&'a HeaderValue>,
    /// The client authenticates by a scheme that holds for the connection.
    pub(super) binding: bool,
}

/// The head of a response, fit to be passed on: no hop-by-hop field, no framing.
#[derive(Debug)]
pub(super) struct Head {
    pub(super) parts: response::Parts,
    pub(super) framing: Framing,
    /// Whether the upstream will take another request behind this one.
    pub(super) keep_alive: bool,
    /// Whether the upstream may take whatever else comes on this connection for what this client
    /// says: NTLM and Negotiate (RFC 4559) authenticate the connection, against RFC 9110 §3.3.
    pub(super) binds_connection: bool,
}

/// Takes a head from the front of `input`; `None` if it is not all here. The bytes up to `parsed`
/// have been looked at by an earlier call.
///
/// # Errors
///
/// [`Malformed`] for whatever could be read in more than one way.
pub(super) fn parse(
    input: &mut BytesMut,
    parsed: usize,
    asked: &Asked<'_>,
) -> Result<Option<Head>, Malformed> {
    // No empty line in front (surplus of the last answer), no HTTP/0.9, no TLS alert.
    if !input.iter().zip(b"HTTP/1.").all(|(got, want)| got == want) {
        return Err(Malformed("status line"));
    }
    // A head ends with a line: without a new one there is nothing new to parse.
    let unseen = input.get(parsed..).unwrap_or_default();
    if memchr::memchr(b'\n', unseen).is_none() {
        return partial(input);
    }
    let mut fields = [const { MaybeUninit::uninit() }; MAX_FIELDS];
    let mut response = httparse::Response::new(&mut []);
    let config = httparse::ParserConfig::default();
    let length = match config.parse_response_with_uninit_headers(&mut response, input, &mut fields)
    {
        Ok(Status::Complete(length)) if length <= MAX_HEAD => length,
        Ok(Status::Complete(_)) => return Err(Malformed("head too large")),
        Ok(Status::Partial) => return partial(input),
        Err(error) => return Err(Malformed(reason(error))),
    };
    // The values keep this copy alive, not the (larger) read buffer.
    let bytes = Bytes::copy_from_slice(input.get(..length).unwrap_or_default());
    let head = Reading::of(&response, &bytes, input.as_ptr() as usize, asked)?.judge(asked)?;
    input.advance(length);
    Ok(Some(head))
}

fn partial(input: &BytesMut) -> Result<Option<Head>, Malformed> {
    if input.len() >= MAX_HEAD {
        return Err(Malformed("head too large"));
    }
    Ok(None)
}

fn reason(error: httparse::Error) -> &'static str {
    match error {
        httparse::Error::HeaderName => "field name",
        httparse::Error::HeaderValue => "field value",
        httparse::Error::NewLine => "line end",
        httparse::Error::Status => "status",
        httparse::Error::TooManyHeaders => "too many fields",
        httparse::Error::Version => "version",
        httparse::Error::Token => "token",
    }
}

/// The fields of a head, sorted into those for the client and those for us.
struct Reading {
    parts: response::Parts,
    http10: bool,
    length: Option<u64>,
    chunked: bool,
    connection: Options,
    upgrades: Vec<HeaderValue>,
    /// A challenge names a scheme that holds for the connection.
    binding: bool,
}

/// What the `Connection` field says (RFC 9110 §7.6.1).
#[derive(Default)]
struct Options {
    close: bool,
    keep_alive: bool,
    upgrade: bool,
    /// Values that name fields of the application.
    naming: Vec<HeaderValue>,
}

impl Reading {
    fn of(
        response: &httparse::Response<'_, '_>,
        bytes: &Bytes,
        origin: usize,
        asked: &Asked<'_>,
    ) -> Result<Self, Malformed> {
        let mut parts = Response::new(()).into_parts().0;
        parts.status = status(response)?;
        parts.headers = HeaderMap::with_capacity(response.headers.len());
        if let Some(phrase) = phrase(response, parts.status) {
            parts.extensions.insert(phrase);
        }
        let mut reading = Self {
            parts,
            http10: response.version == Some(0),
            length: None,
            chunked: false,
            connection: Options::default(),
            upgrades: Vec::new(),
            binding: false,
        };
        for field in response.headers.iter() {
            let name = HeaderName::from_bytes(field.name.as_bytes())
                .map_err(|_| Malformed("field name"))?;
            // The field lies in `input`, which begins at `origin`: the same bytes of the copy.
            let from = (field.value.as_ptr() as usize).wrapping_sub(origin);
            let to = from.wrapping_add(field.value.len());
            let value = match bytes.get(from..to) {
                Some(_) => HeaderValue::from_maybe_shared(bytes.slice(from..to)),
                None => HeaderValue::from_bytes(field.value), // an empty value points nowhere
            }
            .map_err(|_| Malformed("field value"))?;
            reading.take(name, value, asked)?;
        }
        Ok(reading)
    }

    fn take(
        &mut self,
        name: HeaderName,
        value: HeaderValue,
        asked: &Asked<'_>,
    ) -> Result<(), Malformed> {
        if name == header::CONTENT_LENGTH {
            return self.take_length(&value);
        }
        if name == header::TRANSFER_ENCODING {
            // RFC 9112 §6.1, §7: once, and a coding that every recipient of 1.1 knows.
            if self.chunked || !value.as_bytes().eq_ignore_ascii_case(b"chunked") {
                return Err(Malformed("transfer coding other than one `chunked`"));
            }
            self.chunked = true;
            return Ok(());
        }
        if name == header::CONNECTION {
            self.connection.take(value);
            return Ok(());
        }
        if name == header::UPGRADE {
            self.upgrades.push(value);
            return Ok(());
        }
        if name == header::WWW_AUTHENTICATE || name == header::PROXY_AUTHENTICATE {
            self.binding |= headers::binds_connection(&value);
        }
        if headers::passes_downstream(&name, asked.trailers) {
            self.parts.headers.append(name, value);
        }
        Ok(())
    }

    /// RFC 9110 §8.6: one decimal number; the same one several times will do.
    fn take_length(&mut self, value: &HeaderValue) -> Result<(), Malformed> {
        for member in value.as_bytes().split(|&byte| byte == b',') {
            let length = decimal(member.trim_ascii()).ok_or(Malformed("content length"))?;
            if self.length.replace(length).is_some_and(|first| first != length) {
                return Err(Malformed("two content lengths"));
            }
        }
        Ok(())
    }

    /// Decides where the body ends (RFC 9112 §6.3, in its order).
    fn judge(mut self, asked: &Asked<'_>) -> Result<Head, Malformed> {
        if self.chunked && self.length.is_some() {
            return Err(Malformed("content length beside a transfer coding"));
        }
        if self.chunked && self.http10 {
            return Err(Malformed("transfer coding in HTTP/1.0"));
        }
        let status = self.parts.status;
        for value in &self.connection.naming {
            headers::remove_named(&mut self.parts.headers, value);
        }
        match status {
            StatusCode::SWITCHING_PROTOCOLS => self.switch(asked)?,
            StatusCode::UPGRADE_REQUIRED => self.tell_upgrade(),
            _ => {}
        }
        let bodiless = status.is_informational() || status == StatusCode::NO_CONTENT;
        // The length of what a HEAD or a conditional GET would have sent is for the client to see.
        let described = !bodiless && (asked.head || status == StatusCode::NOT_MODIFIED);
        if let Some(length) = self.length.filter(|_| described) {
            self.parts.headers.insert(header::CONTENT_LENGTH, length.into());
        }
        let framing = if bodiless || described {
            Framing::Empty
        } else if self.chunked {
            Framing::Chunked
        } else {
            match self.length {
                Some(0) => Framing::Empty,
                Some(length) => Framing::Length(length),
                None => Framing::UntilClose,
            }
        };
        // A body announced where there is none may still come: it would answer the next request.
        let threatens = bodiless && (self.chunked || self.length.is_some_and(|length| length > 0));
        let keep_alive = framing != Framing::UntilClose
            && !threatens
            && !self.connection.close
            && (!self.http10 || self.connection.keep_alive);
        let challenges = matches!(status.as_u16(), 401 | 407);
        let binds_connection = asked.binding || (challenges && self.binding);
        Ok(Head { parts: self.parts, framing, keep_alive, binds_connection })
    }

    /// RFC 9110 §7.8: a 101 is an answer to what we asked for, or an attack.
    fn switch(&mut self, asked: &Asked<'_>) -> Result<(), Malformed> {
        let asked = asked.upgrade.ok_or(Malformed("101 that nobody asked for"))?;
        let one = <[_; 1]>::try_from(std::mem::take(&mut self.upgrades)).ok();
        let one = one.filter(|_| self.connection.upgrade);
        let [upgrade] = one.ok_or(Malformed("101 without one protocol"))?;
        let protocol = upgrade.as_bytes().trim_ascii();
        if !headers::tokens(asked).any(|asked| asked.eq_ignore_ascii_case(protocol)) {
            return Err(Malformed("101 to another protocol"));
        }
        self.upgrades.push(upgrade);
        self.tell_upgrade();
        Ok(())
    }

    /// Passes `Upgrade` on: a 101 says which protocol follows, a 426 which one is required (RFC 9110
    /// §15.5.22). Whoever sends it names it in `Connection` (§7.8).
    fn tell_upgrade(&mut self) {
        let headers = &mut self.parts.headers;
        if !self.upgrades.is_empty() {
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
        }
        for upgrade in self.upgrades.drain(..) {
            headers.append(header::UPGRADE, upgrade);
        }
    }
}

impl Options {
    fn take(&mut self, value: HeaderValue) {
        let mut naming = false;
        for option in headers::tokens(&value) {
            match option {
                _ if option.eq_ignore_ascii_case(b"close") => self.close = true,
                _ if option.eq_ignore_ascii_case(b"keep-alive") => self.keep_alive = true,
                _ if option.eq_ignore_ascii_case(b"upgrade") => self.upgrade = true,
                _ => naming = true,
            }
        }
        if naming {
            self.naming.push(value);
        }
    }
}

/// RFC 9110 §15: three digits from 100 to 599.
fn status(response: &httparse::Response<'_, '_>) -> Result<StatusCode, Malformed> {
    response
        .code
        .filter(|code| (100..600).contains(code))
        .and_then(|code| StatusCode::from_u16(code).ok())
        .ok_or(Malformed("status"))
}

/// The reason phrase, if the application has one of its own.
fn phrase(response: &httparse::Response<'_, '_>, status: StatusCode) -> Option<ReasonPhrase> {
    let phrase = response.reason.filter(|phrase| !phrase.is_empty())?;
    if status.canonical_reason() == Some(phrase) {
        return None;
    }
    ReasonPhrase::new(phrase.as_bytes())
}

/// Fields of a head.
const MAX_FIELDS: usize = 128;
/// Bytes of a head.
const MAX_HEAD: usize = 64 * 1024;
