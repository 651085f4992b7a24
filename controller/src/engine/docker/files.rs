//! Reading files out of a container, and putting them into another.

use std::io::Read;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bollard::models::{ChangeType, ContainerInspectResponse, FilesystemChange};
use bollard::query_parameters::{
    ContainerArchiveInfoOptionsBuilder, DownloadFromContainerOptionsBuilder,
    UploadToContainerOptionsBuilder,
};
use futures_util::{StreamExt, stream};
use tokio::time::timeout;

use super::{CALL, Docker, SLOW, read, within};
use crate::engine::clone_spec::{Blueprint, Changed, File, Files, was_put_in};
use crate::engine::{EngineError, Spec};

impl Docker {
    /// The files that Compose has put into a container, as far as can be told: those that a copy of
    /// ours names, and those of a Compose that does such things and look like it.
    pub(super) async fn files(
        &self,
        inspected: &ContainerInspectResponse,
    ) -> Result<Files, EngineError> {
        let mut files = Files::default();
        let Some(id) = inspected.id.as_deref() else { return Ok(files) };
        let config = inspected.config.clone().unwrap_or_default();
        let mut paths = Blueprint::known_files(&config);
        let version = config.labels.as_ref().and_then(|labels| labels.get(COMPOSE_VERSION));
        if version.is_some_and(|version| !version.starts_with("1.")) {
            match self.put_in(id, inspected).await {
                Ok(more) => paths.extend(more),
                Err(error) if error.is_not_found() => return Err(error),
                Err(error) => files.lost.push(("any file".into(), error.to_string())),
            }
        }
        paths.sort();
        paths.dedup();
        let mut bytes = 0;
        for path in paths {
            match self.download(id, &path).await {
                Ok(file) if bytes + file.content.len() > Files::LIMIT => {
                    files.lost.push((path, "it is too large".into()));
                }
                Ok(file) => {
                    bytes += file.content.len();
                    files.found.push(file);
                }
                Err(error) if error.is_transient() => return Err(error),
                Err(error) => files.lost.push((path, error.said())),
            }
        }
        Ok(files)
    }

    /// Puts the files of a spec into a container that was not started yet.
    pub(super) async fn upload(&self, id: &str, spec: &Spec) -> Result<(), EngineError> {
        if spec.files.is_empty() {
            return Ok(());
        }
        let client = self.client().await?;
        let unpacked = |error: std::io::Error| EngineError::Refused {
            call: PUT,
            status: 400,
            message: error.to_string(),
        };
        let archive = packed(&spec.files).map_err(unpacked)?;
        let options = UploadToContainerOptionsBuilder::default().path("/").build();
        let body = bollard::body_full(archive.into());
        within(PUT, SLOW, client.upload_to_container(id, Some(options), body)).await
    }

    /// The files that came out of an archive before the container's first start.
    async fn put_in(
        &self,
        id: &str,
        inspected: &ContainerInspectResponse,
    ) -> Result<Vec<String>, EngineError> {
        let client = self.client().await?;
        let created = inspected.created.as_deref().and_then(read::time);
        let Some(created) = created else { return Ok(Vec::new()) };
        let changes = within("changes", CALL, client.container_changes(id)).await?;
        let client = &client;
        let asked = added(changes.unwrap_or_default()).into_iter().map(|path| async move {
            let options = ContainerArchiveInfoOptionsBuilder::default().path(&path).build();
            let said = client.get_container_archive_info(id, Some(options));
            let said = within("stat", CALL, said).await.ok()?;
            let file = Changed {
                regular: said.file_mode & GO_TYPE_BITS == 0,
                modified: said.modification_time.as_deref().and_then(read::time)?,
                created,
            };
            was_put_in(file).then_some(path)
        });
        Ok(stream::iter(asked)
            .buffer_unordered(AT_ONCE)
            .filter_map(|path| async { path })
            .collect()
            .await)
    }

