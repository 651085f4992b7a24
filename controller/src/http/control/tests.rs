//! The control socket as curl would use it, and as nobody should.

use std::path::PathBuf;
use std::sync::atomic::Ordering;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::time::timeout;

use super::*;
use crate::http::server;
use crate::serving::controller::tests::Fixture;

/// A fixture with an open control socket.
struct Socket {
    fixture: Fixture,
    path: PathBuf,
}

impl Socket {
    async fn open() -> Self {
        let fixture = Fixture::new().await;
        let path = fixture.dir.path().join("control.sock");
        let listener = UnixListener::bind(&path).unwrap();
        let router = router(fixture.controller.clone());
        tokio::spawn(server::control(listener, |s| allowed(s, &[]), router, forbidden()));
        Self { fixture, path }
    }

    async fn connect(&self) -> UnixStream {
        UnixStream::connect(&self.path).await.unwrap()
    }

    /// Asks and reads to the end: status and body.
    async fn ask(&self, head: &str, body: &str) -> (u16, String) {
        let mut stream = self.connect().await;
        let request = format!(
            "{head} HTTP/1.1\r\nhost: cutover\r\nconnection: close\r\ncontent-length: {}\r\n\r\n{body}",
            body.len()
        );
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        let reading = stream.read_to_string(&mut answer);
        timeout(Duration::from_secs(20), reading).await.unwrap().unwrap();
        let (head, body) = answer.split_once("\r\n\r\n").unwrap();
        let status = head.split(' ').nth(1).unwrap().parse().unwrap();
        (status, body.to_owned())
    }

    async fn json(&self, head: &str, body: &str) -> (u16, Value) {
        let (status, body) = self.ask(head, body).await;
        (status, serde_json::from_str(&body).unwrap())
    }
}

