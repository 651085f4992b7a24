//! Faults of the proxy's and the config's world, on a whole Cutover under load: no request fails.
#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    reason = "tests"
)]

use std::collections::BTreeSet;
use std::fs;
use std::io::{BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::os::unix::fs::symlink;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use cutover_harness::static_edge::{
    StaticEdge as Edge, connect, get, head, ok, rest, talk, upstream,
};
use cutover_harness::{Load, PATIENCE, Port, WallClock, eventually};

/// A service of two colors; `/hang` never ends, and `/health` of blue is what `blue_is_well` says.
fn config(blue_is_well: &Arc<AtomicBool>, more: &str) -> String {
    let app = |name: &'static str, well: Arc<AtomicBool>| {
        upstream(move |head| match head.split(' ').nth(1) {
            Some("/hang") => {
                thread::park_timeout(PATIENCE);
                Vec::new()
            }
            Some("/health") if !well.load(Ordering::Relaxed) => {
                b"HTTP/1.1 503 Unwell\r\ncontent-length: 0\r\n\r\n".to_vec()
            }
            _ => ok(name),
        })
    };
    let blue = app("blue", Arc::clone(blue_is_well));
    let green = app("green", Arc::new(AtomicBool::new(true)));
    format!(
        "[listen]\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n[docker]\nenable = false\n\
         [services.web]\nblue = [\"{blue}\"]\ngreen = [\"{green}\"]\n\
         probe = {{ path = \"/health\", interval = \"50ms\", rise = 2, fall = 3 }}\n{more}\n"
    )
}

fn edge(more: &str) -> Edge {
    Edge::start(&config(&Arc::new(AtomicBool::new(true)), more))
}

/// One client, on a connection of its own each time.
fn load(http: SocketAddr) -> Load {
    Load::on(http, "edge.test").count(1).per_connection(1).pace(Duration::ZERO).start()
}

fn host(edge: &Edge, text: &str, name: &str) -> String {
    let line = format!("[services.web]\nhosts = [\"{name}\", \"edge.test\"]");
    assert!(text.contains("[services.web]"), "{}", edge.config_path().display());
    text.replacen("[services.web]", &line, 1)
}

fn body(answer: &str) -> &str {
    answer.split_once("\r\n\r\n").unwrap().1
}

fn serves(edge: &Edge, name: &str) -> bool {
    edge.cutover(&["status", "--json"]).status.success()
        && talk(edge.http, format!("GET / HTTP/1.1\r\nhost: {name}\r\nconnection: close\r\n\r\n"))
            .starts_with("HTTP/1.1 200 ")
}

#[test]
fn a_file_that_is_written_byte_by_byte_is_live_when_it_is_whole() {
    let edge = edge("");
    let load = load(edge.http);
    let text = fs::read_to_string(edge.config_path()).unwrap();
    let new = host(&edge, &text, "whole.test");
    let mut file = fs::File::create(edge.config_path()).unwrap();
    let (slow, fast) = new.split_at(60);
    for byte in slow.bytes() {
        file.write_all(&[byte]).unwrap();
        thread::park_timeout(Duration::from_millis(50));
    }
    file.write_all(fast.as_bytes()).unwrap();
    drop(file);
    eventually("the whole file is live", || serves(&edge, "whole.test"));
    let errors = edge.log().iter().filter(|line| line.contains("ERROR")).count();
    // Three seconds of half files.
    assert!(errors <= 4, "{:?}", edge.log());
    load.stop_without_failure();
    edge.is_well();
}

