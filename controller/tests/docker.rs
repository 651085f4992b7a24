//! Rollouts on a real engine: the binary as a user runs it, and containers of an app that it brings.
//!
//! Runs wherever a Docker engine answers. Where none does, every test says so loudly and does
//! nothing; `CUTOVER_REQUIRE_DOCKER=1` makes that a failure.

use std::io::Read as _;
use std::time::Instant;

use cutover_harness::{eventually, on_an_engine};

#[test]
fn status_says_which_engine_it_is() {
    let edge = on_an_engine!();
    let version = edge.docker(&["version", "--format", "{{.Server.Version}}"]);
    let engine = || edge.status().map(|status| status["docker"].clone()).unwrap_or_default();
    eventually("the engine's version", || engine()["version"] == version.trim());
    let api = engine()["api_version"].as_str().unwrap().to_owned();
    assert!(api.starts_with("1."), "{api}");
    let shown = edge.cutover(&["status"]);
    assert!(shown.stdout.contains(&format!("Docker {} (API {api})", version.trim())), "{shown:?}");
}

#[test]
fn a_deploy_under_load_fails_no_request() {
    let edge = on_an_engine!();
    edge.pair("1");
    let load = edge.load();
    for release in ["2", "3", "2"] {
        let deployed = edge.cutover(&[
            "deploy",
            &edge.service(),
            "--tag",
            release,
            "--monitor",
            "1s",
            "--keep-warm",
            "0s",
            "--json",
        ]);
        assert_eq!(deployed.code, 0, "{deployed:?}");
        let report = deployed.report();
        assert_eq!(report["result"], "done");
        assert_eq!(report["failed"], 0);
        assert!(report["requests"]["blue"].as_u64().unwrap() > 0, "{report}");
        assert!(report["digest"].as_str().unwrap().starts_with("sha256:"));
    }
    let served = load.stop();
    assert_eq!(served.failures, Vec::<String>::new());
    assert!(served.requests > 100, "{served:?}");
    // Three deploys later there is one container per color, under the name it always had.
    let names = edge.containers();
    assert_eq!(names.len(), 2, "{names:?}");
    assert!(names.iter().all(|name| !name.contains("-r")), "{names:?}");
}

#[test]
fn a_bad_release_is_refused_with_its_reason_and_last_words() {
    let edge = on_an_engine!();
    let blue = edge.app("blue", "1");
    edge.app("green", "1");
    edge.until_served("1");
    let blue = edge.identity(&blue);
    let load = edge.load();
    for (fault, expected) in [
        ("exit", "exit code"),
        ("never-ready", "503"),
        ("hang", "not ready"),
        ("slow-start", "refused"),
        ("wrong-port", "refused"),
    ] {
        let deployed = edge.cutover(&[
            "deploy",
            &edge.service(),
            "--tag",
            fault,
            "--deploy-timeout",
            "3s",
            "--json",
        ]);
        assert_eq!(deployed.code, 3, "{fault}: {deployed:?}");
        let report = deployed.report();
        assert_eq!(report["result"], "refused");
        let reason = report["reason"].as_str().unwrap();
        assert!(reason.contains(expected), "{fault}: {reason}");
        if fault == "exit" {
            assert!(!report["log"].as_array().unwrap().is_empty(), "{report}");
        }
        assert_eq!(edge.active(), "blue");
        assert_eq!(edge.identity(blue.split(' ').next().unwrap()), blue, "{fault}");
    }
    assert_eq!(load.stop().failures, Vec::<String>::new());
    let missing =
        edge.cutover(&["deploy", &edge.service(), "--tag", "nowhere", "--pull", "never", "--json"]);
    assert_eq!(missing.code, 3, "{missing:?}");
}

