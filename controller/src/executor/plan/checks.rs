//! What could stand in a deploy's way, one by one.

use crate::config::ProbeKind;
use crate::engine::{Container, PullPolicy};
use crate::executor::Tools;
use crate::executor::plan::{Finding, Plan, Site};
use crate::executor::record::Part;
use crate::executor::request::Deploy;
use crate::registry::Logins;

/// Puts what is found into the plan.
pub(super) fn check(site: &Site, part: &Part, deploy: &Deploy, tools: &Tools, plan: &mut Plan) {
    let found = |code, message: String, fix: &str| Finding {
        service: site.service.clone(),
        code,
        message,
        fix: fix.to_owned(),
    };
    let templates: Vec<&Container> = part
        .replicas
        .iter()
        .filter_map(|r| site.containers.iter().find(|c| c.id.as_str() == r.template))
        .collect();
    for template in templates.iter().take(1) {
        if let Some(port) = template.published.first() {
            plan.blockers.push(found(
                "host_port",
                format!("{} is bound to host port {port}: two cannot be", template.name),
                "take `ports:` out of the app's compose service; the edge reaches it over the network",
            ));
        }
        if !part.labelled && fixed_name(template) {
            plan.blockers.push(found(
                "container_name",
                format!("{} has a container_name, so Compose cannot scale it", template.name),
                "take `container_name:` out, or declare two services with cutover.color",
            ));
        }
        if matches!(site.config.probe.kind, ProbeKind::Tcp) && !template.health_checked {
            plan.warnings.push(found(
                "no_probe",
                "it has no health check and no probe: a connection counts as ready".into(),
                "add a label cutover.probe.path=/health, or `healthcheck:` in compose.yaml",
            ));
        }
        let drain = deploy.limits(&site.config).drain();
        if template.stop_grace < drain.timeout {
            plan.warnings.push(found(
                "stop_grace",
                format!(
                    "stop_grace_period is {:?}, the drain {:?}: whoever else stops it cuts requests off",
                    template.stop_grace, drain.timeout
                ),
                "set `stop_grace_period:` at least as long as the drain",
            ));
        }
        if let Some(mount) = template.writable_mounts.first() {
            plan.warnings.push(found(
                "shared_volume",
                format!("both colors would write to {mount} while both run"),
                "make sure the app can share it, or mount it read-only",
            ));
        }
        let needed: u64 = templates.iter().map(|t| t.memory).sum();
        if let Some(free) = memory_available().filter(|free| needed > *free) {
            plan.blockers.push(found(
                "memory",
                format!("a second color may use {needed} bytes of memory, {free} are available"),
                "lower the app's memory limit, or free some memory",
            ));
        }
    }
    for left in tools.controller.state(|state| state.discovery.left_out.clone()) {
        let ours = site.containers.iter().any(|c| c.name == left.container);
        let replaced = left.reason.contains("rollout") || left.reason.contains("newer release");
        if ours && !replaced {
            plan.blockers.push(found(
                "left_out",
                format!("{} is left out: {}", left.container, left.reason),
                "correct its labels or networks and create it again",
            ));
        }
    }
}

/// What keeps a part's image from being had.
pub(super) async fn image(part: &Part, tools: &Tools, logins: &Logins) -> Option<Finding> {
    let found = |code, message: String, fix: &str| {
        Some(Finding { service: part.service.clone(), code, message, fix: fix.to_owned() })
    };
    let wanted = part.image_id.as_ref().unwrap_or(&part.image);
    let here = matches!(tools.containers.image(wanted).await, Ok(Some(_)));
    let wanted = match (&part.image_id, part.registry_digest()) {
        (Some(_), _) if here => return None,
        (Some(_), None) => {
            return found("image_missing", part.lost(), "build or load it again, and deploy that");
        }
        (Some(_), Some(digest)) => digest,
        (None, _) => &part.image,
    };
    match part.pull {
        PullPolicy::Never if here => return None,
        PullPolicy::Never => {
            let message = format!("{wanted} is not on this host, and pull is never");
            return found(
                "image_missing",
                message,
                "build or load it, or let it be pulled: --pull missing",
            );
        }
        PullPolicy::Missing if here => return None,
        PullPolicy::Always | PullPolicy::Missing => {}
    }
    let login = tools.login(logins, wanted).await;
    let error = tools.containers.registry_has(wanted, login).await.err()?;
    found(
        "image_unreachable",
        format!("{}: {wanted} cannot be pulled", error.said()),
        "check the name, the tag and the credentials for its registry",
    )
}

/// Compose names what it scales `project-service-1` (or with underscores).
fn fixed_name(container: &Container) -> bool {
    let project = container.label("com.docker.compose.project");
    let service = container.label("com.docker.compose.service");
    let (Some(project), Some(service)) = (project, service) else {
        return false;
    };
    let name = super::base_name(&container.name);
    let scaled = |separator: char| {
        let prefix = format!("{project}{separator}{service}{separator}");
        // Ours count down from the first.
        let number = name.strip_prefix(&prefix).map(|n| n.strip_prefix('-').unwrap_or(n));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    };
    !scaled('-') && !scaled('_')
}

fn memory_available() -> Option<u64> {
    let text = std::fs::read_to_string("/proc/meminfo").ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().trim_end_matches(" kB").parse().ok()?;
    Some(kib * 1024)
}
