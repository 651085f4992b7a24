//! Environment variables: the keys of the tables that are the edge's own, so that a compose file
//! alone can configure it. `CUTOVER_LISTEN_ADMIN` is `listen.admin`; the file wins.
//!
//! Generated from the tables of [`super::keys`]: a key that is added there has its variable.

use std::fmt::Write as _;
use std::ops::Range;
use std::path::Path;

use super::Config;
use super::diagnostics::Report;
use super::keys::TABLES;
use super::tree::{Entry, Fault, Node, Section, Value, nearest};

/// The variables of a process that are settings.
#[derive(Clone, Debug, Default)]
pub(crate) struct Env {
    /// `NAME=VALUE` line by line, which faults point into.
    text: String,
    tables: Vec<Entry>,
    faults: Vec<Fault>,
}

impl Env {
    /// The variables of this process.
    #[must_use]
    pub(crate) fn of_process() -> Self {
        Self::of(std::env::vars_os().filter_map(|(name, value)| {
            Some((name.into_string().ok()?, value.to_string_lossy().into_owned()))
        }))
    }

    /// Takes what begins like a setting; an empty value is as good as none.
    #[must_use]
    pub(crate) fn of(variables: impl IntoIterator<Item = (String, String)>) -> Self {
        let mut variables: Vec<_> = variables
            .into_iter()
            .filter(|(name, value)| table_of(name).is_some() && !value.trim().is_empty())
            .collect();
        variables.sort();
        let mut env = Self::default();
        for (name, value) in variables {
            env.add(&name, value);
        }
        env
    }

    fn add(&mut self, name: &str, value: String) {
        let Some((table, keys)) = table_of(name) else { return };
        let start = self.text.len();
        // Writing to a String cannot fail.
        writeln!(self.text, "{name}={}", value.replace(['\n', '\r'], " ")).ok();
        let at = start..start + name.len();
        let value_at = at.end + 1..self.text.len() - 1;
        let names: Vec<_> = keys.iter().map(|key| variable(table, key)).collect();
        let known = keys.iter().zip(&names).find(|(_, known)| *known == name);
        let Some((key, _)) = known else {
            self.faults.push(unknown(name, &names, at));
            return;
        };
        let node = Node { at: value_at, value: Value::Loose(value) };
        let entry = Entry { key: (*key).to_owned(), at, node };
        match self.tables.iter_mut().find(|known| known.key == table) {
            Some(Entry { node: Node { value: Value::Table(entries), .. }, .. }) => {
                entries.push(entry);
            }
            _ => self.tables.push(Entry {
                key: table.to_owned(),
                at: 0..0,
                node: Node { at: 0..0, value: Value::Table(vec![entry]) },
            }),
        }
    }

    /// Puts what the variables say over what `config` says.
    pub(super) fn apply(&self, config: &mut Config) -> Result<(), Report> {
        let mut faults = self.faults.clone();
        Section::read_all(&self.tables, "", &mut faults, |root| {
            for (table, read) in TABLES {
                root.section(table, |section| read(section, config));
            }
        });
        match faults.is_empty() {
            true => Ok(()),
            false => Err(Report::new(Path::new("environment"), &self.text, faults)),
        }
    }

    /// Every setting that was given: its table, its key and its value.
    pub(super) fn given(&self) -> impl Iterator<Item = (&str, &str, &str)> {
        self.tables.iter().flat_map(|table| {
            let entries = match &table.node.value {
                Value::Table(entries) => entries.as_slice(),
                _ => &[],
            };
            entries.iter().filter_map(|entry| match &entry.node.value {
                Value::Loose(value) => {
                    Some((table.key.as_str(), entry.key.as_str(), value.as_str()))
                }
                _ => None,
            })
        })
    }
}

/// The variable of a key.
#[must_use]
pub(super) fn variable(table: &str, key: &str) -> String {
    format!("CUTOVER_{table}_{key}").to_ascii_uppercase()
}

/// The table that a variable belongs to by its beginning, with the keys of that table.
fn table_of(name: &str) -> Option<(&'static str, Vec<&'static str>)> {
    let (table, read) = TABLES
        .into_iter()
        .find(|(table, _)| name.to_ascii_uppercase().starts_with(&variable(table, "")))?;
    let mut nowhere = Config::default();
    Some((table, Section::keys_of(|section| read(section, &mut nowhere))))
}

fn unknown(name: &str, known: &[String], at: Range<usize>) -> Fault {
    let known: Vec<&str> = known.iter().map(String::as_str).collect();
    Fault {
        key: name.to_owned(),
        at,
        message: format!("there is no setting `{name}`"),
        hint: Some(match nearest(name, &known) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!("known here: {}", known.join(", ")),
        }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(variables: &[(&str, &str)]) -> Env {
        Env::of(variables.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())))
    }

    fn parse(text: &str, variables: &[(&str, &str)]) -> Result<Config, Report> {
        Config::parse_with(Path::new("cutover.toml"), text, &env(variables))
    }

    #[test]
    fn every_key_of_the_tables_has_a_variable() {
        for (table, read) in TABLES {
            let keys = Section::keys_of(|section| read(section, &mut Config::default()));
            assert!(!keys.is_empty());
            for key in keys.into_iter().filter(|key| *key != "https") {
                let name = variable(table, key);
                let found = env(&[(&name, "x")]);
                assert_eq!(found.given().collect::<Vec<_>>(), [(table, key, "x")], "{name}");
                assert_eq!(found.faults, []);
            }
        }
    }

    #[test]
    fn variables_are_taken_as_labels_are_and_the_file_wins() {
        let variables = [
            ("CUTOVER_LISTEN_HTTP", "0.0.0.0:8080, [::]:8080"),
            ("CUTOVER_LISTEN_ADMIN", "off"),
            ("CUTOVER_LIMITS_MAX_HEADERS", "50"),
            ("CUTOVER_RUNTIME_SHUTDOWN_TIMEOUT", "5s"),
            ("CUTOVER_DOCKER_ENABLE", "false"),
            ("CUTOVER_LISTEN_CONTROL", ""),
            ("CUTOVER_SOCKET", "/of/the/client"),
            ("CUTOVER_PORT_80_TCP", "of kubernetes"),
            ("HOME", "/root"),
        ];
        let config = parse("[limits]\nmax_headers = 60\n", &variables).unwrap();
        assert_eq!(config.listen.http.len(), 2);
        assert_eq!(config.listen.admin, None);
        assert_eq!(config.listen.control, Config::default().listen.control);
        assert_eq!(config.limits.max_headers, 60, "the file wins");
        assert_eq!(config.runtime.shutdown_timeout, std::time::Duration::from_secs(5));
        assert!(!config.docker.enable);
    }

    #[test]
    fn what_is_wrong_is_told_with_the_name_of_the_variable() {
        let unknown = parse("", &[("CUTOVER_LIMITS_MAX_HEADRES", "1")]).unwrap_err().render();
        assert!(unknown.contains("environment:1:1"), "{unknown}");
        assert!(unknown.contains("did you mean `CUTOVER_LIMITS_MAX_HEADERS`?"), "{unknown}");
        let wrong = parse("", &[("CUTOVER_DOCKER_ENABLE", "yes")]).unwrap_err().render();
        assert!(wrong.contains("CUTOVER_DOCKER_ENABLE=yes"), "{wrong}");
        assert!(wrong.contains("`yes` is not true or false"), "{wrong}");
    }
}
