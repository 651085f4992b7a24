use std::time::SystemTime;

use proptest::prelude::*;

use super::*;
use crate::growth::growth;
use crate::message::forwarded::{Peer, RequestIds, Scheme};

fn name(name: &str) -> HeaderName {
    HeaderName::from_bytes(name.as_bytes()).unwrap()
}

fn headers(fields: &[(&str, &str)]) -> HeaderMap {
    let fields = fields.iter();
    fields.map(|(field, value)| (name(field), value.parse::<HeaderValue>().unwrap())).fold(
        HeaderMap::new(),
        |mut headers, (name, value)| {
            headers.append(name, value);
            headers
        },
    )
}

fn origin(headers: &HeaderMap) -> Origin {
    let peer = Peer::new("192.0.2.7:4711".parse().unwrap(), Scheme::Http);
    Origin::new(&peer, headers, &[], &RequestIds::new(), SystemTime::UNIX_EPOCH)
}

/// The lines that `fields` of a client become.
fn written(fields: &[(&str, &str)], upgrade: Option<&str>, trusted: bool) -> String {
    let headers = headers(fields);
    let origin = origin(&headers);
    let upgrade = upgrade.map(|upgrade| upgrade.parse().unwrap());
    let outgoing = Outgoing {
        target: "/",
        authority: None,
        host: None,
        origin: &origin,
        upgrade: upgrade.as_ref(),
        trusted,
    };
    let mut out = Vec::new();
    write_kept(&mut out, &headers, &outgoing);
    write_added(&mut out, &headers, &outgoing);
    String::from_utf8(out).unwrap()
}

/// The names of the lines that are the client's own.
fn kept(fields: &[(&str, &str)]) -> Vec<String> {
    let added = written(&[("host", "app.test")], None, false);
    let ours: Vec<_> = added.lines().filter_map(|line| line.split(':').next()).collect();
    written(fields, None, false)
        .lines()
        .filter_map(|line| line.split(':').next())
        .filter(|name| !ours.contains(name))
        .map(str::to_owned)
        .collect()
}

#[test]
fn end_to_end_fields_go_upstream_as_they_came() {
    let fields = [
        ("accept", "*/*"),
        ("accept-encoding", "gzip"),
        ("authorization", "Basic x"),
        ("cookie", "a=b"),
        ("content-type", "text/plain"),
        ("x-custom_name", "1"),
        ("x-http-method-override", "DELETE"),
        ("x-original-url", "/admin"),
        ("x-r", "1"),
        ("sec-websocket-key", "k"),
        ("via", "1.1 a"),
        ("proxy-status", "x"),
    ];
    let names: Vec<_> = fields.iter().map(|(name, _)| *name).collect();
    assert_eq!(kept(&fields), names);
    assert!(written(&fields, None, false).contains("authorization: Basic x\r\n"));
}

#[test]
fn hop_by_hop_fields_and_framing_stay_behind() {
    let fields = [
        ("connection", "keep-alive"),
        ("content-length", "5"),
        ("expect", "100-continue"),
        ("host", "app.test"),
        ("http2-settings", "AAMA"),
        ("keep-alive", "timeout=5"),
        ("proxy", "evil"),
        ("proxy-authorization", "Basic x"),
        ("proxy-connection", "keep-alive"),
        ("te", "gzip"),
        ("trailer", "x"),
        ("transfer-encoding", "chunked"),
        ("upgrade", "h2c"),
    ];
    assert_eq!(kept(&fields), Vec::<String>::new());
    let text = written(&fields, None, false);
    assert!(!text.contains("connection") && !text.contains("upgrade"), "{text}");
}

#[test]
fn fields_that_connection_names_stay_behind_in_any_case_and_line() {
    let fields = [
        ("connection", "close ,\tX-Hop"),
        ("connection", "X-HOP2, authorization"),
        ("x-hop", "1"),
        ("x-hop2", "1"),
        ("authorization", "x"),
        ("x-keep", "1"),
    ];
    assert_eq!(kept(&fields), ["x-keep"]);
}

/// `count` fields, and a `Connection` that names each of them twice and as many that are not there.
fn named_fields(count: usize) -> HeaderMap {
    let mut fields = HeaderMap::new();
    let mut options = Vec::new();
    for number in 0..count {
        fields.append(name(&format!("x-{number}")), HeaderValue::from_static("1"));
        options.push(format!("X-{number}, y-{number}, x-{number}"));
    }
    fields.append("connection", options.join(",").parse().unwrap());
    fields
}

#[test]
fn the_work_on_a_long_connection_field_grows_with_its_length_alone() {
    let [few, many] = [100, 800].map(named_fields);
    let write = |headers: &HeaderMap| {
        let outgoing = Outgoing {
            target: "/",
            authority: None,
            host: None,
            origin: &origin(headers),
            upgrade: None,
            trusted: false,
        };
        let mut out = Vec::new();
        write_kept(&mut out, headers, &outgoing);
        assert_eq!(out, b"");
    };
    // Each field against each option would take 64 times as long.
    let times = growth(|| write(&few), || write(&many));
    assert!(times < 16.0, "8 times the fields and options took {times} times as long");
    let remove = |headers: &HeaderMap| {
        let mut headers = headers.clone();
        let connection = headers.remove("connection").unwrap();
        remove_named(&mut headers, &connection);
        assert!(headers.is_empty());
    };
    let times = growth(|| remove(&few), || remove(&many));
    assert!(times < 16.0, "8 times the fields and options took {times} times as long");
}

