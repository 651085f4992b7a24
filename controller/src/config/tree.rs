//! The neutral shape of settings, before anyone asks what they mean.
//!
//! A TOML file and a container's labels both become a tree of [`Node`]s; `keys` reads it through
//! [`Section`], which remembers the keys it was asked for, so that what is left over is unknown.

use std::ops::Range;

/// A value and where it stands.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Node {
    /// Byte range in the file; empty for labels.
    pub(crate) at: Range<usize>,
    /// The value.
    pub(crate) value: Value,
}

/// What can be written for a key.
#[derive(Clone, Debug, PartialEq)]
pub(crate) enum Value {
    /// `true` or `false`.
    Bool(bool),
    /// A number.
    Integer(i64),
    /// `[ … ]`.
    List(Vec<Node>),
    /// A label's text, which may stand for any type; a list is separated by commas.
    Loose(String),
    /// Something no key takes: a float, a date, a number out of range.
    Other(&'static str),
    /// `[table]` or `{ … }`.
    Table(Vec<Entry>),
    /// A string.
    Text(String),
}

impl Value {
    /// What a person calls this kind of value.
    pub(crate) fn kind(&self) -> &'static str {
        match self {
            Self::Bool(_) => "a boolean",
            Self::Integer(_) => "a number",
            Self::List(_) => "a list",
            Self::Loose(_) | Self::Text(_) => "a string",
            Self::Other(kind) => kind,
            Self::Table(_) => "a table",
        }
    }
}

impl Node {
    fn unplaced(&self) -> Self {
        let value = match &self.value {
            Value::List(nodes) => Value::List(nodes.iter().map(Self::unplaced).collect()),
            Value::Table(entries) => Value::Table(entries.iter().map(Entry::unplaced).collect()),
            value => value.clone(),
        };
        Self { at: 0..0, value }
    }
}

impl Entry {
    /// The same, wherever it stands: two files that say the same are equal.
    pub(crate) fn unplaced(&self) -> Self {
        Self { key: self.key.clone(), at: 0..0, node: self.node.unplaced() }
    }
}

/// A key with its value.
#[derive(Clone, Debug, PartialEq)]
pub(crate) struct Entry {
    /// The key, without what stands above it.
    pub(crate) key: String,
    /// Byte range of the key.
    pub(crate) at: Range<usize>,
    /// Its value.
    pub(crate) node: Node,
}

/// One thing that is wrong, and where.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Fault {
    /// The whole key, with dots: `services.web.probe.path`.
    pub(crate) key: String,
    /// Byte range of what is wrong.
    pub(crate) at: Range<usize>,
    /// What is wrong.
    pub(crate) message: String,
    /// What to do about it.
    pub(crate) hint: Option<String>,
}

/// Why a value was refused.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Refusal {
    pub(crate) at: Range<usize>,
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Refusal {
    /// Refuses a value.
    pub(crate) fn new(node: &Node, message: impl Into<String>) -> Self {
        Self { at: node.at.clone(), message: message.into(), hint: None }
    }

    /// Says what to do about it.
    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }
}

/// Reads one table and collects what is wrong with it.
#[derive(Debug)]
pub(crate) struct Section<'a> {
    entries: &'a [Entry],
    path: String,
    known: Vec<&'static str>,
    faults: &'a mut Vec<Fault>,
}

impl<'a> Section<'a> {
    /// Reads `entries`, which stand under `path` ("" for the root); what `read` does not ask for is
    /// a fault.
    pub(crate) fn read_all<T>(
        entries: &'a [Entry],
        path: &str,
        faults: &'a mut Vec<Fault>,
        read: impl FnOnce(&mut Self) -> T,
    ) -> T {
        let mut section = Self { entries, path: path.to_owned(), known: Vec::new(), faults };
        let value = read(&mut section);
        section.finish();
        value
    }

