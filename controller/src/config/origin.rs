//! Where the settings of the edge itself come from, for `cutover check`.

use std::path::Path;

use super::diagnostics::position;
use super::env::{Env, variable};
use super::file::{entries_of, read};
use super::keys::TABLES;
use super::tree::{Section, Value};
use super::{Config, DEFAULT_PATH};

/// A setting that is not left to its default.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(crate) struct Origin {
    /// The key, as `listen.admin`.
    pub key: String,
    /// What was written for it.
    pub value: String,
    /// A line of the file, or a variable.
    pub place: String,
    /// A variable that says something, too, and is not asked.
    pub overridden: Option<String>,
}

/// Every setting of the edge itself that was given, in the order of the tables.
#[must_use]
pub(crate) fn origins(path: Option<&Path>) -> Vec<Origin> {
    let path = path.unwrap_or_else(|| Path::new(DEFAULT_PATH));
    origins_in(path, &read(path).unwrap_or_default(), &Env::of_process())
}

fn origins_in(path: &Path, text: &str, env: &Env) -> Vec<Origin> {
    let file = entries_of(text);
    let keys = TABLES.into_iter().flat_map(|(table, read)| {
        let keys = Section::keys_of(|section| read(section, &mut Config::default()));
        keys.into_iter().map(move |key| (table, key))
    });
    let origin = |(table, key): (&'static str, &'static str)| {
        let mut given = env.given();
        let by_variable = given.find(|(t, k, _)| (*t, *k) == (table, key)).map(|(.., value)| value);
        let under = file.iter().find(|entry| entry.key == table).map(|entry| &entry.node.value);
        let by_file = match under {
            Some(Value::Table(entries)) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        };
        let full = format!("{table}.{key}");
        let named = variable(table, key);
        match (by_file, by_variable) {
            (Some(entry), overridden) => Some(Origin {
                key: full,
                value: text.get(entry.node.at.clone()).unwrap_or_default().replace('\n', " "),
                place: format!("{}:{}", path.display(), position(text, entry.at.start).0),
                overridden: overridden.map(|_| named),
            }),
            (None, Some(value)) => {
                Some(Origin { key: full, value: value.to_owned(), place: named, overridden: None })
            }
            (None, None) => None,
        }
    };
    keys.filter_map(origin).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_value_is_told_with_its_place() {
        let variables = [("CUTOVER_LISTEN_ADMIN", "off"), ("CUTOVER_LIMITS_MAX_HEADERS", "50")];
        let env = Env::of(variables.map(|(name, value)| (name.to_owned(), value.to_owned())));
        let text = "# ours\n[limits]\nmax_headers = 60\n";
        let found = origins_in(Path::new("cutover.toml"), text, &env);
        let told: Vec<_> = found
            .iter()
            .map(|o| (o.key.as_str(), o.value.as_str(), o.place.as_str(), o.overridden.as_deref()))
            .collect();
        let overridden = Some("CUTOVER_LIMITS_MAX_HEADERS");
        assert_eq!(
            told,
            [
                ("listen.admin", "off", "CUTOVER_LISTEN_ADMIN", None),
                ("limits.max_headers", "60", "cutover.toml:3", overridden),
            ]
        );
    }
}
