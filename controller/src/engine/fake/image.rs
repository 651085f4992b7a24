//! Images, on the host and in registries.

use std::collections::BTreeMap;

use bollard::models::ImageConfig;

use super::behaviour::Behaviour;
use crate::engine::Image;

/// An image, wherever it is.
#[derive(Clone, Debug, Default)]
pub(crate) struct FakeImage {
    /// Its ID; made from its first name where it is empty.
    pub id: String,
    /// What it says of its containers.
    pub config: ImageConfig,
    /// What its program does.
    pub behaviour: Behaviour,
    /// What registries call it.
    pub digests: Vec<String>,
}

/// Images by ID, and names for them.
#[derive(Debug, Default)]
pub(super) struct Images {
    by_id: BTreeMap<String, FakeImage>,
    names: BTreeMap<String, String>,
}

impl Images {
    /// Adds an image under a name, which may have been another's.
    pub(super) fn add(&mut self, name: &str, mut image: FakeImage) -> String {
        if image.id.is_empty() {
            let hex: String = name.bytes().map(|byte| format!("{byte:02x}")).collect();
            image.id = format!("sha256:{hex:0<64.64}");
        }
        let id = image.id.clone();
        self.names.insert(tagged(name), id.clone());
        self.by_id.insert(id.clone(), image);
        id
    }

    /// Removes an image with all its names.
    pub(super) fn remove(&mut self, id: &str) {
        self.by_id.remove(id);
        self.names.retain(|_, named| named != id);
    }

    /// An image by name, digest or ID.
    pub(super) fn find(&self, reference: &str) -> Option<&FakeImage> {
        let by_digest = || {
            self.by_id.values().find(|image| image.digests.iter().any(|digest| digest == reference))
        };
        let named = self.names.get(&tagged(reference)).and_then(|id| self.by_id.get(id));
        named.or_else(|| self.by_id.get(reference)).or_else(by_digest)
    }
}

impl FakeImage {
    pub(super) fn seen(&self) -> Image {
        Image { id: self.id.clone(), digests: self.digests.clone(), bytes: 1 << 20 }
    }
}

fn tagged(name: &str) -> String {
    if name.contains('@') {
        return name.to_owned();
    }
    let (repository, tag) = crate::engine::split_reference(name);
    format!("{repository}:{tag}")
}
