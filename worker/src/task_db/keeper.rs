//! The loop that keeps the copy on disk equal to the map in memory.
//!
//! Owns the engine and the decision what to do about a fault: a full disk is waited for, anything else is put into
//! quarantine and written anew. Invariant: a change counts as committed only after an engine said so.

use std::{io, sync::Arc, time::Duration};

use skep_common::net::backoff::Backoff;
use skep_proto::v1::Task;
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use super::{
    Shared,
    engine::{Engine, Fault, Found},
    files::Files,
    records::Records,
};
use crate::node_message::{NodeMessage, Subject};

/// How often the disk is looked at although nothing is to be written.
const DISK_CHECK: Duration = Duration::from_secs(2);

/// What users read when the disk is full.
const DISK_FULL: &str = "disk full";

/// The keeper of one task.db.
pub(super) struct Keeper {
    files: Files,
    shared: Arc<Shared>,
    message: NodeMessage,
    /// `None` while the database is out of order.
    engine: Option<Engine>,
    backoff: Backoff,
    /// When to look again: at a broken database, or at the disk.
    next: Instant,
}

impl Keeper {
    /// Opens the database; when it cannot be read, an empty one in its place. When it cannot even be looked at (the
    /// disk is full), what it held is given up: the runtime and the next assignments tell it again.
    pub(super) async fn open(files: Files, shared: Arc<Shared>, message: NodeMessage) -> (Self, Vec<Task>) {
        let backoff = Backoff::new(Duration::from_millis(200), Duration::from_secs(5));
        let mut keeper = Self { files, shared, message, engine: None, backoff, next: Instant::now() };
        let tasks = match keeper.read().await {
            Ok(tasks) => tasks,
            Err(fault) => {
                keeper.cope_with(&fault).await;
                keeper.write_anew().await;
                Vec::new()
            }
        };
        (keeper, tasks)
    }

    /// Runs until stopped, and returns the keeper for its last act.
    pub(super) async fn run(mut self, stop: CancellationToken) -> Self {
        let shared = Arc::clone(&self.shared);
        loop {
            tokio::select! {
                () = stop.cancelled() => return self,
                () = shared.changed.notified(), if self.engine.is_some() => self.commit().await,
                () = sleep_until(self.next) => self.look_again().await,
            }
        }
    }

    /// Writes what is not written, if that is possible now, and closes.
    pub(super) async fn close(mut self) {
        self.commit().await;
        if let Some(engine) = self.engine {
            engine.close().await;
        }
    }

    /// Closes and removes everything.
    pub(super) async fn wipe(self) {
        if let Some(engine) = self.engine {
            engine.close().await;
        }
        remove(self.files).await;
    }

    /// The periodic look.
    pub(super) async fn look_again(&mut self) {
        self.next = Instant::now() + DISK_CHECK;
        // One that cannot be asked says so when it is written to.
        if self.on_disk(|files| Ok(files.disk_is_full())).await.unwrap_or(false) {
            return self.message.set(Subject::TaskDb, DISK_FULL);
        }
        match self.engine {
            Some(_) => self.message.clear(Subject::TaskDb),
            None => self.write_anew().await,
        }
    }

    /// Commits the changes there are.
    pub(super) async fn commit(&mut self) {
        let Some(engine) = &self.engine else { return };
        let (batch, last) = self.shared.records().changes();
        if batch.is_empty() {
            return;
        }
        match engine.commit(batch).await {
            Ok(()) => self.committed(last),
            Err(fault) => self.cope_with(&fault).await,
        }
    }

    /// Makes the database hold what the map holds, starting from whatever is there.
    async fn write_anew(&mut self) {
        let (engine, old) = match self.open_engine().await {
            Ok(opened) => opened,
            Err(fault) => return self.cope_with(&fault).await,
        };
        let (batch, last) = self.shared.records().whole(old);
        let written = engine.commit(batch).await;
        self.engine = Some(engine);
        match written {
            Ok(()) => {
                info!("task.db is in order");
                self.message.clear(Subject::TaskDb);
                self.backoff.reset();
                self.committed(last);
            }
            Err(fault) => self.cope_with(&fault).await,
        }
    }

    /// Reads the database into the map.
    async fn read(&mut self) -> Result<Vec<Task>, Fault> {
        let (engine, found) = self.open_engine().await?;
        match Records::restore(found) {
            Ok((records, tasks)) => {
                *self.shared.records() = records;
                self.engine = Some(engine);
                Ok(tasks)
            }
            Err(fault) => {
                engine.close().await;
                Err(fault)
            }
        }
    }

    async fn open_engine(&self) -> Result<(Engine, Found), Fault> {
        if self.on_disk(Files::begin_opening).await? {
            return Err(Fault::Damaged("opening it ended the daemon before".into()));
        }
        let opened = Engine::open(&self.files.database()).await;
        self.on_disk(Files::end_opening).await?;
        opened
    }

    /// Does something to the files on a thread that may wait for the disk.
    async fn on_disk<T: Send + 'static>(
        &self,
        act: impl FnOnce(&Files) -> io::Result<T> + Send + 'static,
    ) -> io::Result<T> {
        let files = self.files.clone();
        tokio::task::spawn_blocking(move || act(&files)).await?
    }

    /// Gives the engine up and makes room for the next attempt.
    pub(super) async fn cope_with(&mut self, fault: &Fault) {
        if let Some(engine) = self.engine.take() {
            engine.close().await;
        }
        self.next = Instant::now() + self.backoff.next_delay();
        if matches!(fault, Fault::NoSpace) {
            return self.message.set(Subject::TaskDb, DISK_FULL);
        }
        let put_aside = self.on_disk(|files| {
            files.end_opening()?;
            files.quarantine()
        });
        match put_aside.await {
            Ok(Some(kept)) => {
                warn!(%fault, kept = %kept.display(), "task.db is unusable and was put aside; it is made anew");
            }
            Ok(None) => warn!(%fault, "task.db cannot be made; trying again"),
            Err(error) => {
                warn!(%fault, %error, "task.db is unusable and cannot be put aside; trying again");
                self.message.set(Subject::TaskDb, &format!("task.db: {error}"));
            }
        }
    }

    fn committed(&self, last: u64) {
        self.shared.committed.send_replace(last);
    }
}

/// Removes everything.
pub(super) async fn remove(files: Files) {
    match tokio::task::spawn_blocking(move || files.wipe()).await {
        Ok(Ok(())) => {}
        Ok(Err(error)) => warn!(%error, "task.db could not be removed; remove it by hand"),
        Err(error) => warn!(%error, "task.db could not be removed; remove it by hand"),
    }
}
