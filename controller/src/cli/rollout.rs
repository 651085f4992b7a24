//! `deploy` and `rollback`: start a rollout, watch it, and say how it ended.

use std::io::Write;

use cutover_api::{DeployRequest, Ending, ErrorBody, Line, Report, RollbackRequest};
use cutover_proxy::table::ServiceName;
use http::Method;
use serde::Serialize;

use super::client::{Client, Document, Lines, path_of};
use super::failure::{Failure, code};
use super::options::{Deploy, Rollback};
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
pub(super) async fn rollback(client: &Client, options: &Rollback) -> Result<u8, Failure> {
    let body = RollbackRequest {
        revision: options.revision,
        wait_lock_ms: options.wait_lock.map(millis).unwrap_or_default(),
        by: user(),
        ..RollbackRequest::default()
    };
    start(&client.with_logins(None), &options.service, "rollback", &body).await
}

/// The service whose path is asked, and the body: only what was typed, for the rest is the
/// service's own.
pub(super) fn request(options: &Deploy) -> Result<(String, DeployRequest), Failure> {
    let Some(first) = options.services.first() else {
        return Err(Failure::usage("no service was named", "cutover deploy web"));
    };
    let services = match options.services.as_slice() {
        [_] => Vec::new(),
        several => several.iter().map(|name| service(name)).collect::<Result<_, _>>()?,
    };
    let body = DeployRequest {
        services,
        image: options.image.clone(),
        tag: options.tag.clone(),
        pull: options.pull,
        deploy_timeout_ms: options.deploy_timeout.map(millis),
        drain_timeout_ms: options.drain_timeout.map(millis),
        stream_drain_ms: options.stream_drain.map(millis),
        keep_warm_ms: options.keep_warm.map(millis),
        monitor_ms: options.monitor.map(millis),
        wait_lock_ms: options.wait_lock.map(millis).unwrap_or_default(),
        by: user(),
    };
    Ok((first.clone(), body))
}

fn service(name: &str) -> Result<ServiceName, Failure> {
    let wrong = |error| Failure::usage(format!("`{name}`: {error}"), "`cutover status` lists them");
    name.parse().map_err(wrong)
}

/// Who asks, for the history.
fn user() -> Option<String> {
    ["SUDO_USER", "USER"].iter().find_map(|name| std::env::var(name).ok())
}

async fn start(
    client: &Client,
    service: &str,
    verb: &str,
    body: &impl Serialize,
) -> Result<u8, Failure> {
    let mut lines = client.lines(Method::POST, &path_of(service, verb), Some(body)).await?;
    let reports = tokio::select! {
        reports = watch(&mut lines) => reports?,
        _ = tokio::signal::ctrl_c() => {
            let text = format!(
                "the rollout of {service} goes on without this command\n\
                 hint: `cutover status {service} --watch` shows it; `cutover abort {service}` ends it"
            );
            writeln!(std::io::stderr(), "{}", plain(&text)).map_err(Failure::other)?;
            return Ok(code::FAILED);
        }
    };
    finish(client, &reports)
}

/// Shows what happens until the stream ends; gives the reports that came.
async fn watch(lines: &mut Lines) -> Result<Vec<(Document, Report)>, Failure> {
    let mut progress = Progress::new();
    let mut reports = Vec::new();
    loop {
        let line = match lines.next().await {
            Ok(Some(line)) => line,
            Ok(None) if !reports.is_empty() => return Ok(reports),
            Ok(None) | Err(_) => {
                return Err(Failure::with_hint(
                    "the stream ended before the report",
                    "Cutover finishes or undoes the rollout: see `cutover status` and `cutover history`",
                ));
            }
        };
        match line.read() {
            Ok(Line::Event(event)) => progress.event(&event),
            Ok(Line::Report(report)) => reports.push((line, report)),
            Ok(Line::Error(ErrorBody { error })) => return Err(Failure::Said(error)),
            // An event of a newer version.
            Err(_) => {}
        }
    }
}

/// Prints the reports; the worst of them is the exit code.
fn finish(client: &Client, reports: &[(Document, Report)]) -> Result<u8, Failure> {
    let text = match (client.json, reports) {
        (true, [(only, _)]) => only.text.clone(),
        (true, several) => {
            let texts: Vec<&str> = several.iter().map(|(line, _)| line.text.as_str()).collect();
            format!("[{}]", texts.join(","))
        }
        (false, _) => {
            let texts: Vec<String> = reports.iter().map(|(_, report)| prose(report)).collect();
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
    let codes = reports.iter().map(|(_, report)| exit_code(report));
    Ok(codes.max_by_key(rank).unwrap_or(code::FAILED))
}

fn exit_code(report: &Report) -> u8 {
    match report.result {
        Ending::Done if report.forced.requests + report.forced.streams > 0 => code::FORCED,
        Ending::Done => code::DONE,
        Ending::Failed => code::FAILED,
        Ending::Refused => code::REFUSED,
        Ending::RolledBack => code::ROLLED_BACK,
    }
}

fn prose(report: &Report) -> String {
    let mut lines = Vec::new();
    let mut head = format!("{}: {}", report.service, report.result.as_str().replace('_', " "));
    // The reason first: it is what one looks for.
    if let Some(reason) = &report.reason {
        head.push_str(&format!(": {reason}"));
    }
    lines.push(head);
    lines.extend(report.last_probe.iter().map(|probe| format!("  last probe: {probe}")));
    lines.extend(report.log.iter().map(|line| format!("  | {line}")));
    let Report { from, to, revision, image, requests, .. } = report;
    lines.push(format!("  flip      {from} -> {to}, revision {revision}"));
    lines.push(format!("  image     {image}"));
    lines.push(format!(
        "  requests  blue {}, green {}; failed {}, retried {}, held {}",
        requests.blue, requests.green, report.failed, report.retried, report.held
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
