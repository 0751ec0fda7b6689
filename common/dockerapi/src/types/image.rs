//! Images: `/images`, `/distribution`, and the progress of a load.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::zero;
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
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
    /// Always empty.
    pub comment: String,
    /// When it was built.
    pub created: Time,
    /// Always empty.
    pub author: String,
    /// The part of its configuration this node keeps at hand.
    pub config: ImageConfig,
    /// Of its binaries.
    pub architecture: String,
    /// Of its binaries.
    pub os: String,
    /// Bytes.
    pub size: u64,
}

/// Configuration of an image.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct ImageConfig {
    /// Its labels.
    pub labels: Option<BTreeMap<String, String>>,
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
