//! A head is judged alike wherever it lies in what is read from a connection.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

mod common;

use common::{Edge, Upstream};

/// What may stand ahead of a request on its connection.
fn places() -> Vec<(String, usize)> {
    let get =
        |path: &str, fields: &str| format!("GET {path} HTTP/1.1\r\nHost: app.test\r\n{fields}\r\n");
    let post = |length: usize| {
        let body = "x".repeat(length);
        format!("POST /before HTTP/1.1\r\nHost: app.test\r\nContent-Length: {length}\r\n\r\n{body}")
    };
    let chunked = "POST /before HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n\r\n\
                   5\r\nhello\r\n0\r\n\r\n";
    vec![
        (String::new(), 0),
        ("\r\n\r\n".into(), 0),
        ("\n".repeat(5000), 0),
        (get("/before", ""), 1),
        (get("/before", &format!("X-Long: {}\r\n", "y".repeat(9000))), 1),
        (post(3), 1),
        (post(70_000), 1),
        (chunked.into(), 1),
        (format!("{}{}\r\n\r\n", post(5000), get("/before", "")), 2),
    ]
}

#[test]
fn what_is_refused_alone_is_refused_behind_anything() {
    let upstream = Upstream::saying("hi");
    let edge = Edge::in_front_of(&[upstream.address]);
    let long = format!("X-Long: {}\r\n", "y".repeat(5000));
    let refused = [
        ("POST /bad HTTP/1.1\r\nHost: app.test\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), "length_and_coding"),
        (format!("POST /bad HTTP/1.1\r\nHost: app.test\r\nTransfer-Encoding: chunked\r\n{long}Content-Length: 5\r\n\r\n0\r\n\r\n"), "length_and_coding"),
        ("GET /bad#x HTTP/1.1\r\nHost: app.test\r\n\r\n".to_owned(), "bad_target"),
        ("GET /bad HTTP/1.1\r\nHost: app.test\r\nHost: b.test\r\n\r\n".to_owned(), "bad_host"),
        ("GET /bad HTTP/1.1\r\nHost : app.test\r\n\r\n".to_owned(), "bad_request"),
    ];
    for (before, answers) in places() {
        for (bad, reason) in &refused {
            let mut client = edge.connect();
            client.send(format!("{before}{bad}"));
            for _ in 0..answers {
                assert_eq!(client.response().unwrap().status, 200);
            }
            assert_eq!(client.response().unwrap().reason(), *reason, "{bad} behind {before:.60}");
            assert!(client.is_closed());
        }
    }
    let seen = upstream.seen.lock().unwrap();
    assert!(seen.iter().all(|seen| seen.path() == "/before"));
}

#[test]
fn raw_quotes_and_angle_brackets_reach_the_app_as_the_router_saw_them() {
    let upstream = Upstream::saying("hi");
    let edge = Edge::in_front_of(&[upstream.address]);
    for (raw, seen) in [
        ("/a\"b", "/a%22b"),
        ("/<x>?q=<\"y\">", "/%3Cx%3E?q=%3C%22y%22%3E"),
        ("/|[]{}^?|[]{}^", "/|[]{}^?|[]{}^"),
    ] {
        assert_eq!(edge.get(raw).status, 200, "{raw}");
        assert_eq!(upstream.last().path(), seen);
    }
}