#[test]
fn a_release_that_is_slow_to_start_is_waited_for() {
    let edge = on_an_engine!();
    edge.pair("1");
    let load = edge.load();
    let service = edge.service();
    let deploy = ["deploy", &service, "--tag", "slow-start", "--monitor", "1s", "--json"];
    let client = edge.spawn(&[&deploy[..], &["--keep-warm", "0s"]].concat());
    eventually("it is started", || edge.rollout()["phase"] == "ready");
    // It is not asked to serve before it can.
    assert_eq!(edge.active(), "blue");
    load.passes(100);
    let said = client.wait();
    assert_eq!(said.code, 0, "{said:?}");
    edge.until_served("slow-start");
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn a_release_that_is_killed_for_its_memory_is_rolled_back_and_its_answer_is_no_whole_one() {
    let edge = on_an_engine!();
    let limit = ["--memory", "64m", "--memory-swap", "64m"];
    let blue = edge.app_with("blue", "1", "blue", &limit);
    edge.app_with("green", "1", "green", &limit);
    edge.until_served("1");
    let blue = edge.identity(&blue);
    let load = edge.load();
    let service = edge.service();
    let watch = edge.watch();
    let client = edge.spawn(&["deploy", &service, "--tag", "leak", "--monitor", "60s", "--json"]);
    watch.until("monitor");
    let mut answer = edge.begin("/leak");
    let mut body = Vec::new();
    // An error or an end; what counts is that it does not look like a whole answer.
    answer.read_to_end(&mut body).ok();
    assert!(body.len() > 100_000, "{} bytes", body.len());
    assert!(!body.ends_with(b"0\r\n\r\n"), "a truncated answer ended cleanly");
    let said = client.wait();
    assert_eq!(said.code, 4, "{said:?}");
    let report = said.report();
    assert_eq!(report["result"], "rolled_back");
    println!("after {} bytes: {}", body.len(), report["reason"]);
    // It is kept, to be looked at.
    let failed = edge.service() + "-green-r2";
    let killed = edge.docker(&["inspect", "-f", "{{.State.OOMKilled}}", &failed]);
    assert_eq!(killed, "true", "{report}");
    assert_eq!(edge.active(), "blue");
    assert_eq!(edge.identity(blue.split(' ').next().unwrap()), blue);
    load.passes(50);
    let served = load.stop();
    // Each of the four clients may have had one request on it when it died.
    assert!(served.failures.len() <= 4, "{:?}", served.failures);
}

/// `CUTOVER_DEPLOYS=30` for more of them.
#[test]
fn many_deploys_in_a_row_leave_nothing_behind() {
    let edge = on_an_engine!();
    edge.pair("1");
    let count = std::env::var("CUTOVER_DEPLOYS").ok().map_or(10, |n| n.parse::<usize>().unwrap());
    let service = edge.service();
    let load = edge.load();
    let mut early = None;
    for n in 1..=count {
        let tag = if n.is_multiple_of(2) { "3" } else { "2" };
        let deploy = ["deploy", &service, "--tag", tag, "--monitor", "0s", "--keep-warm", "0s"];
        let said = edge.cutover(&deploy);
        assert_eq!(said.code, 0, "{n}: {said:?}");
        if n == count / 3 {
            early = Some(edge.footprint());
        }
    }
    load.passes(50);
    let served = load.stop();
    assert_eq!(served.failures, Vec::<String>::new());
    let (early, late) = (early.unwrap(), edge.footprint());
    println!("{} requests; {early:?} then {late:?}", served.requests);
    assert_eq!((early.containers, early.networks), (late.containers, late.networks));
    assert_eq!(late.containers, 2);
    for (role, before) in &early.processes {
        let now = late.processes[role];
        assert!(now.kib < before.kib * 3 / 2 + 4096, "{role}: {before:?}, then {now:?}");
        assert!(now.files < before.files + 16, "{role}: {before:?}, then {now:?}");
    }
    let history = edge.cutover(&["history", &service, "--json"]).report();
    let kept = history["revisions"].as_array().unwrap().len();
    assert!(kept <= 20 && kept > count.min(19), "{kept} revisions are kept");
    eventually("nothing is in flight", || {
        let Some(service) = edge.service_status() else { return false };
        let zero = |color: &str, kind: &str| service["colors"][color][kind] == 0;
        let kinds = ["requests_in_flight", "streams_in_flight"];
        let idle = |color: &str| kinds.iter().all(|kind| zero(color, kind));
        idle("blue") && idle("green") && service["draining"].as_array().unwrap().is_empty()
    });
    edge.until_served(if count.is_multiple_of(2) { "3" } else { "2" });
}

#[test]
fn a_release_that_answers_500_is_rolled_back() {
    let edge = on_an_engine!();
    let blue = edge.app("blue", "1");
    edge.app("green", "1");
    edge.until_served("1");
    let blue = edge.identity(&blue);
    let load = edge.load();
    let deployed =
        edge.cutover(&["deploy", &edge.service(), "--tag", "errors", "--monitor", "20s", "--json"]);
    assert_eq!(deployed.code, 4, "{deployed:?}");
    let report = deployed.report();
    assert_eq!(report["result"], "rolled_back");
    assert!(report["reason"].as_str().unwrap().contains("500"), "{report}");
    drop(load);
    assert_eq!(edge.active(), "blue");
    assert_eq!(edge.identity(blue.split(' ').next().unwrap()), blue);
    edge.until_served("1");
}

#[test]
fn a_rollback_is_a_flip_while_the_old_color_is_warm_and_a_start_after() {
    let edge = on_an_engine!();
    edge.pair("1");
    let load = edge.load();
    let service = edge.service();
    let deploy =
        ["deploy", &service, "--tag", "2", "--monitor", "0s", "--keep-warm", "60s", "--json"];
    assert_eq!(edge.cutover(&deploy).code, 0);
    edge.until_served("2");
    let back = edge.cutover(&["rollback", &service, "--json"]);
    assert_eq!(back.code, 0, "{back:?}");
    let report = back.report();
    let phases: Vec<_> = report["phases"]
        .as_array()
        .unwrap()
        .iter()
        .map(|p| p["name"].as_str().unwrap().to_owned())
        .collect();
    assert!(!phases.iter().any(|name| name == "create"), "{phases:?}");
    edge.until_served("1");
    // Now the other way is warm; go there by its number.
    let forth = edge.cutover(&["rollback", &service, "2", "--json"]);
    assert_eq!(forth.code, 0, "{forth:?}");
    edge.until_served("2");
    assert_eq!(load.stop().failures, Vec::<String>::new());
    let history = edge.cutover(&["history", &service, "--json"]);
    let revisions = history.report()["revisions"].as_array().unwrap().len();
    assert_eq!(revisions, 4, "{history:?}");
}

#[test]
fn another_edge_on_the_engine_leaves_what_a_rollout_has_made() {
    let edge = on_an_engine!();
    edge.pair("1");
    let deploy = ["deploy", &edge.service(), "--tag", "2", "--monitor", "0s", "--keep-warm", "0s"];
    assert_eq!(edge.cutover(&deploy).code, 0);
    let load = edge.load();
    edge.meet_another_edge("failed over");
    assert_eq!(load.stop().failures, Vec::<String>::new());
    assert_eq!(edge.releases("green"), ["2"]);
}

#[test]
fn a_second_rollout_is_told_who_holds_the_lock() {
    let edge = on_an_engine!();
    edge.pair("1");
    let service = edge.service();
    let first = edge.spawn(&[
        "deploy",
        &service,
        "--tag",
        "slow-start",
        "--monitor",
        "0s",
        "--keep-warm",
        "0s",
        "--json",
    ]);
    eventually("the first rollout runs", || !edge.rollout().is_null());
    let second = edge.cutover(&["deploy", &service, "--tag", "2", "--json"]);
    assert_eq!(second.code, 5, "{second:?}");
    assert!(second.stderr.contains("deploy of revision 2 by"), "{second:?}");
    let flip = edge.cutover(&["flip", &service, "green"]);
    assert_eq!(flip.code, 5, "{flip:?}");
    let waited = edge.cutover(&[
        "deploy",
        &service,
        "--tag",
        "3",
        "--wait-lock",
        "60s",
        "--monitor",
        "0s",
        "--keep-warm",
        "0s",
        "--json",
    ]);
    assert_eq!(waited.code, 0, "{waited:?}");
    assert_eq!(first.wait().code, 0);
    edge.until_served("3");
}

#[test]
fn a_controller_killed_at_any_step_finishes_or_undoes_the_rollout() {
    let edge = on_an_engine!();
    edge.pair("1");
    let service = edge.service();
    let load = edge.load();
    let before = ["pull", "create", "start", "ready", "flip"];
    for phase in before.into_iter().chain(["monitor", "drain", "keep_warm", "stop", "clean"]) {
        let watch = edge.watch();
        // Nobody drains for long unless there is somebody who takes his time.
        let _stream = (phase == "drain").then(|| edge.begin("/sse"));
        let deploy = ["deploy", &service, "--tag", "2", "--monitor", "1s"];
        let limits = ["--keep-warm", "1s", "--drain-timeout", "3s", "--stream-drain", "3s"];
        let client = edge.spawn(&[&deploy[..], &limits].concat());
        edge.kill_controller_in(&watch, phase);
        let since = Instant::now();
        drop(client.wait());
        eventually("the rollout is over", || edge.try_rollout().is_some_and(|r| r.is_null()));
        println!("killed in {phase}, over after {:?}", since.elapsed());
        if phase == "drain" {
            let history = edge.cutover(&["history", &service, "--json"]).report();
            let forced = &history["revisions"][0]["forced"];
            assert_eq!(forced["streams"], 1, "its deadline outlives who set it: {history}");
        }
        let active = edge.active();
        assert!(active == "blue" || active == "green", "{active}");
        let names = edge.containers();
        let live = names.iter().filter(|name| !edge.is_stopped(name)).count();
        assert!(live >= 1, "killed in {phase}: {names:?}");
        assert!(names.len() <= 3, "killed in {phase}: {names:?}");
    }
    let failures = load.stop().failures;
    assert!(failures.is_empty(), "{} failures: {:?}", failures.len(), failures.first());
    let last =
        edge.cutover(&["deploy", &service, "--tag", "3", "--monitor", "0s", "--keep-warm", "0s"]);
    assert_eq!(last.code, 0, "{last:?}");
    edge.until_served("3");
    assert_eq!(edge.containers().len(), 2, "{:?}", edge.containers());
}

#[test]
fn a_container_that_is_told_to_stop_leaves_before_it_goes() {
    let edge = on_an_engine!();
    let first = edge.app("blue", "1");
    edge.app_named("blue", "1", "second");
    edge.until_served("1");
    eventually("both are up", || edge.endpoints_up("blue") == 2);
    let load = edge.load();
    load.passes(100);
    edge.docker(&["stop", &first]);
    load.passes(100);
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn a_plan_names_blockers_and_changes_nothing() {
    let edge = on_an_engine!();
    edge.app_with("blue", "1", "web-blue", &["-p", "127.0.0.1:0:8000", "-v", "shared:/data"]);
    edge.until_served("1");
    let before = edge.containers();
    let plan = edge.cutover(&["plan", &edge.service(), "--tag", "2", "--json"]);
    assert_eq!(edge.containers(), before);
    let plan = plan.report();
    let steps = plan["steps"].as_array().unwrap();
    assert!(steps.iter().any(|step| step["phase"] == "flip"), "{plan}");
    let codes: Vec<_> =
        plan["warnings"].as_array().unwrap().iter().map(|w| w["code"].as_str().unwrap()).collect();
    assert!(codes.contains(&"shared_volume"), "{plan}");
}

#[test]
#[expect(
    clippy::cognitive_complexity,
    reason = "what happens is told in order; each assert counts"
)]
fn both_colors_are_replaced_one_after_the_other_and_their_weights_come_back() {
    let edge = on_an_engine!();
    edge.pair("1");
    eventually("both are up", || edge.endpoints_up("blue") + edge.endpoints_up("green") == 2);
    let service = edge.service();
    assert_eq!(edge.cutover(&["weight", &service, "blue=70", "green=30"]).code, 0);
    let weights = edge.weights();
    let load = edge.load();
    let planned = edge.cutover(&["plan", &service, "--tag", "2", "--json"]);
    assert_eq!(planned.report()["blockers"], serde_json::json!([]), "{planned:?}");
    let deploy =
        |tag: &str| edge.cutover(&["deploy", &service, "--tag", tag, "--monitor", "1s", "--json"]);
    let deployed = deploy("2");
    assert_eq!(deployed.code, 0, "{deployed:?}");
    assert_eq!(deployed.report()["result"], "done");
    assert_eq!(edge.weights(), weights);
    for color in ["blue", "green"] {
        assert_eq!(edge.releases(color), ["2"], "{color}");
    }
    assert_eq!(edge.containers().len(), 2, "{:?}", edge.containers());
    // A bad one costs nothing: both colors are as they were, with the shares that they had.
    let refused = edge.cutover(&[
        "deploy",
        &service,
        "--tag",
        "never-ready",
        "--deploy-timeout",
        "3s",
        "--json",
    ]);
    assert_eq!(refused.code, 3, "{refused:?}");
    assert_eq!(edge.weights(), weights);
    for color in ["blue", "green"] {
        assert_eq!(edge.releases(color), ["2"], "{color}");
    }
    // Nor does a controller that dies in between.
    for phase in ["pull", "ready", "flip", "clean"] {
        let watch = edge.watch();
        let client = edge.spawn(&["deploy", &service, "--tag", "3", "--monitor", "0s", "--json"]);
        edge.kill_controller_in(&watch, phase);
        drop(client.wait());
        eventually("the rollout is over", || edge.try_rollout().is_some_and(|r| r.is_null()));
        eventually("the weights are back", || edge.weights() == weights);
    }
    let last = deploy("3");
    assert_eq!(last.code, 0, "{last:?}");
    let served = load.stop();
    assert_eq!(served.failures, Vec::<String>::new());
    for color in ["blue", "green"] {
        assert_eq!(edge.releases(color), ["3"], "{color}");
    }
}

