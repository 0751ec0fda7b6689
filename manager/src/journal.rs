//! The journal (audit log): each manager's own record of the changes it has applied, and who made them, kept for weeks.
//!
//! Owns `journal/` in the manager's directory. What a change means in words is `skep-core`'s; here it is written down and
//! found again. A manager that did not see everything, because it joined late, was away, or its disk failed, knows which
//! versions it misses and takes them over from another manager.
//!
//! Invariants: nothing in it can be read without the manager's key; it is bounded in size and age, whatever is taken over;
//! what one version did is in it at most once and in its order, whatever is restarted; whatever is wrong with it, the
//! manager goes on, and nothing waits for it.
//!
//! | Module | What it does |
//! |---|---|
//! | `segment` | one file: sealed records one after the other |
//! | `span` | which versions are covered, and which are missing |
//! | `log` | the writing end: appends, begins new files, fills gaps, lets old files go |
//! | `reader` | the newest entries that fit, from the newest file backwards; what is missing |
//! | `filler` | asks the other managers for what is missing |
//! | `service` | answers them |

mod filler;
mod log;
mod reader;
mod segment;
mod service;
mod span;
#[cfg(test)]
mod tests;

use std::{
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use skep_common::clock::{Clock, Timestamp};
use skep_core::journal;
use skep_store::{Selector, Store, View, WatchEvent, Watcher};
use tokio::{sync::Notify, task::spawn_blocking};
use tokio_util::sync::CancellationToken;
use tracing::error;

pub(crate) use self::{
    filler::{Filler, Managers},
    log::{Limits, Log},
    reader::{About, Journal},
    service::JournalService,
    span::Gap,
};
use crate::burst::burst;

/// How often old files are looked for when nothing is written, and gaps when none is known.
const PERIOD: Duration = Duration::from_secs(3600);

/// After so long without news it is written down that there was nothing more to tell. What a manager that is killed saw
/// since then it has to ask for.
const SETTLE: Duration = Duration::from_secs(1);

/// The writing end, shared by those who write. Clones are the same.
#[derive(Clone)]
pub(crate) struct Keeper {
    log: Arc<Mutex<Log>>,
    clock: Arc<dyn Clock>,
    /// A gap has come up.
    gap: Arc<Notify>,
}

impl Keeper {
    /// Nothing is looked at or written yet.
    pub(crate) fn new(log: Log, clock: Arc<dyn Clock>) -> Self {
        Self { log: Arc::new(Mutex::new(log)), clock, gap: Arc::default() }
    }

    /// The reading end.
    pub(crate) fn journal(&self) -> Journal {
        self.log.lock().unwrap_or_else(PoisonError::into_inner).journal().clone()
    }

    /// Writes down what the store tells from this call on, until `stop`.
    pub(crate) fn keep(self, store: Arc<Store>, stop: CancellationToken) -> impl Future<Output = ()> {
        let begun = store.view_and_watch(Selector::All);
        async move {
            stop.run_until_cancelled(self.follow(begun, &store)).await;
            let now = self.clock.now();
            self.with(move |log| log.catch_up(now)).await;
        }
    }

    async fn follow(&self, (mut view, mut watcher): (View, Watcher), store: &Store) -> Option<()> {
        let now = self.clock.now();
        self.with(move |log| log.open(now)).await?;
        loop {
            let (version, now) = (view.version(), self.clock.now());
            if self.with(move |log| log.skip_to(version, now)).await? {
                self.gap.notify_one();
            }
            let mut behind = false;
            while let Some(events) = next(&mut watcher, if behind { SETTLE } else { PERIOD }).await {
                let (view, now) = (store.view(), self.clock.now());
                behind = self.with(move |log| take(log, &view, &events, now)).await?;
            }
            (view, watcher) = store.view_and_watch(Selector::All);
        }
    }

    /// Does something to the journal on a thread that may wait for the disk. `None` when that thread failed.
    async fn with<T: Send + 'static>(&self, act: impl FnOnce(&mut Log) -> T + Send + 'static) -> Option<T> {
        let log = self.log.clone();
        let done = spawn_blocking(move || act(&mut log.lock().unwrap_or_else(PoisonError::into_inner)));
        done.await.map_err(|error| error!(%error, "the journal failed")).ok()
    }
}

/// What happened next, or nothing after a while; `None` when something was missed.
async fn next(watcher: &mut Watcher, patience: Duration) -> Option<Vec<Arc<WatchEvent>>> {
    tokio::time::timeout(patience, burst(watcher)).await.unwrap_or_else(|_| Some(Vec::new()))
}

/// Writes down what happened, or that nothing did. Gives whether there may be more to say of it soon.
fn take(log: &mut Log, view: &View, events: &[Arc<WatchEvent>], now: Timestamp) -> bool {
    if events.is_empty() {
        log.catch_up(now);
    }
    for event in events {
        log.append(&journal::entries(view, event), event.version, now);
    }
    log.tidy(now);
    log.is_behind()
}
