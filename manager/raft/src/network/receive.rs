//! Receiving a snapshot: one at a time, on disk as it comes, gone on with after a break, checked as a whole before openraft
//! hears of it.
//!
//! Invariant: when openraft is told to install a snapshot, the snapshot is already one of the directory's, durably. openraft
//! drops the log that a snapshot covers without waiting for it to be stored.

use std::{sync::Arc, time::Duration};

use skep_common::limits::SNAPSHOT_CHUNK_BYTES;
use skep_proto::v1;
use tokio::{
    sync::{Mutex, MutexGuard},
    task::spawn_blocking,
    time::timeout,
};
use tonic::{Status, Streaming};
use tracing::info;

use crate::{
    OnFatal,
    health::Health,
    snapshot::{Description, Incoming, SnapshotData, SnapshotError, Snapshots, crc32c},
    types::Snapshot,
};

/// How long the next chunk may take to come.
const PROGRESS: Duration = Duration::from_secs(10);

pub(super) struct Receiving {
    snapshots: Arc<Snapshots>,
    health: Arc<Health>,
    on_fatal: OnFatal,
    one_at_a_time: Mutex<()>,
}

impl Receiving {
    pub(super) fn new(snapshots: Arc<Snapshots>, health: Arc<Health>, on_fatal: OnFatal) -> Self {
        Self { snapshots, health, on_fatal, one_at_a_time: Mutex::default() }
    }

    /// How many bytes of the offered snapshot are here.
    pub(super) async fn have(&self, offer: &v1::SnapshotOffer) -> Result<u64, Status> {
        let _turn = self.turn()?;
        Ok(self.open(description(offer)?).await?.have())
    }

    /// Takes the rest of a snapshot in. The state is not changed yet.
    pub(super) async fn take_in(
        &self,
        offer: &v1::SnapshotOffer,
        mut stream: Streaming<v1::SnapshotChunk>,
    ) -> Result<Snapshot, Status> {
        let _turn = self.turn()?;
        let description = description(offer)?;
        let mut incoming = self.open(description.clone()).await?;
        while let Some(chunk) = next(&mut stream).await? {
            if chunk.data.len() > SNAPSHOT_CHUNK_BYTES || crc32c(&chunk.data) != chunk.crc32c {
                return Err(Status::data_loss("a chunk of the snapshot was spoiled on its way"));
            }
            let written = spawn_blocking(move || incoming.push(chunk.offset, &chunk.data).map(|()| incoming)).await;
            incoming = self.outcome(written.map_err(join_failed)?)?;
            self.health.heard_leader();
        }
        if !incoming.is_complete() {
            return Err(Status::aborted("the snapshot broke off; what has arrived is kept"));
        }
        let finished = spawn_blocking(move || incoming.finish()).await.map_err(join_failed)?;
        let (_, view) = self.outcome(finished)?;
        info!(size = description.size, id = description.meta.snapshot_id, "received a snapshot");
        Ok(Snapshot { meta: description.meta, snapshot: Box::new(SnapshotData::Received(view)) })
    }

    async fn open(&self, description: Description) -> Result<Incoming, Status> {
        let snapshots = self.snapshots.clone();
        let opened = spawn_blocking(move || Incoming::open(snapshots, description).map_err(SnapshotError::Io)).await;
        self.outcome(opened.map_err(join_failed)?)
    }

    fn turn(&self) -> Result<MutexGuard<'_, ()>, Status> {
        self.one_at_a_time.try_lock().map_err(|_| Status::unavailable("another snapshot is being received"))
    }

    /// What a peer sends wrong is refused; what the disk does wrong is fatal.
    fn outcome<T>(&self, result: Result<T, SnapshotError>) -> Result<T, Status> {
        result.map_err(|error| match error {
            SnapshotError::Damaged { .. } => Status::data_loss(error.to_string()),
            SnapshotError::Io(error) => {
                self.on_fatal.call(&format!("a snapshot could not be stored: {error}"));
                Status::internal("the snapshot could not be stored")
            }
        })
    }
}

async fn next(stream: &mut Streaming<v1::SnapshotChunk>) -> Result<Option<v1::SnapshotChunk>, Status> {
    let next = timeout(PROGRESS, stream.message()).await;
    next.map_err(|_| Status::deadline_exceeded("the snapshot transfer makes no progress"))?
}

fn description(offer: &v1::SnapshotOffer) -> Result<Description, Status> {
    Description::try_from(offer).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn join_failed(error: tokio::task::JoinError) -> Status {
    Status::internal(error.to_string())
}
