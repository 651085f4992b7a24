//! `/metrics`: what both processes have counted, as Prometheus text.
//!
//! The proxy counts and knows nothing of Prometheus; its numbers come in the [`Snapshot`]. Every
//! family is built anew for each scrape from a closed set of labels: no path, no client address.

mod family;
mod process;

use std::collections::{BTreeMap, BTreeSet};

use axum::response::{IntoResponse, Response};
use cutover_api::{Ending, Target};
use cutover_proxy::table::{Color, ColorStats, DURATION_BUCKETS, ServiceName, ServiceStats};
use http::header;
use prometheus::TextEncoder;
use prometheus::proto::MetricType::{COUNTER, GAUGE, HISTOGRAM};

use self::family::{Families, Family};
use crate::serving::controller::Controller;
use crate::serving::counters::Counters;
use crate::serving::edge::Link;
use crate::state::State;
use crate::state::drains;
use crate::state::failover::Reason;

/// The metrics of both processes, as Prometheus reads them.
pub(super) async fn response(controller: &Controller) -> Response {
    let text = render(controller).await;
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4; charset=utf-8")], text).into_response()
}

/// The metrics of both processes, with fresh counts.
pub async fn render(controller: &Controller) -> String {
    controller.snapshot().await;
    let connected = matches!(&*controller.link().borrow(), Link::Up { .. });
    let generation = controller.generation();
    let mut families = Families::default();
    let info = families.family("cutover_build_info", "The version that runs.", GAUGE);
    info.value(&[("version", env!("CARGO_PKG_VERSION"))], 1.0);
    let table = families.family("cutover_table_generation", "The live table.", GAUGE);
    table.value(&[], count(generation.0));
    let link = families.family("cutover_proxy_connected", "Whether the proxy answers.", GAUGE);
    link.value(&[], f64::from(u8::from(connected)));
    controller.state(|state| {
        proxy(&mut families, state);
        state_families(&mut families, state);
        let mut stats = vec![("controller", cutover_proxy::process_stats())];
        if connected {
            stats.push(("proxy", state.snapshot().process));
        }
        process::families(&mut families, &stats);
    });
    let names = controller.state(|state| state.services().map(|(name, _)| name.clone()).collect());
    controller.counters(|counters| own(&mut families, counters, &names));
    TextEncoder::new().encode_to_string(&families.finish()).unwrap_or_else(|error| {
        tracing::error!(%error, "metrics cannot be written");
        String::new()
    })
}

/// What the proxy has counted.
fn proxy(families: &mut Families, state: &State) {
    let snapshot = state.snapshot();
    let rejected = families.family(
        "cutover_rejected_requests_total",
        "Requests refused before routing.",
        COUNTER,
    );
    rejected.counts("reason", &[], &snapshot.rejected);
    let connections = families.family("cutover_connections", "Open client connections.", GAUGE);
    connections.counts("listener", &[], &snapshot.connections);
    let panics = families.family("cutover_panics_total", "Panics that were caught.", COUNTER);
    panics.value(&[], count(snapshot.panics + crate::panics::count()));
    let dropped = families.family(
        "cutover_access_log_dropped_total",
        "Access log lines dropped because the writer could not keep up.",
        COUNTER,
    );
    dropped.value(&[], count(snapshot.access_log_dropped));
    for service in &snapshot.services {
        service_families(families, service);
        for color in &service.colors {
            color_families(families, &service.name, color);
        }
    }
}

fn service_families(families: &mut Families, service: &ServiceStats) {
    let name = [("service", service.name.as_str())];
    families.family("cutover_retries_total", "Requests sent again.", COUNTER).counts(
        "reason",
        &name,
        &service.retries,
    );
    families
        .family(
            "cutover_held_requests_total",
            "Requests that had to wait for an endpoint or a resume.",
            COUNTER,
        )
        .value(&name, count(service.held));
    families
        .family("cutover_waiting_requests", "Requests that wait now.", GAUGE)
        .value(&name, count(service.waiting));
    let requests = requests(families);
    for (code, n) in &service.unserved {
        let labels =
            [("service", service.name.as_str()), ("color", "none"), ("code", &code.to_string())];
        requests.value(&labels, count(*n));
    }
}

fn requests(families: &mut Families) -> &mut Family {
    families.family(
        "cutover_requests_total",
        "Finished requests; 499 is a client that went away.",
        COUNTER,
    )
}

fn color_families(families: &mut Families, service: &str, stats: &ColorStats) {
    let labels = [("service", service), ("color", stats.color.as_str())];
    let with = |name: &'static str, value: &str| {
        let [service, color] = labels;
        [service, color, (name, value)].map(|(name, value)| (name, value.to_owned()))
    };
    let requests = requests(families);
    for (code, n) in &stats.requests {
        requests.owned(&with("code", &code.to_string()), count(*n));
    }
    let seconds = |micros: u64| micros as f64 / 1e6;
    let bounds: Vec<f64> = DURATION_BUCKETS.iter().map(|&micros| seconds(micros)).collect();
    families
        .family("cutover_request_duration_seconds", "From a request's head to its end.", HISTOGRAM)
        .histogram(&labels, &bounds, &stats.duration_counts, seconds(stats.duration_sum_us));
    families
        .family("cutover_requests_in_flight", "Requests being served.", GAUGE)
        .value(&labels, count(stats.requests_in_flight));
    families
        .family(
            "cutover_streams_in_flight",
            "Upgraded connections and open-ended responses being served.",
            GAUGE,
        )
        .value(&labels, count(stats.streams_in_flight));
    families.family("cutover_upstream_errors_total", "Upstream failures.", COUNTER).counts(
        "kind",
        &labels,
        &stats.upstream_errors,
    );
    let bytes = families.family("cutover_bytes_total", "Body bytes.", COUNTER);
    bytes.owned(&with("direction", "upstream"), count(stats.bytes_up));
    bytes.owned(&with("direction", "downstream"), count(stats.bytes_down));
}

