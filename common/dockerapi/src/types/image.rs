//! Images: `/images`, `/distribution`, and the progress of a load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{ContainerConfig, GraphDriver, zero};
use crate::time::Time;

/// An image in a list.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageSummary {
    /// -1: not counted.
    pub containers: i64,
    /// Unix seconds.
    pub created: i64,
    /// Digest of its configuration.
    pub id: String,
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
    /// Always empty.
    pub parent_id: String,
    /// `name@digest`.
    pub repo_digests: Vec<String>,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// -1: not counted.
    pub shared_size: i64,
    /// Bytes.
    pub size: u64,
    /// The same; left out from API 1.44 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
}

/// An image: `GET /images/{name}/json`.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Image {
    /// Digest of its configuration.
    pub id: String,
    /// `name:tag`.
    pub repo_tags: Vec<String>,
    /// `name@digest`.
    pub repo_digests: Vec<String>,
    /// Always empty.
    pub parent: String,
    /// What its last step says of itself.
    pub comment: String,
    /// When it was built: [`Time::text_of`].
    pub created: String,
    /// Of what built it.
    pub docker_version: String,
    /// Who built it.
    pub author: String,
    /// What its containers are made from.
    pub config: ContainerConfig,
    /// Of its binaries.
    pub architecture: String,
    /// Of its binaries.
    #[serde(skip_serializing_if = "zero")]
    pub variant: String,
    /// Of its binaries.
    pub os: String,
    /// Bytes.
    pub size: u64,
    /// The same; left out from API 1.44 on.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub virtual_size: Option<u64>,
    /// Where its layers are.
    pub graph_driver: GraphDriver,
    /// What its layers are.
    #[serde(rename = "RootFS")]
    pub root_fs: RootFs,
    /// What only this node knows.
    pub metadata: ImageMetadata,
}

/// The layers of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct RootFs {
    /// `layers`.
    pub r#type: String,
    /// Digests of their uncompressed archives, lowest first.
    #[serde(skip_serializing_if = "zero")]
    pub layers: Vec<String>,
}

/// What only this node knows of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageMetadata {
    /// Not kept.
    pub last_tag_time: Time,
}

/// The configuration an image carries, in OCI's and Docker's common form.
#[derive(Debug, Clone, PartialEq, Default, Deserialize)]
#[serde(default)]
pub struct ImageDocument {
    /// Who built it.
    pub author: String,
    /// Of what built it.
    pub docker_version: String,
    /// What its containers are made from.
    pub config: ContainerConfig,
    /// Of its binaries.
    pub variant: String,
    /// Its layers.
    pub rootfs: ImageLayers,
    /// How it was built.
    pub history: Vec<ImageStep>,
}

/// See [`ImageDocument`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ImageLayers {
    /// Digests of the uncompressed archives, lowest first.
    pub diff_ids: Vec<String>,
}

/// See [`ImageDocument`].
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct ImageStep {
    /// What it says of itself.
    pub comment: String,
}

/// Which bytes a name stands for: `GET /distribution/{name}/json`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct DistributionInspect {
    /// The manifest.
    #[serde(rename = "Descriptor")]
    pub descriptor: Descriptor,
    /// What it runs on.
    #[serde(rename = "Platforms")]
    pub platforms: Vec<ImagePlatform>,
}

/// A manifest.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Descriptor {
    /// Its media type.
    #[serde(rename = "mediaType")]
    pub media_type: String,
    /// `sha256:…`.
    pub digest: String,
    /// Bytes of the manifest; 0 = not known.
    pub size: i64,
}

/// What an image runs on, in OCI's spelling.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ImagePlatform {
    /// GOARCH.
    pub architecture: String,
    /// GOOS.
    pub os: String,
}

/// A line of a progress stream.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Progress {
    /// Text to print.
    #[serde(skip_serializing_if = "zero")]
    pub stream: String,
    /// What goes on with `id`.
    #[serde(skip_serializing_if = "zero")]
    pub status: String,
    /// How far.
    #[serde(rename = "progressDetail", skip_serializing_if = "Option::is_none")]
    pub detail: Option<ProgressDetail>,
    /// Of what.
    #[serde(skip_serializing_if = "zero")]
    pub id: String,
    /// Why it failed, for newer clients.
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    pub error_detail: Option<super::ErrorBody>,
    /// Why it failed.
    #[serde(skip_serializing_if = "zero")]
    pub error: String,
}

/// How far something is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ProgressDetail {
    /// Done.
    #[serde(skip_serializing_if = "zero")]
    pub current: u64,
    /// In all, when known.
    #[serde(skip_serializing_if = "zero")]
    pub total: u64,
}
