//! Finds the images in an archive: an OCI layout's `index.json`, `docker save`'s `manifest.json`, or both.
//!
//! Where both are there they describe the same images: the layout gives manifests, Docker's file gives names.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use skep_common::validate::ImageRef;

use super::{
    archive::{Contents, Spooled, document, normal_name},
    bad,
    blobs::Sha,
    budget::Budget,
    config::ImageConfig,
    shown,
};
use crate::RuntimeError;

/// Images one archive may hold.
const MAX_IMAGES: usize = 1000;
/// Layers one image may have; overlayfs stacks no more with the mount options in one page.
const MAX_LAYERS: usize = 127;
/// Indexes inside indexes.
const MAX_DEPTH: usize = 3;

/// An image as found in an archive; nothing but its documents was looked at yet.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) manifest: Manifest,
    pub(super) config: ImageConfig,
    /// Digest of the configuration: the image's ID.
    pub(super) id: Sha,
    pub(super) config_file: Spooled,
    /// Lowest first, each with the digest its unpacked archive must have.
    pub(super) layers: Vec<(Spooled, Sha)>,
    /// Full form.
    pub(super) tags: Vec<String>,
}

/// An image's manifest: a file of the archive, or made from `manifest.json`, which has no such thing.
#[derive(Debug)]
pub(super) enum Manifest {
    File(Spooled),
    Made(Vec<u8>),
}

impl Manifest {
    pub(super) fn digest(&self) -> Sha {
        match self {
            Self::File(file) => file.digest.clone(),
            Self::Made(bytes) => Sha::of(bytes),
        }
    }
}

#[derive(Debug, Deserialize)]
struct Index {
    #[serde(default)]
    manifests: Vec<Descriptor>,
}

#[derive(Debug, Clone, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct Descriptor {
    #[serde(default)]
    media_type: String,
    digest: String,
    size: u64,
    #[serde(default, skip_serializing)]
    platform: Option<Platform>,
    #[serde(default, skip_serializing)]
    annotations: Option<BTreeMap<String, String>>,
}

#[derive(Debug, Clone, Deserialize)]
struct Platform {
    architecture: String,
    os: String,
}

#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "camelCase")]
struct ImageManifest {
    schema_version: u32,
    #[serde(default)]
    media_type: String,
    config: Descriptor,
    layers: Vec<Descriptor>,
}

/// An entry of `manifest.json`.
#[derive(Debug, Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SavedImage {
    config: String,
    repo_tags: Option<Vec<String>>,
    layers: Option<Vec<String>>,
}

/// Every image of the archive this machine can use, by the order they come in.
pub(super) fn images(contents: &Contents, budget: &mut Budget) -> Result<Vec<Found>, RuntimeError> {
    let mut found: Vec<Found> = Vec::new();
    let layout = contents.file("index.json");
    let saved = contents.file("manifest.json");
    if layout.is_none() && saved.is_none() {
        return Err(bad("it has neither an index.json nor a manifest.json"));
    }
    if let Some(file) = layout {
        let index: Index = document(file, "index.json", budget)?;
        walk(contents, &index, &[], MAX_DEPTH, &mut found, budget)?;
    }
    if let Some(file) = saved {
        let list: Vec<SavedImage> = document(file, "manifest.json", budget)?;
        for image in list {
            add(&mut found, from_saved(contents, &image, budget)?)?;
        }
    }
    if found.is_empty() {
        return Err(bad("it holds no image"));
    }
    Ok(found)
}

/// Collects the images below an index. Where an index offers an image for several platforms, this machine's is taken.
fn walk(
    contents: &Contents,
    index: &Index,
    names: &[String],
    depth: usize,
    found: &mut Vec<Found>,
    budget: &mut Budget,
) -> Result<(), RuntimeError> {
    let here = |descriptor: &&Descriptor| {
        descriptor.platform.as_ref().is_none_or(|platform| platform.os == "linux" && platform.architecture == goarch())
    };
    for descriptor in index.manifests.iter().filter(here) {
        let mut names = names.to_vec();
        names.extend(descriptor.annotations.as_ref().and_then(annotated_name));
        let digest = Sha::parse(&descriptor.digest)?;
        let file = sized(contents.blob(&digest)?, descriptor)?;
        if descriptor.media_type.contains("index") || descriptor.media_type.contains("manifest.list") {
            let depth = depth.checked_sub(1).ok_or_else(|| bad("its indexes are nested too deep"))?;
            walk(contents, &document(file, "image index", budget)?, &names, depth, found, budget)?;
        } else {
            let manifest: ImageManifest = document(file, "image manifest", budget)?;
            add(found, from_manifest(contents, file, &manifest, names, budget)?)?;
        }
    }
    Ok(())
}

