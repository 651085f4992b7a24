//! What becomes of a rollout that panics, or that somebody ends.

mod adopted;

use axum::response::{IntoResponse, Response};
use cutover_api::Target;
use cutover_proxy::table::Color;
use cutover_rollout::Limits;
use http::StatusCode;
use serde_json::json;

use super::*;
use crate::discovery::Discovery;
use crate::engine::Containers;
use crate::http::server;
use crate::panics;
use crate::serving::controller::tests::{Fixture, web};
use crate::state::rollout::tests::record;

/// An engine without a container.
async fn engine(uri: http::Uri) -> Response {
    match uri.path().rsplit('/').next() {
        Some("_ping") => "OK".into_response(),
        Some("version") => {
            axum::Json(json!({"ApiVersion": "1.41", "MinAPIVersion": "1.24"})).into_response()
        }
        Some("json") if uri.path().ends_with("/containers/json") => {
            axum::Json(json!([])).into_response()
        }
        Some("events") => std::future::pending().await,
        _ => (StatusCode::NOT_FOUND, axum::Json(json!({"message": "none"}))).into_response(),
    }
}

struct Stage {
    fixture: Fixture,
    rollouts: Rollouts,
}

impl Stage {
    async fn new() -> Self {
        let fixture = Fixture::new().await;
        let path = fixture.dir.path().join("engine.sock");
        let listener = tokio::net::UnixListener::bind(&path).unwrap();
        let router = axum::Router::new().fallback(engine);
        tokio::spawn(server::control(listener, |_| true, router.clone(), router));
        let containers = Containers::docker(&path);
        let controller = fixture.controller.clone();
        let discovery = Discovery::start(controller.clone(), containers.clone(), Vec::new());
        let rollouts = Rollouts {
            tools: Tools { controller, containers, discovery },
            running: Arc::default(),
            preparing: Preparing::default(),
            begun: Arc::new(SetOnce::new_with(Some(()))),
        };
        Self { fixture, rollouts }
    }

    /// Flips `web` to green, as a release that runs already; its first `panics` steps panic.
    fn roll_out(&self, panics: usize, monitor_ms: u64) -> Lines {
        let controller = &self.fixture.controller;
        for _ in 0..panics {
            panics::inject(&controller.point("a rollout"));
        }
        let limits = Limits { deploy_ms: 5000, monitor_ms, ..Limits::default() };
        let record = record("web-r1", &[&web()], limits);
        let lock = controller.locks().take(&[web()], &LockOwner::new("deploy", None)).unwrap();
        let (client, lines) = mpsc::unbounded_channel();
        self.rollouts.run(record, lock, Logins::default(), Event::Begin, client);
        lines
    }

    /// A rollout that has flipped to green and judges it for as long as it takes.
    async fn judged(&self) -> Lines {
        let lines = self.roll_out(0, 600_000);
        self.fixture.until(|_| self.rollouts.after_flip(&web()).is_some()).await;
        assert_eq!(self.serving(), Target::Green);
        lines
    }

    async fn last(&self, mut lines: Lines) -> Option<Line> {
        let mut last = None;
        let reading = async {
            while let Some(line) = lines.recv().await {
                last = Some(line);
            }
        };
        timeout(Duration::from_secs(20), reading).await.expect("no end");
        last
    }

    async fn report(&self, lines: Lines) -> Report {
        match self.last(lines).await {
            Some(Line::Report(report)) => report,
            other => panic!("{other:?}"),
        }
    }

    async fn is_free_again(&self) {
        self.fixture.until(|fixture| fixture.controller.locks().check(&web()).is_ok()).await;
        assert_eq!(self.serving(), Target::Blue);
    }

    fn serving(&self) -> Target {
        self.fixture.controller.state(|state| state.weights(&web())).active()
    }
}

#[tokio::test]
async fn a_rollout_that_panics_is_undone_like_one_of_a_controller_that_died() {
    let stage = Stage::new().await;
    let report = stage.report(stage.roll_out(1, 0)).await;
    assert_eq!((report.service, report.result), (web(), Ending::Refused));
    assert!(
        report.reason.as_ref().unwrap().contains("the controller failed"),
        "{:?}",
        report.reason
    );
    stage.is_free_again().await;
}

#[tokio::test]
async fn a_rollout_that_panics_again_and_again_has_failed_and_lets_the_lock_go() {
    let stage = Stage::new().await;
    let before = panics::count();
    let last = stage.last(stage.roll_out(2, 0)).await;
    let Some(Line::Error(body)) = last else { panic!("{last:?}") };
    assert_eq!(body.error.code, cutover_api::Code::Failed);
    assert!(panics::count() >= before + 2);
    stage.is_free_again().await;
    let metrics = crate::http::metrics::render(&stage.fixture.controller).await;
    let failed = r#"cutover_rollouts_total{service="web",result="failed"} 1"#;
    assert!(metrics.contains(failed), "{metrics}");
}

#[tokio::test]
async fn an_abort_while_a_release_is_judged_brings_the_old_color_back_at_once() {
    let stage = Stage::new().await;
    let lines = stage.judged().await;
    let aborted = stage.rollouts.abort(&web(), Some("ops")).await.unwrap();
    assert_eq!((aborted.result, aborted.serves), (Ending::RolledBack, Target::Blue));
    assert_eq!(stage.serving(), Target::Blue);
    let report = stage.report(lines).await;
    assert_eq!(report.result, Ending::RolledBack);
    assert_eq!(report.reason.as_deref(), Some("aborted by ops"));
    stage.is_free_again().await;
    let nothing = stage.rollouts.abort(&web(), None).await.unwrap_err();
    assert!(matches!(nothing, Error::NotFound(_)), "{nothing}");
}

#[tokio::test]
async fn a_flip_to_the_old_color_while_a_release_is_judged_ends_the_rollout() {
    let stage = Stage::new().await;
    let lines = stage.judged().await;
    let flipped = stage.rollouts.flip(&web(), Target::Blue, false, Some("ops")).await.unwrap();
    assert_eq!((flipped.from, flipped.to), (Target::Green, Target::Blue));
    assert_eq!(stage.serving(), Target::Blue);
    let report = stage.report(lines).await;
    assert_eq!(report.result, Ending::RolledBack);
    assert_eq!(report.reason.as_deref(), Some("flipped back by ops"));
    stage.is_free_again().await;
}

#[tokio::test]
async fn a_rollback_while_a_release_is_judged_ends_the_rollout_and_is_done() {
    let stage = Stage::new().await;
    let lines = stage.judged().await;
    let asked = Rollback { by: Some("ops".into()), ..Rollback::default() };
    let back = stage.rollouts.rollback(&web(), asked, Logins::default()).await.unwrap();
    let done = stage.report(back).await;
    assert_eq!((done.result, done.to), (Ending::Done, Color::Blue));
    assert_eq!(stage.serving(), Target::Blue);
    let report = stage.report(lines).await;
    assert_eq!(report.result, Ending::RolledBack);
    assert_eq!(report.reason.as_deref(), Some("rolled back by ops"));
    stage.is_free_again().await;
}
