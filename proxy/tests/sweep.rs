//! Every byte at every place of the two fields that frame a message, in requests and in answers:
//! each variant is refused, or goes on as what one strict reader and the next read alike.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Mutex};
use std::thread;

use common::{DEADLINE, Edge};

/// Where a byte goes in, between the parts of a field line.
const CODING: &[&str] = &["", "Transfer", "-Encoding", ":", " ", "chunk", "ed", ""];
const LENGTH: &[&str] = &["", "Content", "-Length", ":", " ", "1", "0", ""];

/// A field line with a byte between two of its parts.
fn variants(parts: &'static [&'static str]) -> impl Iterator<Item = Vec<u8>> {
    (1..parts.len()).flat_map(move |place| {
        (0..=u8::MAX).map(move |byte| {
            let mut line = parts[..place].concat().into_bytes();
            line.push(byte);
            line.extend(parts[place..].concat().bytes());
            line
        })
    })
}

/// What follows a head: whichever way it is framed, it ends within these bytes.
fn rest(of: &[&str], after: &str) -> Vec<u8> {
    let body = if of == CODING { "5\r\nhello\r\n0\r\n\r\n" } else { "hello body" };
    format!("{body}{after}{}\r\n\r\n", "a".repeat(1200)).into_bytes()
}

/// What stands behind the head of a message: a bare LF ends a line as well (RFC 9112 §2.2).
fn behind(message: &[u8]) -> &[u8] {
    let mut from = 0;
    while let Some(end) = message[from..].iter().position(|byte| *byte == b'\n') {
        let line = &message[from..from + end];
        from += end + 1;
        if line.is_empty() || line == b"\r" {
            break;
        }
    }
    &message[from..]
}

/// A message as a reader sees it that forgives nothing.
#[derive(Clone, Debug, PartialEq)]
struct Strict {
    first: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
    chunked: bool,
}

/// Takes one message off the front of `bytes`. `None` if it is not whole; an error names what two
/// readers could take for different things. Without framing an answer ends with the connection.
fn strict(bytes: &mut Vec<u8>, to_close: bool) -> Result<Option<Strict>, String> {
    let Some(end) = bytes.windows(4).position(|four| four == b"\r\n\r\n") else {
        return Ok(None);
    };
    let head = String::from_utf8_lossy(&bytes[..end]).into_owned();
    let mut lines = head.split("\r\n");
    let first = lines.next().unwrap().to_owned();
    let mut fields = Vec::new();
    for line in lines {
        let (name, value) = line.split_once(':').ok_or_else(|| format!("no field: {line:?}"))?;
        let is_token =
            |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte);
        if name.is_empty()
            || !name.bytes().all(is_token)
            || value.contains(|c: char| c < ' ' && c != '\t')
        {
            return Err(format!("a field that can be read in two ways: {line:?}"));
        }
        fields.push((name.to_ascii_lowercase(), value.trim_matches([' ', '\t']).to_owned()));
    }
    let all = |wanted: &str| -> Vec<&str> {
        fields.iter().filter(|(name, _)| name == wanted).map(|(_, value)| value.as_str()).collect()
    };
    let (codings, lengths) = (all("transfer-encoding"), all("content-length"));
    let mut at = end + 4;
    let mut body = Vec::new();
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) if to_close => body = bytes.split_off(at),
        ([], []) => {}
        (["chunked"], []) => loop {
            let Some(line) = bytes[at..].windows(2).position(|two| two == b"\r\n") else {
                return Ok(None);
            };
            let size = std::str::from_utf8(&bytes[at..at + line]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
            let size = size.ok_or_else(|| format!("a chunk without a size: {head}"))?;
            at += line + 2;
            let Some(chunk) = bytes.get(at..at + size + 2) else { return Ok(None) };
            if !chunk.ends_with(b"\r\n") {
                return Err(format!("a chunk without an end: {head}"));
            }
            body.extend(&chunk[..size]);
            at += size + 2;
            if size == 0 {
                break;
            }
        },
        ([], [length]) if length.bytes().all(|digit| digit.is_ascii_digit()) => {
            let length: usize = length.parse().map_err(|_| format!("a length: {head}"))?;
            let Some(whole) = bytes.get(at..at + length) else { return Ok(None) };
            body.extend(whole);
            at += length;
        }
        _ => return Err(format!("no one framing: {head}")),
    }
    let chunked = !codings.is_empty();
    bytes.drain(..at);
    Ok(Some(Strict { first, fields, body, chunked }))
}

