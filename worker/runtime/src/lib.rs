//! Containers of one node: images, snapshots, bundles, logs and the shims that run them.

mod bundle;
mod config;
mod container;
mod containers;
mod details;
mod error;
mod file_tree;
mod image;
mod log;
mod runtime;
mod signal;

#[cfg(any(test, feature = "mock"))]
pub mod mock;

pub use self::{
    config::RuntimeConfig,
    container::{ContainerSpecification, ContainerState, Exit, Status, container_id_of_task},
    containers::Containers,
    details::Details,
    error::RuntimeError,
    runtime::{ArchiveReader, Image, LoadedImage, LogStream, Runtime},
    signal::Signal,
};
