//! What would happen, in words.

use cutover_api::{Phase, Weights};
use cutover_proxy::table::ServiceName;

use super::Step;
use crate::config::ServiceConfig;
use crate::executor::request::Deploy;
use crate::executor::request::limits_of;
use crate::state::rollout::Part;

/// The steps of one part.
pub(super) fn of(part: &Part, config: &ServiceConfig, deploy: &Deploy) -> Vec<Step> {
    let limits = limits_of(deploy, config);
    let seconds = |ms: u64| humantime::format_duration(std::time::Duration::from_millis(ms));
    let Part { from, to, image, .. } = part;
    let names: Vec<_> = part.replicas.iter().map(|r| r.candidate.as_str()).collect();
    let mut steps = Vec::new();
    if part.both.is_some() {
        let text = format!("take {to} out: {from} serves alone, {to} finishes what it has");
        steps.push((Phase::Pull, text));
    }
    steps.extend([
        (Phase::Pull, format!("bring {image} here ({:?})", part.pull).to_lowercase()),
        (Phase::Create, format!("create {} as {to}, like what {to} has now", names.join(", "))),
        (Phase::Start, "start it; no request goes there yet".to_owned()),
        (Phase::Ready, format!("probe it until ready, for at most {}", seconds(limits.deploy_ms))),
        match part.both {
            Some(Weights { blue, green }) => {
                (Phase::Flip, format!("bring {to} back: blue={blue} green={green}, in one table"))
            }
            None => (Phase::Flip, format!("{from} -> {to} for every new request, in one table")),
        },
    ]);
    if limits.monitor_ms > 0 {
        let text = format!("compare it with {from} for {}", seconds(limits.monitor_ms));
        steps.push((Phase::Monitor, text));
    }
    if part.both.is_some() {
        let text = format!("stop and remove {} of {to}'s former ones", part.displaced.len());
        steps.push((Phase::Clean, text));
        return numbered(&part.service, steps);
    }
    steps.push((
        Phase::Drain,
        format!(
            "let {from} finish: requests for {}, streams for {}",
            seconds(limits.drain_ms),
            seconds(limits.streams_ms)
        ),
    ));
    if limits.keep_warm_ms > 0 {
        let text = format!("keep {from} running, idle, for {}", seconds(limits.keep_warm_ms));
        steps.push((Phase::KeepWarm, text));
    }
    steps.push((Phase::Stop, format!("stop {} of {from}", part.old.len())));
    steps.push((
        Phase::Clean,
        "remove what is not retained, and give the new ones their names".into(),
    ));
    numbered(&part.service, steps)
}

fn numbered(service: &ServiceName, steps: Vec<(Phase, String)>) -> Vec<Step> {
    let step = |(phase, message)| Step { service: service.clone(), phase, message };
    steps.into_iter().map(step).collect()
}