#[test]
fn a_file_written_one_byte_at_a_time_costs_no_request() {
    let app = upstream(|_| ok("app"));
    // What is before the last brace is no TOML, and what is behind it changes no service.
    let text = |host: &str| {
        format!(
            "services.web = {{ hosts = [\"{host}\", \"edge.test\"], blue = [\"{app}\"], timeouts = {{ hold = \"0s\" }} }}\n\
             [listen]\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n[docker]\nenable = false\n"
        )
    };
    let edge = Edge::start(&text("old.test"));
    let written = fs::read_to_string(edge.config_path()).unwrap();
    let load = load(edge.http);
    let mut file = fs::File::create(edge.config_path()).unwrap();
    // Long enough for an empty file to be seen.
    eventually("it is refused", || {
        edge.log().concat().contains("is empty: the running config is kept")
    });
    for byte in written.replace("old.test", "new.test").bytes() {
        file.write_all(&[byte]).unwrap();
        thread::park_timeout(Duration::from_millis(10));
    }
    eventually("the whole file is live", || serves(&edge, "new.test"));
    load.stop_without_failure();
    edge.is_well();
}

#[test]
fn a_file_that_is_emptied_is_kept_from_emptying_the_edge() {
    let edge = edge("timeouts.hold = \"0s\"");
    let load = load(edge.http);
    let text = fs::read_to_string(edge.config_path()).unwrap();
    let refused = r#"cutover_config_reloads_total{result="refused"}"#;
    let status = || {
        let answer = edge.ask("GET /v1/status").unwrap_or_default();
        let json = answer.split_once("\r\n\r\n").map_or("", |(_, body)| body);
        serde_json::from_str::<serde_json::Value>(json).unwrap_or_default()["config"].take()
    };
    let is_refused = || {
        let config = status();
        let error = config["error"].as_str().unwrap_or_default();
        config["ok"] == false
            && error.contains("cutover.toml: is empty: the running config is kept")
            && error.contains("hint: ")
    };
    for (times, empty) in [(1.0, ""), (2.0, " \n\t\n"), (3.0, "# to be written\n")] {
        fs::write(edge.config_path(), empty).unwrap();
        eventually("it is counted", || edge.metric(refused) == Some(times));
        assert!(is_refused(), "{}", status());
    }
    assert!(edge.log().concat().contains("is empty: the running config is kept"));
    assert_eq!(edge.cutover(&["reload"]).status.code(), Some(2));
    // Nor does the next controller, which finds it so.
    let controller = edge.child("controller").unwrap();
    assert!(Command::new("kill").args(["-9", &controller.to_string()]).status().unwrap().success());
    eventually("another controller", || {
        edge.child("controller").is_some_and(|pid| pid != controller)
    });
    eventually("it says so too", is_refused);
    load.stop_without_failure();
    fs::write(edge.config_path(), text).unwrap();
    eventually("the file is well again", || status()["ok"] == true);
    // Whoever wants no service may say so.
    let without = "[services]\n[docker]\nenable = false\n";
    fs::write(edge.config_path(), without).unwrap();
    eventually("nothing is served", || {
        get(edge.http, "/").is_err_and(|answer| answer.contains("x-cutover-reason: no_route"))
    });
    assert_eq!(edge.line("panicked at"), None);
}

