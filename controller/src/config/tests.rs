use std::collections::BTreeSet;
use std::path::Path;
use std::time::Duration;

use cutover_proxy::table::{Balance, BodyLimit, HashKey, HostPattern};
use proptest::prelude::*;

use super::*;

mod readme;

fn parse(text: &str) -> Result<Config, Report> {
    Config::parse(Path::new("cutover.toml"), text)
}

fn report(text: &str) -> String {
    parse(text).unwrap_err().render()
}

fn service(keys: &str) -> ServiceConfig {
    let mut config = parse(&format!("[services.web]\n{keys}")).unwrap();
    config.services.pop_first().unwrap().1
}

const CONTRACT: &str = r#"
[listen]
http    = ["0.0.0.0:80"]
admin   = "127.0.0.1:1936"
control = "/run/cutover/control.sock"
trusted_proxies = []
[runtime]
workers = "auto"
state_dir = "/var/lib/cutover"
shutdown_timeout = "25s"
[access_log]
output = "off"
[limits]
header_timeout = "10s"
idle_timeout = "60s"
body_idle_timeout = "30s"
write_idle_timeout = "30s"
max_header_bytes = "64KiB"
max_headers = 100
max_target_bytes = "8KiB"
max_connections = "auto"
max_connections_per_client = 256
max_waiting = 1000
max_body = "unlimited"
[docker]
enable = true
socket = "/var/run/docker.sock"
[services.web]
hosts = ["example.com", "*.example.com"]
path = "/"
balance = "p2c"
active = "blue"
blue  = ["10.0.0.1:8000", { address = "[::1]:80", weight = 2 }]
green = ["web-green:8000"]
max_body = "unlimited"
[services.web.timeouts]
connect = "2s"
response_header = "30s"
upstream_idle = "4s"
hold = "5s"
[services.web.probe]
path = "/health"
interval = "1s"
timeout = "2s"
rise = 2
fall = 3
status = "200-399"
[services.web.drain]
timeout = "30s"
streams = "5m"
[services.web.rollout]
strategy = "blue-green"
keep_warm = "10m"
monitor = "60s"
"#;

#[test]
fn the_contract_file_is_the_defaults_plus_one_service() {
    let mut config = parse(CONTRACT).unwrap();
    let (name, web) = config.services.pop_first().unwrap();
    assert_eq!(config, Config::default());
    assert_eq!(name.as_str(), "web");
    assert_eq!(
        web.blue,
        [
            StaticEndpoint { host: "10.0.0.1".to_owned(), port: 8000, weight: 1 },
            StaticEndpoint { host: "::1".to_owned(), port: 80, weight: 2 },
        ]
    );
    let plain = ServiceConfig {
        hosts: web.hosts.clone(),
        blue: web.blue.clone(),
        green: web.green.clone(),
        max_body: Some(BodyLimit::Unlimited),
        probe: web.probe.clone(),
        written: web.written.clone(),
        ..ServiceConfig::default()
    };
    assert_eq!(web, plain);
    assert_eq!(parse("").unwrap(), Config::default());
}

#[test]
fn an_error_has_its_line_column_excerpt_and_hint() {
    let report =
        report("[listen]\nhttp = \"0.0.0.0:80\"\n[services.web]\nhostss = [\"a.example\"]\n");
    assert!(
        report.starts_with("error: cutover.toml:4:1: unknown key `services.web.hostss`\n"),
        "{report}"
    );
    assert!(report.contains("hostss = [\"a.example\"]"), "{report}");
    assert!(report.ends_with("hint: did you mean `hosts`?\n"), "{report}");
}

#[test]
fn several_errors_are_reported_at_once_in_the_order_of_the_file() {
    let text = "[listen]\nhttp = 80\n[limits]\nidle_timeout = 60\n[servces.web]\nx = 1\n";
    let report = parse(text).unwrap_err();
    assert_eq!(report.count(), 3, "{}", report.render());
    let rendered = report.render();
    let lines: Vec<&str> = rendered.lines().filter(|line| line.starts_with("error:")).collect();
    assert!(
        lines[0].contains(":2:8: ") && lines[1].contains(":4:16: ") && lines[2].contains(":5:2: "),
        "{lines:?}"
    );
    assert!(rendered.contains("did you mean `services`?"), "{rendered}");
    assert!(report.to_string().ends_with("and 2 more"), "{report}");
}

