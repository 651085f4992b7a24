//! Images, and how they come to a host.

pub(crate) use cutover_api::PullPolicy;

use crate::registry::familiar;

/// An image that is on this host.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub(crate) struct Image {
    /// Its ID: the digest of its config.
    pub id: String,
    /// What registries call it, as `repository@sha256:…`; none where it never saw one.
    pub digests: Vec<String>,
    /// Bytes on disk.
    pub bytes: u64,
}

/// How far a pull is, over all layers that have begun.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub(crate) struct PullProgress {
    /// Bytes fetched.
    pub bytes: u64,
    /// Bytes in all, as far as known.
    pub total: u64,
}

impl Image {
    /// What the registry of a reference calls it.
    #[must_use]
    pub(crate) fn digest(&self, reference: &str) -> Option<&str> {
        let repository = split_reference(reference).0;
        // A name may have a tag before its digest.
        let wanted = familiar(split_reference(repository).0);
        let mut all = self.digests.iter();
        let found = all.find(|digest| digest.split_once('@').is_some_and(|(r, _)| r == wanted));
        found.map(String::as_str)
    }

    /// What it is pinned to under a reference: the registry's digest, or else its ID.
    #[must_use]
    pub(crate) fn pin(&self, reference: &str) -> String {
        self.digest(reference).unwrap_or(&self.id).to_owned()
    }
}

/// `name` and `tag` (or digest) of a reference; `latest` where there is none, or the engine would
/// fetch every tag there is.
pub(crate) fn split_reference(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        // A colon before a slash is a port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_image_is_pinned_to_the_digest_of_the_registry_it_is_named_after() {
        let digests =
            ["one.example/app@sha256:aa", "two.example:5000/app@sha256:bb", "app@sha256:cc"];
        let digests = digests.map(str::to_owned).to_vec();
        let image = Image { id: "sha256:dd".into(), digests, bytes: 0 };
        assert_eq!(image.pin("two.example:5000/app:7"), "two.example:5000/app@sha256:bb");
        assert_eq!(image.pin("two.example:5000/app:7@sha256:bb"), "two.example:5000/app@sha256:bb");
        assert_eq!(image.pin("docker.io/library/app"), "app@sha256:cc");
        assert_eq!(image.pin("three.example/app:7"), "sha256:dd");
    }

    #[test]
    fn a_port_is_no_tag() {
        assert_eq!(split_reference("host:5000/app"), ("host:5000/app", "latest"));
        assert_eq!(split_reference("host:5000/app:2"), ("host:5000/app", "2"));
        assert_eq!(split_reference("app@sha256:aa"), ("app", "sha256:aa"));
    }
}
