//! `deploy` and `rollback`: start a rollout, watch it, and say how it ended.

use std::io::Write;

use http::Method;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use super::client::{Client, Document, Lines, segment};
use super::failure::{ErrorBody, Failure, code};
use super::options::Deploy;
use super::progress::Progress;
use super::text::{count, milliseconds, plain};
use crate::millis::millis;

/// Brings a release in.
pub(super) async fn deploy(client: &Client, options: &Deploy) -> Result<u8, Failure> {
    let (first, body) = request(options)?;
    let client = client.with_logins(options.image.as_deref());
    start(&client, &first, "deploy", &body).await
}

/// Goes back.
pub(super) async fn rollback(
    client: &Client,
    service: &str,
    revision: Option<u64>,
) -> Result<u8, Failure> {
    let mut body = Map::new();
    if let Some(revision) = revision {
        body.insert("revision".to_owned(), json!(revision));
    }
    sign(&mut body);
    start(&client.with_logins(None), service, "rollback", &Value::Object(body)).await
}

/// The service whose path is asked, and the body: only what was typed, for the rest is the
/// service's own.
pub(super) fn request(options: &Deploy) -> Result<(String, Value), Failure> {
    let Some(first) = options.services.first() else {
        return Err(Failure::Usage {
            message: "no service was named".to_owned(),
            hint: "cutover deploy web".to_owned(),
        });
    };
    let mut body = Map::new();
    if options.services.len() > 1 {
        body.insert("services".to_owned(), json!(options.services));
    }
    let texts = [("image", &options.image), ("tag", &options.tag)];
    for (name, text) in texts.into_iter().filter_map(|(name, text)| Some((name, text.as_ref()?))) {
        body.insert(name.to_owned(), json!(text));
    }
    if let Some(pull) = options.pull {
        body.insert("pull".to_owned(), json!(pull));
    }
    let times = [
        ("deploy_timeout_ms", options.deploy_timeout),
        ("drain_timeout_ms", options.drain_timeout),
        ("stream_drain_ms", options.stream_drain),
        ("keep_warm_ms", options.keep_warm),
        ("monitor_ms", options.monitor),
        ("wait_lock_ms", options.wait_lock),
    ];
    for (name, time) in times.into_iter().filter_map(|(name, time)| Some((name, time?))) {
        body.insert(name.to_owned(), json!(millis(time)));
    }
    sign(&mut body);
    Ok((first.clone(), Value::Object(body)))
}

/// Says who asks, for the history.
fn sign(body: &mut Map<String, Value>) {
    let user = ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok());
    if let Some(user) = user {
        body.insert("by".to_owned(), json!(user));
    }
}

async fn start(client: &Client, service: &str, verb: &str, body: &Value) -> Result<u8, Failure> {
    let path = format!("/v1/services/{}/{verb}", segment(service));
    let mut lines = client.lines(Method::POST, &path, Some(body)).await?;
    let reports = tokio::select! {
        reports = watch(&mut lines) => reports?,
        _ = tokio::signal::ctrl_c() => {
            let text = format!(
                "the rollout of {service} goes on without this command\n\
                 hint: `cutover status {service} --watch` shows it; `cutover rollback {service}` undoes it"
            );
            writeln!(std::io::stderr(), "{}", plain(&text)).map_err(Failure::other)?;
            return Ok(code::FAILED);
        }
    };
    finish(client, &reports)
}

/// Shows what happens until the stream ends; gives the reports that came.
async fn watch(lines: &mut Lines) -> Result<Vec<Document>, Failure> {
    let mut progress = Progress::new();
    let mut reports = Vec::new();
    loop {
        match lines.next().await {
            Ok(Some(line)) if is_report(&line.value) => reports.push(line),
            Ok(Some(line)) => match line.value.get("error").map(ErrorBody::deserialize) {
                Some(Ok(error)) => return Err(Failure::Answered(error)),
                _ => progress.event(&line.value),
            },
            Ok(None) if !reports.is_empty() => return Ok(reports),
            Ok(None) | Err(_) => {
                return Err(Failure::Other {
                    message: "the stream ended before the report".to_owned(),
                    hint: Some("Cutover finishes or undoes the rollout: see `cutover status` and `cutover history`".to_owned()),
                });
            }
        }
    }
}

