//! sled, kept at arm's length: on a thread of its own that may panic, hang or be left behind.
//!
//! Owns the open database. Invariants: whatever sled does, a call ends within its deadline; after any [`Fault`] the
//! engine is not used again.

use std::{
    io,
    path::{Path, PathBuf},
    sync::{
        Arc,
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    thread,
    time::Duration,
};

use tokio::{sync::oneshot, time::timeout};

/// Opening and reading: a database holds the records of a few hundred tasks.
const OPEN_DEADLINE: Duration = Duration::from_secs(4);

/// How long a database may be held by somebody else before it counts as foreign. sled lets go of its lock a moment
/// after it is closed, and so does a daemon that is just going down.
const LOCK_PATIENCE: Duration = Duration::from_secs(1);
const LOCK_RETRY: Duration = Duration::from_millis(20);

/// One commit. Disks stall for seconds without being broken.
const COMMIT_DEADLINE: Duration = Duration::from_secs(30);

/// The last flush of an engine that is given up anyway.
const CLOSE_DEADLINE: Duration = Duration::from_secs(3);

/// Name of the threads in which a panic of sled is expected and dealt with.
pub(super) const THREAD_NAME: &str = "task-db";

/// One record, encoded.
pub(super) type Record = Arc<[u8]>;

/// Writes (and, without a record, removals) to make durable together.
pub(super) type Batch = Vec<(String, Option<Record>)>;

/// What a database holds, as it was found.
pub(super) type Found = Vec<(String, Vec<u8>)>;

/// Why the database cannot be used (any more).
#[derive(Debug, thiserror::Error)]
pub(super) enum Fault {
    /// The disk is full: the files are as good as before.
    #[error("disk full")]
    NoSpace,
    /// The files are spoiled, in use, or of a kind sled does not take.
    #[error("{0}")]
    Damaged(String),
    /// sled panicked.
    #[error("sled panicked")]
    Panicked,
    /// sled did not answer.
    #[error("sled does not answer")]
    Stuck,
}

impl From<sled::Error> for Fault {
    fn from(error: sled::Error) -> Self {
        match error {
            sled::Error::Io(error) => error.into(),
            other => Self::Damaged(other.to_string()),
        }
    }
}

impl From<io::Error> for Fault {
    fn from(error: io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => Self::NoSpace,
            _ => Self::Damaged(error.to_string()),
        }
    }
}

/// An open database.
pub(super) struct Engine {
    jobs: SyncSender<Job>,
    ended: oneshot::Receiver<()>,
}

struct Job {
    batch: Batch,
    done: oneshot::Sender<Result<(), Fault>>,
}

impl Engine {
    /// Opens the database at `path`, or makes it, and reads every record.
    pub(super) async fn open(path: &Path) -> Result<(Self, Found), Fault> {
        // One at a time: the keeper waits for each answer.
        let (jobs, inbox) = sync_channel(1);
        let (opened, answer) = oneshot::channel();
        let (end, ended) = oneshot::channel();
        let path = path.to_owned();
        thread::Builder::new().name(THREAD_NAME.into()).spawn(move || {
            run(path, opened, &inbox);
            drop(end);
        })?;
        let records = within(OPEN_DEADLINE, answer).await?;
        Ok((Self { jobs, ended }, records))
    }

    /// Makes a batch durable, against the death of this process and, as far as sled goes, of the machine.
    pub(super) async fn commit(&self, batch: Batch) -> Result<(), Fault> {
        let (done, answer) = oneshot::channel();
        self.jobs.try_send(Job { batch, done }).map_err(|_| Fault::Panicked)?;
        within(COMMIT_DEADLINE, answer).await
    }

    /// Closes the database, so that it can be opened again at once.
    pub(super) async fn close(self) {
        drop(self.jobs);
        // sled is known to hang here after a failed write. Then its thread stays behind, with nothing to do.
        let _ = timeout(CLOSE_DEADLINE, self.ended).await;
    }
}

async fn within<T>(deadline: Duration, answer: oneshot::Receiver<Result<T, Fault>>) -> Result<T, Fault> {
    match timeout(deadline, answer).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => Err(Fault::Panicked),
        Err(_) => Err(Fault::Stuck),
    }
}

/// The thread: a panic anywhere drops the channels, which is how the other side learns of it.
fn run(path: PathBuf, opened: oneshot::Sender<Result<Found, Fault>>, inbox: &Receiver<Job>) {
    let (database, records) = match read(&path) {
        Ok(open) => open,
        Err(fault) => {
            let _ = opened.send(Err(fault));
            return;
        }
    };
    if opened.send(Ok(records)).is_err() {
        return;
    }
    while let Ok(Job { batch, done }) = inbox.recv() {
        let result = write(&database, batch);
        let failed = result.is_err();
        if done.send(result).is_err() || failed {
            return;
        }
    }
}

fn read(path: &Path) -> Result<(sled::Db, Found), Fault> {
    let database = open(path)?;
    let mut records = Vec::new();
    for record in database.iter() {
        let (id, bytes) = record?;
        let id = String::from_utf8(id.to_vec()).map_err(|_| Fault::Damaged("a key is no text".into()))?;
        records.push((id, bytes.to_vec()));
    }
    Ok((database, records))
}

fn open(path: &Path) -> sled::Result<sled::Db> {
    // Every commit is flushed; a timer would only wake an idle node.
    let config = sled::Config::new().path(path).cache_capacity(1 << 20).flush_every_ms(None);
    let mut waited = Duration::ZERO;
    loop {
        match config.open() {
            Err(error) if is_locked(&error) && waited < LOCK_PATIENCE => {
                thread::sleep(LOCK_RETRY);
                waited += LOCK_RETRY;
            }
            other => return other,
        }
    }
}

/// sled has no kind of error for it.
fn is_locked(error: &sled::Error) -> bool {
    matches!(error, sled::Error::Io(error) if error.to_string().contains("could not acquire lock"))
}

fn write(database: &sled::Db, batch: Batch) -> Result<(), Fault> {
    let mut changes = sled::Batch::default();
    for (id, record) in batch {
        match record {
            Some(record) => changes.insert(id.as_bytes(), &*record),
            None => changes.remove(id.as_bytes()),
        }
    }
    database.apply_batch(changes)?;
    database.flush()?;
    Ok(())
}
