//! How Compose names what it makes, and how a rollout names the copies of it.

use cutover_proxy::table::Color;

use super::Container;
use crate::config::labels::{COMPOSE_PROJECT, COMPOSE_SERVICE};

impl Container {
    /// What Compose made of its file for this container.
    #[must_use]
    pub(crate) fn compose_config(&self) -> Option<&str> {
        self.label(CONFIG_HASH)
    }

    /// The same where Compose has named the container as one of several: no container of that
    /// configuration has a fixed name.
    #[must_use]
    pub(crate) fn scaled_config(&self) -> Option<&str> {
        self.is_named_by_scale().then(|| self.compose_config()).flatten()
    }

    /// Whether the container has a name that Compose gives to one of several.
    #[must_use]
    pub(crate) fn is_named_by_scale(&self) -> bool {
        let project = self.label(COMPOSE_PROJECT);
        let service = self.label(COMPOSE_SERVICE);
        project
            .zip(service)
            .is_some_and(|(project, service)| is_scaled(&self.name, project, service))
    }
}

/// A name without what a rollout puts behind it.
#[must_use]
pub(crate) fn base_name(name: &str) -> &str {
    match name.rsplit_once("-r") {
        Some((base, revision))
            if !revision.is_empty() && revision.bytes().all(|b| b.is_ascii_digit()) =>
        {
            base
        }
        _ => name,
    }
}

/// A name without the color that a rollout puts behind it where both serve.
#[must_use]
pub(crate) fn without_color(name: &str) -> &str {
    let plain = Color::ALL.iter().find_map(|color| {
        name.strip_suffix(color.as_str())?.strip_suffix('-').filter(|plain| !plain.is_empty())
    });
    plain.unwrap_or(name)
}

/// Compose names what it scales `project-service-1`, before its version 2 with underscores, and
/// puts a short ID before the name of one that it is about to replace.
fn is_scaled(name: &str, project: &str, service: &str) -> bool {
    let name = without_color(base_name(name));
    let name = match name.split_once('_') {
        Some((id, rest)) if id.len() == SHORT_ID && id.bytes().all(|b| b.is_ascii_hexdigit()) => {
            rest
        }
        _ => name,
    };
    ['-', '_'].into_iter().any(|separator| {
        let prefix = format!("{project}{separator}{service}{separator}");
        // Ours count down from the first.
        let number = name.strip_prefix(&prefix).map(|n| n.strip_prefix('-').unwrap_or(n));
        number.is_some_and(|n| !n.is_empty() && n.bytes().all(|b| b.is_ascii_digit()))
    })
}

const CONFIG_HASH: &str = "com.docker.compose.config-hash";
const SHORT_ID: usize = 12;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_loses_only_its_revision() {
        assert_eq!(base_name("p_web_1-r12"), "p_web_1");
        assert_eq!(base_name("my-rails"), "my-rails");
        assert_eq!(base_name("app-r"), "app-r");
        assert_eq!(base_name("web-r1-r2"), "web-r1");
    }

    #[test]
    fn what_compose_scales_has_a_number() {
        for name in [
            "p-web-1",
            "p_web_12",
            "p_web_1-r3",
            "p-web--1",
            "0123456789ab_p_web_1",
            "p-web-1-green-r3",
        ] {
            assert!(is_scaled(name, "p", "web"), "{name}");
        }
        for name in ["web", "p-web", "p-web-x", "p_other_1", "p-web-1-before-r2"] {
            assert!(!is_scaled(name, "p", "web"), "{name}");
        }
    }
}