fn is_report(line: &Value) -> bool {
    line.get("result").is_some_and(Value::is_string) && line.get("event").is_none()
}

/// Prints the reports; the worst of them is the exit code.
fn finish(client: &Client, reports: &[Document]) -> Result<u8, Failure> {
    let text = match (client.json, reports) {
        (true, [only]) => only.text.clone(),
        (true, several) => {
            json!(several.iter().map(|report| &report.value).collect::<Vec<_>>()).to_string()
        }
        (false, _) => {
            let texts: Vec<String> = reports.iter().map(|report| prose(&report.value)).collect();
            texts.join("\n\n")
        }
    };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::other)?;
    // From bad to worse: forced, failed, refused, rolled back.
    let rank = |code: &u8| match *code {
        code::DONE => 0,
        code::FORCED => 1,
        code::REFUSED => 2,
        code::ROLLED_BACK => 3,
        _ => 4,
    };
    Ok(reports
        .iter()
        .map(|report| exit_code(&report.value))
        .max_by_key(rank)
        .unwrap_or(code::FAILED))
}

fn exit_code(report: &Value) -> u8 {
    let report = Report::deserialize(report).unwrap_or_default();
    match report.result.as_str() {
        "done" if report.forced.requests + report.forced.streams > 0 => code::FORCED,
        "done" => code::DONE,
        "refused" => code::REFUSED,
        "rolled_back" => code::ROLLED_BACK,
        _ => code::FAILED,
    }
}

/// What of a report is shown and judged.
#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Report {
    service: String,
    result: String,
    revision: Option<u64>,
    from: Option<String>,
    to: Option<String>,
    image: Option<String>,
    requests: ByColor,
    failed: u64,
    retried: u64,
    held: u64,
    forced: Forced,
    longest_drained_ms: u64,
    p50_ms: OldNew,
    p99_ms: OldNew,
    phases: Vec<Phase>,
    reason: Option<String>,
    last_probe: Option<String>,
    log: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct ByColor {
    blue: u64,
    green: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Forced {
    requests: u64,
    streams: u64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct OldNew {
    old: f64,
    new: f64,
}

#[derive(Debug, Default, Deserialize)]
#[serde(default)]
struct Phase {
    name: String,
    ms: u64,
}

fn prose(report: &Value) -> String {
    let report = Report::deserialize(report).unwrap_or_default();
    let mut lines = Vec::new();
    let mut head = format!("{}: {}", report.service, report.result.replace('_', " "));
    // The reason first: it is what one looks for.
    if let Some(reason) = &report.reason {
        head.push_str(&format!(": {reason}"));
    }
    lines.push(head);
    lines.extend(report.last_probe.iter().map(|probe| format!("  last probe: {probe}")));
    lines.extend(report.log.iter().map(|line| format!("  | {line}")));
    if let (Some(from), Some(to)) = (&report.from, &report.to) {
        let revision =
            report.revision.map_or(String::new(), |number| format!(", revision {number}"));
        lines.push(format!("  flip      {from} -> {to}{revision}"));
    }
    lines.extend(report.image.iter().map(|image| format!("  image     {image}")));
    lines.push(format!(
        "  requests  blue {}, green {}; failed {}, retried {}, held {}",
        report.requests.blue, report.requests.green, report.failed, report.retried, report.held
    ));
    lines.push(format!(
        "  forced    {}, {}; the longest drained in {}",
        count(report.forced.requests, "request"),
        count(report.forced.streams, "stream"),
        milliseconds(report.longest_drained_ms)
    ));
    lines.push(format!(
        "  latency   p50 {} -> {} ms, p99 {} -> {} ms",
        report.p50_ms.old, report.p50_ms.new, report.p99_ms.old, report.p99_ms.new
    ));
    let phases = report.phases.iter();
    let phases: Vec<String> =
        phases.map(|phase| format!("{} {}", phase.name, milliseconds(phase.ms))).collect();
    if !phases.is_empty() {
        lines.push(format!("  phases    {}", phases.join(", ")));
    }
    plain(&lines.join("\n"))
}
