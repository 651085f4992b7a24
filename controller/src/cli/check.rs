//! `cutover check`: what would be served, or everything that is wrong.

use std::fmt::Write as _;
use std::io::Write as _;
use std::path::Path;

use cutover_proxy::table::Color;

use super::failure::{Failure, code};
use crate::config::origin::origins;
use crate::config::{Active, Config, DEFAULT_PATH, ProbeKind, ServiceConfig, StaticEndpoint};

/// Prints what the file says; the failure has every error with `file:line:col`.
pub(super) fn check(path: Option<&Path>) -> Result<u8, Failure> {
    let config = Config::load(path)?;
    let name = path.unwrap_or_else(|| Path::new(DEFAULT_PATH));
    for warning in config.warnings() {
        writeln!(std::io::stderr(), "warning: {warning}").map_err(Failure::other)?;
    }
    let text = format!("{}: ok\n\n{}{}", name.display(), description(&config), settings(path));
    std::io::stdout().write_all(text.as_bytes()).map_err(Failure::other)?;
    Ok(code::DONE)
}

fn description(config: &Config) -> String {
    let mut out = String::new();
    let addresses: Vec<String> = config.listen.http.iter().map(ToString::to_string).collect();
    let admin = config.listen.admin.map_or_else(|| "off".to_owned(), |address| address.to_string());
    line(&mut out, &format!("listen    {}", addresses.join(", ")));
    line(&mut out, &format!("admin     {admin}"));
    line(&mut out, &format!("control   {}", config.listen.control.display()));
    line(&mut out, &format!("state     {}", config.runtime.state_dir.display()));

    line(&mut out, "\nroutes, the first that matches wins");
    let routes = config.routes();
    for route in &routes {
        line(
            &mut out,
            &format!("  {:<40} {}", format!("{}{}", route.host, route.path), route.service),
        );
    }
    if routes.is_empty() {
        line(&mut out, "  none in this file: containers bring theirs in labels");
    }
    for (name, service) in &config.services {
        line(&mut out, &format!("\nservice {name}"));
        describe(&mut out, service);
    }
    out
}

/// Where what is not a default comes from.
fn settings(path: Option<&Path>) -> String {
    let mut out = String::new();
    line(&mut out, "\nsettings of the edge; all others are defaults");
    let origins = origins(path);
    for origin in &origins {
        let note = origin.overridden.as_ref().map(|name| format!(", which wins over {name}"));
        let note = note.unwrap_or_default();
        line(
            &mut out,
            &format!("  {:<28} {:<24} {}{note}", origin.key, origin.value, origin.place),
        );
    }
    if origins.is_empty() {
        line(&mut out, "  none is given");
    }
    out
}

fn describe(out: &mut String, service: &ServiceConfig) {
    let active = match service.active {
        Active::Blue => "blue",
        Active::Both => "both",
        Active::Green => "green",
    };
    line(out, &format!("  active    {active}, where the journal knows nothing"));
    for color in Color::ALL {
        let endpoints: Vec<String> = service.endpoints(color).iter().map(endpoint).collect();
        let endpoints = match endpoints.is_empty() {
            true => "no static endpoint".to_owned(),
            false => endpoints.join(", "),
        };
        line(out, &format!("  {:<9} {endpoints}", color.as_str()));
    }
    let probe = match &service.probe.kind {
        ProbeKind::Tcp => "a TCP connection".to_owned(),
        ProbeKind::Http { method, path, status, .. } => {
            let status: Vec<String> = status
                .iter()
                .map(|range| match range {
                    (low, high) if low == high => low.to_string(),
                    (low, high) => format!("{low}-{high}"),
                })
                .collect();
            format!("{method} {path} gives {}", status.join(","))
        }
    };
    line(out, &format!("  probe     {probe}, every {:?}", service.probe.interval));
    let drain = &service.drain;
    line(out, &format!("  drain     {:?}, streams {:?}", drain.timeout, drain.streams));
}

fn endpoint(endpoint: &StaticEndpoint) -> String {
    let host = match endpoint.host.contains(':') {
        true => format!("[{}]", endpoint.host),
        false => endpoint.host.clone(),
    };
    match endpoint.weight {
        1 => format!("{host}:{}", endpoint.port),
        weight => format!("{host}:{} (weight {weight})", endpoint.port),
    }
}

fn line(out: &mut String, text: &str) {
    // Writing to a String cannot fail.
    writeln!(out, "{text}").ok();
}
