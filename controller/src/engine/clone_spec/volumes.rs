//! Anonymous volumes: a copy mounts the same ones, as Compose does when it recreates a container.

use bollard::models::{HostConfig, Mount, MountPoint, MountType};
use cutover_api::FindingCode;

use super::notice::Notice;

/// Whether nobody gave a volume its name.
pub(crate) fn is_anonymous(volume: &str) -> bool {
    volume.len() == 64 && volume.bytes().all(|byte| byte.is_ascii_hexdigit())
}

/// Mounts the anonymous volumes of a container into a copy of it, by name.
pub(super) fn carry(host: &mut HostConfig, mounts: &[MountPoint]) {
    for (name, path, writable) in anonymous(mounts) {
        let mut asked = host.mounts.iter_mut().flatten();
        if let Some(mount) = asked.find(|mount| mount.target.as_deref() == Some(path)) {
            mount.source = Some(name.to_owned());
            continue;
        }
        let binds = host.binds.get_or_insert_default();
        if !binds.iter().any(|bind| bind.split(':').nth(1) == Some(path)) {
            let mode = if writable { "rw" } else { "ro" };
            binds.push(format!("{name}:{path}:{mode}"));
        }
    }
}

/// Takes another container's anonymous volumes in place of one's own.
pub(super) fn replace(host: &mut HostConfig, other: &HostConfig) {
    let binds = host.binds.get_or_insert_default();
    binds.retain(|bind| !is_anonymous_bind(bind));
    let mount_points: Vec<&str> = binds.iter().filter_map(|bind| bind.split(':').nth(1)).collect();
    let theirs = other.binds.iter().flatten().filter(|bind| is_anonymous_bind(bind));
    let free = |bind: &&String| !bind.split(':').nth(1).is_some_and(|p| mount_points.contains(&p));
    let theirs: Vec<String> = theirs.filter(free).cloned().collect();
    binds.extend(theirs);
    for mount in host.mounts.iter_mut().flatten().filter(|mount| has_anonymous_source(mount)) {
        let mut theirs = other.mounts.iter().flatten();
        let same = theirs.find(|other| other.target == mount.target && has_anonymous_source(other));
        mount.source = same.and_then(|same| same.source.clone());
    }
}

/// Whether a bind is of a volume without a name.
pub(super) fn is_anonymous_bind(bind: &str) -> bool {
    bind.split(':').next().is_some_and(is_anonymous)
}

/// A mount, but for the name that the engine gave its volume.
pub(super) fn without_anonymous_source(mount: &Mount) -> Mount {
    let source = mount.source.clone().filter(|_| !has_anonymous_source(mount));
    Mount { source, ..mount.clone() }
}

pub(super) fn notices(mounts: &[MountPoint]) -> Vec<Notice> {
    let writable = anonymous(mounts).filter(|(_, _, writable)| *writable);
    let notice = |(_, path, _): (&str, &str, bool)| {
        Notice::warning(
            FindingCode::AnonymousVolume,
            format!("the volume at {path} has no name: both colors write to it while both run"),
            "give it a name, or take it out if nothing in it must outlive a release",
        )
    };
    writable.map(notice).collect()
}

fn has_anonymous_source(mount: &Mount) -> bool {
    mount.typ == Some(MountType::VOLUME) && mount.source.as_deref().is_some_and(is_anonymous)
}

/// Their names and paths, and whether they can be written to.
fn anonymous(mounts: &[MountPoint]) -> impl Iterator<Item = (&str, &str, bool)> {
    mounts.iter().filter_map(|mount| {
        let name = mount.name.as_deref().filter(|name| is_anonymous(name))?;
        Some((name, mount.destination.as_deref()?, mount.rw != Some(false)))
    })
}