#[test]
fn broken_toml_is_a_report_too() {
    assert!(report("[listen\nhttp = 1").starts_with("error: cutover.toml:1:8: "));
    assert!(report("a = 1\na = 2").contains("duplicate key"));
}

#[test]
fn values_that_make_no_sense_are_refused_with_a_reason() {
    for (keys, reason) in [
        ("path = \"api\"", "does not start with `/`"),
        ("hosts = [\"*.*.example.com\"]", "one whole label"),
        ("hosts = [\"a*.example.com\"]", "one whole label"),
        ("hosts = [\"http://example.com\"]", "no scheme"),
        ("hosts = [\"example.com:80\"]", "no port here"),
        ("hosts = [\"a.example\", \"A.example\"]", "listed twice"),
        ("blue = [\"10.0.0.1\"]", "the port is missing"),
        ("blue = [\"http://10.0.0.1:1\"]", "without a scheme"),
        ("blue = [\"::1:80\"]", "stands in brackets"),
        ("blue = [{ address = \"a:1\", weight = 0 }]", "from 1 to 1000"),
        ("blue = [{ weight = 1 }]", "no `address`"),
        ("blue = [{ address = \"a:1\", wieght = 1 }]", "`address` and `weight`"),
        ("balance = \"p2d\"", "did you mean \"p2c\"?"),
        ("balance = \"hash:header:\"", "names nothing to hash"),
        ("active = \"red\"", "one of: blue, green, both"),
        ("max_body = \"ten\"", "is not a size"),
        ("port = \"8000\"", "expected a number"),
        ("strip_prefix = \"yes\"", "expected true or false"),
        ("probe.path = \"health\"", "does not start with `/`"),
        ("probe.type = \"tcp\"\nprobe.path = \"/\"", "a TCP probe has no `path`"),
        ("probe.status = \"2xx\"", "not a set of statuses"),
        ("probe.rise = 0", "from 1 to 1000"),
        ("timeouts.connect = \"0s\"", "may not be zero"),
        ("timeouts.hold = 5", "\"5s\" is 5 seconds"),
        ("rollout.strategy = \"canary\"", "one of: blue-green"),
        ("drain = \"30s\"", "a table of settings"),
    ] {
        let report = report(&format!("[services.web]\n{keys}\n"));
        assert!(report.contains(reason), "{keys}: {report}");
        assert!(report.contains("cutover.toml:"), "{keys}: {report}");
    }
}

#[test]
fn what_this_version_lacks_says_so() {
    assert!(
        report("[listen]\nhttps = \"0.0.0.0:443\"")
            .contains("`https` is not available in this version")
    );
    assert!(report("[tls.acme]\nemail = \"x\"").contains("`tls` is not available in this version"));
}

#[test]
fn a_name_that_is_none_is_refused_once() {
    let report = parse("[services.\"Web 1\"]\nnonsense = 1").unwrap_err();
    assert_eq!(report.count(), 1);
    assert!(report.to_string().contains("cannot name a service"));
}

#[test]
fn two_services_cannot_claim_one_route() {
    let text = "[services.a]\nhosts = \"x.example\"\n[services.b]\nhosts = [\"X.example\"]\n";
    let report = report(text);
    assert!(report.contains("cutover.toml:4:1: x.example/ is already served by `a`"), "{report}");
    assert!(parse("[services.a]\npath = \"/a\"\n[services.b]\npath = \"/b/\"\n").is_ok());
}

#[test]
fn routes_stand_in_matching_order() {
    let text = "[services.any]\n[services.api]\npath = \"/api\"\n[services.wild]\nhosts = \"*.b.example\"\n\
                [services.exact]\nhosts = [\"z.example\"]\n[services.deep]\nhosts = \"z.example\"\npath = \"/x/y\"";
    let config = parse(text).unwrap();
    let order: Vec<&str> = config.routes().iter().map(|route| route.service.as_str()).collect();
    assert_eq!(order, ["deep", "exact", "wild", "api", "any"]);
}

