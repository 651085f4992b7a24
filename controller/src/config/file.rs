//! From the text of a config file to a [`Config`], or to a [`Report`] of all that is wrong.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, Read};
use std::ops::Range;
use std::path::Path;

use cutover_proxy::table::{HostPattern, ServiceName};
use toml::de::{DeTable, DeValue};

use super::diagnostics::Report;
use super::env::Env;
use super::tree::{Entry, Fault, Node, Section, Value};
use super::{Config, keys};

/// A config file larger than this is not one.
const MAX_BYTES: u64 = 4 << 20;

impl Config {
    /// Reads a file and the environment; `None` reads [`super::DEFAULT_PATH`], where no file at all is fine.
    ///
    /// # Errors
    /// All that is wrong with the file.
    pub fn load(path: Option<&Path>) -> Result<Self, Report> {
        let chosen = path.unwrap_or_else(|| Path::new(super::DEFAULT_PATH));
        match read(chosen) {
            Ok(text) => Self::parse_with(chosen, &text, &Env::of_process()),
            Err(error) if path.is_none() && error.kind() == io::ErrorKind::NotFound => {
                Self::parse_with(chosen, "", &Env::of_process())
            }
            Err(error) => Err(Report::unreadable(chosen, &error)),
        }
    }

    /// As [`Config::load`], for a Cutover that runs; `serves` says whether with services.
    ///
    /// # Errors
    /// As [`Config::load`], and when there is nothing in the file any more though there are services:
    /// it is about to be written, or was emptied by accident.
    pub fn load_again(path: Option<&Path>, serves: bool) -> Result<Self, Report> {
        let chosen = path.unwrap_or_else(|| Path::new(super::DEFAULT_PATH));
        match read(chosen) {
            Ok(text) => Self::parse_again(chosen, &text, serves),
            Err(_) => Self::load(path),
        }
    }

    /// As [`Config::parse`], for a Cutover that runs.
    ///
    /// # Errors
    /// As [`Config::load_again`].
    pub fn parse_again(path: &Path, text: &str, serves: bool) -> Result<Self, Report> {
        let says_nothing = |line: &str| line.is_empty() || line.starts_with('#');
        match serves && text.lines().map(str::trim).all(says_nothing) {
            true => Err(Report::emptied(path)),
            false => Self::parse_with(path, text, &Env::of_process()),
        }
    }

    /// Understands the text of a config file; `path` is only for the report.
    ///
    /// # Errors
    /// All that is wrong with the text.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Report> {
        Self::parse_with(path, text, &Env::default())
    }

    /// As [`Config::parse`], with what the environment says where the file says nothing.
    ///
    /// # Errors
    /// All that is wrong with the environment, or with the text.
    pub(super) fn parse_with(path: &Path, text: &str, env: &Env) -> Result<Self, Report> {
        let (root, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            return Err(Report::new(path, text, errors.iter().map(syntax_fault).collect()));
        }
        let entries = entries(root.get_ref());
        let mut config = Self::default();
        env.apply(&mut config)?;
        let mut faults = Vec::new();
        Section::read_all(&entries, "", &mut faults, |root| keys::config(root, &mut config));
        faults.extend(route_clashes(&config, &entries));
        match faults.is_empty() {
            true => Ok(config),
            false => Err(Report::new(path, text, faults)),
        }
    }
}

/// What is written in a config file, as far as it can be read.
pub(super) fn entries_of(text: &str) -> Vec<Entry> {
    entries(DeTable::parse_recoverable(text).0.get_ref())
}

/// Reads a text file of sensible size.
pub(crate) fn read(path: &Path) -> io::Result<String> {
    let mut text = String::new();
    let file = fs::File::open(path)?;
    if file.take(MAX_BYTES + 1).read_to_string(&mut text)? as u64 > MAX_BYTES {
        return Err(io::Error::new(io::ErrorKind::FileTooLarge, "larger than 4 MiB"));
    }
    Ok(text)
}

fn syntax_fault(error: &toml::de::Error) -> Fault {
    Fault {
        key: String::new(),
        at: error.span().unwrap_or(0..0),
        message: error.message().replace('\n', ", "),
        hint: None,
    }
}

/// Two services that claim the same host and path.
fn route_clashes(config: &Config, root: &[Entry]) -> Vec<Fault> {
    let mut owners: BTreeMap<(HostPattern, &str), &ServiceName> = BTreeMap::new();
    let mut faults = Vec::new();
    for (name, service) in &config.services {
        for host in service.host_patterns() {
            let Some(owner) = owners.insert((host.clone(), &service.path), name) else {
                continue;
            };
            let message = match owner == name {
                true => format!("the host {host} is listed twice"),
                false => format!("{host}{} is already served by `{owner}`", service.path),
            };
            faults.push(Fault {
                key: format!("services.{name}"),
                at: service_span(root, name.as_str()),
                message,
                hint: Some("give one of them another host or path".to_owned()),
            });
            owners.insert((host, &service.path), owner);
        }
    }
    faults
}

/// Where the routes of a service are written: its hosts, its path, or its name.
fn service_span(root: &[Entry], name: &str) -> Range<usize> {
    let find =
        |entries: &[Entry], key: &str| entries.iter().find(|entry| entry.key == key).cloned();
    let under = |entry: Entry| match entry.node.value {
        Value::Table(entries) => entries,
        _ => Vec::new(),
    };
    let Some(service) = find(root, "services").and_then(|all| find(&under(all), name)) else {
        return 0..0;
    };
    let at = service.at.clone();
    let keys = under(service);
    find(&keys, "hosts").or_else(|| find(&keys, "path")).map_or(at, |entry| entry.at)
}

fn entries(table: &DeTable<'_>) -> Vec<Entry> {
    let mut entries: Vec<Entry> = table
        .iter()
        .map(|(key, value)| Entry {
            key: key.get_ref().to_string(),
            at: key.span(),
            node: node(value.span(), value.get_ref()),
        })
        .collect();
    entries.sort_by_key(|entry| entry.at.start);
    entries
}

fn node(at: Range<usize>, value: &DeValue<'_>) -> Node {
    let value = match value {
        DeValue::String(text) => Value::Text(text.to_string()),
        DeValue::Integer(number) => i64::from_str_radix(number.as_str(), number.radix())
            .map_or(Value::Other("a number out of range"), Value::Integer),
        DeValue::Float(_) => Value::Other("a fraction"),
        DeValue::Boolean(value) => Value::Bool(*value),
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Array(items) => {
            Value::List(items.iter().map(|item| node(item.span(), item.get_ref())).collect())
        }
        DeValue::Table(table) => Value::Table(entries(table)),
    };
    Node { at, value }
}
