//! Schemes that authenticate a connection and not a request.

use bytes::BytesMut;

use super::super::response::{self, Asked};
use super::*;
use crate::message::headers;

/// Whether an answer to a client with such credentials binds its connection.
fn binds(status: &str, fields: &str, binding: bool) -> bool {
    let asked = Asked { head: false, trailers: false, upgrade: None, binding };
    let raw = format!("HTTP/1.1 {status}\r\n{fields}Content-Length: 0\r\n\r\n");
    let head = response::parse(&mut BytesMut::from(raw.as_bytes()), 0, &asked);
    head.unwrap().expect("a whole head").binds_connection
}

#[test]
fn a_challenge_by_ntlm_or_negotiate_binds_the_connection() {
    for challenge in [
        "WWW-Authenticate: NTLM",
        "WWW-Authenticate: ntlm TlRMTVNTUAACAAAA",
        "WWW-Authenticate: Negotiate",
        "www-authenticate: NEGOTIATE oYG2MIGzoAMKAQE=",
        "WWW-Authenticate: Basic realm=\"a\", Negotiate, NTLM",
        "WWW-Authenticate: Basic realm=\"a\"\r\nWWW-Authenticate: NTLM",
        "Proxy-Authenticate: NTLM",
    ] {
        for status in ["401 Unauthorized", "407 Proxy Authentication Required"] {
            assert!(binds(status, &format!("{challenge}\r\n"), false), "{status}: {challenge}");
        }
        assert!(!binds("200 OK", &format!("{challenge}\r\n"), false), "{challenge}");
    }
}

#[test]
fn other_challenges_bind_nothing() {
    for challenge in [
        "",
        "WWW-Authenticate: Basic realm=\"NTLM\"\r\n",
        "WWW-Authenticate: Digest realm=\"a\", nonce=\"b\", qop=\"auth\"\r\n",
        "WWW-Authenticate: Bearer scope=negotiate\r\n",
        "WWW-Authenticate: NTLMv3\r\n",
        "X-Authenticate: NTLM\r\n",
    ] {
        assert!(!binds("401 Unauthorized", challenge, false), "{challenge}");
    }
}

#[test]
fn a_client_that_authenticates_unasked_binds_the_connection_too() {
    let field = |value| HeaderValue::from_static(value);
    assert!(headers::binds_connection(&field("Negotiate YIIJ")));
    assert!(headers::binds_connection(&field("NTLM TlRMTVNTUAABAAAA")));
    assert!(!headers::binds_connection(&field("Basic bmVnb3RpYXRl")));
    assert!(!headers::binds_connection(&field("Bearer ntlm")));
    assert!(binds("200 OK", "", true));
}
