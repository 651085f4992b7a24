//! The page: plain HTML that reloads itself.

use std::fmt::{self, Display, Write};

use cutover_api::{ColorStatus, EndpointStatus, RolloutStatus, ServiceStatus, Status};
use cutover_proxy::table::Color;

use crate::serving::counters::Rates;

/// The whole page.
pub(super) fn render(status: &Status, rates: &Rates) -> String {
    let mut page = String::with_capacity(16 << 10);
    // A String takes everything.
    write(&mut page, status, rates).unwrap_or_default();
    page
}

fn write(page: &mut String, status: &Status, rates: &Rates) -> fmt::Result {
    page.push_str(HEAD);
    writeln!(page, "<h1>Cutover <small>{}</small></h1>", Text(&status.version))?;
    let proxy = if status.proxy.connected { "connected" } else { "<b class=bad>not connected</b>" };
    write!(page, "<p>Table {} &middot; proxy {proxy}", status.generation)?;
    let docker = status.docker.as_ref();
    if let Some(version) = docker.and_then(|docker| docker.version.as_ref()) {
        write!(page, " &middot; Docker {}", Text(version))?;
    }
    if let Some(api) = docker.and_then(|docker| docker.api_version.as_ref()) {
        write!(page, " (API {})", Text(api))?;
    }
    page.push_str("</p>\n");
    let config = &status.config;
    if let Some(error) = &config.error {
        writeln!(
            page,
            "<h2 class=bad>The config on the disk is not live</h2><pre>{}</pre>",
            Text(error)
        )?;
    }
    if !config.restart_needed.is_empty() {
        let keys = config.restart_needed.join(", ");
        writeln!(page, "<p class=bad>Changed, needs a restart: {}</p>", Text(&keys))?;
    }
    if let Some(error) = &status.journal_error {
        writeln!(page, "<p class=bad>Deploys are refused: {}</p>", Text(error))?;
    }
    for note in &status.journal_notes {
        writeln!(page, "<p class=bad>The journal: {}</p>", Text(note))?;
    }
    if let Some(error) = &status.docker_error {
        writeln!(page, "<p class=bad>Docker does not answer: {}</p>", Text(error))?;
    }
    if status.services.is_empty() {
        page.push_str("<p>No service is configured yet.</p>\n");
    }
    for service in &status.services {
        write_service(page, service, rates)?;
    }
    if !status.left_out.is_empty() {
        page.push_str("<h2>Containers left out</h2><table><tr><th>Container<th>Why</tr>\n");
        for left_out in &status.left_out {
            let (container, reason) = (Text(&left_out.container), Text(&left_out.reason));
            writeln!(page, "<tr><td>{container}<td>{reason}</tr>")?;
        }
        page.push_str("</table>\n");
    }
    page.push_str("</html>\n");
    Ok(())
}

fn write_service(page: &mut String, service: &ServiceStatus, rates: &Rates) -> fmt::Result {
    let active = service.active.as_str();
    write!(page, "<h2>{} <span class={active}>{active}</span>", Text(service.name.as_str()))?;
    if service.paused {
        page.push_str(" <b class=bad>paused</b>");
    }
    writeln!(page, "</h2>\n<p>{}</p>", Text(&service.routes.join(", ")))?;
    for shadowed in &service.shadowed {
        writeln!(page, "<p class=bad>{}</p>", Text(shadowed))?;
    }
    if let Some(note) = &service.note {
        writeln!(page, "<p class=bad>{}</p>", Text(note))?;
    }
    if service.waiting > 0 {
        writeln!(page, "<p class=bad>{} requests wait</p>", service.waiting)?;
    }
    page.push_str(
        "<table><tr><th>Color<th>Share<th>Requests/s<th>In flight<th>Streams<th>Endpoints</tr>\n",
    );
    for (color, status) in service.colors.iter() {
        let rate = rates.get(&(service.name.clone(), color)).copied().unwrap_or_default();
        write_color(page, color, service.weights.fraction(color), rate, status)?;
    }
    page.push_str("</table>\n");
    for drain in &service.draining {
        write!(
            page,
            "<p>{} of table {} drains: {} requests, {} streams",
            drain.color, drain.generation, drain.requests, drain.streams
        )?;
        if let Some(left) = drain.deadline_ms {
            write!(page, ", {} s left", left.div_ceil(1000))?;
        }
        page.push_str("</p>\n");
    }
    if let Some(rollout) = &service.rollout {
        write_rollout(page, rollout)?;
    }
    Ok(())
}

fn write_rollout(page: &mut String, rollout: &RolloutStatus) -> fmt::Result {
    let RolloutStatus { kind, phase, revision, from, to, .. } = rollout;
    let (at, by, image) = (Text(&rollout.at), Text(&rollout.by), Text(&rollout.image));
    writeln!(
        page,
        "<p>{kind} of revision {revision}, {from} &rarr; {to}: {phase}, since {at} by {by}, image {image}</p>"
    )
}

fn write_color(
    page: &mut String,
    color: Color,
    share: f64,
    rate: f64,
    status: &ColorStatus,
) -> fmt::Result {
    write!(
        page,
        "<tr><td class={color}>{color}<td>{:.0} %<td>{rate:.1}<td>{}<td>{}<td>",
        share * 100.0,
        status.requests_in_flight,
        status.streams_in_flight
    )?;
    for endpoint in &status.endpoints {
        write_endpoint(page, endpoint)?;
    }
    page.push_str("</tr>\n");
    Ok(())
}

fn write_endpoint(page: &mut String, endpoint: &EndpointStatus) -> fmt::Result {
    let name = endpoint.container.as_ref().or(endpoint.name.as_ref());
    write!(page, "<div>{}", Text(&endpoint.address))?;
    if let Some(name) = name {
        write!(page, " {}", Text(name))?;
    }
    page.push_str(if endpoint.up { " <b class=good>up</b>" } else { " <b class=bad>down</b>" });
    if let Some(text) = endpoint.reason.as_ref().or(endpoint.last_probe.as_ref()) {
        write!(page, " {}", Text(text))?;
    }
    page.push_str("</div>");
    Ok(())
}

/// Text that came from elsewhere: nothing of it is markup.
struct Text<'t>(&'t str);

impl Display for Text<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            match c {
                '&' => f.write_str("&amp;")?,
                '<' => f.write_str("&lt;")?,
                '>' => f.write_str("&gt;")?,
                '"' => f.write_str("&quot;")?,
                '\'' => f.write_str("&#39;")?,
                // Also what turns the direction of writing.
                '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}' => f.write_char('\u{fffd}')?,
                c if c.is_control() && c != '\n' => f.write_char('\u{fffd}')?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

const HEAD: &str = r#"<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta http-equiv="refresh" content="2">
<meta name="viewport" content="width=device-width">
<title>Cutover</title>
<style>
body { font: 15px/1.5 system-ui, sans-serif; margin: 2em auto; max-width: 70em; padding: 0 1em; }
table { border-collapse: collapse; width: 100%; }
td, th { border-bottom: 1px solid #ccc; padding: .3em .6em; text-align: left; vertical-align: top; }
pre { overflow: auto; background: #f4f4f4; padding: .6em; }
.blue { color: #1457c7; } .green { color: #0a7a33; } .both { color: #7a4a0a; }
.good { color: #0a7a33; } .bad { color: #b3140a; }
</style>
"#;
