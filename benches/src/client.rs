//! One client of a load: its connection, and how far its request has come.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::TcpStream;

/// What one client sends, again and again.
#[derive(Clone, Debug)]
pub struct Ask {
    /// A whole request, head and body.
    pub request: Vec<u8>,
    /// Whether each request has a connection of its own.
    pub close: bool,
}

impl Ask {
    /// A GET, or a POST where there are bytes to send.
    #[must_use]
    pub fn new(host: &str, path: &str, body_bytes: usize, close: bool) -> Self {
        let (method, length) = match body_bytes {
            0 => ("GET", String::new()),
            bytes => ("POST", format!("Content-Length: {bytes}\r\n")),
        };
        let last = if close { "Connection: close\r\n" } else { "" };
        let head = format!("{method} {path} HTTP/1.1\r\nHost: {host}\r\n{length}{last}\r\n");
        let mut request = head.into_bytes();
        request.resize(request.len() + body_bytes, b'p');
        Self { request, close }
    }
}

/// A connection, and the exchange on it.
#[derive(Debug)]
pub(crate) struct Client {
    stream: TcpStream,
    sent: usize,
    head: Vec<u8>,
    /// Bytes of the answer's body that are to come, once its head is whole.
    left: Option<usize>,
}

/// How far a client has come.
#[derive(Debug, Eq, PartialEq)]
pub(crate) enum Outcome {
    /// The answer is whole, and has a status of 2xx.
    Answered,
    /// It will not be.
    Failed(String),
    /// The socket has no more to give or take.
    Waits,
}

impl Client {
    /// A client on a connection that does not block.
    pub(crate) fn new(stream: TcpStream) -> Self {
        Self { stream, sent: 0, head: Vec::new(), left: None }
    }

    /// Makes ready for the next request.
    pub(crate) fn start(&mut self) {
        self.sent = 0;
        self.head.clear();
        self.left = None;
    }

    pub(crate) fn stream(&self) -> &TcpStream {
        &self.stream
    }

    /// The head of the answer, and perhaps the beginning of its body.
    pub(crate) fn head(&self) -> &[u8] {
        &self.head
    }

    /// Sends and receives until the answer is whole, or the socket has no more.
    pub(crate) fn drive(&mut self, request: &[u8], scratch: &mut [u8]) -> Outcome {
        while let Some(rest) = request.get(self.sent..).filter(|rest| !rest.is_empty()) {
            match self.stream.write(rest) {
                Ok(n) => self.sent += n,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Outcome::Failed(format!("sending: {error}")),
            }
        }
        loop {
            let bytes = match self.stream.read(scratch) {
                Ok(n) if n > 0 => scratch.get(..n).unwrap_or_default(),
                Ok(_) => return Outcome::Failed(format!("closed {}", self.place())),
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Outcome::Waits,
                Err(error) => return Outcome::Failed(format!("{error} {}", self.place())),
            };
            match self.take(bytes) {
                Ok(true) => return Outcome::Answered,
                Ok(false) => {}
                Err(why) => return Outcome::Failed(why),
            }
        }
    }

    /// Whether the answer is whole with these bytes.
    fn take(&mut self, bytes: &[u8]) -> Result<bool, String> {
        let left = match self.left {
            Some(left) => left.checked_sub(bytes.len()),
            None => {
                self.head.extend_from_slice(bytes);
                let Some(end) = memchr::memmem::find(&self.head, b"\r\n\r\n") else {
                    return Ok(false);
                };
                let (head, body) = self.head.split_at(end + 4);
                if !head.starts_with(b"HTTP/1.1 2") {
                    let line = head.split(|b| *b == b'\r').next().unwrap_or_default();
                    return Err(format!("answered {}", line.escape_ascii()));
                }
                let length = field(head, "content-length");
                let length =
                    length.and_then(|digits| std::str::from_utf8(digits).ok()?.parse().ok());
                length.and_then(|length: usize| length.checked_sub(body.len()))
            }
        };
        self.left = Some(left.ok_or("answered without a length, or with more than that")?);
        Ok(left == Some(0))
    }

    fn place(&self) -> &'static str {
        match self.left {
            _ if self.sent == 0 => "before a byte was sent",
            Some(_) => "in the body",
            None if self.head.is_empty() => "without an answer",
            None => "in the head",
        }
    }
}

/// The value of the first field of a name in a head.
pub(crate) fn field<'a>(head: &'a [u8], name: &str) -> Option<&'a [u8]> {
    head.split(|b| *b == b'\n').find_map(|line| {
        let (found, value) = line.split_at_checked(name.len())?;
        let value = value.strip_prefix(b":")?;
        found.eq_ignore_ascii_case(name.as_bytes()).then(|| value.trim_ascii())
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// What becomes of one request that is answered with these bytes and the end of the connection.
    fn answered(bytes: &[u8]) -> Outcome {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let stream = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let (mut server, _) = listener.accept().unwrap();
        let ask = Ask::new("app.test", "/", 0, true);
        let mut client = Client::new(stream);
        server.write_all(bytes).unwrap();
        server.shutdown(std::net::Shutdown::Write).unwrap();
        client.drive(&ask.request, &mut [0; 16])
    }

    #[test]
    fn an_answer_is_whole_with_the_last_byte_of_its_length() {
        let whole =
            b"HTTP/1.1 200 OK\r\nServer: x\r\nContent-Length: 20\r\n\r\n01234567890123456789";
        assert_eq!(answered(whole), Outcome::Answered);
        let (cut, _) = whole.split_at(whole.len() - 1);
        assert_eq!(answered(cut), Outcome::Failed("closed in the body".into()));
        let (cut, _) = whole.split_at(20);
        assert_eq!(answered(cut), Outcome::Failed("closed in the head".into()));
        assert_eq!(answered(b""), Outcome::Failed("closed without an answer".into()));
        let long = [&whole[..], b"+"].concat();
        assert!(matches!(answered(&long), Outcome::Failed(why) if why.contains("more")));
    }

    #[test]
    fn another_status_is_a_failure() {
        let refused = answered(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        assert_eq!(refused, Outcome::Failed("answered HTTP/1.1 503 Service Unavailable".into()));
    }

    #[test]
    fn a_field_is_found_whatever_its_case_and_not_in_its_neighbor() {
        let head = b"HTTP/1.1 200 OK\r\nX-Colors: red\r\nX-Color:  blue \r\n\r\n";
        assert_eq!(field(head, "x-color"), Some(&b"blue"[..]));
        assert_eq!(field(head, "color"), None);
    }
}
