//! What an attacker meets: a proxy without rights, closed doors, logs that cannot be forged, and an
//! edge that outlives the lack of file descriptors.
#![allow(clippy::indexing_slicing, clippy::unwrap_used, missing_docs, reason = "tests")]

use std::fs;
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use cutover_harness::eventually;
use cutover_harness::static_edge::{
    StaticEdge as Edge, connect, cpu_ticks, get, ok, rest, talk, upstream,
};

fn config(app: SocketAddr, more: &str) -> String {
    format!(
        "[listen]\n{more}\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n\
         [services.web]\nhosts = [\"edge.test\"]\nblue = [\"{app}\"]\nprobe.path = \"/\"\n"
    )
}

fn no_docker(app: SocketAddr, more: &str) -> String {
    config(app, more) + "[docker]\nenable = false\n"
}

#[test]
#[expect(
    clippy::cognitive_complexity,
    reason = "what happens is told in order; each assert counts"
)]
fn the_proxy_keeps_no_right_and_no_way_to_docker() {
    let app = upstream(|_| ok("fine"));
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("docker.sock");
    let _docker = UnixListener::bind(&socket).unwrap();
    let docker = format!("[docker]\nsocket = \"{}\"\n", socket.display());
    let edge = Edge::start(&(config(app, "") + &docker));
    let proxy = edge.child("proxy").unwrap();
    let status = fs::read_to_string(format!("/proc/{proxy}/status")).unwrap();
    let field = |name: &str| {
        let line = status.lines().find(|line| line.starts_with(name)).unwrap();
        line.split_whitespace().skip(1).map(str::to_owned).collect::<Vec<_>>()
    };
    assert_eq!(field("NoNewPrivs:"), ["1"]);
    assert_eq!(field("Seccomp:"), ["2"]);
    if rustix::process::geteuid().is_root() {
        assert_eq!(field("Uid:"), ["65534"; 4]);
        assert_eq!(field("Gid:"), ["65534"; 4]);
        assert_eq!(field("Groups:"), Vec::<String>::new());
        for set in ["CapInh:", "CapPrm:", "CapEff:", "CapBnd:", "CapAmb:"] {
            assert_eq!(field(set), ["0000000000000000"], "{set}");
        }
    }
    let environment = fs::read(format!("/proc/{proxy}/environ")).unwrap();
    assert!(!String::from_utf8_lossy(&environment).contains("A_SECRET"));
    assert_eq!(fs::read_link(format!("/proc/{proxy}/cwd")).unwrap(), Path::new("/"));
    // No file, and no Unix socket with a name but the link.
    let mut names = Vec::new();
    let sockets = fs::read_to_string(format!("/proc/{proxy}/net/unix")).unwrap();
    for fd in fs::read_dir(format!("/proc/{proxy}/fd")).unwrap() {
        // One that is closed meanwhile says nothing.
        let Ok(target) = fs::read_link(fd.unwrap().path()) else { continue };
        let target = target.display().to_string();
        assert!(!target.contains("docker"), "{target}");
        assert!(!target.starts_with('/') || target == "/dev/null", "{target}");
        if let Some(inode) = target.strip_prefix("socket:[").and_then(|i| i.strip_suffix(']')) {
            let line = sockets.lines().find(|line| line.split_whitespace().nth(6) == Some(inode));
            names.extend(line.and_then(|line| line.split_whitespace().nth(7)).map(str::to_owned));
        }
    }
    let link = edge.directory.path().join("run/proxy.sock").display().to_string();
    assert!(!names.is_empty() && names.iter().all(|name| *name == link), "{names:?}");
    edge.is_well();
}

#[test]
fn a_confined_proxy_logs_counts_reopens_and_ends_in_order() {
    let app = upstream(|_| ok("fine"));
    let mut edge = Edge::start(&no_docker(app, "[access_log]\noutput = \"{root}/access.log\""));
    let log = edge.directory.path().join("access.log");
    let has = |what: &str| fs::read_to_string(&log).unwrap_or_default().contains(what);
    assert!(get(edge.http, "/before").is_ok());
    eventually("the request is logged", || has("/before"));
    fs::rename(&log, edge.directory.path().join("access.log.1")).unwrap();
    edge.signal("-USR1");
    eventually("the log is opened anew", || {
        get(edge.http, "/after").unwrap();
        has("/after")
    });
    assert!(!has("/before"));
    for metric in
        ["process_open_fds", "process_resident_memory_bytes", "process_start_time_seconds"]
    {
        let value = edge.metric(&format!("{metric}{{process=\"proxy\"}}"));
        assert!(value.is_some_and(|value| value > 0.0), "{metric}: {value:?}");
    }
    edge.is_well();
    edge.signal("-TERM");
    assert_eq!(edge.exit(), Some(0));
}