#[test]
fn a_file_may_be_swapped_by_link_deleted_and_closed_to_us() {
    let edge = edge("");
    let load = load(edge.http);
    let path = edge.config_path();
    let text = fs::read_to_string(&path).unwrap();
    // As Kubernetes does it: the file is a link by way of a directory that is a link.
    let root = edge.directory.path();
    fs::create_dir(root.join("conf/v0")).unwrap();
    fs::write(root.join("conf/v0/cutover.toml"), &text).unwrap();
    symlink("v0", root.join("conf/..data")).unwrap();
    symlink("..data/cutover.toml", root.join("conf/new")).unwrap();
    fs::rename(root.join("conf/new"), &path).unwrap();
    for version in 1..=5 {
        let name = format!("v{version}.test");
        let directory = root.join(format!("conf/v{version}"));
        fs::create_dir(&directory).unwrap();
        fs::write(directory.join("cutover.toml"), host(&edge, &text, &name)).unwrap();
        symlink(format!("v{version}"), root.join("conf/..new")).unwrap();
        fs::rename(root.join("conf/..new"), root.join("conf/..data")).unwrap();
        eventually("the version is live", || serves(&edge, &name));
    }
    // A new listener waits for a restart, until it is taken back.
    let of_v5 = fs::read_to_string(&path).unwrap();
    let needs_restart = || {
        let status = edge.cutover(&["status", "--json"]).stdout;
        String::from_utf8_lossy(&status).contains("\"restart_needed\":[\"")
    };
    fs::write(&path, of_v5.replacen("[runtime]", "[runtime]\nshutdown_timeout = \"9s\"", 1))
        .unwrap();
    eventually("the restart is asked for", needs_restart);
    fs::write(&path, of_v5).unwrap();
    eventually("nothing needs a restart any more", || !needs_restart());
    // Gone: the last good one stays; and back.
    fs::remove_file(&path).unwrap();
    eventually("it is told", || {
        String::from_utf8_lossy(&edge.cutover(&["status", "--json"]).stdout)
            .contains("\"ok\":false")
    });
    assert!(serves(&edge, "v5.test"));
    fs::write(&path, host(&edge, &text, "back.test")).unwrap();
    eventually("it is back", || serves(&edge, "back.test"));
    load.stop_without_failure();
    edge.is_well();
}

#[test]
fn a_journal_of_garbage_is_no_reason_not_to_serve() {
    let mut edge = edge("");
    assert!(edge.cutover(&["flip", "web", "green"]).status.success());
    edge.signal("-TERM");
    assert_eq!(edge.exit(), Some(0));
    let state = edge.directory.path().join("state");
    let root = edge.directory.path().to_owned();
    let text = fs::read_to_string(edge.config_path()).unwrap();
    let run = |spoil: &dyn Fn(&Path)| {
        let directory = tempfile::tempdir().unwrap();
        let copy = directory.path().join("state");
        assert!(Command::new("cp").arg("-r").arg(&state).arg(&copy).status().unwrap().success());
        for file in fs::read_dir(&copy).unwrap() {
            let file = file.unwrap().path();
            if file.extension().is_some_and(|extension| extension == "json") {
                spoil(&file);
            }
        }
        // What `Edge` adds is added again.
        let kept: Vec<&str> = text.lines().skip_while(|line| *line != "[runtime]").collect();
        let config = format!("[listen]\n{}\n", kept.join("\n"))
            .replace(&root.display().to_string(), "{root}");
        let edge = Edge::start_in(directory, &config, "exec \"$@\"");
        let answer = get(edge.http, "/").unwrap();
        edge.is_well();
        answer
    };
    assert!(run(&|_| ()).ends_with("green"), "a whole journal decides");
    assert!(state.join("state.json").exists(), "this is what is spoiled");
    run(&|file| fs::write(file, [0xff; 100]).unwrap());
    run(&|file| {
        let bytes = fs::read(file).unwrap();
        fs::write(file, &bytes[..bytes.len() / 2]).unwrap();
    });
}

#[test]
fn a_state_directory_that_cannot_be_written_fails_flips_and_no_request() {
    // Below a file there are no directories.
    let edge = Edge::start(
        &config(&Arc::new(AtomicBool::new(true)), "").replace("{root}/state", "/dev/null/state"),
    );
    let load = load(edge.http);
    eventually("both are up", || {
        let status = edge.cutover(&["status", "--json"]);
        String::from_utf8_lossy(&status.stdout).matches("\"up\":true").count() == 2
    });
    let flip = edge.cutover(&["flip", "web", "green"]);
    assert!(!flip.status.success());
    assert!(get(edge.http, "/").unwrap().ends_with("blue"));
    load.stop_without_failure();
    edge.is_well();
}

/// One of the demo's apps, which knows large bodies; it ends with this.
struct App {
    process: Child,
    address: SocketAddr,
    _port: Port,
}

