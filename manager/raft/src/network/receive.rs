//! Receiving a snapshot: one at a time, written to disk as it arrives, resumable, and verified as a whole before openraft
//! gets it.
//!
//! Invariant: when openraft is told to install a snapshot, the snapshot is already one of the directory's, durably. openraft
//! drops the log that a snapshot covers without waiting for it to be stored.

use std::{sync::Arc, time::Duration};

use skep_common::limits::SNAPSHOT_CHUNK_BYTES;
use skep_proto::v1;
use tokio::{
    sync::{Mutex, OwnedMutexGuard},
    time::timeout,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};
use tracing::{info, warn};

use crate::{
    blocking::blocking,
    health::Health,
    snapshot::{Description, Incoming, SnapshotData, SnapshotError, Snapshots, crc32c},
    types::Snapshot,
};

/// How long the next chunk may take to come.
const PROGRESS: Duration = Duration::from_secs(10);

pub(super) struct Receiving {
    snapshots: Arc<Snapshots>,
    health: Arc<Health>,
    stop: CancellationToken,
    turn: Arc<Mutex<Turn>>,
}

/// Who has it may write to the directory.
#[derive(Default)]
struct Turn {
    closed: bool,
}

/// A transfer under way. It keeps its turn while a write is running, also when nobody waits for the write any more.
struct Transfer {
    incoming: Incoming,
    _turn: OwnedMutexGuard<Turn>,
}

impl Receiving {
    pub(super) fn new(snapshots: Arc<Snapshots>, health: Arc<Health>, stop: CancellationToken) -> Self {
        Self { snapshots, health, stop, turn: Arc::default() }
    }

    /// How many bytes of the offered snapshot are here.
    pub(super) async fn have(&self, offer: &v1::SnapshotOffer) -> Result<u64, Status> {
        Ok(self.open(description(offer)?).await?.incoming.have())
    }

    /// Takes the rest of a snapshot in. The state is not changed yet.
    pub(super) async fn take_in(
        &self,
        offer: &v1::SnapshotOffer,
        mut stream: Streaming<v1::SnapshotChunk>,
    ) -> Result<Snapshot, Status> {
        let description = description(offer)?;
        let mut transfer = self.open(description.clone()).await?;
        while let Some(chunk) = self.next(&mut stream).await? {
            if chunk.data.len() > SNAPSHOT_CHUNK_BYTES || crc32c(&chunk.data) != chunk.crc32c {
                return Err(Status::data_loss("a chunk of the snapshot was spoiled on its way"));
            }
            let write = move || {
                transfer.incoming.push(chunk.offset, &chunk.data)?;
                Ok(transfer)
            };
            transfer = self.run(write).await?;
            self.health.heard_leader();
        }
        if !transfer.incoming.is_complete() {
            return Err(Status::aborted("the snapshot broke off; what has arrived is kept"));
        }
        let stop = self.stop.clone();
        let view = self
            .run(move || {
                let Transfer { incoming, _turn } = transfer;
                incoming.finish(&stop).map(|(_, view)| view)
            })
            .await?;
        info!(size = description.size, id = description.meta.snapshot_id, "received a snapshot");
        Ok(Snapshot { meta: description.meta, snapshot: Box::new(SnapshotData::Received(view)) })
    }

    /// Waits for the transfer under way to break off, and lets no other begin.
    pub(super) async fn close(&self) {
        self.turn.lock().await.closed = true;
    }

    async fn open(&self, description: Description) -> Result<Transfer, Status> {
        let turn = self.turn.clone().try_lock_owned();
        let turn = turn.map_err(|_| Status::unavailable("another snapshot is being received"))?;
        if turn.closed {
            return Err(stopping());
        }
        let snapshots = self.snapshots.clone();
        self.run(move || Ok(Transfer { incoming: Incoming::open(snapshots, description)?, _turn: turn })).await
    }

    async fn next(&self, stream: &mut Streaming<v1::SnapshotChunk>) -> Result<Option<v1::SnapshotChunk>, Status> {
        let next = self.stop.run_until_cancelled(timeout(PROGRESS, stream.message()));
        let next = next.await.ok_or_else(stopping)?;
        next.map_err(|_| Status::deadline_exceeded("the snapshot transfer makes no progress"))?
    }

    async fn run<T: Send + 'static>(
        &self,
        job: impl FnOnce() -> Result<T, SnapshotError> + Send + 'static,
    ) -> Result<T, Status> {
        blocking(job).await.map_err(|error| refusal(&error))
    }
}

/// The leader sends it again, from where it broke off: nothing was promised yet.
fn refusal(error: &SnapshotError) -> Status {
    match error {
        SnapshotError::GivenUp => stopping(),
        SnapshotError::Damaged { .. } => Status::data_loss(error.to_string()),
        SnapshotError::Io(error) => {
            warn!(%error, "a snapshot that is being received could not be stored");
            Status::resource_exhausted(format!("the snapshot could not be stored: {error}"))
        }
    }
}

fn description(offer: &v1::SnapshotOffer) -> Result<Description, Status> {
    Description::try_from(offer).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn stopping() -> Status {
    Status::unavailable("this manager is shutting down")
}