#[test]
fn nothing_of_ours_is_behind_the_public_door() {
    let app = upstream(|_| ok("fine"));
    let edge = Edge::start(&no_docker(app, ""));
    let admin = edge.admin.to_string();
    let control = edge.socket().display().to_string();
    let hosts = ["localhost", "127.0.0.1", "[::1]", "cutover", "control", &admin];
    let paths = ["/metrics", "/v1/status", "/v1/services", "/livez", "/readyz", "/", "/debug"];
    for host in hosts {
        for path in paths {
            let end = format!("HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n");
            for target in [path.to_owned(), format!("http://{host}{path}")] {
                let answer = talk(edge.http, format!("GET {target} {end}"));
                assert!(answer.starts_with("HTTP/1.1 404 "), "{answer}");
                assert!(answer.contains("x-cutover-reason: no_route"), "{answer}");
                assert!(!answer.contains(&control) && !answer.contains(&app.to_string()));
            }
            let flip = format!("POST /v1/services/web/flip {end}");
            assert!(talk(edge.http, flip).starts_with("HTTP/1.1 404 "));
        }
    }
    // Not by another target form either, nor beyond the door by a name that is served.
    for request in [
        format!("CONNECT {admin} HTTP/1.1\r\nhost: {admin}\r\n\r\n"),
        format!("GET http://unix:{control}/v1/status HTTP/1.1\r\nhost: edge.test\r\n\r\n"),
        format!("GET http://{admin}/metrics HTTP/1.1\r\nhost: edge.test\r\n\r\n"),
    ] {
        let answer = talk(edge.http, request);
        assert!(answer.starts_with("HTTP/1.1 400 ") || answer.starts_with("HTTP/1.1 501 "));
    }
    for path in paths {
        assert!(get(edge.http, path).unwrap().ends_with("fine"), "that is the app's {path}");
    }
    edge.is_well();
}

#[test]
fn the_control_side_is_closed_to_others_by_default() {
    let defaults = cutover_controller::config::Config::default();
    assert!(defaults.listen.admin.is_none_or(|admin| admin.ip().is_loopback()));
    let app = upstream(|_| ok("fine"));
    let edge = Edge::start(&no_docker(app, "control_gids = [4242]"));
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&edge.socket()), 0o660);
    assert_eq!(mode(&edge.directory.path().join("run/proxy.sock")), 0o600);
    assert!(edge.cutover(&["status"]).status.success());
    if !rustix::process::geteuid().is_root() {
        return;
    }
    // Where file permissions let everybody in, the list still does not.
    fs::set_permissions(edge.directory.path(), fs::Permissions::from_mode(0o755)).unwrap();
    fs::set_permissions(edge.directory.path().join("run"), fs::Permissions::from_mode(0o755))
        .unwrap();
    fs::set_permissions(edge.socket(), fs::Permissions::from_mode(0o666)).unwrap();
    // A copy: the build directory may be closed to others.
    let binary = edge.directory.path().join("cutover");
    fs::copy(env!("CARGO_BIN_EXE_cutover"), &binary).unwrap();
    let status_as = |uid: u32, gid: u32| {
        let mut command = Command::new(&binary);
        command.arg("--socket").arg(edge.socket()).arg("status").uid(uid).gid(gid);
        command.output().unwrap()
    };
    let stranger = status_as(12345, 12345);
    assert_eq!(stranger.status.code(), Some(1));
    assert!(status_as(12345, 4242).status.success(), "a member of control_gids");
    eventually("it is told", || {
        edge.line("turned away from the control socket uid=12345").is_some()
    });
    edge.is_well();
}