impl App {
    fn start(color: &str) -> Self {
        let port = Port::claim();
        let mut app = Command::new(env!("CARGO_BIN_EXE_cutover"));
        let address = port.address();
        app.args(["demo-app", "--listen", &address.to_string(), "--color", color]);
        let process = app.stdout(Stdio::null()).spawn().unwrap();
        let app = Self { process, address, _port: port };
        eventually("the app answers", || TcpStream::connect(address).is_ok());
        app
    }
}

impl Drop for App {
    fn drop(&mut self) {
        self.process.kill().ok();
        self.process.wait().ok();
    }
}

#[test]
fn large_bodies_arrive_whole_whatever_flips_meanwhile() {
    let [blue, green] = ["blue", "green"].map(App::start);
    let edge = Edge::start(&format!(
        "[listen]\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n[docker]\nenable = false\n\
         [services.web]\nblue = [\"{}\"]\ngreen = [\"{}\"]\nprobe.path = \"/health\"\n",
        blue.address, green.address
    ));
    // In pieces, so that it takes some flips.
    let download = |address: SocketAddr, pause: Duration| {
        thread::spawn(move || {
            let mut stream = connect(address);
            let ask =
                "GET /download?bytes=30000000 HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n";
            stream.write_all(ask.as_bytes()).unwrap();
            head(&mut BufReader::with_capacity(1, &stream)).unwrap();
            let mut body = vec![0; 30_000_000];
            for piece in body.chunks_mut(500_000) {
                stream.read_exact(piece).unwrap();
                thread::park_timeout(pause);
            }
            assert_eq!(rest(&stream), "");
            body
        })
    };
    let upload = |address: SocketAddr, pause: Duration| {
        thread::spawn(move || {
            let mut stream = connect(address);
            let ask = "POST /upload HTTP/1.1\r\nhost: a\r\nconnection: close\r\ncontent-length: 30000000\r\n\r\n";
            stream.write_all(ask.as_bytes()).unwrap();
            for piece in 0..60_u8 {
                stream.write_all(&[piece; 500_000]).unwrap();
                thread::park_timeout(pause);
            }
            rest(&stream).lines().last().unwrap().to_owned()
        })
    };
    let direct = (download(blue.address, Duration::ZERO), upload(blue.address, Duration::ZERO));
    let direct = (direct.0.join().unwrap(), direct.1.join().unwrap());
    let pause = Duration::from_millis(30);
    let proxied = (download(edge.http, pause), upload(edge.http, pause));
    let mut flips = 0;
    while !(proxied.0.is_finished() && proxied.1.is_finished()) {
        let color = ["green", "blue"][flips % 2];
        assert!(edge.cutover(&["flip", "web", color, "--force"]).status.success());
        assert!(get(edge.http, "/").unwrap().contains(color));
        flips += 1;
    }
    assert!(flips > 2, "{flips} flips");
    assert!(proxied.0.join().unwrap() == direct.0, "the download is another one");
    assert_eq!(proxied.1.join().unwrap(), direct.1);
    edge.is_well();
}

#[test]
fn the_demo_loses_nothing() {
    let mut demo = Command::new(env!("CARGO_BIN_EXE_cutover"));
    let output = demo.args(["demo", "--seconds", "3", "--json"]).output().unwrap();
    let report = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(output.status.success(), "{report}{}", String::from_utf8_lossy(&output.stderr));
    let report: serde_json::Value = serde_json::from_str(&report).unwrap();
    for (pointer, expected) in [("/failed", 0), ("/posts/lost", 0), ("/posts/doubled", 0)] {
        assert_eq!(report.pointer(pointer).unwrap(), expected, "{report}");
    }
    assert!(report["flips"].as_u64().unwrap() > 2, "{report}");
}

/// Says so past the harness, which shows nothing of a test that passes.
fn not_tested(what: &str) {
    std::io::stderr().write_all(format!("NOT TESTED {what}\n").as_bytes()).unwrap();
    assert!(std::env::var_os("CUTOVER_REQUIRE_DOCKER").is_none(), "{what}");
}