#[tokio::test]
async fn a_flip_answers_with_the_fields_of_the_contract() {
    let socket = Socket::open().await;
    let (status, answer) = socket.json("POST /v1/services/web/flip", r#"{"to":"green"}"#).await;
    assert_eq!(status, 200, "{answer}");
    assert_eq!(
        (&answer["service"], &answer["from"], &answer["to"]),
        (&"web".into(), &"blue".into(), &"green".into())
    );
    assert_eq!(answer["flip_us"], 41);
    assert!(answer["generation"].is_u64() && answer["probe_ms"].is_u64());

    let (_, status) = socket.json("GET /v1/status", "").await;
    let web = status["services"].as_array().unwrap().iter().find(|s| s["name"] == "web").unwrap();
    assert_eq!((&web["active"], &web["weights"]["green"]), (&"green".into(), &100.into()));
    assert_eq!(web["colors"]["green"]["endpoints"][0]["up"], true);
    for field in ["paused", "draining", "rollout"] {
        assert!(web.get(field).is_some(), "{field}");
    }
    assert_eq!(status["generation"], answer["generation"]);
    assert_eq!(status["config"]["ok"], true);
}

#[tokio::test]
async fn what_is_refused_says_why_in_a_stable_word() {
    let socket = Socket::open().await;
    socket.fixture.green.store(false, Ordering::Relaxed);
    let large = format!("{{\"to\":\"{}\"}}", "x".repeat(1 << 20));
    for (head, body, status, code) in [
        ("POST /v1/services/nobody/flip", r#"{"to":"blue"}"#, 404, "unknown_service"),
        ("POST /v1/services/web/flip", r#"{"to":"red"}"#, 400, "bad_request"),
        ("POST /v1/services/web/flip", r#"{"to":"#, 400, "bad_request"),
        ("POST /v1/services/web/flip", "", 400, "bad_request"),
        ("POST /v1/services/web/flip", r#"{"to":"green"}"#, 409, "probe_failed"),
        ("POST /v1/services/web/weight", r#"{"blue":5}"#, 400, "bad_request"),
        ("POST /v1/services/web/weight", "", 400, "bad_request"),
        ("POST /v1/services/web/weight", r#"{"blue":0,"green":0}"#, 400, "bad_request"),
        ("POST /v1/services/web/flip", &large, 413, "too_large"),
        ("GET /v1/services/web/flip", "", 405, "wrong_method"),
        ("GET /v1/nothing", "", 404, "not_found"),
        ("GET /v1/events?follow=perhaps", "", 400, "bad_request"),
    ] {
        let (got, answer) = socket.json(head, body).await;
        assert_eq!((got, &answer["error"]["code"]), (status, &code.into()), "{head} {answer}");
        assert!(answer["error"]["message"].is_string() && answer["error"]["hint"].is_string());
    }
}

#[test]
fn a_list_is_no_body() {
    for list in ["[]", " [true, 5]"] {
        let refused = Body::<cutover_api::PauseRequest>::read(list.as_bytes()).unwrap_err();
        assert!(refused.to_string().contains("a list where an object belongs"), "{refused}");
    }
    assert!(Body::<cutover_api::PauseRequest>::read(b"{}").is_ok());
}

#[tokio::test]
async fn weights_and_pauses_go_over_the_socket() {
    let socket = Socket::open().await;
    let weight = r#"{"blue":95,"green":5}"#;
    let (status, answer) = socket.json("POST /v1/services/web/weight", weight).await;
    assert_eq!((status, &answer["weights"]["green"]), (200, &5.into()));
    assert_eq!(socket.json("POST /v1/services/web/pause", "").await.1["paused"], true);
    assert_eq!(socket.json("GET /v1/services/web", "").await.1["paused"], true);
    assert_eq!(socket.json("POST /v1/services/web/resume", "").await.1["paused"], false);
    let metrics = socket.ask("GET /metrics", "").await.1;
    assert!(metrics.contains(r#"cutover_active{service="web",color="green"} 0.05"#), "{metrics}");
}

#[tokio::test]
async fn events_arrive_as_they_happen_and_can_be_read_later() {
    let socket = Socket::open().await;
    let mut stream = socket.connect().await;
    stream.write_all(b"GET /v1/events HTTP/1.1\r\nhost: x\r\n\r\n").await.unwrap();
    let mut lines = BufReader::new(stream).lines();
    while !lines.next_line().await.unwrap().unwrap().is_empty() {}
    socket.ask("POST /v1/services/web/flip", r#"{"to":"green","force":true}"#).await;
    let flipped = async {
        loop {
            let line = lines.next_line().await.unwrap().unwrap();
            if line.contains(r#""event":"flipped""#) {
                break serde_json::from_str::<Value>(&line).unwrap();
            }
        }
    };
    let flipped = timeout(Duration::from_secs(20), flipped).await.unwrap();
    assert_eq!((&flipped["service"], &flipped["to"]), (&"web".into(), &"green".into()));
    let (_, past) = socket.ask("GET /v1/events?follow=false", "").await;
    assert!(past.contains(r#""event":"flipped""#), "{past}");
}

#[tokio::test]
async fn a_thousand_silent_and_babbling_callers_keep_nobody_out() {
    let socket = Socket::open().await;
    let mut callers = Vec::new();
    for n in 0..1000 {
        let mut stream = socket.connect().await;
        let words: &[u8] = match n % 4 {
            0 => b"",
            1 => b"GET /v1/sta",
            2 => &[0xff; 512],
            _ => b"POST /v1/services/web/flip HTTP/1.1\r\nhost: x\r\ncontent-length: 99\r\n\r\n{",
        };
        // Whoever was sent away already cannot be written to.
        stream.write_all(words).await.ok();
        callers.push(stream);
        if n % 50 == 0 {
            tokio::task::yield_now().await;
        }
    }
    assert_eq!(socket.ask("GET /v1/status", "").await.0, 200);
    drop(callers);
    assert_eq!(socket.ask("GET /v1/status", "").await.0, 200);
}

#[tokio::test]
async fn whoever_is_not_on_the_list_is_forbidden() {
    let fixture = Fixture::new().await;
    let path = fixture.dir.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let inside = router(fixture.controller.clone());
    tokio::spawn(server::control(listener, |_| false, inside, forbidden()));
    let socket = Socket { fixture, path };
    let (status, answer) = socket.json("GET /v1/status", "").await;
    assert_eq!((status, &answer["error"]["code"]), (403, &"forbidden".into()));
}

#[tokio::test]
async fn our_own_user_may_come_in() {
    let (ours, _theirs) = UnixStream::pair().unwrap();
    assert!(allowed(&ours, &[]));
}

#[tokio::test]
async fn every_path_of_the_document_is_answered() {
    let fixture = Fixture::new().await;
    let path = fixture.dir.path().join("control.sock");
    let listener = UnixListener::bind(&path).unwrap();
    let rollouts = crate::http::rollouts::without_docker();
    let router = router(fixture.controller.clone()).merge(rollouts);
    tokio::spawn(server::control(listener, |s| allowed(s, &[]), router, forbidden()));
    let socket = Socket { fixture, path };
    let (_, document) = socket.json("GET /v1/openapi.json", "").await;
    let paths = document["paths"].as_object().unwrap();
    assert!(paths.len() >= 15, "{paths:?}");
    for (path, operations) in paths {
        for method in operations.as_object().unwrap().keys() {
            let path = path.replace("{name}", "web").replace("/events", "/events?follow=false");
            let (status, answer) =
                socket.ask(&format!("{} {path}", method.to_uppercase()), "").await;
            assert!(
                status != 405 && !answer.contains("there is nothing at this path"),
                "{method} {path}: {answer}"
            );
        }
    }
}

#[tokio::test]
async fn the_document_has_a_schema_for_every_answer() {
    let socket = Socket::open().await;
    let (_, document) = socket.json("GET /v1/openapi.json", "").await;
    assert_eq!(document["openapi"], "3.1.0");
    for (path, operations) in document["paths"].as_object().unwrap() {
        for (method, operation) in operations.as_object().unwrap() {
            let answers = &operation["responses"];
            let done = answers["200"]["content"].as_object().unwrap().values().next().unwrap();
            assert!(done.get("schema").is_some(), "{method} {path}");
            let failed = &answers["default"]["content"]["application/json"]["schema"]["$ref"];
            assert_eq!(failed, "#/components/schemas/ErrorBody", "{method} {path}");
        }
    }
    let schemas = &document["components"]["schemas"];
    let codes = schemas["Code"]["enum"].as_array().unwrap();
    assert!(codes.contains(&"probe_failed".into()));
    // What a reader of the schema may rely on: every name it refers to is there.
    let text = document.to_string();
    for name in text.split("#/components/schemas/").skip(1) {
        let name = name.split('"').next().unwrap();
        assert!(schemas.get(name).is_some(), "{name}");
    }
}

/// Whether a schema takes `null`, by its own words.
fn is_nullable(schema: &Value) -> bool {
    let types = schema["type"].as_array().into_iter().flatten().chain([&schema["type"]]);
    let choices = schema["oneOf"].as_array().into_iter().flatten();
    types.into_iter().any(|kind| kind == "null") || choices.into_iter().any(is_nullable)
}

#[tokio::test]
async fn the_document_and_the_server_say_the_same_of_null() {
    fn takes<T: serde::de::DeserializeOwned>(body: &Value) -> bool {
        Body::<T>::read(body.to_string().as_bytes()).is_ok()
    }
    let socket = Socket::open().await;
    let (_, document) = socket.json("GET /v1/openapi.json", "").await;
    let body = |path: &str| {
        let body =
            &document["paths"][format!("/v1/services/{{name}}/{path}")]["post"]["requestBody"];
        body["content"]["application/json"]["schema"].clone()
    };
    type Takes = fn(&Value) -> bool;
    let parsed: [(&str, &str, Takes); 4] = [
        ("deploy", "DeployRequest", takes::<cutover_api::DeployRequest>),
        ("plan", "DeployRequest", takes::<cutover_api::DeployRequest>),
        ("rollback", "RollbackRequest", takes::<cutover_api::RollbackRequest>),
        ("pause", "PauseRequest", takes::<cutover_api::PauseRequest>),
    ];
    for (path, name, takes) in parsed {
        assert!(takes(&Value::Null) && is_nullable(&body(path)), "{path}: {}", body(path));
        let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        assert!(!fields.is_empty());
        for (field, schema) in fields {
            let body = serde_json::json!({ field.as_str(): null });
            assert_eq!(takes(&body), is_nullable(schema), "{name}.{field}: {schema}");
        }
    }
    for (path, whole) in [
        ("flip", serde_json::json!({"to": "blue", "force": true})),
        ("weight", serde_json::json!({"blue": 1, "green": 1})),
    ] {
        let request = format!("POST /v1/services/web/{path}");
        assert!(!is_nullable(&body(path)), "{}", body(path));
        assert_eq!(socket.ask(&request, "null").await.0, 400, "{path}");
        for field in whole.as_object().unwrap().keys() {
            let mut without = whole.clone();
            without[field] = Value::Null;
            assert_eq!(socket.ask(&request, &without.to_string()).await.0, 400, "{path}.{field}");
        }
        assert_eq!(socket.ask(&request, &whole.to_string()).await.0, 200, "{path}");
        let name = if path == "flip" { "FlipRequest" } else { "WeightRequest" };
        let fields = document["components"]["schemas"][name]["properties"].as_object().unwrap();
        assert!(fields.len() == 2 && !fields.values().any(is_nullable), "{name}: {fields:?}");
    }
    let events = &document["paths"]["/v1/events"]["get"]["parameters"];
    for parameter in events.as_array().unwrap() {
        assert!(!is_nullable(&parameter["schema"]), "a query has no null: {parameter}");
        assert_eq!(parameter["required"], false);
    }
}
