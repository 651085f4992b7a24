//! `cutover plan`: what a deploy would do, and what stands in its way.

use std::io::Write;

use http::Method;
use serde_json::Value;

use super::client::{Client, segment};
use super::failure::{Failure, code};
use super::options::Deploy;
use super::rollout::request;
use super::text::plain;

/// Prints the steps and the blockers; with a blocker the exit code is that of a refusal.
pub(super) async fn plan(client: &Client, options: &Deploy) -> Result<u8, Failure> {
    let (first, body) = request(options)?;
    let path = format!("/v1/services/{}/plan", segment(&first));
    let client = client.with_logins(options.image.as_deref());
    let document = client.document(Method::POST, &path, Some(&body)).await?;
    let text = match client.json {
        true => document.text.clone(),
        false => render(&document.value),
    };
    writeln!(std::io::stdout(), "{text}").map_err(Failure::other)?;
    match list(&document.value, "blockers").is_empty() {
        true => Ok(code::DONE),
        false => Ok(code::REFUSED),
    }
}

fn render(plan: &Value) -> String {
    let mut lines: Vec<String> = list(plan, "steps")
        .iter()
        .enumerate()
        .map(|(n, step)| format!("{:>2}. {}", n + 1, sentence(step)))
        .collect();
    for (key, title) in [("warnings", "warning"), ("blockers", "blocker")] {
        for item in list(plan, key) {
            lines.push(format!("{title}: {}", sentence(item)));
            let fix = ["fix", "hint"].iter().find_map(|name| item.get(name)?.as_str());
            lines.extend(fix.map(|fix| format!("  fix: {fix}")));
        }
    }
    if list(plan, "blockers").is_empty() {
        lines.push("nothing stands in the way; nothing was changed".to_owned());
    }
    plain(&lines.join("\n"))
}

fn list<'p>(plan: &'p Value, key: &str) -> &'p [Value] {
    plan.get(key).and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

fn sentence(item: &Value) -> String {
    let named = ["message", "problem", "what", "text", "name"]
        .iter()
        .find_map(|name| item.get(name)?.as_str());
    let service = item.get("service").and_then(Value::as_str);
    match (service, item.as_str().or(named)) {
        (Some(service), Some(text)) => format!("{service}: {text}"),
        (None, Some(text)) => text.to_owned(),
        (_, None) => item.to_string(),
    }
}