#[test]
fn a_change_that_the_kernel_has_no_room_to_tell_of_is_found() {
    let edge = {
        let Some(_short) = ShortQueue::set() else {
            return not_tested("with a short queue of change notices: no leave to set it");
        };
        edge("")
    };
    let load = load(edge.http);
    let text = fs::read_to_string(edge.config_path()).unwrap();
    let new = host(&edge, &text, "found.test");
    // Far more changes than fit, and ours among them.
    let beside = |n: u32| fs::write(edge.config_path().with_file_name(format!("{n}")), "").unwrap();
    (0..500).for_each(beside);
    fs::write(edge.config_path(), new).unwrap();
    (500..1000).for_each(beside);
    eventually("the change is live", || serves(&edge, "found.test"));
    load.stop_without_failure();
    edge.is_well();
}

/// While it lives, whoever begins to watch files gets a queue of one notice.
struct ShortQueue(String);

impl ShortQueue {
    const LENGTH: &str = "/proc/sys/fs/inotify/max_queued_events";

    fn set() -> Option<Self> {
        let before = Self(fs::read_to_string(Self::LENGTH).ok()?);
        fs::write(Self::LENGTH, "1").ok().map(|()| before)
    }
}

impl Drop for ShortQueue {
    fn drop(&mut self) {
        fs::write(Self::LENGTH, &self.0).unwrap();
    }
}

#[test]
fn packets_lost_on_the_way_to_an_app_cost_time_and_neither_requests_nor_connections() {
    let app = upstream(|_| ok("app"));
    let edge = Edge::start(&format!(
        "[listen]\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n[docker]\nenable = false\n\
         [services.web]\nblue = [\"{app}\"]\ntimeouts = {{ hold = \"20s\", upstream_idle = \"1s\" }}\n"
    ));
    let load = load(edge.http);
    load.passes(100);
    let Some(loss) = Loss::to(app.port()) else {
        return not_tested("with lost packets: no leave to drop any");
    };
    load.passes(100);
    drop(loss);
    load.stop_without_failure();
    let open = || {
        let all = fs::read_to_string("/proc/net/tcp").unwrap();
        let to_app = format!(":{:04X} 01 ", app.port());
        all.lines().filter(|line| line.contains(&to_app)).count()
    };
    eventually("no connection to the app is left but those of probes", || open() <= 1);
    edge.is_well();
}

/// While it lives, one in ten packets to a port is lost.
struct Loss(u16);

impl Loss {
    fn to(port: u16) -> Option<Self> {
        Self::rule("-I", port).then_some(Self(port))
    }

    fn rule(what: &str, port: u16) -> bool {
        let rule = format!(
            "{what} INPUT -p tcp --dport {port} -m statistic --mode random --probability 0.1 -j DROP"
        );
        let status = Command::new("iptables").arg("-w").args(rule.split(' ')).status();
        status.is_ok_and(|status| status.success())
    }
}

impl Drop for Loss {
    fn drop(&mut self) {
        assert!(Self::rule("-D", self.0));
    }
}