#[test]
fn garbage_on_the_control_side_stops_nobody() {
    let app = upstream(|_| ok("fine"));
    let edge = Edge::start(&no_docker(app, ""));
    let unix = || UnixStream::connect(edge.socket()).unwrap();
    let garbage: [&[u8]; 7] = [
        b"",
        b"\0\0\0\0\xff\xff\xff\xff",
        b"\r\n\r\n\r\n",
        b"GET /v1/status HTTP/1.1\r\nhost:",
        b"POST /v1/services/web/flip HTTP/1.1\r\nhost: c\r\ncontent-length: 18446744073709551615\r\n\r\n{",
        b"POST /v1/services/web/flip HTTP/1.1\r\nhost: c\r\ntransfer-encoding: chunked\r\n\r\nffffffffffffffff\r\n",
        b"POST /v1/services/%00%ff%0a/flip HTTP/1.1\r\nhost: c\r\ncontent-length: 9\r\n\r\n[[[[[[[[[",
    ];
    // Half requests that stay, event streams that nobody reads, and callers that only come and go.
    let mut kept = Vec::new();
    for bytes in garbage {
        for _ in 0..20 {
            let mut stream = unix();
            stream.write_all(bytes).ok();
            kept.push(stream);
        }
        let mut stream = connect(edge.admin);
        stream.write_all(bytes).ok();
        drop(stream);
    }
    for _ in 0..50 {
        let mut stream = unix();
        stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: c\r\n\r\n").ok();
        kept.push(stream);
    }
    for _ in 0..10_000 {
        drop(unix());
    }
    let long = [b"GET /".as_slice(), &[b'a'; 1 << 20]].concat();
    unix().write_all(&long).ok();
    assert!(edge.answers());
    for _ in 0..50 {
        // Each is an event for those who do not read.
        assert!(edge.cutover(&["pause", "web", "--max-pause", "1s"]).status.success());
        assert!(edge.cutover(&["resume", "web"]).status.success());
    }
    assert!(edge.answers());
    drop(kept);
    edge.is_well();
}

#[test]
fn raw_bytes_at_the_public_door_stop_nobody_and_leave_it_at_rest() {
    let app = upstream(|_| ok("fine"));
    let edge = Edge::start(&no_docker(app, ""));
    let mut state = 0x2545_f491_4f6c_dd1d_u64;
    let mut random = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state
    };
    let valid = b"POST /a?b HTTP/1.1\r\nhost: edge.test\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n";
    for round in 0..400 {
        let mut bytes = valid.to_vec();
        for _ in 0..=round % 8 {
            let at = usize::try_from(random()).unwrap() % bytes.len();
            bytes[at] = random().to_le_bytes()[0];
        }
        if round % 10 == 0 {
            bytes = (0..500).map(|_| random().to_le_bytes()[0]).collect();
        }
        let mut stream = connect(edge.http);
        stream.write_all(&bytes).ok();
        stream.shutdown(std::net::Shutdown::Write).ok();
        rest(&stream);
    }
    let (proxy, since) = (edge.child("proxy").unwrap(), Instant::now());
    let before = cpu_ticks(proxy);
    thread::park_timeout(Duration::from_secs(1));
    let ticks = cpu_ticks(proxy) - before;
    // A tick is 10 ms; a loop without pause would have all of the time.
    assert!(u128::from(ticks) * 10 < since.elapsed().as_millis() / 10, "{ticks} ticks");
    edge.is_well();
}

#[test]
fn no_line_of_a_log_can_be_forged() {
    let app = upstream(|head| {
        let mut answer = b"HTTP/1.1 200 fine\xff\r\nx-app: a\xff\xe2\x80\xae\r\n".to_vec();
        if head.contains("/broken") {
            answer = b"HTTP/1.1 200 OK\nINFO forged\x1b[31m\xe2\x80\xae\r\nx: \0\r\n".to_vec();
        }
        answer.extend_from_slice(b"content-length: 4\r\n\r\nfine");
        answer
    });
    let edge = Edge::start(&no_docker(
        app,
        "trusted_proxies = [\"127.0.0.0/8\"]\n[access_log]\noutput = \"{root}/access.log\"",
    ));
    let request = |target: &[u8], fields: &[u8]| {
        let host = b" HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n";
        [b"GET ", target, host, fields, b"\r\n"].concat()
    };
    let evil = b"x\x1b[2J\"} {\"status\":200,\xe2\x80\xae\xff\x7f\x9b".as_slice();
    for target in
        [b"/%0d%0aINFO%1b[2J".to_vec(), b"/\"},{\"forged\":\"1".to_vec(), [b"/", evil].concat()]
    {
        talk(edge.http, request(&target, b""));
    }
    for name in ["x-request-id", "x-forwarded-for", "x-forwarded-host", "forwarded", "user-agent"] {
        talk(edge.http, request(b"/field", &[name.as_bytes(), b": ", evil, b"\r\n"].concat()));
    }
    talk(edge.http, request(b"/broken", b""));
    talk(edge.http, [b"G\x1b[T / HTTP/1.1\r\nhost: ", evil, b"\r\n\r\n"].concat());
    for target in ["/v1/services/a%0AINFO%20forged%1b%E2%80%AE/flip", "/v1/%0a%1b"] {
        edge.ask(&format!("POST {target}")).unwrap();
    }
    assert!(get(edge.http, "/last").is_ok());
    let access = edge.directory.path().join("access.log");
    let read = || String::from_utf8(fs::read(&access).unwrap()).unwrap();
    eventually("the last request is logged", || read().contains("/last"));
    for line in read().lines() {
        assert!(line.bytes().all(|byte| (b' '..=b'~').contains(&byte)), "{line:?}");
        let line: serde_json::Value = serde_json::from_str(line).unwrap();
        assert!(line["time"].is_string() && line.get("forged").is_none(), "{line}");
    }
    // A config and a path that are meant for a log of their own.
    fs::write(edge.config_path(), "[listen]\n\"a\\nINFO forged\\u001b[2J\\u202e\" = 1\n").unwrap();
    eventually("the file is refused", || edge.line("not valid").is_some());
    edge.is_well();
    for line in edge.log() {
        assert!(!line.contains(|c: char| c.is_control() || c == '\u{202e}'), "{line:?}");
        assert!(line.starts_with("20"), "not a line of ours: {line:?}");
    }
}

