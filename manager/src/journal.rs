//! Who changed what, and what became of it: each manager's own record of the changes it has applied, kept for weeks.
//!
//! Owns `journal/` in the manager's directory. What a change means in words is `skep-core`'s; here it is written down and
//! found again. Invariants: nothing in it can be read without the manager's key; it is bounded in size and age; what one
//! version did is in it at most once, whatever is restarted; whatever is wrong with it, the manager goes on.
//!
//! | Module | What it does |
//! |---|---|
//! | `segment` | one file: sealed records one after the other |
//! | `log` | the writing end: appends, begins new files, lets old ones go |
//! | `reader` | the newest entries that fit, from the newest file backwards |

mod log;
mod reader;
mod segment;
#[cfg(test)]
mod tests;

use std::{future::Future, sync::Arc, time::Duration};

use skep_common::clock::Clock;
use skep_core::journal;
use skep_store::{Selector, Store, View, WatchEvent, Watcher};
use tokio::task::spawn_blocking;
use tokio_util::sync::CancellationToken;
use tracing::error;

pub(crate) use self::{
    log::{Limits, Log},
    reader::{About, Journal},
};
use crate::burst::burst;

/// How often old files are looked for when nothing is written.
const PERIOD: Duration = Duration::from_secs(3600);

/// Writes down what the store tells from this call on, until `stop`. What happened while nobody listened is told by how it
/// stands.
pub(crate) fn keep(
    log: Log,
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
    stop: CancellationToken,
) -> impl Future<Output = ()> {
    let begun = store.view_and_watch(Selector::All);
    async move {
        stop.run_until_cancelled(follow(log, begun, store, clock)).await;
    }
}

async fn follow(
    log: Log,
    (mut view, mut watcher): (View, Watcher),
    store: Arc<Store>,
    clock: Arc<dyn Clock>,
) -> Option<()> {
    let now = clock.now();
    let mut log = write(log, move |log| log.open(now)).await?;
    let mut seen = log.last();
    loop {
        // A manager that has seen nothing yet has nothing to go on from: its journal begins here.
        if seen > 0 {
            let (latest, now) = (view.clone(), clock.now());
            log = write(log, move |log| log.append(&journal::since(&latest, seen), now)).await?;
        }
        seen = seen.max(view.version());
        while let Some(events) = next(&mut watcher).await {
            seen = events.last().map_or(seen, |event| event.version);
            let (view, now) = (store.view(), clock.now());
            log = write(log, move |log| {
                events.iter().for_each(|event| log.append(&journal::entries(&view, event), now));
                log.tidy(now);
            })
            .await?;
        }
        (view, watcher) = store.view_and_watch(Selector::All);
    }
}

/// What happened next, or nothing after a while; `None` when something was missed.
async fn next(watcher: &mut Watcher) -> Option<Vec<Arc<WatchEvent>>> {
    tokio::time::timeout(PERIOD, burst(watcher)).await.unwrap_or_else(|_| Some(Vec::new()))
}

/// Writes on a thread that may wait for the disk.
async fn write(mut log: Log, append: impl FnOnce(&mut Log) + Send + 'static) -> Option<Log> {
    let written = spawn_blocking(move || {
        append(&mut log);
        log
    });
    written.await.map_err(|error| error!(%error, "the journal is kept no longer")).ok()
}