#[test]
fn where_the_second_color_fails_the_first_is_brought_back() {
    let edge = on_an_engine!();
    // What the image does wrong, green is told to do otherwise: it is the second that fails.
    edge.app_with("blue", "1", "blue", &["-e", "SETTING=blue"]);
    let otherwise = ["-e", "DEMO_FAULT=slow-start", "-e", "SETTING=green"];
    edge.app_with("green", "1", "green", &otherwise);
    let service = edge.service();
    eventually("both are up", || edge.endpoints_up("blue") + edge.endpoints_up("green") == 2);
    assert_eq!(edge.cutover(&["weight", &service, "blue=70", "green=30"]).code, 0);
    let weights = edge.weights();
    let load = edge.load();
    let deploy = ["deploy", &service, "--tag", "never-ready", "--monitor", "0s"];
    let failed = edge.cutover(&[&deploy[..], &["--deploy-timeout", "12s", "--json"]].concat());
    assert_eq!(failed.code, 4, "{failed:?}");
    let report = failed.report();
    assert_eq!(report["result"], "rolled_back", "{report}");
    let reason = report["reason"].as_str().unwrap();
    assert!(reason.contains("503") && reason.contains("what they were before"), "{reason}");
    assert_eq!(edge.weights(), weights);
    for color in ["blue", "green"] {
        assert_eq!(edge.releases(color), ["1"], "{color}");
        assert!(edge.environment(color).contains(&format!("SETTING={color}")), "{color}");
    }
    // What failed is kept to be looked at, and does not run.
    let names = edge.containers();
    let running: Vec<_> = names.iter().filter(|name| !edge.is_stopped(name)).collect();
    assert_eq!((names.len(), running.len()), (3, 2), "{names:?}");
    assert_eq!(load.stop().failures, Vec::<String>::new());
    let history = edge.cutover(&["history", &service, "--json"]).report();
    assert_eq!(history["revisions"][0]["result"], "rolled_back", "{history}");
    assert_eq!(history["revisions"].as_array().unwrap().len(), 2, "{history}");
}