#[test]
fn every_spelling_of_a_value_is_understood() {
    assert_eq!(service("max_body = \"10MiB\"").max_body, Some(BodyLimit::Bytes(10 << 20)));
    assert_eq!(service("max_body = 17").max_body, Some(BodyLimit::Bytes(17)));
    assert_eq!(service("max_body = \"unlimited\"").max_body, Some(BodyLimit::Unlimited));
    assert_eq!(service("").max_body, None);
    let limited = parse("[limits]\nmax_body = \"2MiB\"").unwrap();
    assert_eq!(limited.limits.max_body, BodyLimit::Bytes(2 << 20));
    assert_eq!(
        service("balance = \"hash:cookie:sid\"").balance,
        Balance::Hash(HashKey::Cookie("sid".to_owned()))
    );
    assert_eq!(service("hosts = \"*\"").hosts, [HostPattern::Any]);
    assert_eq!(service("path = \"/a/\"").path, "/a");
    assert_eq!(service("timeouts.hold = \"1m30s\"").timeouts.hold, Duration::from_secs(90));
    assert_eq!(
        service("timeouts.connect = \"500ms\"").timeouts.connect,
        Duration::from_millis(500)
    );
    assert_eq!(service("blue = \"a:1\"").blue.len(), 1);
    let ProbeKind::Http { status, path, .. } = service("probe.status = \"200-299,404\"").probe.kind
    else {
        panic!("a status makes it an HTTP probe");
    };
    assert_eq!((path.as_str(), status), ("/", vec![(200, 299), (404, 404)]));
    assert_eq!(service("").probe.kind, ProbeKind::Tcp);
}

#[test]
fn a_public_admin_address_is_allowed_and_warned_about() {
    let config = parse("[listen]\nadmin = \"0.0.0.0:1936\"").unwrap();
    assert!(config.warnings()[0].contains("0.0.0.0:1936"));
    assert_eq!(parse("[listen]\nadmin = \"off\"").unwrap().listen.admin, None);
    assert!(Config::default().warnings().is_empty());
}

#[test]
fn no_file_at_the_default_path_is_fine_and_a_missing_given_one_is_not() {
    let missing = Config::load(Some(Path::new("/nonexistent/cutover.toml"))).unwrap_err();
    assert!(missing.render().contains("hint: give the path with --config FILE"));
}

#[test]
fn what_needs_a_restart_stays_and_is_named_until_the_restart() {
    let live = Config::default();
    let text = "[listen]\nhttp = \"0.0.0.0:81\"\ntrusted_proxies = \"10.0.0.0/8\"\n[runtime]\nworkers = 3\n";
    let mut first = parse(text).unwrap();
    assert_eq!(first.keep_bound(&live), ["listen.http", "runtime"]);
    assert_eq!((&first.listen.http, &first.runtime), (&live.listen.http, &live.runtime));
    assert_eq!(first.listen.trusted_proxies.len(), 1);
    // The next change of another key does not make it forgotten.
    let mut second = parse(&format!("{text}[services.web]\n")).unwrap();
    assert_eq!(second.keep_bound(&first), ["listen.http", "runtime"]);
}

proptest! {
    #[test]
    fn no_text_panics(text in ".{0,200}") {
        if let Err(report) = parse(&text) {
            prop_assert!(report.render().starts_with("error: "));
        }
    }

    #[test]
    fn a_contract_file_cut_or_changed_anywhere_never_panics(at in 0..CONTRACT.len(), c in any::<char>(), cut in any::<bool>()) {
        prop_assume!(CONTRACT.is_char_boundary(at));
        let mut text = CONTRACT.to_owned();
        if cut { text.truncate(at) } else { text.insert(at, c) }
        if let Err(report) = parse(&text) {
            prop_assert!(report.render().contains("cutover.toml:"));
        }
    }
}
