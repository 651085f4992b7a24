//! `cutover.*` labels of a container: the keys of `[services.NAME]`, with dots.
//!
//! Pure: labels in, typed values or everything that is wrong with them out.

use std::collections::BTreeMap;
use std::fmt;

use cutover_proxy::table::{Color, ServiceName};

use crate::config::tree::{Entry, Fault, Node, Refusal, Section, Value, nearest};
use crate::config::{ServiceConfig, read_service, service_of_file, values};

/// What every label of ours starts with.
pub const PREFIX: &str = "cutover.";

/// Labels that Cutover puts on containers itself; never read as settings.
pub const INTERNAL_PREFIX: &str = "cutover.internal.";

/// The service of Compose, which names ours where there is no `cutover.service`.
pub(crate) const COMPOSE_SERVICE: &str = "com.docker.compose.service";

/// Which of the containers of a compose service it is.
pub(crate) const COMPOSE_NUMBER: &str = "com.docker.compose.container-number";

/// The project of Compose, where there is no `cutover.project`.
pub(crate) const COMPOSE_PROJECT: &str = "com.docker.compose.project";

/// What a container says about itself.
#[derive(Clone, Debug, PartialEq)]
pub struct Labels {
    /// The service it belongs to.
    pub service: ServiceName,
    /// Its color; `None` leaves that to the release it runs.
    pub color: Option<Color>,
    /// The compose project it counts as one of; a service is of one project only.
    pub project: Option<String>,
    /// Other compose projects that may have paths of the service's hosts.
    pub share: Vec<String>,
    /// The share of the container within its color.
    pub weight: u32,
    settings: Vec<Entry>,
}

impl Labels {
    /// Reads the labels of one container. `None` is a container that is none of our business: no
    /// `cutover.*` label, or `cutover.enable=false`.
    ///
    /// # Errors
    /// Every label that is wrong.
    pub fn parse<'l>(
        labels: impl IntoIterator<Item = (&'l str, &'l str)>,
    ) -> Result<Option<Self>, LabelErrors> {
        let labels: BTreeMap<&str, &str> = labels.into_iter().collect();
        let ours: BTreeMap<&str, &str> = labels
            .iter()
            .filter(|(label, _)| !label.starts_with(INTERNAL_PREFIX))
            .filter_map(|(label, value)| Some((label.strip_prefix(PREFIX)?, *value)))
            .collect();
        if ours.is_empty() || ours.get("enable") == Some(&"false") {
            return Ok(None);
        }
        let mut faults = Vec::new();
        let settings = tree(&ours, &mut faults);
        let mut parsed = Draft::default();
        Section::read_all(&settings, "", &mut faults, |section| parsed.read(section));
        let service = parsed.service.or_else(|| {
            let compose = labels.get(COMPOSE_SERVICE).filter(|_| parsed.color.is_none());
            compose.and_then(|name| name.to_ascii_lowercase().parse().ok())
        });
        if service.is_none() && !ours.contains_key("service") {
            faults.push(Fault {
                key: "service".to_owned(),
                at: 0..0,
                message: "this label is missing".to_owned(),
                hint: Some(
                    "say which service the container belongs to: cutover.service=web".to_owned(),
                ),
            });
        }
        let compose = || labels.get(COMPOSE_PROJECT).map(|name| (*name).to_owned());
        let project = parsed.project.or_else(compose);
        match service.filter(|_| faults.is_empty()) {
            Some(service) => Ok(Some(Self {
                service,
                color: parsed.color,
                project,
                share: parsed.share,
                weight: parsed.weight.unwrap_or(1),
                settings,
            })),
            None => {
                Err(LabelErrors(faults.into_iter().map(|f| LabelError::new(f, &ours)).collect()))
            }
        }
    }

    /// Which service and which compose project a container says that it is of, whatever else of its
    /// labels is wrong.
    #[must_use]
    pub fn claim<'l>(label: impl Fn(&str) -> Option<&'l str>) -> Option<(ServiceName, &'l str)> {
        let service = label("cutover.service").or_else(|| label(COMPOSE_SERVICE))?;
        let project = label("cutover.project").or_else(|| label(COMPOSE_PROJECT))?;
        Some((service.to_ascii_lowercase().parse().ok()?, project))
    }

    /// The service's settings: key by key what the config file says in `base`, else what the labels
    /// say, else the default.
    #[must_use]
    pub fn over(&self, base: &ServiceConfig) -> ServiceConfig {
        let mut draft = Draft { config: base.clone(), ..Draft::default() };
        // The labels were found right once, and what is right does not depend on the base.
        let mut faults = Vec::new();
        Section::read_all(&self.settings, "", &mut faults, |section| draft.read(section));
        let file = |section: &mut Section<'_>| service_of_file(section, &mut draft.config);
        Section::read_all(&base.written.0, "", &mut faults, file);
        draft.config
    }
}

