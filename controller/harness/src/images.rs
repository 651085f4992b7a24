//! The images of the demo app, made from the binary under test: nothing is pulled.

use std::hash::{DefaultHasher, Hasher as _};
use std::io::Read as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;

use crate::{Engine, binary};

/// The image of a release of the demo app: `1` to `3`, or a fault's name.
#[must_use]
pub fn image(release: &str) -> String {
    format!("{}:{release}", repository())
}

/// The repository of these images, named after what is in them: checkouts that test at the same time
/// on one engine share what is equal, and never what is not.
///
/// # Panics
/// When the binary cannot be read.
#[must_use]
pub fn repository() -> &'static str {
    static NAME: OnceLock<String> = OnceLock::new();
    NAME.get_or_init(|| {
        let mut hash = DefaultHasher::new();
        let binary = binary();
        for path in libraries(&binary).iter().chain([&binary]) {
            hash_file(&mut hash, path);
        }
        for change in BASE.iter().copied().map(str::to_owned).chain(VARIANTS.iter().map(change)) {
            hash.write(change.as_bytes());
        }
        format!("cutover-test-app-{:016x}", hash.finish())
    })
}

impl Engine {
    /// Makes the images that this engine does not have yet, and removes those of former binaries.
    pub(crate) fn make_images(&self) {
        // Of several processes with the same binary one makes them.
        let path = std::env::temp_dir().join(format!("{}.lock", repository()));
        let lock = std::fs::File::create(path).unwrap();
        lock.lock().unwrap();
        let has = |tag: &str| self.try_docker(&["image", "inspect", &image(tag)]).is_some();
        if !has("1") {
            // What no container needs and nobody has made today.
            let label = format!("label={LABEL}");
            let former = ["--filter", &label, "--filter", "until=24h"];
            self.try_docker(&[&["image", "prune", "--all", "--force"][..], &former].concat());
            self.import_base();
        }
        for variant in &VARIANTS {
            if !has(variant.0) {
                self.commit_variant(variant);
            }
        }
    }

    fn import_base(&self) {
        let root = tempfile::tempdir().unwrap();
        let binary = binary();
        std::fs::copy(&binary, root.path().join("cutover")).unwrap();
        // Symbols make a debug binary ten times as large; without `strip` it is only slower.
        Command::new("strip").arg(root.path().join("cutover")).status().ok();
        for library in libraries(&binary) {
            let to = root.path().join(library.strip_prefix("/").unwrap());
            std::fs::create_dir_all(to.parent().unwrap()).unwrap();
            std::fs::copy(&library, to).unwrap();
        }
        let changes: String = BASE.iter().map(|change| format!("--change '{change}' ")).collect();
        let import = format!(
            "tar -C {} -c . | docker import {changes} --change 'LABEL {LABEL}=1' - {}",
            root.path().display(),
            image("1")
        );
        let imported = self.command("sh").args(["-c", &import]).output().unwrap();
        assert!(imported.status.success(), "{imported:?}");
    }

    fn commit_variant(&self, variant: &(&str, &str)) {
        let container = self.docker(&["create", "--network", "none", &image("1")]);
        self.docker(&["commit", "--change", &change(variant), &container, &image(variant.0)]);
        self.docker(&["rm", &container]);
    }
}

fn hash_file(hash: &mut DefaultHasher, path: &Path) {
    let mut file = std::fs::File::open(path).unwrap();
    let mut part = vec![0; 1 << 20];
    loop {
        match file.read(&mut part).unwrap() {
            0 => return,
            length => hash.write(&part[..length]),
        }
    }
}

/// The shared libraries of a binary, its loader among them; none for a static one.
fn libraries(binary: &Path) -> Vec<PathBuf> {
    let output = Command::new("ldd").arg(binary).output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let words = text.split_whitespace().filter(|word| word.starts_with('/'));
    words.map(PathBuf::from).collect()
}

/// What makes a variant of release 1.
fn change((tag, variable): &(&str, &str)) -> String {
    format!("ENV {variable}={tag}")
}

/// By which the images are known.
const LABEL: &str = "cutover-test-image";
/// How the app is run in release 1.
const BASE: [&str; 3] = ["ENTRYPOINT [\"/cutover\",\"demo-app\"]", "EXPOSE 8000", "ENV RELEASE=1"];
/// The others: a tag, and the variable that has it as its value.
const VARIANTS: [(&str, &str); 12] = [
    ("2", "RELEASE"),
    ("3", "RELEASE"),
    ("errors", "DEMO_FAULT"),
    ("exit", "DEMO_FAULT"),
    ("exit-later", "DEMO_FAULT"),
    ("half-errors", "DEMO_FAULT"),
    ("hang", "DEMO_FAULT"),
    ("leak", "DEMO_FAULT"),
    ("never-ends", "DEMO_FAULT"),
    ("never-ready", "DEMO_FAULT"),
    ("slow-start", "DEMO_FAULT"),
    ("wrong-port", "DEMO_FAULT"),
];