#[test]
fn a_rollback_where_both_serve_brings_both_as_they_were() {
    let edge = on_an_engine!();
    let service = edge.service();
    let both = |release: &str, setting: &str| {
        for color in ["blue", "green"] {
            let setting = format!("SETTING={setting}-{color}");
            edge.app_with(color, release, color, &["-e", &setting]);
        }
        eventually("both are up", || edge.endpoints_up("blue") + edge.endpoints_up("green") == 2);
    };
    both("1", "old");
    assert_eq!(edge.cutover(&["flip", &service, "both"]).code, 0);
    let deploy = |tag| edge.cutover(&["deploy", &service, "--tag", tag, "--monitor", "0s"]).code;
    assert_eq!(deploy("2"), 0);
    for name in edge.containers() {
        edge.docker(&["rm", "-f", &name]);
    }
    both("2", "new");
    assert_eq!(deploy("3"), 0);
    for revision in ["2", "1"] {
        let back = edge.cutover(&["rollback", &service, revision, "--json"]);
        assert_eq!(back.code, 0, "{back:?}");
        for color in ["blue", "green"] {
            assert_eq!(edge.releases(color), [revision], "{color}");
            let setting = format!("SETTING=old-{color}");
            assert!(edge.environment(color).contains(&setting), "{color} of {revision}");
        }
        assert_eq!(edge.active(), "both");
    }
}

