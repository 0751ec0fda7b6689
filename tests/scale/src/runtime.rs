//! A runtime without containers: whatever is asked of it is done at once, and a container runs until it is stopped.
//!
//! `skep_runtime::mock` can do more and wakes everybody who waits for any container at every change of one, which among
//! hundreds of containers would be what is measured.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use async_trait::async_trait;
use skep_common::{clock::Clock, disk_space::DiskLevel};
use skep_proto::v1::LogOptions;
use skep_runtime::{
    ArchiveReader, ContainerSpecification, ContainerState, Exit, Image, LoadedImage, LogStream, Runtime, RuntimeError,
    Signal,
};
use tokio::sync::watch;

/// Where a container is in its life.
#[derive(Debug, Clone, PartialEq)]
enum Stage {
    Created,
    Running,
    Exited(Exit),
}

/// The containers of one agent.
pub(crate) struct InstantRuntime {
    containers: Mutex<HashMap<String, watch::Sender<Stage>>>,
    disk: watch::Sender<DiskLevel>,
    clock: Arc<dyn Clock>,
}

impl InstantRuntime {
    pub(crate) fn new(clock: Arc<dyn Clock>) -> Self {
        Self { containers: Mutex::default(), disk: watch::Sender::new(DiskLevel::Plenty), clock }
    }

    fn containers(&self) -> MutexGuard<'_, HashMap<String, watch::Sender<Stage>>> {
        self.containers.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[async_trait]
impl Runtime for InstantRuntime {
    async fn prepare(&self, container: &ContainerSpecification) -> Result<(), RuntimeError> {
        self.containers().entry(container.id.clone()).or_insert_with(|| watch::Sender::new(Stage::Created));
        Ok(())
    }

    async fn start(&self, id: &str) -> Result<u32, RuntimeError> {
        let containers = self.containers();
        let stage = containers.get(id).ok_or_else(|| RuntimeError::NoSuchContainer(id.to_owned()))?;
        match stage.send_replace(Stage::Running) {
            Stage::Created => Ok(1),
            before => {
                stage.send_replace(before);
                Err(RuntimeError::AlreadyStarted(id.to_owned()))
            }
        }
    }

    async fn wait(&self, id: &str) -> Result<Exit, RuntimeError> {
        let gone = || RuntimeError::NoSuchContainer(id.to_owned());
        let mut stage = self.containers().get(id).ok_or_else(gone)?.subscribe();
        loop {
            match &*stage.borrow_and_update() {
                Stage::Exited(exit) => return Ok(exit.clone()),
                Stage::Created => return Err(RuntimeError::NotStarted(id.to_owned())),
                Stage::Running => {}
            }
            stage.changed().await.map_err(|_| gone())?;
        }
    }

    async fn stop(&self, id: &str, _: Option<Signal>, _: Duration) -> Result<(), RuntimeError> {
        let exit = Exit { code: 0, oom: false, at: self.clock.now(), error: None };
        let containers = self.containers();
        let stage = containers.get(id).ok_or_else(|| RuntimeError::NoSuchContainer(id.to_owned()))?;
        stage.send_if_modified(|stage| {
            let runs = *stage == Stage::Running;
            if runs {
                *stage = Stage::Exited(exit);
            }
            runs
        });
        Ok(())
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.containers().remove(id);
        Ok(())
    }

    /// Only asked when an agent starts, and none starts a second time here.
    async fn list(&self) -> Result<Vec<ContainerState>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn logs(&self, id: &str, _: LogOptions) -> Result<LogStream, RuntimeError> {
        Err(RuntimeError::NoSuchContainer(id.to_owned()))
    }

    async fn load_archive(&self, _: ArchiveReader<'_>) -> Result<Vec<LoadedImage>, RuntimeError> {
        Err(RuntimeError::InvalidArchive("this node keeps no images".to_owned()))
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(Vec::new())
    }

    async fn image(&self, reference: &str) -> Result<Image, RuntimeError> {
        Err(RuntimeError::NoSuchImage(reference.to_owned()))
    }

    async fn image_config(&self, reference: &str) -> Result<Vec<u8>, RuntimeError> {
        Err(RuntimeError::NoSuchImage(reference.to_owned()))
    }

    fn disk(&self) -> watch::Receiver<DiskLevel> {
        self.disk.subscribe()
    }
}