#[test]
fn naming_our_own_fields_does_not_take_them_away() {
    let text = written(&[("connection", "x-forwarded-for, x-real-ip, host")], None, false);
    assert!(text.contains("x-forwarded-for: 192.0.2.7\r\n"), "{text}");
    assert!(text.contains("x-real-ip: 192.0.2.7\r\n"), "{text}");
}

#[test]
fn what_a_client_says_about_itself_is_gone_in_every_spelling() {
    let ours = [
        "x-forwarded-for",
        "x-forwarded-proto",
        "x-forwarded-host",
        "x-forwarded-port",
        "x-forwarded-prefix",
        "x-forwarded-server",
        "x-forwarded-ssl",
        "x-forwarded-scheme",
        "forwarded",
        "x-real-ip",
        "x-request-id",
        "x-request-start",
        "true-client-ip",
        "x-client-ip",
        "content-length",
        "transfer-encoding",
    ];
    for name in ours {
        let dashes: Vec<_> = name.match_indices('-').map(|(at, _)| at).collect();
        for mix in 0..3_usize.pow(u32::try_from(dashes.len()).unwrap()) {
            let mut spelling = name.to_owned();
            let mut rest = mix;
            for &at in &dashes {
                spelling.replace_range(at..=at, ["-", "_", "."][rest % 3]);
                rest /= 3;
            }
            let text = written(&[(&spelling, "6.6.6.6")], None, false);
            assert!(!text.contains("6.6.6.6"), "{spelling}: {text}");
        }
    }
}

#[test]
fn a_trusted_peer_keeps_what_we_do_not_set_but_no_alias() {
    let fields = [
        ("x-forwarded-port", "8443"),
        ("x_forwarded_port", "1"),
        ("x-client-ip", "192.0.2.1"),
        ("x-forwarded-for", "6.6.6.6"),
    ];
    let text = written(&fields, None, true);
    assert!(text.contains("x-forwarded-port: 8443\r\n"), "{text}");
    assert!(text.contains("x-client-ip: 192.0.2.1\r\n"), "{text}");
    assert!(!text.contains("x_forwarded_port") && !text.contains("6.6.6.6"), "{text}");
}

#[test]
fn an_upgrade_and_the_taste_for_trailers_are_said_anew() {
    let fields = [("connection", "Upgrade, HTTP2-Settings"), ("upgrade", "h2c, websocket")];
    let text = written(&fields, Some("websocket"), false);
    assert!(text.ends_with("connection: upgrade\r\nupgrade: websocket\r\n"), "{text}");
    assert!(!text.contains("h2c"));
    let text = written(&[("te", "gzip;q=1, Trailers")], None, false);
    assert!(text.ends_with("connection: te\r\nte: trailers\r\n"), "{text}");
    let text = written(&[("te", "trailers")], Some("websocket"), false);
    let both = "connection: upgrade, te\r\nupgrade: websocket\r\nte: trailers\r\n";
    assert!(text.ends_with(both), "{text}");
}

#[test]
fn answers_lose_what_belongs_to_their_connection() {
    for field in [
        "connection",
        "content-length",
        "keep-alive",
        "proxy-authenticate",
        "proxy-connection",
        "transfer-encoding",
        "upgrade",
    ] {
        assert!(!passes_downstream(&name(field), true), "{field}");
    }
    for field in ["alt-svc", "date", "server", "set-cookie", "via", "www-authenticate"] {
        assert!(passes_downstream(&name(field), false), "{field}");
    }
    assert!(passes_downstream(&name("trailer"), true));
    assert!(!passes_downstream(&name("trailer"), false));
}

#[test]
fn only_harmless_trailers_are_safe() {
    for field in ["x-sum", "server-timing", "digest", "grpc-status", "etag"] {
        assert!(is_safe_trailer(&name(field)), "{field}");
    }
    for field in [
        "access-control-allow-origin",
        "authorization",
        "connection",
        "content-encoding",
        "content-length",
        "content_length",
        "host",
        "if-match",
        "location",
        "remote.user",
        "sec-websocket-accept",
        "set-cookie",
        "set_cookie",
        "transfer-encoding",
        "x-forwarded-for",
        "x_real_ip",
    ] {
        assert!(!is_safe_trailer(&name(field)), "{field}");
    }
    let mut trailers = headers(&[("x-sum", "1"), ("set-cookie", "a"), ("set-cookie", "b")]);
    retain_safe_trailers(&mut trailers);
    assert_eq!(trailers, headers(&[("x-sum", "1")]));
}

proptest! {
    /// The cheap check agrees with the plain rule: fold the name, look it up.
    #[test]
    fn the_quick_check_is_the_rule(
        field in "(x|X|c|t|te|host|forwarded|proxy|[a-z]{1,3})([-_.](forwarded|for|real|ip|client|request|id|start|length|proto|[a-z]{1,9})){0,3}",
        trusted in any::<bool>(),
    ) {
        const ALWAYS: [&str; 20] = [
            "connection", "content-length", "expect", "forwarded", "host", "http2-settings",
            "keep-alive", "proxy", "proxy-authorization", "proxy-connection", "te", "trailer",
            "transfer-encoding", "upgrade", "x-forwarded-for", "x-forwarded-host",
            "x-forwarded-proto", "x-real-ip", "x-request-id", "x-request-start",
        ];
        const UNLESS_TRUSTED: [&str; 2] = ["true-client-ip", "x-client-ip"];
        let field = name(&field);
        let folded = field.as_str().replace(['_', '.'], "-");
        let in_family = folded.starts_with("x-forwarded-") || UNLESS_TRUSTED.contains(&&*folded);
        let plain = folded == field.as_str();
        let ours = ALWAYS.contains(&&*folded) || (in_family && !(trusted && plain));
        prop_assert_eq!(goes_upstream(&field, trusted), !ours, "{}", field);
    }
}
