//! Which images there are and what they are called.
//!
//! Owns `images.json`. One value, replaced as a whole; a name belongs to at most one image.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs, io,
    path::Path,
    sync::Arc,
};

use serde::{Deserialize, Serialize};
use skep_common::{clock::Timestamp, durable::write_atomic, validate::ImageRef};

use super::config::Defaults;
use crate::{Image, LoadedImage, RuntimeError};

/// Digits an abbreviated ID needs at least.
const MIN_PREFIX: usize = 4;

/// An image this node has in full.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct StoredImage {
    /// `sha256:…` of the configuration.
    pub(crate) id: String,
    /// `sha256:…` of the manifest.
    pub(crate) digest: String,
    /// Names in full form.
    pub(crate) tags: BTreeSet<String>,
    /// Nanoseconds since the Unix epoch.
    pub(crate) created: Option<i64>,
    /// Bytes of the unpacked layers.
    pub(crate) size: u64,
    pub(crate) architecture: String,
    pub(crate) os: String,
    pub(crate) labels: BTreeMap<String, String>,
    /// Directories below `layers`, lowest first.
    pub(crate) layers: Vec<String>,
    /// What its containers take over.
    pub(crate) defaults: Defaults,
}

impl StoredImage {
    /// As the rest of the node sees it; its layers are directories of `layers`.
    pub(crate) fn summary(&self, layers: &Path) -> Image {
        Image {
            id: self.id.clone(),
            digest: self.digest.clone(),
            tags: familiar(&self.tags),
            created: self.created.map(Timestamp),
            size: self.size,
            architecture: self.architecture.clone(),
            os: self.os.clone(),
            labels: self.labels.clone(),
            layers: self.layers.iter().map(|name| layers.join(name)).collect(),
        }
    }
}

fn familiar(tags: &BTreeSet<String>) -> Vec<String> {
    tags.iter().filter_map(|tag| ImageRef::parse(tag).ok()).map(|tag| tag.familiar()).collect()
}

/// All images, by ID.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Index {
    images: BTreeMap<String, Arc<StoredImage>>,
}

impl Index {
    /// Reads the index; there is none on a new node.
    pub(super) fn load(path: &Path) -> io::Result<Self> {
        match fs::read(path) {
            Ok(bytes) => Ok(serde_json::from_slice(&bytes)?),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Self::default()),
            Err(error) => Err(error),
        }
    }

    /// Replaces the index on disk, durably.
    pub(super) fn save(&self, path: &Path) -> io::Result<()> {
        write_atomic(path, &serde_json::to_vec_pretty(self)?, 0o600)
    }

    /// Adds an image, or names to one that is there. Its names leave the images that had them.
    pub(super) fn insert(&mut self, image: StoredImage) -> LoadedImage {
        let loaded = LoadedImage { id: image.id.clone(), tags: familiar(&image.tags) };
        for other in self.images.values_mut().filter(|other| !other.tags.is_disjoint(&image.tags)) {
            let other = Arc::make_mut(other);
            other.tags = &other.tags - &image.tags;
        }
        let kept = self.images.get(&image.id).map(|known| known.tags.clone()).unwrap_or_default();
        let image = StoredImage { tags: &image.tags | &kept, ..image };
        self.images.insert(image.id.clone(), Arc::new(image));
        loaded
    }

    /// Every image, by ID.
    pub(super) fn images(&self) -> impl Iterator<Item = &Arc<StoredImage>> {
        self.images.values()
    }

    /// The image of a name, a name with a digest, an ID or the start of one.
    pub(super) fn find(&self, reference: &str) -> Result<Arc<StoredImage>, RuntimeError> {
        self.look_up(reference).cloned().ok_or_else(|| RuntimeError::NoSuchImage(reference.to_owned()))
    }

    fn look_up(&self, reference: &str) -> Option<&Arc<StoredImage>> {
        let digest = |digest: &str| self.images().find(|image| image.digest == digest || image.id == digest);
        if reference.starts_with("sha256:") {
            return digest(reference).or_else(|| self.by_prefix(reference));
        }
        let named = ImageRef::parse(reference).ok().and_then(|name| match name.digest() {
            // The digest says it all: the same content under another name is the same content.
            Some(pinned) => digest(pinned),
            None => self.images().find(|image| image.tags.contains(&name.to_string())),
        });
        named.or_else(|| self.by_prefix(&format!("sha256:{reference}")))
    }

    fn by_prefix(&self, prefix: &str) -> Option<&Arc<StoredImage>> {
        if prefix.len() < "sha256:".len() + MIN_PREFIX {
            return None;
        }
        let mut matching = self.images().filter(|image| image.id.starts_with(prefix));
        matching.next().filter(|_| matching.next().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn image(id: &str, tags: &[&str]) -> StoredImage {
        StoredImage {
            id: format!("sha256:{id}"),
            digest: format!("sha256:{}", "d".repeat(63) + id.get(..1).unwrap()),
            tags: tags.iter().map(|tag| ImageRef::parse(tag).unwrap().to_string()).collect(),
            created: None,
            size: 0,
            architecture: "amd64".into(),
            os: "linux".into(),
            labels: BTreeMap::new(),
            layers: Vec::new(),
            defaults: Defaults::default(),
        }
    }

    #[test]
    fn an_image_is_found_by_every_kind_of_name() {
        let mut index = Index::default();
        let a = "a".repeat(64);
        index.insert(image(&a, &["nginx"]));
        let pinned = format!("nginx:1@sha256:{}a", "d".repeat(63));
        for name in ["nginx", "nginx:latest", "docker.io/library/nginx", "aaaa", &a, &format!("sha256:{a}"), &pinned] {
            assert!(index.find(name).is_ok(), "{name}");
        }
        for name in ["nginx:2", "other", "aaa", "bbbb", "not a name"] {
            assert_eq!(index.find(name), Err(RuntimeError::NoSuchImage(name.to_owned())));
        }
    }

    #[test]
    fn an_ambiguous_id_finds_nothing() {
        let mut index = Index::default();
        index.insert(image(&("aaaa".to_owned() + &"1".repeat(60)), &[]));
        index.insert(image(&("aaaa".to_owned() + &"2".repeat(60)), &[]));
        assert!(index.find("aaaa").is_err());
        assert!(index.find("aaaa1").is_ok());
    }

    #[test]
    fn a_name_moves_to_the_newest_image_and_others_stay() {
        let mut index = Index::default();
        index.insert(image(&"a".repeat(64), &["app:1", "app:old"]));
        let loaded = index.insert(image(&"b".repeat(64), &["app:1"]));
        assert_eq!(loaded.tags, ["app:1"]);
        assert!(index.find("app:1").unwrap().id.starts_with("sha256:b"));
        assert!(index.find("app:old").unwrap().id.starts_with("sha256:a"));
        index.insert(image(&"a".repeat(64), &["app:2"]));
        assert_eq!(index.find("app:old").unwrap().summary(Path::new("/layers")).tags, ["app:2", "app:old"]);
    }
}