#[test]
fn a_service_that_flips_along_with_one_of_both_colors_is_kept_warm() {
    let edge = on_an_engine!();
    let service = edge.service();
    edge.app("blue", "1");
    edge.app("green", "1");
    let other = service.clone() + "x";
    edge.other_app(&other, "blue", "1");
    edge.other_app(&other, "green", "1");
    eventually("all are up", || edge.is_known(&other) && edge.is_known(&service));
    assert_eq!(edge.cutover(&["flip", &service, "both"]).code, 0);
    let load = edge.load();
    let deploy = ["deploy", &service, &other, "--tag", "2", "--monitor", "0s"];
    let deployed = edge.cutover(&[&deploy[..], &["--keep-warm", "60s", "--json"]].concat());
    assert_eq!(deployed.code, 0, "{deployed:?}");
    let reports = deployed.report();
    let done = reports.as_array().unwrap().iter().filter(|report| report["result"] == "done");
    assert_eq!(done.count(), 2, "{reports}");
    assert_eq!(edge.rollout()["phase"], "keep_warm");
    assert!(!edge.is_stopped(&format!("{service}-{other}-blue")));
    for color in ["blue", "green"] {
        assert_eq!(edge.releases(color), ["2"], "{color}");
    }
    assert_eq!(load.stop().failures, Vec::<String>::new());
}

