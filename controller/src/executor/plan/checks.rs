//! What could stand in a deploy's way, one by one.

use cutover_api::FindingCode;

use crate::config::changes::changes;
use crate::config::labels::{COMPOSE_SERVICE, Labels};
use crate::config::{DrainConfig, ProbeKind};
use crate::engine::{Container, EngineError, PullPolicy};
use crate::executor::Tools;
use crate::executor::plan::template::Template;
use crate::executor::plan::{Finding, Inventory, Plan};
use crate::executor::request::Deploy;
use crate::executor::request::limits_of;
use crate::registry::Logins;
use crate::state::rollout::Part;

/// Puts what is found into the plan.
pub(super) fn check(
    inventory: &Inventory,
    part: &Part,
    templates: &[Template],
    deploy: &Deploy,
    tools: &Tools,
    plan: &mut Plan,
) {
    let found = |code: FindingCode, message: String, fix: &str| Finding {
        service: inventory.service.clone(),
        code,
        message,
        fix: fix.to_owned(),
    };
    if templates.is_empty() {
        plan.blockers.push(found(
            FindingCode::NoContainer,
            format!("{} has no container to make another like, and no history", inventory.service),
            "start it once",
        ));
    }
    let containers: Vec<_> = templates.iter().filter_map(Template::container).collect();
    if let Some(first) = containers.first() {
        container(inventory, part, first, deploy, plan);
        let changes = settings(inventory, first, tools);
        if !changes.is_empty() {
            plan.warnings.push(found(
                FindingCode::Settings,
                format!("with the flip its settings change: {}", changes.join("; ")),
                "nothing, if that is meant: they are those of the color's own labels",
            ));
        }
    }
    let needed: u64 = containers.iter().map(|template| template.memory).sum();
    if let Some(free) = memory_available().filter(|free| needed > *free) {
        plan.blockers.push(found(
            FindingCode::Memory,
            format!("a second color may use {needed} bytes of memory, {free} are available"),
            "lower the app's memory limit, or free some memory",
        ));
    }
    for left in tools.controller.state(|state| state.discovered().left_out.clone()) {
        // What is copied has to be right; of the others it is only worth knowing.
        let copied = containers.iter().any(|template| template.name == left.container);
        let ours = inventory.containers.iter().any(|c| c.name == left.container);
        let finding = found(
            FindingCode::LeftOut,
            format!("{} is left out: {}", left.container, left.reason),
            "correct its labels or networks and create it again",
        );
        let passing = ["rollout", "another release", "told to stop"];
        match passing.iter().any(|reason| left.reason.contains(reason)) {
            true => {}
            false if copied => plan.blockers.push(finding),
            false if ours => plan.warnings.push(finding),
            false => {}
        }
    }
}

/// What would change of the live settings once a copy of this container serves.
fn settings(inventory: &Inventory, template: &Container, tools: &Tools) -> Vec<String> {
    let labels = template.labels.iter().map(|(k, v)| (k.as_str(), v.as_str()));
    let Ok(Some(labels)) = Labels::parse(labels) else { return Vec::new() };
    let config = tools.controller.config();
    let base = config.services.get(&inventory.service).cloned().unwrap_or_default();
    changes(&inventory.config, &labels.over(&base))
}

/// What can be seen of the container that is copied.
fn container(
    inventory: &Inventory,
    part: &Part,
    template: &Container,
    deploy: &Deploy,
    plan: &mut Plan,
) {
    let found = |code: FindingCode, message: String, fix: &str| Finding {
        service: inventory.service.clone(),
        code,
        message,
        fix: fix.to_owned(),
    };
    if let Some(port) = template.published.first() {
        plan.blockers.push(found(
            FindingCode::HostPort,
            format!("{} is bound to host port {port}: two cannot be", template.name),
            "take `ports:` out of the app's compose service; the edge reaches it over the network",
        ));
    }
    if !part.labelled && is_fixed(template, inventory) {
        plan.blockers.push(found(
            FindingCode::ContainerName,
            format!("{} has a container_name, so Compose cannot scale it", template.name),
            "take `container_name:` out, or declare two services with cutover.color",
        ));
    }
    if matches!(inventory.config.probe.kind, ProbeKind::Tcp) && !template.health_checked {
        plan.warnings.push(found(
            FindingCode::NoProbe,
            "it has no health check and no probe: a connection counts as ready".into(),
            "add a label cutover.probe.path=/health, or `healthcheck:` in compose.yaml",
        ));
    }
    let drain = DrainConfig::from(limits_of(deploy, &inventory.config));
    if template.stop_grace < drain.timeout {
        plan.warnings.push(found(
            FindingCode::StopGrace,
            format!(
                "stop_grace_period is {:?}, the drain {:?}: whoever else stops it cuts requests off",
                template.stop_grace, drain.timeout
            ),
            "set `stop_grace_period:` at least as long as the drain",
        ));
    }
    if let Some(mount) = template.writable_mounts.first() {
        plan.warnings.push(found(
            FindingCode::SharedVolume,
            format!("both colors would write to {mount} while both run"),
            "make sure the app can share it, or mount it read-only",
        ));
    }
}

/// What keeps a part's image from being had.
///
/// # Errors
/// When the engine does not say whether it is here: that is no reason to take it for missing.
pub(super) async fn image(
    part: &Part,
    tools: &Tools,
    logins: &Logins,
) -> Result<Option<Finding>, EngineError> {
    let found = |code: FindingCode, message: String, fix: &str| {
        let fix = fix.to_owned();
        Ok(Some(Finding { service: part.service.clone(), code, message, fix }))
    };
    let wanted = part.image_id.as_ref().unwrap_or(&part.image);
    let here = match tools.containers.image(wanted).await {
        Ok(image) => image.is_some(),
        Err(error) if error.is_transient() => return Err(error),
        // A reference that is none, say.
        Err(_) => false,
    };
    let wanted = match (&part.image_id, part.registry_digest()) {
        (Some(_), _) if here => return Ok(None),
        (Some(_), None) => {
            return found(
                FindingCode::ImageMissing,
                part.lost(),
                "build or load it again, and deploy that",
            );
        }
        (Some(_), Some(digest)) => digest,
        (None, _) => &part.image,
    };
    match part.pull {
        PullPolicy::Never if here => return Ok(None),
        PullPolicy::Never => {
            let message = format!("{wanted} is not on this host, and pull is never");
            return found(
                FindingCode::ImageMissing,
                message,
                "build or load it, or let it be pulled: --pull missing",
            );
        }
        PullPolicy::Missing if here => return Ok(None),
        PullPolicy::Always | PullPolicy::Missing => {}
    }
    let login = tools.login(logins, wanted).await;
    let Err(error) = tools.containers.registry_has(wanted, login).await else { return Ok(None) };
    found(
        FindingCode::ImageUnreachable,
        format!("{}: {wanted} cannot be pulled", error.said()),
        "check the name, the tag and the credentials for its registry",
    )
}

fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}

/// Whether the compose file gives a container its name. One that somebody has renamed looks the
/// same, so it counts how Compose has called containers of the same configuration.
fn is_fixed(container: &Container, inventory: &Inventory) -> bool {
    let of_compose = container.labels.contains_key(COMPOSE_SERVICE);
    let config = container.compose_config();
    let scaled = config.is_some_and(|config| inventory.journaled.members.is_scaled(config));
    of_compose && !container.is_named_by_scale() && !scaled
}
