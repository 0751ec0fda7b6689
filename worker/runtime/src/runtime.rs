//! The interface between a node and what runs its containers.
//!
//! Owns nothing. Invariants every implementation keeps: a container id is started at most once, ever; a
//! container runs on when the runtime value is dropped or its process dies; every future may be dropped at any
//! await without harm to the container.

use std::{collections::BTreeMap, path::PathBuf, pin::Pin, time::Duration};

use async_trait::async_trait;
use futures::Stream;
use skep_common::{clock::Timestamp, disk_space::DiskLevel};
use skep_proto::v1::{LogOptions, LogRecord};
use tokio::{io::AsyncRead, sync::watch};

use crate::{ContainerSpecification, ContainerState, Exit, RuntimeError, Signal};

/// The bytes of an image archive, as they come.
pub type ArchiveReader<'a> = Pin<Box<dyn AsyncRead + Send + 'a>>;

/// Log lines as they come; an `Err` ends the stream.
pub type LogStream = Pin<Box<dyn Stream<Item = Result<LogRecord, RuntimeError>> + Send>>;

/// An image this node has in full.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Image {
    /// Digest of its configuration, `sha256:…`: what Docker calls the image's ID.
    pub id: String,
    /// Digest of its manifest, `sha256:…`.
    pub digest: String,
    /// Its names, in familiar form (`nginx:latest`), sorted; empty when another image took them all.
    pub tags: Vec<String>,
    /// When it was built; `None` when its configuration does not say.
    pub created: Option<Timestamp>,
    /// Bytes of its layers unpacked.
    pub size: u64,
    /// GOARCH of its binaries.
    pub architecture: String,
    /// GOOS of its binaries.
    pub os: String,
    /// Labels of its configuration.
    pub labels: BTreeMap<String, String>,
    /// The directories of its layers, lowest first.
    pub layers: Vec<PathBuf>,
}

/// One image of a loaded archive.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LoadedImage {
    /// Digest of its configuration, `sha256:…`.
    pub id: String,
    /// The names the archive gives it, familiar form; empty when it names none.
    pub tags: Vec<String>,
}

/// Runs containers and keeps their images.
#[async_trait]
pub trait Runtime: Send + Sync + 'static {
    /// Makes everything a start needs: root file system, bundle, metadata. Doing it again for a container that
    /// was not started yet is no error.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchImage`], [`RuntimeError::InvalidSpecification`], [`RuntimeError::AlreadyStarted`],
    /// [`RuntimeError::Storage`].
    async fn prepare(&self, container: &ContainerSpecification) -> Result<(), RuntimeError>;

    /// Starts a prepared container and gives the pid of its first process.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchContainer`], [`RuntimeError::AlreadyStarted`], [`RuntimeError::StartFailed`]: the
    /// container has then ended, [`Runtime::wait`] answers, and it can only be removed.
    async fn start(&self, id: &str) -> Result<u32, RuntimeError>;

    /// Waits until a started container has ended and says how; at once when it already has. Any number of
    /// callers may wait.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchContainer`], also when it is removed meanwhile; [`RuntimeError::NotStarted`].
    async fn wait(&self, id: &str) -> Result<Exit, RuntimeError>;

    /// Asks the container to end, kills it after `grace`, and returns once it has ended. `signal` defaults to the
    /// container's own. No error for a container that is not running.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchContainer`].
    async fn stop(&self, id: &str, signal: Option<Signal>, grace: Duration) -> Result<(), RuntimeError>;

    /// Deletes a container and all it wrote; kills it first if it still runs. No error when there is none.
    ///
    /// # Errors
    /// [`RuntimeError::Storage`].
    async fn remove(&self, id: &str) -> Result<(), RuntimeError>;

    /// Every container of this runtime, whoever made it and when, by id.
    ///
    /// # Errors
    /// [`RuntimeError::Storage`].
    async fn list(&self) -> Result<Vec<ContainerState>, RuntimeError>;

    /// The log of a container, started or not. The stream ends at the end of the log; with `follow` once the
    /// container has ended and all was read. `stdout`, `stderr` both false means both.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchContainer`].
    async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream, RuntimeError>;

    /// Takes in every image of an archive made by `docker save` or holding an OCI layout, plain or compressed.
    /// All or nothing: after an error the node has the images and names it had before.
    ///
    /// # Errors
    /// [`RuntimeError::InvalidArchive`], [`RuntimeError::Storage`].
    async fn load_archive(&self, archive: ArchiveReader<'_>) -> Result<Vec<LoadedImage>, RuntimeError>;

    /// Every image, by id.
    ///
    /// # Errors
    /// [`RuntimeError::Storage`].
    async fn images(&self) -> Result<Vec<Image>, RuntimeError>;

    /// The image with this name, name@digest, id or unambiguous id prefix.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchImage`].
    async fn image(&self, reference: &str) -> Result<Image, RuntimeError>;

    /// The image's configuration: JSON as its builder wrote it, of OCI's form.
    ///
    /// # Errors
    /// [`RuntimeError::NoSuchImage`], [`RuntimeError::Storage`].
    async fn image_config(&self, reference: &str) -> Result<Vec<u8>, RuntimeError>;

    /// What the room on the runtime's disk means, as it changes.
    fn disk(&self) -> watch::Receiver<DiskLevel>;
}
