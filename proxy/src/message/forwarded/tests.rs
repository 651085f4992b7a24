use super::*;

const TRUSTED: &str = "10.0.0.0/8";

fn lines(peer: &str, fields: &[(&'static str, &str)]) -> Vec<(String, String)> {
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.append(*name, HeaderValue::from_str(value).unwrap());
    }
    let peer = Peer::new(SocketAddr::new(peer.parse().unwrap(), 4711), Scheme::Http);
    let trusted = [TRUSTED.parse().unwrap()];
    let origin = Origin::new(&peer, &headers, &trusted, &RequestIds::new(), SystemTime::UNIX_EPOCH);
    let mut out = Vec::new();
    let host = fields.iter().find(|(name, _)| *name == "host").map(|(_, host)| *host);
    origin.write(&mut out, host);
    let text = String::from_utf8(out).unwrap();
    assert!(text.ends_with("\r\n"));
    text.trim_end()
        .split("\r\n")
        .map(|line| line.split_once(": ").expect("a field line"))
        .map(|(name, value)| (name.to_owned(), value.to_owned()))
        .collect()
}

fn field(lines: &[(String, String)], name: &str) -> String {
    let mut values = lines.iter().filter(|(known, _)| known == name).map(|(_, value)| value);
    let value = values.next().cloned().unwrap_or_default();
    assert_eq!(values.next(), None, "{name} is written once");
    value
}

#[test]
fn a_stranger_is_not_believed() {
    let out = lines(
        "192.0.2.1",
        &[
            ("host", "app.test:8080"),
            ("x-forwarded-for", "127.0.0.1"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-host", "evil.test"),
            ("forwarded", "for=127.0.0.1;proto=https;host=evil.test"),
            ("x-request-id", "mine"),
        ],
    );
    assert_eq!(field(&out, "x-forwarded-for"), "192.0.2.1");
    assert_eq!(field(&out, "x-forwarded-proto"), "http");
    assert_eq!(field(&out, "x-forwarded-host"), "app.test:8080");
    assert_eq!(field(&out, "forwarded"), "for=192.0.2.1;host=\"app.test:8080\";proto=http");
    assert_eq!(field(&out, "x-real-ip"), "192.0.2.1");
    assert_eq!(field(&out, "x-request-id").len(), 32);
}

#[test]
fn a_trusted_proxy_is_believed_and_extended() {
    let out = lines(
        "10.0.0.1",
        &[
            ("host", "internal"),
            ("x-forwarded-for", "198.51.100.7, 192.0.2.9"),
            ("x-forwarded-for", "10.0.0.2"),
            ("x-forwarded-proto", "HTTPS"),
            ("x-forwarded-host", "app.test"),
            ("forwarded", "for=192.0.2.9;proto=https"),
            ("x-request-id", "abc-1"),
        ],
    );
    assert_eq!(field(&out, "x-forwarded-for"), "198.51.100.7, 192.0.2.9, 10.0.0.2, 10.0.0.1");
    assert_eq!(field(&out, "x-forwarded-proto"), "https");
    assert_eq!(field(&out, "x-forwarded-host"), "app.test");
    let forwarded = "for=192.0.2.9;proto=https, for=10.0.0.1;host=app.test;proto=http";
    assert_eq!(field(&out, "forwarded"), forwarded);
    assert_eq!(field(&out, "x-real-ip"), "192.0.2.9", "the nearest hop that is no proxy of ours");
    assert_eq!(field(&out, "x-request-id"), "abc-1");
}

#[test]
fn what_a_trusted_proxy_garbles_is_dropped() {
    let out = lines(
        "10.0.0.1",
        &[
            ("x-forwarded-for", "6.6.6.6, what, 192.0.2.9:80"),
            ("x-forwarded-proto", "gopher"),
            ("x-forwarded-host", "a b"),
            ("forwarded", "for=1.1.1.1;;"),
            ("x-request-id", "a b"),
        ],
    );
    assert_eq!(field(&out, "x-forwarded-for"), "192.0.2.9, 10.0.0.1");
    assert_eq!(field(&out, "x-forwarded-proto"), "http");
    assert_eq!(field(&out, "x-forwarded-host"), "", "there was no Host");
    assert_eq!(field(&out, "forwarded"), "for=10.0.0.1;proto=http");
    assert_eq!(field(&out, "x-request-id").len(), 32);
}

#[test]
fn without_x_forwarded_for_the_client_is_read_from_forwarded() {
    let out = lines("10.0.0.1", &[("forwarded", "for=\"[2001:db8::1]:80\", for=10.9.9.9")]);
    assert_eq!(field(&out, "x-real-ip"), "2001:db8::1");
    let out = lines("10.0.0.1", &[("forwarded", "for=8.8.8.8, for=_hidden")]);
    assert_eq!(field(&out, "x-real-ip"), "10.0.0.1", "nobody beyond a hidden hop is known");
}

#[test]
fn ipv6_is_bracketed_in_forwarded_and_mapped_ipv4_is_ipv4() {
    let out = lines("2001:db8::2", &[("host", "[::1]")]);
    assert_eq!(field(&out, "x-forwarded-for"), "2001:db8::2");
    assert_eq!(field(&out, "forwarded"), "for=\"[2001:db8::2]\";host=\"[::1]\";proto=http");
    let out = lines("::ffff:10.0.0.1", &[("x-forwarded-for", "192.0.2.5")]);
    assert_eq!(field(&out, "x-forwarded-for"), "192.0.2.5, 10.0.0.1");
}

#[test]
fn a_host_is_told_without_an_empty_port() {
    let out = lines("10.0.0.1", &[("host", "internal"), ("x-forwarded-host", "app.test:")]);
    assert_eq!(field(&out, "x-forwarded-host"), "app.test");
    assert_eq!(field(&out, "forwarded"), "for=10.0.0.1;host=app.test;proto=http");
}

#[test]
fn a_long_chain_is_cut_at_its_far_end() {
    let chain = (0..40).map(|n| format!("192.0.2.{n}")).collect::<Vec<_>>().join(",");
    let out = lines("10.0.0.1", &[("x-forwarded-for", &chain)]);
    let written = field(&out, "x-forwarded-for");
    assert_eq!(written.split(", ").count(), MAX_HOPS + 1);
    assert!(written.ends_with("192.0.2.39, 10.0.0.1"));
}

#[test]
fn the_start_of_a_request_is_ours_or_a_trusted_proxys() {
    for kept in ["t=1763754000123456", "1763754000.123"] {
        let out = lines("10.0.0.1", &[("x-request-start", kept)]);
        assert_eq!(field(&out, "x-request-start"), kept);
    }
    for (peer, said) in [("192.0.2.1", "t=1763754000123456"), ("10.0.0.1", "soon")] {
        let out = lines(peer, &[("x-request-start", said)]);
        assert_eq!(field(&out, "x-request-start"), "t=0", "said {said}, at the epoch");
    }
}
