use super::*;

fn read(bytes: &[u8], step: usize) -> Result<Option<Head>, Reason> {
    let (mut parser, mut buffer) = (HeadParser::default(), BytesMut::new());
    for piece in bytes.chunks(step) {
        buffer.extend_from_slice(piece);
        if let Some(head) = parser.parse(&mut buffer, &Limits::default())? {
            return Ok(Some(head));
        }
    }
    Ok(None)
}

fn head(text: &str) -> Head {
    read(text.as_bytes(), usize::MAX).unwrap().unwrap()
}

fn refused(text: &str) -> Reason {
    read(text.as_bytes(), usize::MAX).unwrap_err()
}

const GET: &str = "GET /a?b=c HTTP/1.1\r\nHost: a.test\r\nX-One: 1\r\nX-One: 2\r\nEmpty:\r\n\r\n";

#[test]
fn a_head_is_the_same_however_it_is_split() {
    for step in [1, 2, 3, 7, 1000] {
        let head = read(GET.as_bytes(), step).unwrap().unwrap();
        assert_eq!(head.parts.uri, "/a?b=c");
        let ones: Vec<_> = head.parts.headers.get_all("x-one").iter().collect();
        assert_eq!(ones, ["1", "2"]);
        assert_eq!(head.parts.headers["empty"], "");
        assert!(head.keep_alive && head.framing == Framing::Empty);
    }
}

#[test]
fn what_follows_a_head_stays_in_the_buffer() {
    let mut buffer = BytesMut::from(format!("\r\n\n{GET}\r\nPOST").as_bytes());
    let mut parser = HeadParser::default();
    assert!(parser.parse(&mut buffer, &Limits::default()).unwrap().is_some());
    assert_eq!(buffer, "\r\nPOST");
    assert!(parser.parse(&mut buffer, &Limits::default()).unwrap().is_none());
    assert_eq!(buffer, "POST");
    assert!(parser.has_begun(&buffer));
}

#[test]
fn the_end_of_a_body_is_known_or_the_connection_is_not_read_on() {
    let framed = |version: &str, fields: &str| {
        let head = head(&format!("POST / HTTP/{version}\r\n{fields}\r\n"));
        (head.framing, head.keep_alive)
    };
    assert_eq!(framed("1.1", ""), (Framing::Empty, true));
    assert_eq!(framed("1.1", "Content-Length: 0\r\n"), (Framing::Empty, true));
    assert_eq!(framed("1.1", "Content-Length: 12\r\n"), (Framing::Length(12), true));
    assert_eq!(framed("1.1", "Transfer-Encoding: Chunked\r\n"), (Framing::Chunked, true));
    for fields in [
        "Content-Length: 1\r\nContent-Length: 2\r\n",
        "Content-Length: +1\r\n",
        "Content-Length: 99999999999999999999\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Transfer-Encoding: gzip, chunked\r\n",
        "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    ] {
        assert_eq!(framed("1.1", fields), (Framing::Empty, false), "{fields}");
    }
    assert_eq!(framed("1.0", "Transfer-Encoding: chunked\r\n"), (Framing::Empty, false));
}

#[test]
fn a_connection_is_kept_as_its_version_and_options_say() {
    let kept = |version: &str, options: &str| {
        head(&format!("GET / HTTP/{version}\r\nConnection: {options}\r\n\r\n")).keep_alive
    };
    assert!(kept("1.1", "x") && kept("1.0", "x, Keep-Alive"));
    assert!(!kept("1.0", "x") && !kept("1.1", "keep-alive, Close"));
}

#[test]
fn raw_quotes_and_angle_brackets_of_a_target_go_on_percent_encoded() {
    let target = |raw: &str| head(&format!("GET {raw} HTTP/1.1\r\n\r\n")).parts.uri.to_string();
    assert_eq!(target("/\"a\"<b>?q=\"<`>\""), "/%22a%22%3Cb%3E?q=%22%3C%60%3E%22");
    assert_eq!(target("/|[]{}^?|[]{}^"), "/|[]{}^?|[]{}^");
}

#[test]
fn a_fragment_is_refused_wherever_the_head_lies_in_the_buffer() {
    for before in ["", "\r\n\r\n"] {
        assert_eq!(refused(&format!("{before}GET /#x HTTP/1.1\r\n\r\n")), Reason::BadTarget);
    }
}

#[test]
fn what_can_never_be_a_head_is_refused_at_once() {
    assert_eq!(refused("\x16\x03\x01\x02\x00\x01\x00"), Reason::BadRequest);
    assert_eq!(refused("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), Reason::Version);
    assert_eq!(refused("GET / HTTP/1.1\r\nA b: c\r\n\r\n"), Reason::BadRequest);
}

#[test]
fn a_head_has_bounds_whatever_it_is_made_of() {
    let fields = "X: y\r\n".repeat(101);
    assert_eq!(refused(&format!("GET / HTTP/1.1\r\n{fields}\r\n")), Reason::HeaderTooLarge);
    let lines = "\r\n".repeat(40_000);
    assert_eq!(read(lines.as_bytes(), 100).unwrap_err(), Reason::HeaderTooLarge);
    let endless = format!("GET / HTTP/1.1\r\nX: {}", "y".repeat(70_000));
    assert_eq!(read(endless.as_bytes(), 1000).unwrap_err(), Reason::HeaderTooLarge);
}

#[test]
fn more_fields_than_usual_are_parsed_where_the_limit_allows_them() {
    let limits = Limits { max_headers: 1000, ..Limits::default() };
    let fields = "X: y\r\n".repeat(900);
    let mut buffer = BytesMut::from(format!("GET / HTTP/1.1\r\n{fields}\r\n").as_bytes());
    let head = HeadParser::default().parse(&mut buffer, &limits).unwrap().unwrap();
    assert_eq!(head.parts.headers.len(), 900);
}

/// Counts how often a head of `lines` lines, which come one by one, is parsed.
#[test]
fn a_head_that_drips_is_parsed_a_few_times_and_not_once_for_each_read() {
    let (mut parser, mut buffer) = (HeadParser::default(), BytesMut::new());
    buffer.extend_from_slice(b"GET / HTTP/1.1\r\n");
    let mut parses = 0;
    for line in 0..90 {
        buffer.extend_from_slice(format!("X-{line}: y\r\n").as_bytes());
        let before = parser.parsed;
        assert!(parser.parse(&mut buffer, &Limits::default()).unwrap().is_none());
        parses += usize::from(parser.parsed != before);
    }
    assert!(parses <= 8, "{parses}");
    buffer.extend_from_slice(b"\r\n");
    assert!(parser.parse(&mut buffer, &Limits::default()).unwrap().is_some());
}

#[test]
fn options_of_an_absolute_target_without_a_path_are_those_of_the_server() {
    for (method, target, path) in [
        ("OPTIONS", "http://app.test", "*"),
        ("OPTIONS", "http://app.test:80", "*"),
        ("OPTIONS", "http://app.test/", "/"),
        ("OPTIONS", "http://app.test?x", "/"),
        ("GET", "http://app.test", "/"),
    ] {
        let head = head(&format!("{method} {target} HTTP/1.1\r\n\r\n"));
        assert_eq!(head.parts.uri.path(), path, "{method} {target}");
        assert_eq!(head.parts.uri.host(), Some("app.test"));
    }
}