#[test]
fn a_full_disk_fails_flips_and_no_request_and_forgets_nothing() {
    let mounts = Command::new("unshare").args(["--mount", "true"]).status();
    if !mounts.is_ok_and(|status| status.success()) {
        return not_tested("on a full disk: no leave to mount one");
    }
    let config = config(&Arc::new(AtomicBool::new(true)), "");
    // A disk of its own, which only the edge sees.
    let disk = "state=$(dirname $(dirname \"$4\"))/state; mkdir \"$state\" && \
                mount -t tmpfs -o size=64k none \"$state\" && exec \"$@\"";
    let script = format!("exec unshare --mount /bin/sh -c '{disk}' sh \"$@\"");
    let edge = Edge::start_as(&config, &script);
    let load = load(edge.http);
    let both_up = || {
        let status = edge.cutover(&["status", "--json"]);
        String::from_utf8_lossy(&status.stdout).matches("\"up\":true").count() == 2
    };
    eventually("both are up", both_up);
    assert!(edge.cutover(&["flip", "web", "green"]).status.success());
    let state = format!("/proc/{}/root{}/state", edge.supervisor.id(), edge.root());
    let filler = Path::new(&state).join("filler");
    let mut file = fs::File::create(&filler).unwrap();
    while file.write_all(&[b'x'; 1024]).is_ok() {}
    let flip = edge.cutover(&["flip", "web", "blue", "--json"]);
    let said = String::from_utf8_lossy(&flip.stdout).into_owned();
    assert!(said.contains("state_unwritable"), "{said}{}", String::from_utf8_lossy(&flip.stderr));
    assert!(get(edge.http, "/").unwrap().ends_with("green"));
    // What was known before is still known to the next controller.
    let controller = edge.child("controller").unwrap();
    let kill = Command::new("kill").args(["-9", &controller.to_string()]).status();
    assert!(kill.unwrap().success());
    eventually("the next controller answers", || {
        edge.child("controller").is_some_and(|next| next != controller) && both_up()
    });
    assert!(get(edge.http, "/").unwrap().ends_with("green"));
    drop(file);
    fs::remove_file(&filler).unwrap();
    let flip = edge.cutover(&["flip", "web", "blue"]);
    assert!(flip.status.success(), "{}", String::from_utf8_lossy(&flip.stderr));
    assert!(get(edge.http, "/").unwrap().ends_with("blue"));
    load.stop_without_failure();
    edge.is_well();
}

#[test]
fn a_drain_that_never_ends_ends_at_its_deadline_and_is_counted() {
    let edge = edge("drain = { timeout = \"500ms\", streams = \"500ms\" }");
    let load = load(edge.http);
    let mut stuck = connect(edge.http);
    stuck.write_all(b"GET /hang HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n").unwrap();
    eventually("it is in flight", || {
        edge.metric("cutover_requests_in_flight{service=\"web\",color=\"blue\"}")
            .is_some_and(|count| count >= 1.0)
    });
    assert!(edge.cutover(&["flip", "web", "green"]).status.success());
    let answer = rest(&stuck);
    assert!(answer.is_empty() || answer.contains("x-cutover-reason: drained"), "{answer}");
    eventually("it is counted", || {
        edge.metric("cutover_drain_forced_total{service=\"web\",kind=\"request\"}") == Some(1.0)
    });
    load.stop_without_failure();
    edge.is_well();
}