/// All that comes on a connection for `bytes`, until it is closed.
fn talk(edge: &Edge, bytes: &[u8]) -> Result<Vec<u8>, String> {
    let mut client = TcpStream::connect(edge.address).unwrap();
    client.set_read_timeout(Some(DEADLINE)).unwrap();
    client.write_all(bytes).unwrap();
    let mut answers = Vec::new();
    match client.read_to_end(&mut answers) {
        Ok(_) => Ok(answers),
        Err(error) => Err(format!("{error} after {:?}", String::from_utf8_lossy(&answers))),
    }
}

type Seen = Arc<Mutex<Vec<Result<Strict, String>>>>;

/// Logs what arrives, as a strict reader sees it, and answers each request with what `answer` gives,
/// which says too whether the connection stays.
fn upstream(
    seen: &Seen,
    answer: impl Fn() -> (Vec<u8>, bool) + Clone + Send + 'static,
) -> std::net::SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let seen = Arc::clone(seen);
    thread::spawn(move || {
        for mut stream in listener.incoming().map_while(Result::ok) {
            let (seen, answer) = (Arc::clone(&seen), answer.clone());
            thread::spawn(move || {
                let (mut bytes, mut buffer) = (Vec::new(), [0; 4096]);
                while let Ok(read @ 1..) = stream.read(&mut buffer) {
                    bytes.extend(&buffer[..read]);
                    loop {
                        let request = match strict(&mut bytes, false) {
                            Ok(None) => break,
                            Ok(Some(request)) => Ok(request),
                            Err(error) => Err(error),
                        };
                        let stays = request.is_ok();
                        seen.lock().unwrap().push(request);
                        let (answer, keep) = answer();
                        if stream.write_all(&answer).is_err() || !stays || !keep {
                            return;
                        }
                    }
                }
            });
        }
    });
    address
}