/// What the controller knows of services.
fn state_families(families: &mut Families, state: &State) {
    for (name, _) in state.services() {
        let weights = state.live_weights(name).unwrap_or_else(|| state.weights(name));
        let mut forced: BTreeMap<String, u64> =
            [("request".to_owned(), 0), ("stream".to_owned(), 0)].into();
        for color in Color::ALL {
            let labels = [("service", name.as_str()), ("color", color.as_str())];
            families
                .family("cutover_active", "The share of a color, 0 to 1.", GAUGE)
                .value(&labels, weights.fraction(color));
            let up = families.family(
                "cutover_endpoint_up",
                "Whether an endpoint gets requests when its color serves.",
                GAUGE,
            );
            for endpoint in state.endpoints(name, color) {
                let [service, color_label] = labels;
                let address =
                    endpoint.address.map_or_else(|| endpoint.label.clone(), |a| a.to_string());
                let labels = [service, color_label, ("endpoint", address.as_str())];
                let is_up = state.up(name, color, &endpoint);
                up.value(&labels, f64::from(u8::from(is_up)));
            }
            let (requests, streams) = drains::forced(state.snapshot(), name, color);
            *forced.entry("request".into()).or_default() += requests;
            *forced.entry("stream".into()).or_default() += streams;
        }
        families
            .family("cutover_drain_forced_total", "Work closed by a drain deadline.", COUNTER)
            .counts("kind", &[("service", name.as_str())], &forced);
        let rollout = state.journal().rollout_of(name);
        let phase = rollout.map_or("idle", |(record, _)| record.machine.phase().as_str());
        families
            .family("cutover_rollout_phase", "1 for the phase a rollout is in.", GAUGE)
            .value(&[("service", name.as_str()), ("phase", phase)], 1.0);
    }
}

/// What the controller itself has counted.
fn own(families: &mut Families, counters: &Counters, names: &BTreeSet<ServiceName>) {
    let flips = families.family("cutover_flips_total", "Flips asked for.", COUNTER);
    // From zero on: a counter that appears with its first event has no rate at that event.
    let mut counts = counters.flips.clone();
    for name in names {
        for to in [Target::Blue, Target::Both, Target::Green] {
            counts.entry((name.clone(), to.as_str(), "done")).or_default();
        }
    }
    for ((service, to, result), n) in &counts {
        let labels = [("service", service.as_str()), ("to", *to), ("result", *result)];
        flips.value(&labels, count(*n));
    }
    let failovers = families.family(
        "cutover_failovers_total",
        "Times that something else served because what should could not.",
        COUNTER,
    );
    let mut counts = counters.failovers.clone();
    for name in names {
        for reason in [Reason::NoContainer, Reason::NotUp] {
            counts.entry((name.clone(), reason.as_str())).or_default();
        }
    }
    for ((service, reason), n) in &counts {
        let labels = [("service", service.as_str()), ("reason", *reason)];
        failovers.value(&labels, count(*n));
    }
    let took = &counters.flip_duration;
    families
        .family("cutover_flip_duration_seconds", "What the swap of a flip took.", HISTOGRAM)
        .durations(&[], took);
    let probes = families.family("cutover_probe_duration_seconds", "What a probe took.", HISTOGRAM);
    for ((service, color), took) in &counters.probes {
        let labels = [("service", service.as_str()), ("color", color.as_str())];
        probes.durations(&labels, took);
    }
    let drains =
        families.family("cutover_drain_seconds", "From a flip to the old color's end.", HISTOGRAM);
    for (service, took) in &counters.drains {
        let labels = [("service", service.as_str())];
        drains.durations(&labels, took);
    }
    rollouts(families, counters, names);
    let reloads = families.family("cutover_config_reloads_total", "Config reloads.", COUNTER);
    reloads.value(&[("result", "ok")], count(counters.reloads.ok));
    reloads.value(&[("result", "refused")], count(counters.reloads.refused));
}

/// How the rollouts of each service ended.
fn rollouts(families: &mut Families, counters: &Counters, names: &BTreeSet<ServiceName>) {
    let rollouts = families.family("cutover_rollouts_total", "Finished rollouts.", COUNTER);
    let mut counts = counters.rollouts.clone();
    for name in names {
        for result in [Ending::Done, Ending::Refused, Ending::RolledBack, Ending::Failed] {
            counts.entry((name.clone(), result)).or_default();
        }
    }
    for ((service, result), n) in &counts {
        rollouts.value(&[("service", service.as_str()), ("result", result.as_str())], count(*n));
    }
}

/// Prometheus knows only floating point; past 2^53 the last digits go.
fn count(n: u64) -> f64 {
    n as f64
}

#[cfg(test)]
mod tests;