#[test]
#[expect(
    clippy::cognitive_complexity,
    clippy::too_many_lines,
    reason = "what happens is told in order; each assert counts"
)]
fn a_wall_clock_that_jumps_ends_nothing_early_and_keeps_nothing_waiting() {
    let clock = WallClock::new();
    let release = Arc::new(AtomicBool::new(false));
    let app = |name: &'static str| {
        let released = Arc::clone(&release);
        upstream(move |head| {
            while head.contains(" /slow ") && !released.load(Ordering::Relaxed) {
                thread::park_timeout(Duration::from_millis(10));
            }
            ok(name)
        })
    };
    let (blue, green) = (app("blue"), app("green"));
    let config = format!(
        "[listen]\n[runtime]\nworkers = 2\nstate_dir = \"{{root}}/state\"\n\
         [access_log]\noutput = \"{{root}}/access.log\"\n[docker]\nenable = false\n\
         [limits]\nheader_timeout = \"1m\"\nbody_idle_timeout = \"1s\"\n\
         [services.web]\nblue = [\"{blue}\"]\ngreen = [\"{green}\"]\n\
         probe = {{ path = \"/health\", interval = \"50ms\", rise = 2, fall = 3 }}\n\
         timeouts = {{ response_header = \"1m\" }}\ndrain = {{ timeout = \"1m\" }}\n"
    );
    let edge = Edge::start_as(&config, &clock.script());
    let load = load(edge.http);
    let open = |bytes: &str| {
        let mut stream = connect(edge.http);
        stream.write_all(bytes.as_bytes()).unwrap();
        stream
    };
    // What has a deadline that is far away: a head, an answer, a drain, a pause, an idle connection.
    let mut head = open("GET / HTTP/1.1\r\nhost: edge.test\r\n");
    let slow = open("GET /slow HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n");
    let mut idle = open("");
    eventually("it is in flight", || {
        let name = "cutover_requests_in_flight{service=\"web\",color=\"blue\"}";
        edge.metric(name).is_some_and(|count| count >= 1.0)
    });
    assert!(edge.cutover(&["flip", "web", "green"]).status.success());
    let jumps = [3600, -3600, 86_400, -86_400, 0];
    for jump in jumps {
        clock.shift(jump);
        load.passes(20);
        // And one that is near: it comes, whichever way the clock went.
        let stalled = open("POST /slow HTTP/1.1\r\nhost: edge.test\r\ncontent-length: 9\r\n\r\n");
        assert!(rest(&stalled).contains("x-cutover-reason: body_timeout\r\n"));
        let status = edge.cutover(&["status", "--json"]).stdout;
        let status: serde_json::Value = serde_json::from_slice(&status).unwrap();
        let drain = &status["services"][0]["draining"][0];
        assert_eq!(drain["requests"], 1, "{status}");
        let left = drain["deadline_ms"].as_u64().unwrap();
        assert!((1..60_000).contains(&left), "{left}");
    }
    load.stop_without_failure();
    assert!(edge.cutover(&["pause", "web", "--max-pause", "1m"]).status.success());
    let held = open("GET / HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n");
    eventually("it is held", || edge.metric("cutover_waiting_requests") == Some(1.0));
    clock.shift(3600);
    assert!(edge.cutover(&["resume", "web"]).status.success());
    assert!(rest(&held).ends_with("green"));
    head.write_all(b"connection: close\r\n\r\n").unwrap();
    assert!(rest(&head).ends_with("green"));
    idle.write_all(b"GET / HTTP/1.1\r\nhost: edge.test\r\nconnection: close\r\n\r\n").unwrap();
    assert!(rest(&idle).ends_with("green"));
    release.store(true, Ordering::Relaxed);
    assert!(rest(&slow).ends_with("blue"));
    assert_eq!(edge.line("endpoint down"), None);
    let drained = || edge.metric("cutover_drain_seconds_sum{service=\"web\"}");
    eventually("the drain is over", || drained().is_some_and(|seconds| seconds > 0.0));
    assert!(drained().unwrap() < 60.0);
    edge.is_well();

    // All three processes took part, and no duration shows it.
    let log = fs::read_to_string(edge.directory.path().join("access.log")).unwrap();
    let lines: Vec<serde_json::Value> =
        log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    for line in &lines {
        let took = line["duration_ms"].as_f64().unwrap();
        assert!((0.0..60_000.0).contains(&took), "{line}");
    }
    let day = |line: &serde_json::Value| line["time"].as_str().unwrap()[..10].to_owned();
    let days: BTreeSet<String> = lines.iter().map(day).collect();
    assert!(days.len() >= 3, "yesterday, today and tomorrow: {days:?}");
}

#[test]
fn an_endpoint_that_flaps_costs_no_request_and_no_flip() {
    let well = Arc::new(AtomicBool::new(true));
    let edge = Edge::start(&config(&well, ""));
    let load = load(edge.http);
    for _ in 0..40 {
        well.fetch_xor(true, Ordering::Relaxed);
        thread::park_timeout(Duration::from_millis(50));
    }
    well.store(true, Ordering::Relaxed);
    assert!(get(edge.http, "/").unwrap().ends_with("blue"));
    let changes = edge.log().iter().filter(|line| line.contains("endpoint down")).count();
    assert!(changes <= 3, "{changes} changes: {:?}", edge.log());
    load.stop_without_failure();
    edge.is_well();
}

