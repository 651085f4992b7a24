//! A rule that is a test stays true: modules use each other in one direction only.
//!
//! - At the top level a module uses only what stands below it in `lib.rs`.
//! - Inside a folder no file uses an item of a file above it (`a/b.rs` none of `a.rs`), and the
//!   modules of one folder do not use each other in a circle.
//!
//! Tests may look at everything. The controller includes this file for its own sources.
#![allow(
    clippy::indexing_slicing,
    clippy::string_slice,
    clippy::unwrap_used,
    missing_docs,
    unreachable_pub,
    reason = "a test"
)]

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::fs;
use std::path::{Path, PathBuf};

/// Edges between modules of the proxy that are left as they are for now.
const ALLOWED: &[(&str, &str)] = &[
    // The names of services, colors and endpoints are declared in table.rs.
    ("table::snapshot", "table"),
    // A reply holds the body that the codec makes, and the codec fails with the failures of a reply.
    ("upstream::reply", "upstream::h1"),
];

/// Crates whose folders are not free of circles yet: only their top level is looked at.
const TOP_LEVEL_ONLY: &[&str] = &["cutover-controller"];

/// A module by its path below the crate.
type Module = Vec<String>;

/// What one module names of another.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
struct Edge {
    from: Module,
    to: Module,
    /// As it was written, resolved.
    path: String,
    file: PathBuf,
}

impl std::fmt::Display for Edge {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {} uses {}", self.file.display(), self.from.join("::"), self.path)
    }
}

#[test]
fn a_module_uses_only_what_stands_below_it() {
    let graph = Graph::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    assert!(graph.top.len() > 10, "lib.rs lists its modules");
    let place: HashMap<&str, usize> = graph.top.iter().map(String::as_str).zip(0..).collect();
    let is_upward = |edge: &&Edge| match (edge.from.first(), edge.to.first()) {
        (Some(from), Some(to)) => place[to.as_str()] < place[from.as_str()],
        (Some(_), None) => !edge.path.is_empty(),
        (None, _) => false,
    };
    report("upward edges", graph.edges.iter().filter(is_upward));
}

#[test]
fn a_file_uses_no_item_of_a_file_above_it_in_its_folder() {
    let graph = Graph::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    let is_of_parent = |edge: &&Edge| {
        !edge.to.is_empty() && edge.from.len() > edge.to.len() && edge.from.starts_with(&edge.to)
    };
    report("children use their parents", graph.inner_edges().filter(is_of_parent));
}

#[test]
fn the_modules_of_one_folder_do_not_use_each_other_in_a_circle() {
    let graph = Graph::of(&Path::new(env!("CARGO_MANIFEST_DIR")).join("src"));
    // By folder: who uses whom, of its direct children.
    let mut used: BTreeMap<(&[String], &str), BTreeSet<&str>> = BTreeMap::new();
    for (folder, from, to) in graph.inner_edges().filter_map(siblings) {
        used.entry((folder, from)).or_default().insert(to);
    }
    let closes_circle = |edge: &&Edge| {
        siblings(edge).is_some_and(|(folder, from, to)| {
            let (mut seen, mut next) = (BTreeSet::new(), vec![to]);
            while let Some(module) = next.pop() {
                if seen.insert(module) {
                    next.extend(used.get(&(folder, module)).into_iter().flatten());
                }
            }
            seen.contains(from)
        })
    };
    report("circles among siblings", graph.inner_edges().filter(closes_circle));
}

/// The folder of two modules, and the children of it that they are or stand in.
fn siblings(edge: &Edge) -> Option<(&[String], &str, &str)> {
    let common = edge.from.iter().zip(&edge.to).take_while(|(from, to)| from == to).count();
    let (from, to) = (edge.from.get(common)?, edge.to.get(common)?);
    (common > 0).then_some((&edge.from[..common], from, to))
}

fn report<'a>(what: &str, edges: impl Iterator<Item = &'a Edge>) {
    let list: BTreeSet<String> = edges.map(ToString::to_string).collect();
    let list = Vec::from_iter(list);
    assert!(list.is_empty(), "{what}:\n{}", list.join("\n"));
}

/// All modules of a crate but its tests, and what they name of each other.
struct Graph {
    /// The modules of `lib.rs`, in their order.
    top: Vec<String>,
    edges: Vec<Edge>,
}