#[test]
fn of_twenty_deploys_at_the_same_time_one_wins() {
    let edge = on_an_engine!();
    edge.pair("1");
    let service = edge.service();
    let deploy = [
        "deploy",
        &service,
        "--tag",
        "slow-start",
        "--monitor",
        "0s",
        "--keep-warm",
        "0s",
        "--json",
    ];
    let all: Vec<_> = (0..20).map(|_| edge.spawn(&deploy)).collect();
    let said: Vec<_> = all.into_iter().map(cutover_harness::Running::wait).collect();
    let won = said.iter().filter(|said| said.code == 0).count();
    let refused: Vec<_> = said.iter().filter(|said| said.code == 5).collect();
    assert_eq!((won, refused.len()), (1, 19), "{said:?}");
    assert!(refused.iter().all(|said| said.stderr.contains("deploy")), "{refused:?}");
    assert_eq!(edge.containers().len(), 2, "{:?}", edge.containers());
}

#[test]
fn a_release_that_compose_starts_beside_the_old_one_is_flipped_to_by_itself() {
    let edge = on_an_engine!();
    edge.replica("1", 1, true);
    edge.until_served("1");
    let load = edge.load();
    let new = edge.replica("2", 2, true);
    edge.until_served("2");
    eventually("the old one is gone", || edge.containers() == [new.clone()]);
    assert_eq!(load.stop().failures, Vec::<String>::new());
    // It is told once the old one has been put away.
    eventually("the history knows", || {
        let history = edge.cutover(&["history", &edge.service(), "--json"]).report();
        history["revisions"][0]["kind"] == "auto"
    });
}