#[test]
fn a_color_flipped_to_by_force_serves_at_once_until_its_probes_have_passed() {
    let blue_is_well = Arc::new(AtomicBool::new(true));
    let edge = Edge::start(&config(&blue_is_well, "timeouts.hold = \"1s\""));
    let flip = |arguments: &[&str]| {
        let output = edge.cutover(&[&["flip", "web"], arguments].concat());
        output.status.code()
    };
    let blue = || {
        let answer = edge.ask("GET /v1/services/web").unwrap();
        let json: serde_json::Value = serde_json::from_str(body(&answer)).unwrap();
        let endpoint = &json["colors"]["blue"]["endpoints"][0];
        (endpoint["up"] == true, endpoint["reason"].as_str().map(str::to_owned))
    };
    let by_force = (true, Some("HTTP 503; serves by force".to_owned()));
    assert_eq!(flip(&["green"]), Some(0));
    blue_is_well.store(false, Ordering::Relaxed);
    eventually("blue is down", || blue() == (false, Some("HTTP 503".into())));
    assert_eq!(flip(&["blue"]), Some(3));
    assert!(get(edge.http, "/").unwrap().ends_with("green"));

    assert_eq!(flip(&["blue", "--force"]), Some(0));
    assert!(get(edge.http, "/").unwrap().ends_with("blue"));
    let load = load(edge.http);
    load.passes(20);
    assert_eq!(blue(), by_force);
    // The next controller has not forgotten what the operator said.
    let controller = edge.child("controller").unwrap();
    assert!(Command::new("kill").args(["-9", &controller.to_string()]).status().unwrap().success());
    eventually("another controller", || {
        edge.child("controller").is_some_and(|pid| pid != controller)
    });
    eventually("it has judged blue", || edge.answers() && blue() == by_force);
    load.stop_without_failure();

    blue_is_well.store(true, Ordering::Relaxed);
    eventually("blue is well", || blue() == (true, None));
    assert!(get(edge.http, "/").unwrap().ends_with("blue"));
    // From here on its health counts again.
    blue_is_well.store(false, Ordering::Relaxed);
    eventually("blue is down again", || blue() == (false, Some("HTTP 503".into())));
    let refused = |answer: Result<String, String>| {
        answer.is_err_and(|answer| answer.contains("x-cutover-reason: no_endpoint"))
    };
    // Known, and a moment later in the table.
    eventually("nobody serves", || refused(get(edge.http, "/")));
    // By force what serves already serves again.
    assert_eq!(flip(&["blue", "--force"]), Some(0));
    assert!(get(edge.http, "/").unwrap().ends_with("blue"));
    assert_eq!(flip(&["green"]), Some(0));
    edge.is_well();
}

#[test]
fn children_that_die_again_and_again_leave_no_zombie() {
    let edge = edge("");
    for _ in 0..3 {
        for role in ["proxy", "controller"] {
            let pid = edge.child(role).unwrap();
            assert!(
                Command::new("kill").args(["-9", &pid.to_string()]).status().unwrap().success()
            );
            eventually("the next one lives", || edge.child(role).is_some_and(|next| next != pid));
        }
        edge.is_well();
    }
    let pid = edge.supervisor.id();
    let children = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap();
    assert_eq!(children.split_whitespace().count(), 2, "{children}");
}

#[test]
fn without_docker_a_deploy_is_refused_and_says_what_is_missing() {
    let edge = Edge::start(&config(&Arc::new(AtomicBool::new(true)), ""));
    for verb in ["deploy", "plan", "history", "rollback"] {
        let output = edge.cutover(&[verb, "web"]);
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert_eq!(output.status.code(), Some(3), "{verb}: {said}");
        assert!(said.contains("docker.enable is false"), "{verb}: {said}");
    }
}
