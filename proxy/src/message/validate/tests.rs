use http::Request;

use super::*;

/// A head as hyper would hand it over.
fn head(request: http::request::Builder) -> Parts {
    request.body(()).expect("a request").into_parts().0
}

fn get(target: &str) -> http::request::Builder {
    Request::builder().uri(target).header("host", "app.test")
}

fn judge(request: http::request::Builder) -> Result<(Option<String>, String), Reason> {
    let head = head(request);
    validate(&head, &Limits::default()).map(|ok| (ok.host.map(Cow::into_owned), ok.path.to_owned()))
}

fn rejection(request: http::request::Builder) -> Option<Reason> {
    judge(request).err()
}

#[test]
#[expect(clippy::too_many_lines, reason = "a table")]
fn a_host_is_one_valid_authority() {
    let valid = [
        ("app.test", "app.test"),
        ("APP.Test", "app.test"),
        ("app.test.", "app.test"),
        ("app.test:8080", "app.test"),
        ("app.test.:1", "app.test"),
        ("web_1.internal", "web_1.internal"),
        ("10.0.0.1:65535", "10.0.0.1"),
        ("[::1]", "[::1]"),
        ("[2001:DB8::1]:443", "[2001:db8::1]"),
        ("localhost", "localhost"),
        ("app.test:", "app.test"),
        ("[::1]:", "[::1]"),
    ];
    for (value, key) in valid {
        let request = Request::builder().uri("/").header("host", value);
        assert_eq!(judge(request), Ok((Some(key.into()), "/".into())), "{value}");
    }
    let long = format!("{}.test", "a".repeat(250));
    let invalid = [
        "",
        ".",
        "..",
        ".app.test",
        "app..test",
        "app.test..",
        "app.test/admin",
        "app.test?x",
        "app.test#x",
        "app.test evil.test",
        "app.test,evil.test",
        "user@app.test",
        ":",
        "app.test::",
        "app.test:0",
        "app.test:65536",
        "app.test:80x",
        "app.test:80:81",
        "app.test:+80",
        "app.test:000080",
        ":80",
        "[::1",
        "::1",
        "[::1]x",
        "[::1]::",
        "[]",
        "[fe80::1%25eth0]",
        "[v1.x]",
        "[127.0.0.1]",
        "app%2etest",
        "app.test\\evil",
        "app\ttest",
        "a\"b",
        "a;b",
        "a(b)",
        long.as_str(),
    ];
    for value in invalid {
        let request = Request::builder().uri("/").header("host", value);
        assert_eq!(rejection(request), Some(Reason::BadHost), "{value}");
    }
    let beyond_ascii = HeaderValue::from_bytes(b"app\xe9.test").expect("obs-text is allowed");
    assert_eq!(
        rejection(Request::builder().uri("/").header("host", beyond_ascii)),
        Some(Reason::BadHost)
    );
}

#[test]
fn http_1_1_needs_a_host_and_nobody_may_send_two() {
    assert_eq!(rejection(Request::builder().uri("/")), Some(Reason::BadHost));
    assert_eq!(
        judge(Request::builder().uri("/").version(Version::HTTP_10)),
        Ok((None, "/".into()))
    );
    for second in ["app.test", "evil.test", ""] {
        assert_eq!(rejection(get("/").header("host", second)), Some(Reason::BadHost));
    }
}

#[test]
fn a_target_has_the_form_its_method_allows() {
    for (target, path) in [
        ("/", "/"),
        ("/a?b=/c", "/a"),
        ("//evil.test/x", "//evil.test/x"),
        ("/a/../b", "/a/../b"),
        ("/%2e%2e/%00", "/%2e%2e/%00"),
        ("/a\"b", "/a\"b"),
        ("http://app.test/x", "/x"),
        ("http://app.test", "/"),
        ("http://app.test?x=1", "/"),
        ("https://APP.test/x", "/x"),
        ("http://app.test:80/x", "/x"),
        ("http://app.test:/x", "/x"),
    ] {
        assert_eq!(judge(get(target)), Ok((Some("app.test".into()), path.into())), "{target}");
    }
    for target in ["*", "admin", "evil.test:80", "ftp://app.test/x", "app.test"] {
        assert_eq!(rejection(get(target)), Some(Reason::BadTarget), "{target}");
    }
    assert!(judge(get("*").method("OPTIONS")).is_ok());
    let bare = head(get("http://app.test?x=1"));
    assert_eq!(validate(&bare, &Limits::default()).unwrap().target, "/?x=1");
    assert_eq!(rejection(get("http://user@app.test/")), Some(Reason::BadTarget));
}

#[test]
fn an_absolute_target_names_the_same_authority_as_host() {
    for target in
        ["http://evil.test/", "http://app.test:81/", "http://app.test./", "https://app.test:80/"]
    {
        assert_eq!(rejection(get(target)), Some(Reason::HostMismatch), "{target}");
    }
}

#[test]
fn the_authority_of_the_target_is_the_host_that_goes_upstream() {
    let authority = |request: http::request::Builder| {
        let head = head(request);
        let valid = validate(&head, &Limits::default()).unwrap();
        assert_eq!(valid.host.is_some(), valid.authority.is_some());
        valid.authority.map(str::to_owned)
    };
    let old = |target: &str| Request::builder().uri(target).version(Version::HTTP_10);
    assert_eq!(authority(old("http://App.test:81/x")).as_deref(), Some("App.test:81"));
    assert_eq!(authority(get("http://APP.test:80/x")).as_deref(), Some("APP.test:80"));
    assert_eq!(authority(get("http://app.test:/x")).as_deref(), Some("app.test"));
    assert_eq!(authority(old("/x").header("host", "app.test:")).as_deref(), Some("app.test"));
    assert_eq!(authority(old("/x")), None);
}