    async fn download(&self, id: &str, path: &str) -> Result<File, EngineError> {
        let client = self.client().await?;
        let options = DownloadFromContainerOptionsBuilder::default().path(path).build();
        let mut pieces = Box::pin(client.download_from_container(id, Some(options)));
        let mut archive = Vec::new();
        let reading = async {
            while let Some(piece) = pieces.next().await {
                let piece = piece.map_err(|error| super::refused(GET, error))?;
                archive.extend_from_slice(&piece);
                if archive.len() > 2 * Files::LIMIT {
                    break;
                }
            }
            Ok(())
        };
        let read = timeout(SLOW, reading).await;
        read.map_err(|_| EngineError::Timeout { call: GET, after: SLOW })??;
        unpacked(path, &archive).ok_or_else(|| EngineError::Refused {
            call: GET,
            status: 400,
            message: "it is no file, or too large".into(),
        })
    }
}

/// What was added, but for directories with something in them; secrets first, then by depth, and
/// not more than can be asked for: an app may have written thousands of files.
fn added(changes: Vec<FilesystemChange>) -> Vec<String> {
    let mut paths: Vec<_> = changes
        .into_iter()
        .filter(|change| change.kind == ChangeType::_1)
        .map(|c| c.path)
        .collect();
    paths.sort();
    let mut leaves: Vec<String> = Vec::new();
    for path in paths {
        if leaves.last().is_some_and(|last| {
            path.strip_prefix(last.as_str()).is_some_and(|rest| rest.starts_with('/'))
        }) {
            leaves.pop();
        }
        leaves.push(path);
    }
    leaves.sort_by_key(|path| (!path.starts_with(SECRETS), path.matches('/').count()));
    leaves.truncate(MOST);
    leaves
}

/// The one file of an archive.
fn unpacked(path: &str, archive: &[u8]) -> Option<File> {
    let mut archive = tar::Archive::new(archive);
    let mut entry = archive.entries().ok()?.next()?.ok()?;
    let header = entry.header().clone();
    if !header.entry_type().is_file() {
        return None;
    }
    let mut content = Vec::new();
    let size = entry.read_to_end(&mut content).ok()?;
    (u64::try_from(size).ok()? == header.size().ok()?).then_some(())?;
    Some(File {
        path: path.to_owned(),
        mode: header.mode().ok()? & 0o7777,
        uid: header.uid().ok()?,
        gid: header.gid().ok()?,
        content,
    })
}

fn packed(files: &[File]) -> std::io::Result<Vec<u8>> {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or(Duration::ZERO).as_secs();
    let mut archive = tar::Builder::new(Vec::new());
    for file in files {
        let mut header = tar::Header::new_gnu();
        header.set_size(file.content.len() as u64);
        header.set_mode(file.mode);
        header.set_uid(file.uid);
        header.set_gid(file.gid);
        header.set_mtime(now);
        archive.append_data(&mut header, file.path.trim_start_matches('/'), &*file.content)?;
    }
    archive.into_inner()
}

const GET: &str = "read a file";
const PUT: &str = "put files";
const COMPOSE_VERSION: &str = "com.docker.compose.version";
const SECRETS: &str = "/run/secrets/";
/// Of Go's `fs.FileMode`: directory, symlink, device, pipe, socket, irregular.
const GO_TYPE_BITS: u32 = 0x8F28_0000;
/// How many files are asked for.
const MOST: usize = 200;
const AT_ONCE: usize = 8;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_is_the_same_after_an_archive() {
        let file = File {
            path: "/run/secrets/key".into(),
            mode: 0o440,
            uid: 1000,
            gid: 7,
            content: b"secret\n".to_vec(),
        };
        let archive = packed(std::slice::from_ref(&file)).unwrap();
        assert_eq!(unpacked("/run/secrets/key", &archive), Some(file));
        assert_eq!(unpacked("/run/secrets/key", &archive[..100]), None);
    }

    #[test]
    fn only_what_was_added_is_looked_at_and_secrets_first() {
        let change = |path: &str, kind| FilesystemChange { path: path.into(), kind };
        let changes = vec![
            change("/app/cache/deep/file", ChangeType::_1),
            change("/app/cache/deep", ChangeType::_1),
            change("/app/cache", ChangeType::_1),
            change("/etc/hosts", ChangeType::_0),
            change("/gone", ChangeType::_2),
            change("/run/secrets", ChangeType::_1),
            change("/run/secrets/key", ChangeType::_1),
            change("/config", ChangeType::_1),
        ];
        assert_eq!(added(changes), ["/run/secrets/key", "/config", "/app/cache/deep/file"]);
    }
}
