//! Which settings of a container the user made, and which its image.
//!
//! `inspect` shows both as one. Where a value differs from the image's it is the user's. Where it
//! is the same, what Docker's merge (`merge` in `daemon/commit.go`) leaves behind tells in some
//! cases; else it counts as the image's. A copy of ours carries a label with the answer, so that it
//! is never asked again: neither when the image is gone, nor when the new one happens to say the
//! same as the user.

use std::collections::BTreeSet;

use bollard::models::{ContainerConfig, HealthConfig, ImageConfig};
use serde::{Deserialize, Serialize};

use crate::config::labels::INTERNAL_PREFIX;

/// What the user set: names and places, no values.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(default)]
pub(super) struct UserSet {
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) env: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) fields: BTreeSet<Field>,
    /// Paths of files that were put into it before its first start.
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) files: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) labels: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) ports: BTreeSet<String>,
    #[serde(skip_serializing_if = "BTreeSet::is_empty")]
    pub(super) volumes: BTreeSet<String>,
}

/// A setting with one value.
#[derive(Clone, Copy, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd, Serialize)]
#[serde(rename_all = "snake_case")]
pub(super) enum Field {
    Cmd,
    Entrypoint,
    HealthInterval,
    HealthRetries,
    HealthStartInterval,
    HealthStartPeriod,
    HealthTest,
    HealthTimeout,
    Shell,
    StopSignal,
    User,
    WorkingDir,
}

impl UserSet {
    /// Compares a container with its image. Gives also the variables that may be either's.
    pub(super) fn compare(own: &ContainerConfig, image: &ImageConfig) -> (Self, Vec<String>) {
        let (env, unsure) = variables(own.env.as_deref(), image.env.as_deref());
        let of_image = image.labels.as_ref();
        let labels = own.labels.iter().flatten().filter(|(name, value)| {
            of_image.and_then(|image| image.get(*name)) != Some(value) || is_composes(name)
        });
        let set = Self {
            env,
            fields: fields(own, image),
            files: BTreeSet::new(),
            labels: labels.map(|(name, _)| name.clone()).collect(),
            ports: extra(own.exposed_ports.as_deref(), image.exposed_ports.as_deref()),
            volumes: extra(own.volumes.as_deref(), image.volumes.as_deref()),
        };
        (set, unsure)
    }

    /// What a container of ours says of itself.
    pub(super) fn from_label(own: &ContainerConfig) -> Option<Self> {
        let text = own.labels.as_ref()?.get(&label())?;
        let mut set: Self = serde_json::from_str(text).ok()?;
        // What Compose writes is never an image's, and may be of another slot by now.
        let names = own.labels.iter().flatten().map(|(name, _)| name);
        set.labels.extend(names.filter(|name| is_composes(name)).cloned());
        Some(set)
    }

    /// The label that says it.
    pub(super) fn to_label(&self) -> (String, String) {
        let mut own = self.clone();
        own.labels.retain(|name| !is_composes(name) && !name.starts_with(INTERNAL_PREFIX));
        (label(), serde_json::to_string(&own).unwrap_or_default())
    }

    pub(super) fn extend(&mut self, more: Self) {
        self.env.extend(more.env);
        self.fields.extend(more.fields);
        self.files.extend(more.files);
        self.labels.extend(more.labels);
        self.ports.extend(more.ports);
        self.volumes.extend(more.volumes);
    }
}

/// The name of a variable.
pub(super) fn key(variable: &str) -> &str {
    variable.split_once('=').map_or(variable, |(name, _)| name)
}

/// Docker puts the user's variables first and appends those of the image that the user did not set,
/// in the image's order. So the image's are the longest end of the list that is in that order, and a
/// value before it is the user's even where the image says the same.
///
/// With nothing appended there is no such end: a tool may have sent the whole list of another
/// container. Then equal values count as the image's, and are named.
fn variables(own: Option<&[String]>, image: Option<&[String]>) -> (BTreeSet<String>, Vec<String>) {
    let (own, mut rest) = (own.unwrap_or_default(), image.unwrap_or_default());
    let of_image = rest;
    let mut users = own;
    while let Some((last, before)) = users.split_last() {
        let Some(place) = rest.iter().rposition(|variable| variable == last) else { break };
        rest = rest.get(..place).unwrap_or_default();
        users = before;
    }
    let appended = users.len() < own.len();
    let (same, differ): (Vec<_>, Vec<_>) = users.iter().partition(|v| of_image.contains(v));
    let name = |variable: &String| key(variable).to_owned();
    let mut set: BTreeSet<_> = differ.into_iter().map(name).collect();
    if appended {
        set.extend(same.into_iter().map(name));
        return (set, Vec::new());
    }
    (set, same.into_iter().map(name).collect())
}

fn fields(own: &ContainerConfig, image: &ImageConfig) -> BTreeSet<Field> {
    let mut fields = BTreeSet::new();
    let mut set_by_user = |field, is_users: bool| {
        if is_users {
            fields.insert(field);
        }
    };
    let (entrypoint, cmd) = (list(&own.entrypoint), list(&own.cmd));
    let (of_image, image_cmd) = (list(&image.entrypoint), list(&image.cmd));
    // With an entrypoint of the user's Docker takes no command from the image.
    let no_cmd_though = !entrypoint.is_empty() && cmd.is_empty() && !image_cmd.is_empty();
    let users_entrypoint = entrypoint != of_image || no_cmd_though;
    set_by_user(Field::Entrypoint, users_entrypoint);
    let with_it = users_entrypoint && !entrypoint.is_empty();
    set_by_user(Field::Cmd, !cmd.is_empty() && (cmd != image_cmd || with_it));
    set_by_user(Field::User, differs(&own.user, &image.user));
    set_by_user(Field::WorkingDir, differs(&own.working_dir, &image.working_dir));
    set_by_user(Field::StopSignal, differs(&own.stop_signal, &image.stop_signal));
    set_by_user(Field::Shell, !list(&own.shell).is_empty() && own.shell != image.shell);
    let none = HealthConfig::default();
    let check = own.healthcheck.as_ref().unwrap_or(&none);
    let theirs = image.healthcheck.as_ref().unwrap_or(&none);
    set_by_user(Field::HealthTest, list(&check.test) != list(&theirs.test));
    let number = |own: Option<i64>, theirs: Option<i64>| {
        own.unwrap_or(0) != 0 && own.unwrap_or(0) != theirs.unwrap_or(0)
    };
    set_by_user(Field::HealthInterval, number(check.interval, theirs.interval));
    set_by_user(Field::HealthTimeout, number(check.timeout, theirs.timeout));
    set_by_user(Field::HealthRetries, number(check.retries, theirs.retries));
    set_by_user(Field::HealthStartPeriod, number(check.start_period, theirs.start_period));
    set_by_user(Field::HealthStartInterval, number(check.start_interval, theirs.start_interval));
    fields
}

fn list(list: &Option<Vec<String>>) -> &[String] {
    list.as_deref().unwrap_or_default()
}

fn differs(own: &Option<String>, image: &Option<String>) -> bool {
    let own = own.as_deref().unwrap_or_default();
    !own.is_empty() && own != image.as_deref().unwrap_or_default()
}

fn extra(own: Option<&[String]>, image: Option<&[String]>) -> BTreeSet<String> {
    let image = image.unwrap_or_default();
    own.unwrap_or_default().iter().filter(|entry| !image.contains(entry)).cloned().collect()
}

fn is_composes(label: &str) -> bool {
    label.starts_with(super::spec::COMPOSE)
}

fn label() -> String {
    format!("{INTERNAL_PREFIX}set")
}
