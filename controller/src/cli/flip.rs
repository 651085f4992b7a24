//! The verbs that change what serves, at once: flip, weight, pause, resume, reload.

use std::io::Write;

use http::Method;
use serde_json::{Value, json};

use super::client::{Client, Document, segment};
use super::failure::{Failure, code};
use super::options::{Pause, Target};
use super::text::{milliseconds, plain};
use crate::millis::millis;

/// `web: blue -> green, generation 12, live in 41 µs`.
pub(super) async fn flip(
    client: &Client,
    service: &str,
    to: Target,
    force: bool,
) -> Result<u8, Failure> {
    let body = json!({ "to": to, "force": force });
    let answer = post(client, service, "flip", &body).await?;
    print(client, &answer, |answer| {
        let probe = match answer.get("probe_ms").and_then(Value::as_u64) {
            Some(ms) => format!(", probed in {ms} ms"),
            None => String::new(),
        };
        format!(
            "{}: {} -> {}, generation {}, live in {} µs{probe}",
            word(answer, "service"),
            word(answer, "from"),
            word(answer, "to"),
            word(answer, "generation"),
            word(answer, "flip_us"),
        )
    })
}

/// Sets the shares; a color that is not named gets none.
pub(super) async fn weight(
    client: &Client,
    service: &str,
    shares: &[(String, u32)],
) -> Result<u8, Failure> {
    let share = |color: &str| {
        let mut named = shares.iter().filter(|(name, _)| name == color);
        (named.next().map_or(0, |(_, share)| *share), named.next().is_none())
    };
    let ((blue, blue_once), (green, green_once)) = (share("blue"), share("green"));
    if !blue_once || !green_once || (blue, green) == (0, 0) {
        return Err(Failure::Usage {
            message: "each color at most once, and one of them more than 0".to_owned(),
            hint: format!("cutover weight {service} blue=95 green=5"),
        });
    }
    let answer = post(client, service, "weight", &json!({ "blue": blue, "green": green })).await?;
    print(client, &answer, |answer| {
        let generation = match answer.get("generation").and_then(Value::as_u64) {
            Some(generation) => format!(", generation {generation}"),
            None => String::new(),
        };
        format!("{service}: blue {blue}, green {green}{generation}")
    })
}

/// Holds requests.
pub(super) async fn pause(client: &Client, options: &Pause) -> Result<u8, Failure> {
    let max_pause_ms = millis(options.max_pause);
    let body = json!({ "writes_only": options.writes_only, "max_pause_ms": max_pause_ms });
    let answer = post(client, &options.service, "pause", &body).await?;
    print(client, &answer, |_| {
        let what = if options.writes_only { "writes are" } else { "requests are" };
        format!(
            "{}: {what} held, each for {} at most; `cutover resume {}` lets them go",
            options.service,
            milliseconds(max_pause_ms),
            options.service
        )
    })
}

/// Lets held requests go on.
pub(super) async fn resume(client: &Client, service: &str) -> Result<u8, Failure> {
    let answer = post(client, service, "resume", &json!({})).await?;
    print(client, &answer, |_| format!("{service}: requests go on"))
}

/// Has the config file read again.
pub(super) async fn reload(client: &Client) -> Result<u8, Failure> {
    let answer = client.document(Method::POST, "/v1/config/reload", Some(&json!({}))).await?;
    print(client, &answer, |answer| match answer.get("generation").and_then(Value::as_u64) {
        Some(generation) => format!("config is live, generation {generation}"),
        None => "config is live".to_owned(),
    })
}

async fn post(
    client: &Client,
    service: &str,
    verb: &str,
    body: &Value,
) -> Result<Document, Failure> {
    let path = format!("/v1/services/{}/{verb}", segment(service));
    client.document(Method::POST, &path, Some(body)).await
}

fn print(
    client: &Client,
    answer: &Document,
    prose: impl FnOnce(&Value) -> String,
) -> Result<u8, Failure> {
    let text = match client.json {
        true => answer.text.clone(),
        false => plain(&prose(&answer.value)),
    };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::other)?;
    Ok(code::DONE)
}

/// A field as text; what is missing is a question mark.
fn word(answer: &Value, field: &str) -> String {
    match answer.get(field) {
        Some(Value::String(text)) => text.clone(),
        Some(Value::Null) | None => "?".to_owned(),
        Some(other) => other.to_string(),
    }
}
