//! The thread that writes the log file. openraft waits for each append before the next write, so a commit holds one append
//! or vote, and removals that were deferred; the proposer batches proposals so that they share an fsync. When idle the
//! thread removes purged entries.
//!
//! Invariants: writes reach the disk in the order they were requested; a write is acknowledged only when its commit is
//! durable; after the first error no write succeeds any more, and the process is told to end.

use std::{
    io, iter,
    sync::{Arc, PoisonError, RwLock},
    thread,
    time::Duration,
};

use openraft::storage::LogFlushed;
use tokio::sync::{mpsc, oneshot};
use tracing::warn;

use super::{
    disk::{Disk, Op},
    known::Known,
    pulse::Pulse,
};
use crate::{OnFatal, types::TypeConfig};

/// Changes that wait for the writer. openraft waits for most of its writes, so there are few.
const QUEUE: usize = 256;

/// A commit that takes longer is worth a word: everybody waits for it, and soon the others look for another leader.
const SLOW: Duration = Duration::from_millis(300);

/// A change, and who waits for it.
pub(super) enum Request {
    Write(Op, Waiting),
    /// Writes what was put off and ends the thread.
    Close(oneshot::Sender<()>),
}

/// Who waits for a change to be durable.
pub(super) enum Waiting {
    /// None: losing it in a crash does no harm, so it waits for the next commit.
    Nobody,
    Caller(oneshot::Sender<()>),
    Raft(LogFlushed<TypeConfig>),
}

pub(super) struct Writer {
    pub(super) disk: Arc<Disk>,
    pub(super) known: Arc<RwLock<Known>>,
    pub(super) pulse: Arc<Pulse>,
    pub(super) on_fatal: OnFatal,
}

impl Writer {
    /// Starts the thread.
    pub(super) fn spawn(self) -> io::Result<mpsc::Sender<Request>> {
        let (sender, receiver) = mpsc::channel(QUEUE);
        thread::Builder::new().name("raft-log".into()).spawn(move || self.run(receiver))?;
        Ok(sender)
    }

    fn run(self, mut requests: mpsc::Receiver<Request>) {
        let mut received = Vec::new();
        let mut batch: Vec<(Op, Waiting)> = Vec::new();
        while requests.blocking_recv_many(&mut received, QUEUE) > 0 {
            let mut closing = None;
            for request in received.drain(..) {
                match request {
                    Request::Write(op, waiting) => batch.push((op, waiting)),
                    Request::Close(done) => closing = Some(done),
                }
            }
            let needed = closing.is_some() || batch.iter().any(|(_, waiting)| !matches!(waiting, Waiting::Nobody));
            if needed && !batch.is_empty() {
                if let Err(reason) = self.commit(batch.iter().map(|(op, _)| op)) {
                    answer(batch, Some(&reason));
                    self.on_fatal.call(&reason);
                    // Dropping the queue fails everybody who waits or comes later.
                    return;
                }
                self.note_durable(batch.iter().map(|(op, _)| op));
                answer(iter::empty().chain(batch.drain(..)), None);
            }
            while closing.is_none() && self.disk.is_unswept() && requests.is_empty() {
                if let Err(reason) = self.commit(iter::empty()) {
                    self.on_fatal.call(&reason);
                    return;
                }
            }
            if let Some(done) = closing {
                self.disk.close();
                let _ = done.send(());
                return;
            }
        }
        self.disk.close();
    }

    /// Whether the commit was made; if not, the process is told to end.
    fn commit<'a>(&self, ops: impl Iterator<Item = &'a Op>) -> Result<(), String> {
        self.pulse.begin();
        let result = self.disk.commit(ops);
        let took = self.pulse.end();
        if took > SLOW {
            warn!(?took, file = %self.disk.file().display(), "the disk is slow to make the Raft log durable");
        }
        result.map_err(|error| format!("{}: {error}", self.disk.file().display()))
    }

    fn note_durable<'a>(&self, ops: impl Iterator<Item = &'a Op>) {
        let mut end = 0;
        for op in ops {
            match op {
                Op::Append(entries) => end = entries.last().map_or(end, |last| last.log_id.index + 1),
                Op::Truncate(since) => end = end.min(*since),
                _ => {}
            }
        }
        self.known.write().unwrap_or_else(PoisonError::into_inner).made_durable(end);
    }
}

fn answer(batch: impl IntoIterator<Item = (Op, Waiting)>, failure: Option<&str>) {
    for (_, waiting) in batch {
        match (waiting, failure) {
            (Waiting::Nobody, _) => {}
            (Waiting::Caller(done), None) => drop(done.send(())),
            (Waiting::Caller(done), Some(_)) => drop(done),
            (Waiting::Raft(done), None) => done.log_io_completed(Ok(())),
            (Waiting::Raft(done), Some(reason)) => done.log_io_completed(Err(io::Error::other(reason.to_owned()))),
        }
    }
}
