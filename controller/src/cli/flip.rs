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

/// Sets the shares, of both colors: one that is forgotten must not take the color's traffic away.
pub(super) async fn weight(
    client: &Client,
    service: &str,
    shares: &[(String, u32)],
) -> Result<u8, Failure> {
    let share = |color: &str| {
        let mut named = shares.iter().filter(|(name, _)| name == color).map(|(_, share)| *share);
        (named.next(), named.next())
    };
    let refused = |message: &str, blue: u32, green: u32| {
        Err(Failure::Usage {
            message: message.to_owned(),
            hint: format!("cutover weight {service} blue={blue} green={green}"),
        })
    };
    let (blue, green) = match (share("blue"), share("green")) {
        ((Some(0), None), (Some(0), None)) => {
            return refused("one of the shares must be more than 0", 95, 5);
        }
        ((Some(blue), None), (Some(green), None)) => (blue, green),
        ((Some(blue), None), (None, _)) => {
            return refused("the share of green is missing", blue, rest(blue));
        }
        ((None, _), (Some(green), None)) => {
            return refused("the share of blue is missing", rest(green), green);
        }
        _ => return refused("the share of each color is named once", 95, 5),
    };
    let answer = post(client, service, "weight", &json!({ "blue": blue, "green": green })).await?;
    print(client, &answer, |answer| {
        let generation = match answer.get("generation").and_then(Value::as_u64) {
            Some(generation) => format!(", generation {generation}"),
            None => String::new(),
        };
        format!("{service}: blue {blue}, green {green}{generation}")
    })
}

/// What is left of a hundred.
fn rest(share: u32) -> u32 {
    100_u32.saturating_sub(share)
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