/// All that is wrong with a container's labels; displays as one line.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LabelErrors(pub Vec<LabelError>);

impl fmt::Display for LabelErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (n, error) in self.0.iter().enumerate() {
            if n > 0 {
                f.write_str("; ")?;
            }
            error.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for LabelErrors {}

/// One label that is wrong.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct LabelError {
    /// The label's whole name.
    pub label: String,
    /// What it says, if it is there.
    pub value: Option<String>,
    /// What is wrong with that.
    pub reason: String,
    /// What to do about it.
    pub hint: Option<String>,
}

impl LabelError {
    fn new(fault: Fault, ours: &BTreeMap<&str, &str>) -> Self {
        // A fault of a table (`probe` for `probe.path`) stands for the first label below it.
        let below = format!("{}.", fault.key);
        let found = ours
            .get_key_value(fault.key.as_str())
            .or_else(|| ours.iter().find(|(key, _)| key.starts_with(&below)));
        Self {
            label: format!("{PREFIX}{}", found.map_or(fault.key.as_str(), |(key, _)| key)),
            value: found.map(|(_, value)| (*value).to_owned()),
            reason: fault.message,
            hint: fault.hint,
        }
    }
}

impl fmt::Display for LabelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Quoted by Rust's rules: a label may hold any character.
        write!(f, "label {}", self.label.escape_debug())?;
        if let Some(value) = &self.value {
            write!(f, "={}", value.escape_debug())?;
        }
        write!(f, ": {}", self.reason.escape_debug())?;
        match &self.hint {
            Some(hint) => write!(f, " ({})", hint.escape_debug()),
            None => Ok(()),
        }
    }
}

#[derive(Debug, Default)]
struct Draft {
    service: Option<ServiceName>,
    color: Option<Color>,
    project: Option<String>,
    share: Vec<String>,
    weight: Option<u32>,
    config: ServiceConfig,
}

impl Draft {
    fn read(&mut self, section: &mut Section<'_>) {
        section.value("enable", &mut true, values::boolean);
        section.value("service", &mut self.service, |node| {
            let name = values::text(node)?;
            let refused =
                |error| Refusal::new(node, "this cannot name a service").hint(format!("{error}"));
            name.parse().map(Some).map_err(refused)
        });
        section.value("color", &mut self.color, |node| {
            values::word(&[("blue", Some(Color::Blue)), ("green", Some(Color::Green))])(node)
        });
        section.value("project", &mut self.project, |node| values::text(node).map(Some));
        section.value("share", &mut self.share, values::list(values::text));
        section.value("weight", &mut self.weight, |node| values::small(1..=1000)(node).map(Some));
        read_service(section, &mut self.config);
        for key in ["blue", "green"] {
            if let Some(entry) = section.entry(key) {
                let hint = format!(
                    "static endpoints stand in the config file; cutover.color={key} is a color"
                );
                section.fault(key, entry.at.clone(), "this is not a label".to_owned(), Some(hint));
            }
        }
    }
}

/// `probe.path=/x` as a table `probe` with the key `path`.
fn tree(labels: &BTreeMap<&str, &str>, faults: &mut Vec<Fault>) -> Vec<Entry> {
    let mut root = Vec::new();
    for (label, value) in labels {
        let value = Value::Loose((*value).to_owned());
        // Nothing of ours is deeper than two; what is stays whole, and unknown.
        let (table, key) = match label.split_once('.') {
            Some((table, key)) => (Some(table), key),
            None => (None, *label),
        };
        let entry = Entry { key: key.to_owned(), at: 0..0, node: Node { at: 0..0, value } };
        let Some(table) = table else {
            root.push(entry);
            continue;
        };
        match root.iter_mut().find(|existing: &&mut Entry| existing.key == table) {
            None => root.push(Entry {
                key: table.to_owned(),
                at: 0..0,
                node: Node { at: 0..0, value: Value::Table(vec![entry]) },
            }),
            Some(Entry { node: Node { value: Value::Table(entries), .. }, .. }) => {
                entries.push(entry)
            }
            Some(_) => faults.push(Fault {
                key: (*label).to_owned(),
                at: 0..0,
                message: format!("there is a label {PREFIX}{table} too"),
                hint: nearest(table, &["timeouts", "probe", "drain", "rollout"])
                    .map(|table| format!("{table} has keys of its own: {PREFIX}{label}=…")),
            }),
        }
    }
    root
}

#[cfg(test)]
mod tests;
