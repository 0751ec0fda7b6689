//! The real runtime: overlayfs, OCI bundles and a shim per container.

use async_trait::async_trait;
use std::time::Duration;

use skep_proto::v1::LogOptions;

use crate::{
    ArchiveReader, ContainerSpecification, ContainerState, Exit, Image, LoadedImage, LogStream,
    Runtime, RuntimeConfig, RuntimeError, Signal,
};

/// The containers and images under one data root.
pub struct Containers {
    config: RuntimeConfig,
}

impl Containers {
    /// Opens or makes the directories, clears away what a crash left half made.
    ///
    /// # Errors
    /// [`RuntimeError::Storage`].
    pub async fn open(config: RuntimeConfig) -> Result<Self, RuntimeError> {
        Ok(Self { config })
    }
}

#[async_trait]
#[expect(clippy::unimplemented, reason = "the signatures first")]
impl Runtime for Containers {
    async fn prepare(&self, _: &ContainerSpecification) -> Result<(), RuntimeError> {
        unimplemented!("{:?}", self.config)
    }
    async fn start(&self, _: &str) -> Result<u32, RuntimeError> {
        unimplemented!()
    }
    async fn wait(&self, _: &str) -> Result<Exit, RuntimeError> {
        unimplemented!()
    }
    async fn stop(&self, _: &str, _: Option<Signal>, _: Duration) -> Result<(), RuntimeError> {
        unimplemented!()
    }
    async fn remove(&self, _: &str) -> Result<(), RuntimeError> {
        unimplemented!()
    }
    async fn list(&self) -> Result<Vec<ContainerState>, RuntimeError> {
        unimplemented!()
    }
    async fn logs(&self, _: &str, _: LogOptions) -> Result<LogStream, RuntimeError> {
        unimplemented!()
    }
    async fn load_archive(&self, _: ArchiveReader<'_>) -> Result<Vec<LoadedImage>, RuntimeError> {
        unimplemented!()
    }
    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        unimplemented!()
    }
    async fn image(&self, _: &str) -> Result<Image, RuntimeError> {
        unimplemented!()
    }
}
