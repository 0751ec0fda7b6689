//! The [`Runtime`] face of [`Containers`].
//!
//! What changes a container runs in a task of its own, under the container's lock: a caller that goes away leaves no
//! work half done.

use std::{future::Future, sync::Arc, time::Duration};

use async_trait::async_trait;
use skep_common::disk_space::DiskLevel;
use skep_proto::v1::LogOptions;
use tokio::{sync::watch, task::spawn_blocking};

use super::{Containers, Inner, entry::Phase, finished};
use crate::{
    ArchiveReader, ContainerSpecification, ContainerState, Exit, Image, LoadedImage, LogStream, Runtime, RuntimeError,
    Signal, bundle::LOG, log,
};

impl Containers {
    /// Runs `work` beside the caller, alone among the calls that change container `id`.
    async fn alone<T, F, W>(&self, id: &str, work: W) -> Result<T, RuntimeError>
    where
        T: Send + 'static,
        F: Future<Output = Result<T, RuntimeError>> + Send,
        W: FnOnce(Arc<Inner>, String) -> F + Send + 'static,
    {
        let (inner, id) = (Arc::clone(&self.inner), id.to_owned());
        let task = tokio::spawn(async move {
            let held = Arc::clone(&inner);
            let _lock = held.stripe(&id).lock().await;
            work(inner, id).await
        });
        finished(task.await)
    }
}

#[async_trait]
impl Runtime for Containers {
    async fn prepare(&self, container: &ContainerSpecification) -> Result<(), RuntimeError> {
        let container = container.clone();
        self.alone(&container.id.clone(), |inner, _| async move {
            finished(spawn_blocking(move || inner.prepare(&container)).await)
        })
        .await
    }

    async fn start(&self, id: &str) -> Result<u32, RuntimeError> {
        self.alone(id, |inner, id| async move { inner.start(&id).await }).await
    }

    async fn wait(&self, id: &str) -> Result<Exit, RuntimeError> {
        let entry = self.inner.entry(id)?;
        if entry.phase() == Phase::Created {
            return Err(RuntimeError::NotStarted(id.to_owned()));
        }
        match entry.until(Phase::is_over).await {
            Phase::Exited(exit) => Ok(exit),
            _ => Err(RuntimeError::NoSuchContainer(id.to_owned())),
        }
    }

    async fn stop(&self, id: &str, signal: Option<Signal>, grace: Duration) -> Result<(), RuntimeError> {
        self.inner.stop(id, signal, grace).await
    }

    async fn remove(&self, id: &str) -> Result<(), RuntimeError> {
        self.alone(id, |inner, id| async move { inner.remove(&id).await }).await
    }

    async fn list(&self) -> Result<Vec<ContainerState>, RuntimeError> {
        Ok(self.inner.entries().values().map(|entry| entry.state(&self.inner.paths)).collect())
    }

    async fn logs(&self, id: &str, options: LogOptions) -> Result<LogStream, RuntimeError> {
        let entry = self.inner.entry(id)?;
        if !entry.record.logged {
            let reason = "configured logging driver does not support reading";
            return Err(RuntimeError::InvalidSpecification(reason.to_owned()));
        }
        let (sender, ended) = watch::channel(false);
        if options.follow {
            let stop = self.inner.stop.clone();
            tokio::spawn(async move {
                let over = stop.run_until_cancelled(entry.until(Phase::is_over));
                tokio::select! {
                    _ = over => {}
                    () = sender.closed() => {}
                }
                sender.send_replace(true);
            });
        }
        Ok(log::read(self.inner.paths.bundle(id).join(LOG), options, ended))
    }

    async fn load_archive(&self, archive: ArchiveReader<'_>) -> Result<Vec<LoadedImage>, RuntimeError> {
        Arc::clone(&self.inner.images).load(archive).await
    }

    async fn images(&self) -> Result<Vec<Image>, RuntimeError> {
        Ok(self.inner.images.list().iter().map(|image| image.summary(self.inner.images.layers_dir())).collect())
    }

    async fn image(&self, reference: &str) -> Result<Image, RuntimeError> {
        self.inner.images.find(reference).map(|image| image.summary(self.inner.images.layers_dir()))
    }

    async fn image_config(&self, reference: &str) -> Result<Vec<u8>, RuntimeError> {
        let (inner, reference) = (Arc::clone(&self.inner), reference.to_owned());
        finished(spawn_blocking(move || inner.images.config(&reference)).await)
    }

    fn disk(&self) -> watch::Receiver<DiskLevel> {
        self.inner.disk.subscribe()
    }
}