#[test]
fn a_request_with_any_byte_in_its_framing_is_refused_or_goes_on_as_exactly_one() {
    let seen = Seen::default();
    let answer = || (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi".to_vec(), true);
    let edge = Edge::in_front_of(&[upstream(&seen, answer)]);
    let (mut passed, mut refused, mut wrong) = (0, 0, Vec::new());
    for parts in [CODING, LENGTH] {
        let rest = rest(parts, "GET /after HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\nX: ");
        for line in variants(parts) {
            let mut request = b"POST /first HTTP/1.1\r\nHost: app.test\r\n".to_vec();
            request.extend(line.iter().chain(b"\r\n\r\n").chain(&rest));
            let answers = talk(&edge, &request);
            let seen = std::mem::take(&mut *seen.lock().unwrap());
            match judge_request(answers, &seen, behind(&request)) {
                Ok(true) => passed += 1,
                Ok(false) => refused += 1,
                Err(why) => wrong.push(format!("{}: {why}", line.escape_ascii())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} deviations:\n{}", wrong.len(), wrong.join("\n"));
    println!("{passed} passed on, {refused} refused");
    assert!(passed > 0 && refused > 2000, "{passed} passed on, {refused} refused");
    assert_eq!(edge.snapshot().panics, 0);
}

/// Whether the request was passed on, or refused as it is to be.
fn judge_request(
    answers: Result<Vec<u8>, String>,
    seen: &[Result<Strict, String>],
    rest: &[u8],
) -> Result<bool, String> {
    let mut answers = answers?;
    let Some(first) = strict(&mut answers, true)? else { return Err("no answer".to_owned()) };
    let arrived: Vec<&Strict> = seen.iter().map(Result::as_ref).collect::<Result<_, _>>()?;
    let status = &first.first[9..12];
    if status != "200" {
        let closes = first.fields.contains(&("connection".to_owned(), "close".to_owned()));
        if !matches!(status, "400" | "501") || !closes || !answers.is_empty() || !arrived.is_empty()
        {
            return Err(format!("{first:?} and then {arrived:?}"));
        }
        return Ok(false);
    }
    let Some((first, others)) = arrived.split_first() else {
        return Err("200 of whom?".to_owned());
    };
    // What else came can only be the one request that we sent behind the body.
    let body = if first.chunked { &b"5\r\nhello\r\n0\r\n\r\n"[..] } else { &first.body };
    let behind = rest.strip_prefix(body);
    let is_next =
        |other: &&Strict| behind.is_some_and(|next| next.starts_with(other.first.as_bytes()));
    let next = others.len() <= 1 && others.iter().all(is_next);
    let whole = behind.is_some() && (!first.chunked || first.body == b"hello");
    if first.first != "POST /first HTTP/1.1" || !next || !whole {
        return Err(format!("{arrived:?}"));
    }
    Ok(true)
}

#[test]
fn an_answer_with_any_byte_in_its_framing_is_a_502_or_clean() {
    let (seen, next) = (Seen::default(), Arc::new(Mutex::new(Vec::new())));
    let answer = {
        let next = Arc::clone(&next);
        move || (next.lock().unwrap().clone(), false)
    };
    let edge = Edge::in_front_of(&[upstream(&seen, answer)]);
    let (mut passed, mut refused, mut wrong) = (0, 0, Vec::new());
    for parts in [CODING, LENGTH] {
        let rest = rest(parts, "HTTP/1.1 200 OK\r\nX-Second: ");
        for line in variants(parts) {
            let mut answer = b"HTTP/1.1 200 OK\r\nX-App: yes\r\n".to_vec();
            answer.extend(line.iter().chain(b"\r\n\r\n").chain(&rest));
            next.lock().unwrap().clone_from(&answer);
            let ask = b"GET / HTTP/1.1\r\nHost: app.test\r\nConnection: close\r\n\r\n";
            match judge_answer(talk(&edge, ask), behind(&answer)) {
                Ok(true) => passed += 1,
                Ok(false) => refused += 1,
                Err(why) => wrong.push(format!("{}: {why}", line.escape_ascii())),
            }
        }
    }
    assert!(wrong.is_empty(), "{} deviations:\n{}", wrong.len(), wrong.join("\n"));
    println!("{passed} passed on, {refused} refused");
    assert!(passed > 0 && refused > 2000, "{passed} passed on, {refused} refused");
    assert_eq!(edge.snapshot().panics, 0);
}

/// Whether the answer was passed on, or refused as it is to be.
fn judge_answer(answers: Result<Vec<u8>, String>, rest: &[u8]) -> Result<bool, String> {
    let mut answers = answers?;
    let Some(first) = strict(&mut answers, true)? else {
        // Its head had gone out when its body turned out to have no chunks: the client can tell.
        let cut = !answers.is_empty() && !rest.starts_with(b"5\r\n");
        return if cut { Ok(false) } else { Err("no answer".to_owned()) };
    };
    if !answers.is_empty() {
        return Err("there is more behind it".to_owned());
    }
    if first.first.starts_with("HTTP/1.1 502 ") {
        return Ok(false);
    }
    let is_apps = first.fields.contains(&("x-app".to_owned(), "yes".to_owned()));
    let whole = first.body == b"hello" || rest.starts_with(&first.body);
    if !first.first.starts_with("HTTP/1.1 200 ") || !is_apps || !whole {
        return Err(format!("{first:?}"));
    }
    Ok(true)
}
