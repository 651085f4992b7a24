//! Which container we are in ourselves, if any.

use crate::engine::{Container, Containers};

/// The container that we are in: its host name is its ID unless someone chose another, and its
/// cgroup and mounts name it too.
pub(super) async fn find(containers: &Containers, ids: &[String]) -> Option<Container> {
    for id in ids {
        if let Ok(Some(own)) = containers.inspect(id).await {
            return Some(own);
        }
    }
    None
}

/// What our own container may be called by the engine. It stays the same for as long as we live.
pub(crate) fn ids() -> Vec<String> {
    let read = |path| std::fs::read_to_string(path).unwrap_or_default();
    let is_id = |text: &str| text.len() == 64 && text.bytes().all(|b| b.is_ascii_hexdigit());
    let mut ids: Vec<String> = Vec::new();
    for text in [read("/proc/self/cgroup"), read("/proc/self/mountinfo")] {
        // Docker mounts /etc/hostname from …/containers/ID/hostname.
        let words = text.split(['/', '-', '.', ' ', '\n']);
        ids.extend(words.filter(|word| is_id(word)).map(str::to_owned));
    }
    ids.dedup();
    let host = read("/etc/hostname").trim().to_owned();
    if host.len() == 12 && host.bytes().all(|b| b.is_ascii_hexdigit()) {
        ids.push(host);
    }
    ids
}