#[test]
fn an_endless_target_is_refused() {
    let limits = Limits::default();
    let fits = format!("/{}", "a".repeat(limits.max_target_bytes - 1));
    assert!(judge(get(&fits)).is_ok());
    assert_eq!(rejection(get(&format!("{fits}a"))), Some(Reason::TargetTooLong));
}

#[test]
fn a_body_has_one_framing() {
    let chunked = |value: &str| get("/").method("POST").header("transfer-encoding", value);
    for value in ["chunked", "Chunked", "CHUNKED"] {
        assert_eq!(rejection(chunked(value)), None, "{value}");
    }
    for value in ["gzip, chunked", "deflate,chunked", "identity, chunked"] {
        assert_eq!(rejection(chunked(value)), Some(Reason::UnknownCoding), "{value}");
    }
    for value in [
        "",
        "gzip",
        "identity",
        "chunked, chunked",
        "chunked,",
        ",chunked",
        "chunked;q=1",
        "\"chunked\"",
        "chunked foo",
        "xchunked",
        "chunked, gzip",
        "chunked, gzip, chunked",
        "\tx, chunked y",
    ] {
        assert_eq!(rejection(chunked(value)), Some(Reason::BadTransferCoding), "{value}");
    }
    assert_eq!(
        rejection(chunked("chunked").header("transfer-encoding", "chunked")),
        Some(Reason::BadTransferCoding)
    );
    assert_eq!(
        rejection(chunked("chunked").version(Version::HTTP_10)),
        Some(Reason::BadTransferCoding)
    );
    assert_eq!(
        rejection(chunked("chunked").header("content-length", "5")),
        Some(Reason::LengthAndCoding)
    );
}

#[test]
fn a_content_length_is_one_line_of_digits() {
    for value in ["0", "5", "005"] {
        assert_eq!(rejection(get("/").header("content-length", value)), None, "{value}");
    }
    for value in ["", "+5", "-5", "5, 5", "5 ", "0x5", "5.0", "1_0"] {
        let request = get("/").header("content-length", value);
        assert_eq!(rejection(request), Some(Reason::BadRequest), "{value}");
    }
    let twice = get("/").header("content-length", "5").header("content-length", "5");
    assert_eq!(rejection(twice), Some(Reason::BadRequest));
}

#[test]
fn methods_are_bounded_and_some_are_not_relayed() {
    for method in ["GET", "PROPFIND", "get", "X-ANY!"] {
        assert_eq!(rejection(get("/").method(method)), None, "{method}");
    }
    let long = "M".repeat(MAX_METHOD_BYTES + 1);
    for method in ["CONNECT", "TRACE", long.as_str()] {
        assert_eq!(rejection(get("/").method(method)), Some(Reason::Method), "{method}");
    }
}

#[test]
fn the_only_expectation_is_100_continue() {
    assert_eq!(rejection(get("/").header("expect", "100-Continue")), None);
    for value in ["200-ok", "", "100-continue, x", "100-continue;q=1"] {
        let request = get("/").header("expect", value);
        assert_eq!(rejection(request), Some(Reason::Expectation), "{value}");
    }
    assert_eq!(rejection(get("/").version(Version::HTTP_10).header("expect", "anything")), None);
}

#[test]
fn an_upgrade_is_asked_for_by_one_name_or_not_at_all() {
    let asked = |request: http::request::Builder| {
        let head = head(request);
        let validated = validate(&head, &Limits::default());
        validated
            .expect("an odd Upgrade is ignored, not refused")
            .upgrade
            .map(|value| value.to_str().expect("ASCII").to_owned())
    };
    let upgrade =
        |protocol: &str| get("/").header("connection", "x, Upgrade").header("upgrade", protocol);
    for protocol in ["websocket", "WebSocket", "spdy/3.1"] {
        assert_eq!(asked(upgrade(protocol)).as_deref(), Some(protocol));
    }
    for protocol in
        ["", "h2c", "H2C", "h2", "HTTP/2.0", "TLS/1.2", "h2c, websocket", "a/b/c", "web socket"]
    {
        assert_eq!(asked(upgrade(protocol)), None, "{protocol}");
    }
    assert_eq!(asked(get("/").header("upgrade", "websocket")), None);
    assert_eq!(
        asked(get("/").header("upgrade", "websocket").header("connection", "upgrades")),
        None
    );
    assert_eq!(asked(upgrade("websocket").header("upgrade", "h2c")), None);
    assert_eq!(asked(upgrade("websocket").version(Version::HTTP_10)), None);
}

#[test]
fn any_method_may_ask_for_an_upgrade_with_a_body_or_without() {
    let framings = [None, Some(("content-length", "0")), Some(("content-length", "5"))];
    for method in ["GET", "POST", "PUT", "OPTIONS", "ANY"] {
        for framing in framings.into_iter().chain([Some(("transfer-encoding", "chunked"))]) {
            let request = get("/").method(method).header("connection", "upgrade");
            let mut head = head(request.header("upgrade", "tcp"));
            if let Some((name, value)) = framing {
                head.headers.insert(name, HeaderValue::from_static(value));
            }
            let validated = validate(&head, &Limits::default()).unwrap();
            assert!(validated.upgrade.is_some_and(|asked| asked == "tcp"), "{method} {framing:?}");
        }
    }
}
