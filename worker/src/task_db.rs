//! task.db: the records of this node's tasks, on sled. A cache: losing it loses no task.
//!
//! Owns `<data>/worker/task.db` and what is kept beside it. The truth is a map in memory; a keeper copies it to disk,
//! many changes in one commit, and whatever happens to the copy it makes anew from the map. So what is asked of the
//! database never fails, it only may take long.
//!
//! Invariants: a spoiled, foreign or locked database is renamed, never repaired and never in the way; a full disk
//! stops nothing but new starts, shows as the node's message, and is over by itself when there is room; the database
//! holds one record per task that still has something to it, and their specs once, so neither it nor opening it grows with
//! history.

mod engine;
mod files;
mod keeper;
mod records;

use std::{
    future::Future,
    path::Path,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use skep_proto::v1::Task;
use tokio::{
    sync::{Notify, watch},
    task::JoinHandle,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use self::{files::Files, keeper::Keeper, records::Records};
use crate::node_message::NodeMessage;

/// The records of this node's tasks. Clones share them.
#[derive(Clone)]
pub(crate) struct TaskDb {
    shared: Arc<Shared>,
}

/// What ends with the agent: the loop that writes to disk. Dropped, it ends without a last write.
pub(crate) struct TaskDbKeeper {
    stop: DropGuard,
    keeper: JoinHandle<Keeper>,
}

struct Shared {
    records: Mutex<Records>,
    changed: Notify,
    /// Changes up to this one are on disk.
    committed: watch::Sender<u64>,
}

impl TaskDb {
    /// Opens task.db in `directory` and returns the tasks it holds. What cannot be opened is put into quarantine, and
    /// the database begins empty.
    pub(crate) async fn open(directory: &Path, message: NodeMessage) -> (Self, TaskDbKeeper, Vec<Task>) {
        let shared =
            Arc::new(Shared { records: Mutex::default(), changed: Notify::new(), committed: watch::Sender::new(0) });
        let (keeper, tasks) = Keeper::open(Files::new(directory), Arc::clone(&shared), message).await;
        let stop = CancellationToken::new();
        let keeper = tokio::spawn(keeper.run(stop.clone()));
        (Self { shared }, TaskDbKeeper { stop: stop.drop_guard(), keeper }, tasks)
    }

    /// Keeps a task's record, instead of the one before. The future ends once it is durable; dropping it changes
    /// nothing about that.
    pub(crate) fn save(&self, task: &Task) -> impl Future<Output = ()> + Send + use<> {
        let change = self.shared.records().save(task);
        self.written(change)
    }

    /// Deletes a task's record. The future ends once that is durable; dropping it changes nothing about that.
    pub(crate) fn forget(&self, task_id: &str) -> impl Future<Output = ()> + Send + use<> {
        let change = self.shared.records().forget(task_id);
        self.written(change)
    }

    fn written(&self, change: u64) -> impl Future<Output = ()> + Send + use<> {
        self.shared.changed.notify_one();
        let mut committed = self.shared.committed.subscribe();
        // Keeps the sender alive: the wait must end for no other reason than that the change is durable.
        let shared = Arc::clone(&self.shared);
        async move {
            let _ = committed.wait_for(|done| *done >= change).await;
            drop(shared);
        }
    }
}

impl TaskDbKeeper {
    /// Writes what is not written yet, if the disk lets it, and closes the database.
    pub(crate) async fn close(self) {
        drop(self.stop);
        if let Ok(keeper) = self.keeper.await {
            keeper.close().await;
        }
    }

    /// Closes and removes the database and everything it left beside it.
    pub(crate) async fn wipe(self) {
        drop(self.stop);
        if let Ok(keeper) = self.keeper.await {
            keeper.wipe().await;
        }
    }
}

impl Shared {
    fn records(&self) -> MutexGuard<'_, Records> {
        self.records.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Removes what a database in `data_dir` is or has left there; nobody may have it open.
pub(crate) async fn remove(data_dir: &Path) {
    keeper::remove(Files::new(data_dir)).await;
}

/// Whether a panic of the current thread is expected and dealt with: sled panics on some spoiled files.
/// For a panic hook that otherwise ends the process.
pub fn panic_is_contained() -> bool {
    std::thread::current().name() == Some(engine::THREAD_NAME)
}

#[cfg(test)]
mod golden;
#[cfg(test)]
mod tests;