impl Graph {
    fn of(source: &Path) -> Self {
        let mut code = BTreeMap::new();
        let root = tokens(&fs::read_to_string(source.join("lib.rs")).unwrap());
        let top = modules(&root);
        for name in &top {
            load(source, vec![name.clone()], &mut code);
        }
        let known: BTreeSet<Module> = code.keys().cloned().collect();
        let mut edges = Vec::new();
        for (from, (file, tokens)) in &code {
            for path in paths(tokens) {
                let Some(path) = resolve(from, &path, &known) else { continue };
                let depth = (0..=path.len())
                    .rev()
                    .find(|depth| *depth == 0 || known.contains(&path[..*depth]));
                let to = path[..depth.unwrap_or(0)].to_vec();
                if to != *from {
                    let path = path.join("::");
                    edges.push(Edge { from: from.clone(), to, path, file: file.clone() });
                }
            }
        }
        Self { top, edges }
    }

    /// The edges that the rules inside a folder hold for.
    fn inner_edges(&self) -> impl Iterator<Item = &Edge> {
        let is_checked = !TOP_LEVEL_ONLY.contains(&env!("CARGO_PKG_NAME"));
        self.edges.iter().filter(move |edge| {
            let pair = (edge.from.join("::"), edge.to.join("::"));
            is_checked && !ALLOWED.contains(&(pair.0.as_str(), pair.1.as_str()))
        })
    }
}

/// Reads a module and those below it.
fn load(source: &Path, module: Module, code: &mut BTreeMap<Module, (PathBuf, Vec<String>)>) {
    let file = source.join(module.join("/")).with_extension("rs");
    let file = if file.exists() { file } else { source.join(module.join("/")).join("mod.rs") };
    // A module that is written in the file of its parent is read with it.
    let Ok(text) = fs::read_to_string(&file) else { return };
    let tokens = tokens(&text);
    for name in modules(&tokens) {
        load(source, [module.as_slice(), &[name]].concat(), code);
    }
    code.insert(module, (file, tokens));
}

/// The names of `mod name;`.
fn modules(tokens: &[String]) -> Vec<String> {
    let declared = tokens.windows(3).filter(|three| three[0] == "mod" && three[2] == ";");
    declared.map(|three| three[1].clone()).collect()
}

/// A path from the crate's root; `None` if it leads out of the crate.
fn resolve(from: &Module, path: &[String], known: &BTreeSet<Module>) -> Option<Module> {
    let (mut at, mut rest) = match path.first()?.as_str() {
        "crate" => (Vec::new(), &path[1..]),
        "self" => (from.clone(), &path[1..]),
        "super" => (from.clone(), path),
        // Rust 2018: a path may begin with a submodule.
        first => {
            let below = [from.as_slice(), &[first.to_owned()]].concat();
            (known.contains(&below).then(|| from.clone())?, path)
        }
    };
    while rest.first().is_some_and(|name| name == "super") {
        at.pop();
        rest = &rest[1..];
    }
    at.extend(rest.iter().filter(|name| *name != "self").cloned());
    Some(at)
}

/// All paths in the code: those of `use`, one for each leaf, and those in between that begin with
/// `crate`, `self` or `super`.
fn paths(tokens: &[String]) -> Vec<Vec<String>> {
    let mut paths = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        let is_start = matches!(tokens[at].as_str(), "crate" | "super" | "self")
            && tokens.get(at + 1).is_some_and(|next| next == "::");
        if tokens[at] == "use" {
            at = leaves(tokens, at + 1, &[], &mut paths);
        } else if is_start && (at == 0 || tokens[at - 1] != "::") {
            at = leaves(tokens, at, &[], &mut paths);
        } else {
            at += 1;
        }
    }
    paths
}

/// Reads one use tree from `at`; returns where it ends.
fn leaves(
    tokens: &[String],
    mut at: usize,
    prefix: &[String],
    paths: &mut Vec<Vec<String>>,
) -> usize {
    let mut path = prefix.to_vec();
    while let Some(token) = tokens.get(at) {
        match token.as_str() {
            "::" => at += 1,
            "{" if at > 0 && tokens[at - 1] == "::" => {
                at += 1;
                while tokens.get(at).is_some_and(|token| token != "}") {
                    at = leaves(tokens, at, &path, paths);
                    if tokens.get(at).is_some_and(|token| token == ",") {
                        at += 1;
                    }
                }
                return at + 1;
            }
            name if is_name(name) && name != "as" => {
                let is_next = path.len() == prefix.len() || tokens[at - 1] == "::";
                if !is_next {
                    break;
                }
                path.push(token.clone());
                at += 1;
            }
            "*" => {
                at += 1;
                break;
            }
            "as" => at += 2,
            _ => break,
        }
    }
    paths.push(path);
    at.max(1)
}

fn is_name(token: &str) -> bool {
    token.starts_with(|first: char| first.is_alphabetic() || first == '_')
}