#[test]
fn no_answer_of_ours_names_an_address_or_a_path() {
    let app = upstream(|_| b"nonsense 10.1.2.3\r\n\r\n".to_vec());
    let good = upstream(|_| ok("fine"));
    let edge = Edge::start(
        &(no_docker(good, "")
            + &format!(
                "[services.broken]\nhosts = [\"broken.test\"]\nblue = [\"{app}\"]\n\
                 [services.none]\nhosts = [\"none.test\"]\nblue = [\"127.0.0.1:1\"]\ntimeouts.hold = \"100ms\"\n"
            )),
    );
    let root = edge.directory.path().display().to_string();
    for host in ["broken.test", "none.test", "unknown.test", "bad host"] {
        let answer = talk(
            edge.http,
            format!("GET /x HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n"),
        );
        assert!(answer.contains("x-cutover-reason: "), "{answer}");
        for secret in ["127.0.0.1", "10.1.2.3", &app.port().to_string(), &root, "src/", ".rs"] {
            assert!(!answer.contains(secret), "{secret} in {answer}");
        }
    }
    edge.is_well();
}

#[test]
fn without_file_descriptors_the_edge_neither_spins_nor_babbles_and_recovers() {
    let app = upstream(|_| ok("fine"));
    let edge = Edge::start_as(
        &no_docker(app, "[limits]\nmax_connections = 1000"),
        "ulimit -n 256; exec \"$@\"",
    );
    let kept: Vec<_> = (0..400).map(|_| connect(edge.http)).collect();
    let proxy = edge.child("proxy").unwrap();
    let fds = || fs::read_dir(format!("/proc/{proxy}/fd")).unwrap().count();
    eventually("nothing is left", || fds() >= 250);
    let (lines, ticks, since) = (edge.log().len(), cpu_ticks(proxy), Instant::now());
    thread::park_timeout(Duration::from_secs(2));
    let spent = u128::from(cpu_ticks(proxy) - ticks) * 10;
    assert!(spent < since.elapsed().as_millis() / 2, "{spent} ms of CPU");
    assert!(edge.log().len() - lines < 20, "{:?}", edge.log());
    assert!(edge.answers());
    drop(kept);
    edge.is_well();
}

#[test]
fn half_of_the_descriptors_is_for_clients_unless_told_otherwise() {
    let app = upstream(|_| ok("fine"));
    let edge = Edge::start_as(&no_docker(app, ""), "ulimit -n 256; exec \"$@\"");
    let mut kept: Vec<_> = (0..400).map(|_| connect(edge.http)).collect();
    eventually("the rest is turned away", || {
        edge.metric("cutover_connections").is_some_and(|open| open >= 90.0)
    });
    assert!(edge.metric("cutover_connections").unwrap() < 128.0);
    // Who is in is served, though 300 are not.
    let served = kept.first_mut().unwrap();
    served.write_all(b"GET / HTTP/1.1\r\nhost: edge.test\r\n\r\n").unwrap();
    let mut answer = [0; 12];
    served.read_exact(&mut answer).unwrap();
    assert_eq!(&answer, b"HTTP/1.1 200");
    assert!(edge.answers());
    drop(kept);
    edge.is_well();
}