fn from_manifest(
    contents: &Contents,
    file: &Spooled,
    manifest: &ImageManifest,
    names: Vec<String>,
    budget: &mut Budget,
) -> Result<Found, RuntimeError> {
    let blob = |descriptor: &Descriptor| sized(contents.blob(&Sha::parse(&descriptor.digest)?)?, descriptor).cloned();
    let config = blob(&manifest.config)?;
    let layers = manifest.layers.iter().map(blob).collect::<Result<_, _>>()?;
    image(Manifest::File(file.clone()), config, layers, names, budget)
}

fn from_saved(contents: &Contents, saved: &SavedImage, budget: &mut Budget) -> Result<Found, RuntimeError> {
    let file = |name: &String| {
        let name = normal_name(name.as_ref())?;
        contents.file(&name).cloned().ok_or_else(|| bad(format!("{} is missing", shown(&name))))
    };
    let config = file(&saved.config)?;
    let layers: Vec<Spooled> = saved.layers.iter().flatten().map(file).collect::<Result<_, _>>()?;
    let names = saved.repo_tags.iter().flatten();
    let names = names.map(|name| full_name(name).ok_or_else(|| bad(format!("{} is no image name", shown(name)))));
    let names = names.collect::<Result<_, _>>()?;

    let described = |media_type: &str, file: &Spooled| Descriptor {
        media_type: format!("application/vnd.oci.image.{media_type}"),
        digest: file.digest.to_string(),
        size: file.size,
        platform: None,
        annotations: None,
    };
    let manifest = ImageManifest {
        schema_version: 2,
        media_type: "application/vnd.oci.image.manifest.v1+json".to_owned(),
        config: described("config.v1+json", &config),
        layers: layers.iter().map(|layer| described("layer.v1.tar", layer)).collect(),
    };
    let manifest = serde_json::to_vec(&manifest).map_err(|error| bad(error.to_string()))?;
    image(Manifest::Made(manifest), config, layers, names, budget)
}

fn image(
    manifest: Manifest,
    config_file: Spooled,
    layers: Vec<Spooled>,
    tags: Vec<String>,
    budget: &mut Budget,
) -> Result<Found, RuntimeError> {
    let config: ImageConfig = document(&config_file, "image configuration", budget)?;
    let diff_ids = config.rootfs.diff_ids.iter().flatten();
    let diff_ids = diff_ids.map(|digest| Sha::parse(digest)).collect::<Result<Vec<_>, _>>()?;
    if diff_ids.len() != layers.len() {
        return Err(bad(format!("an image has {} layers and describes {}", layers.len(), diff_ids.len())));
    }
    if layers.is_empty() || layers.len() > MAX_LAYERS {
        return Err(bad(format!("an image has {} layers, and 1 to {MAX_LAYERS} can be stacked", layers.len())));
    }
    let id = config_file.digest.clone();
    Ok(Found { manifest, config, id, config_file, layers: layers.into_iter().zip(diff_ids).collect(), tags })
}

/// Adds an image, or its names to the same image found before.
fn add(found: &mut Vec<Found>, image: Found) -> Result<(), RuntimeError> {
    if let Some(known) = found.iter_mut().find(|known| known.id == image.id) {
        known.tags.extend(image.tags);
        return Ok(());
    }
    if found.len() == MAX_IMAGES {
        return Err(bad(format!("it holds more than {MAX_IMAGES} images")));
    }
    found.push(image);
    Ok(())
}

fn sized<'a>(file: &'a Spooled, descriptor: &Descriptor) -> Result<&'a Spooled, RuntimeError> {
    if file.size == descriptor.size {
        Ok(file)
    } else {
        Err(bad(format!("blob {} has {} bytes and not {}", descriptor.digest, file.size, descriptor.size)))
    }
}

/// The name a descriptor is annotated with: containerd's full one, else OCI's when it is more than a tag.
fn annotated_name(annotations: &BTreeMap<String, String>) -> Option<String> {
    let containerd = annotations.get("io.containerd.image.name");
    let oci = annotations.get("org.opencontainers.image.ref.name").filter(|name| name.contains(['/', ':']));
    containerd.or(oci).and_then(|name| full_name(name))
}

fn full_name(name: &str) -> Option<String> {
    let reference = ImageRef::parse(name).ok()?;
    reference.tag().map(|_| reference.to_string())
}

/// This machine's architecture as Go calls it.
fn goarch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}
