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

use std::{sync::Arc, time::Duration};

use skep_common::clock::Clock;
use skep_core::journal;
use skep_proto::v1::JournalEntry;
use skep_store::{Selector, Store};
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

/// Writes down what the store tells until `stop`. What happened while nobody listened is told by how it stands.
pub(crate) async fn keep(log: Log, store: Arc<Store>, clock: Arc<dyn Clock>, stop: CancellationToken) {
    stop.run_until_cancelled(follow(log, store, clock)).await;
}

async fn follow(mut log: Log, store: Arc<Store>, clock: Arc<dyn Clock>) {
    let mut seen = log.last();
    loop {
        let (view, mut watcher) = store.view_and_watch(Selector::All);
        // A manager that has seen nothing yet has nothing to go on from: its journal begins here.
        if seen > 0 {
            let since = seen;
            let (latest, now) = (view.clone(), clock.now());
            let Some(next) = write(log, move |log| log.append(&journal::since(&latest, since), now)).await else {
                return;
            };
            log = next;
        }
        seen = seen.max(view.version());
        loop {
            let events = tokio::select! {
                events = burst(&mut watcher) => events,
                () = tokio::time::sleep(PERIOD) => Some(Vec::new()),
            };
            let Some(events) = events else { break };
            seen = events.last().map_or(seen, |event| event.version);
            let (view, now) = (store.view(), clock.now());
            let append = move |log: &mut Log| {
                let entries: Vec<JournalEntry> =
                    events.iter().flat_map(|event| journal::entries(&view, event)).collect();
                log.append(&entries, now);
            };
            let Some(next) = write(log, append).await else { return };
            log = next;
        }
    }
}

/// Writes on a thread that may wait for the disk.
async fn write(mut log: Log, append: impl FnOnce(&mut Log) + Send + 'static) -> Option<Log> {
    let written = spawn_blocking(move || {
        append(&mut log);
        log
    });
    written.await.map_err(|error| error!(%error, "the journal is kept no longer")).ok()
}