/// The code as names and signs, without comments, texts and what is only there for tests.
fn tokens(text: &str) -> Vec<String> {
    let mut tokens: Vec<String> = Vec::new();
    let mut rest = text;
    while let Some(first) = rest.chars().next() {
        let length = if rest.starts_with("//") {
            rest.find('\n').unwrap_or(rest.len())
        } else if rest.starts_with("/*") {
            rest.find("*/").map_or(rest.len(), |end| end + 2)
        } else if let Some(length) = literal(rest) {
            length
        } else if is_name(rest) {
            let end = rest.find(|c: char| !c.is_alphanumeric() && c != '_').unwrap_or(rest.len());
            tokens.push(rest[..end].to_owned());
            end
        } else if rest.starts_with("::") {
            tokens.push("::".to_owned());
            2
        } else {
            if !first.is_whitespace() {
                tokens.push(first.to_string());
            }
            first.len_utf8()
        };
        rest = &rest[length..];
    }
    without_tests(&tokens)
}

/// The length of the text or character that `code` begins with.
fn literal(code: &str) -> Option<usize> {
    let opening = code.trim_start_matches(['b', 'c']);
    let begin = code.len() - opening.len();
    if begin > 1 {
        return None;
    }
    let raw = opening.strip_prefix('r').unwrap_or(opening);
    let hashes = raw.len() - raw.trim_start_matches('#').len();
    if raw.len() < opening.len() && raw[hashes..].starts_with('"') {
        let close = format!("\"{}", "#".repeat(hashes));
        let start = begin + 1 + hashes + 1;
        return Some(start + code[start..].find(&close)? + close.len());
    }
    let quote = opening.chars().next().filter(|quote| matches!(quote, '"' | '\''))?;
    let body = &opening[1..];
    if quote == '\'' && !body.starts_with('\\') {
        // Not a lifetime.
        let length = body.chars().next()?.len_utf8();
        return body[length..].starts_with('\'').then_some(begin + 1 + length + 1);
    }
    let mut escaped = false;
    let end = body.char_indices().find(|(_, c)| {
        let ends = !escaped && *c == quote;
        escaped = !escaped && *c == '\\';
        ends
    });
    Some(begin + 1 + end?.0 + 1)
}

/// Leaves out each item under `#[cfg(test)]`, and only that.
fn without_tests(tokens: &[String]) -> Vec<String> {
    const TEST: [&str; 7] = ["#", "[", "cfg", "(", "test", ")", "]"];
    let mut kept = Vec::new();
    let mut at = 0;
    while at < tokens.len() {
        if !tokens[at..].iter().take(TEST.len()).eq(TEST.iter()) {
            kept.push(tokens[at].clone());
            at += 1;
            continue;
        }
        at += TEST.len();
        let mut depth = 0_usize;
        while let Some(token) = tokens.get(at) {
            at += 1;
            match token.as_str() {
                "{" | "(" | "[" => depth += 1,
                "}" | ")" | "]" => depth -= 1,
                ";" | "," if depth == 0 => break,
                _ => {}
            }
            // The end of a body, but not of a list of names or of an attribute.
            if token == "}" && depth == 0 && tokens.get(at).is_none_or(|next| next != ";") {
                break;
            }
        }
    }
    kept
}

#[test]
fn the_reader_sees_what_it_is_made_to_see() {
    let text = r##"
        use crate::a::{b::C, d::{self, E as F}};
        // use crate::comment;
        #[cfg(test)]
        use crate::only_for_tests::{X, Y};
        #[cfg(test)]
        mod tests { use crate::z; fn f() { if x { } } }
        const TEXT: &str = "crate::text \" crate::text";
        const RAW: &str = r#"crate::"raw"#;
        fn f<'a>(q: &'a str) -> super::G { crate::h::i('"', '\'') }
        use self::j::*;
    "##;
    let found: Vec<String> = paths(&tokens(text)).iter().map(|path| path.join("::")).collect();
    let expected =
        ["a::b::C", "a::d::self", "a::d::E", "h::i"].map(|path| format!("crate::{path}"));
    let [b, d, e, i] = expected;
    assert_eq!(found, [b, d, e, "super::G".to_owned(), i, "self::j".to_owned()]);
}

/// The source files below a directory but for those of tests.
pub fn children(directory: &Path, files: &mut Vec<PathBuf>) {
    let Ok(entries) = fs::read_dir(directory) else { return };
    for path in entries.map(|entry| entry.unwrap().path()) {
        if path.is_dir() && !path.ends_with("tests") {
            children(&path, files);
        } else if path.extension().is_some_and(|kind| kind == "rs") && !path.ends_with("tests.rs") {
            files.push(path);
        }
    }
}
