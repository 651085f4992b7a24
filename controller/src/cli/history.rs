//! `cutover history`: the revisions of a service.

use comfy_table::{ContentArrangement, Table, presets};
use cutover_api::{History, Report};
use http::Method;

use super::client::{Client, path_of};
use super::failure::Failure;
use super::text::milliseconds;

/// Prints the revisions, the newest first as they come.
pub(super) async fn history(client: &Client, service: &str) -> Result<u8, Failure> {
    let path = path_of(service, "history");
    let document = client.document(Method::GET, &path, None::<&()>).await?;
    client.print(&document, render)
}

fn render(history: &History) -> String {
    if history.revisions.is_empty() {
        return "no rollout yet".to_owned();
    }
    let mut table = Table::new();
    table.load_preset(presets::NOTHING).set_content_arrangement(ContentArrangement::Disabled);
    table.set_header([
        "REVISION", "WHEN", "KIND", "RESULT", "FLIP", "IMAGE", "BY", "TOOK", "FAILED", "REASON",
    ]);
    for report in &history.revisions {
        let Report { revision, kind, result, from, to, failed, .. } = report;
        table.add_row([
            revision.to_string(),
            line(&report.at),
            kind.to_string(),
            result.to_string(),
            format!("{from} -> {to}"),
            line(&report.image),
            line(&report.by),
            milliseconds(report.duration_ms),
            failed.to_string(),
            line(report.reason.as_deref().unwrap_or("-")),
        ]);
    }
    let lines: Vec<String> = table.lines().map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n")
}

/// Text that stays on its line of the table.
fn line(text: &str) -> String {
    text.replace(['\n', '\t'], " ")
}