#[test]
fn without_auto_a_new_release_waits_for_a_flip() {
    let edge = on_an_engine!();
    edge.replica("1", 1, false);
    edge.until_served("1");
    let other = edge.service() + "x";
    edge.replica_of(&other, "other", "1", 1, true);
    eventually("the other serves", || edge.active_of(&other).is_some());
    edge.replica("2", 2, false);
    eventually("the new one is up", || edge.endpoints_up("green") == 1);
    // Whoever looks for new releases has looked at both once it has flipped to the other's.
    edge.replica_of(&other, "other", "2", 2, true);
    eventually("the other is flipped", || edge.active_of(&other).as_deref() == Some("green"));
    assert_eq!(edge.active(), "blue");
    assert_eq!(edge.cutover(&["flip", &edge.service(), "green"]).code, 0);
    edge.until_served("2");
}

#[test]
fn a_release_that_ends_while_it_is_judged_is_rolled_back() {
    let edge = on_an_engine!();
    edge.pair("1");
    let load = edge.load();
    let deployed = edge.cutover(&[
        "deploy",
        &edge.service(),
        "--tag",
        "exit-later",
        "--monitor",
        "30s",
        "--json",
    ]);
    assert_eq!(deployed.code, 4, "{deployed:?}");
    let report = deployed.report();
    assert!(!report["log"].as_array().unwrap().is_empty(), "{report}");
    let served = load.stop();
    // Each of the four clients may have had one request on it when it died.
    assert!(served.failures.len() <= 4, "{:?}", served.failures);
    assert_eq!(edge.active(), "blue");
    edge.until_served("1");
}

#[test]
fn services_named_together_flip_in_one_table() {
    let edge = on_an_engine!();
    edge.app("blue", "1");
    edge.app("green", "1");
    let other = edge.service() + "x";
    edge.other_app(&other, "blue", "1");
    edge.other_app(&other, "green", "1");
    edge.until_served("1");
    eventually("the other is up", || edge.is_known(&other));
    let service = edge.service();
    let flips = edge.spawn(&["events", "--follow"]);
    let deployed = edge.cutover(&[
        "deploy",
        &service,
        &other,
        "--tag",
        "2",
        "--monitor",
        "0s",
        "--keep-warm",
        "0s",
        "--json",
    ]);
    assert_eq!(deployed.code, 0, "{deployed:?}");
    assert_eq!(deployed.report().as_array().unwrap().len(), 2);
    let events = flips.end();
    let generations: Vec<_> = events
        .lines()
        .filter_map(|line| serde_json::from_str::<serde_json::Value>(line).ok())
        .filter(|event| event["weights"]["green"] == 100)
        .map(|event| (event["service"].clone(), event["generation"].clone()))
        .collect();
    assert_eq!(generations.len(), 2, "{events}");
    assert_eq!(generations[0].1, generations[1].1, "{events}");
}