    /// The keys that `read` asks for.
    pub(crate) fn keys_of(read: impl FnOnce(&mut Section<'_>)) -> Vec<&'static str> {
        let mut faults = Vec::new();
        let mut section =
            Section { entries: &[], path: String::new(), known: Vec::new(), faults: &mut faults };
        read(&mut section);
        section.known
    }

    /// Replaces `into` by the value of `key`, if there is one and `parse` takes it.
    pub(crate) fn value<T>(
        &mut self,
        key: &'static str,
        into: &mut T,
        parse: impl FnOnce(&Node) -> Result<T, Refusal>,
    ) {
        let Some(entry) = self.entry(key) else { return };
        match parse(&entry.node) {
            Ok(value) => *into = value,
            Err(refusal) => self.refuse(key, refusal),
        }
    }

    /// Reads the table under `key`, if there is one. Says whether there was.
    pub(crate) fn section(
        &mut self,
        key: &'static str,
        read: impl FnOnce(&mut Section<'_>),
    ) -> bool {
        let Some(entry) = self.entry(key) else {
            return false;
        };
        match &entry.node.value {
            Value::Table(entries) => {
                Section::read_all(entries, &self.full(key), self.faults, read);
            }
            other => {
                let message = format!("`{key}` is a table of settings, not {}", other.kind());
                let refusal = Refusal::new(&entry.node, message);
                self.refuse(key, refusal);
            }
        }
        true
    }

    /// The entry of a key, which is known from now on.
    pub(crate) fn entry(&mut self, key: &'static str) -> Option<&'a Entry> {
        if !self.known.contains(&key) {
            self.known.push(key);
        }
        self.entries.iter().find(|entry| entry.key == key)
    }

    /// Every key of this table is known: their names are the operator's.
    pub(crate) fn named(&mut self) -> &'a [Entry] {
        std::mem::take(&mut self.entries)
    }

    /// Reads a table that stands under a name of the operator's choice.
    pub(crate) fn child(&mut self, entry: &Entry, read: impl FnOnce(&mut Section<'_>)) {
        match &entry.node.value {
            Value::Table(entries) => {
                Section::read_all(entries, &self.full(&entry.key), self.faults, read);
            }
            other => {
                let message = format!("`{}` is a table, not {}", entry.key, other.kind());
                self.fault(&entry.key, entry.node.at.clone(), message, None);
            }
        }
    }

    /// Says that `key` is wrong.
    pub(crate) fn refuse(&mut self, key: &str, refusal: Refusal) {
        self.fault(key, refusal.at, refusal.message, refusal.hint);
    }

    /// Says that something about `key` is wrong, at `at`.
    pub(crate) fn fault(
        &mut self,
        key: &str,
        at: Range<usize>,
        message: String,
        hint: Option<String>,
    ) {
        let key = self.full(key);
        self.faults.push(Fault { key, at, message, hint });
    }

    fn full(&self, key: &str) -> String {
        match self.path.as_str() {
            "" => key.to_owned(),
            path => format!("{path}.{key}"),
        }
    }

    fn finish(mut self) {
        let known = std::mem::take(&mut self.known);
        for entry in self.entries {
            if !known.contains(&entry.key.as_str()) {
                let message = format!("unknown key `{}`", self.full(&entry.key));
                let hint = Some(match nearest(&entry.key, &known) {
                    Some(near) => format!("did you mean `{near}`?"),
                    None => format!("known here: {}", known.join(", ")),
                });
                self.fault(&entry.key, entry.at.clone(), message, hint);
            }
        }
    }
}

/// The word most like `typed`, if any is like enough: the fewest letters to add, drop or replace,
/// then the most alike (`hots` is `hosts` with a letter lost rather than `host` with two swapped),
/// then the first.
pub(crate) fn nearest<'w>(typed: &str, words: &[&'w str]) -> Option<&'w str> {
    words
        .iter()
        .map(|word| (strsim::levenshtein(typed, word), strsim::jaro_winkler(typed, word), *word))
        .filter(|(_, likeness, _)| *likeness > 0.75)
        .min_by(|a, b| a.0.cmp(&b.0).then(b.1.total_cmp(&a.1)))
        .map(|(_, _, word)| word)
}
