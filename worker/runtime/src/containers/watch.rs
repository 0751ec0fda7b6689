//! Watches over one started container from here: follows its shim to the end, and finishes for a shim that cannot.
//!
//! Whatever happens to the connection, the truth is in this order: an exit record; a shim that holds its lock; neither,
//! which is a container whose shim was killed. Its processes are then killed too, because nobody would ever tell their
//! end, and the loss is recorded as the container's exit.

use std::{io, sync::Arc, time::Duration};

use skep_shim::{
    cgroup::Cgroup,
    exit::ExitRecord,
    lock,
    protocol::{Reply, Request},
};
use tokio::{process::Child, task::spawn_blocking, time::sleep};
use tracing::warn;

use super::{
    Inner,
    entry::{Entry, Phase, exit_of},
    shim_client::ShimClient,
};

/// First and longest pause before a shim that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long the processes of a lost container may take to die before somebody is told.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// The exit code of a container nobody saw end, as in Docker.
const LOST: i32 = 255;

/// Follows a container until it has ended. `shim` is its process where this one started it.
pub(super) fn spawn(inner: &Arc<Inner>, entry: &Arc<Entry>, shim: Option<Child>) {
    let (inner, entry, stop) = (Arc::clone(inner), Arc::clone(entry), inner.stop.clone());
    tokio::spawn(async move {
        let over = stop.run_until_cancelled(async {
            follow(&inner, &entry).await;
            if let Some(mut shim) = shim {
                // Reaped only: the container's end is known.
                let _ = shim.wait().await;
            }
        });
        over.await;
    });
}

async fn follow(inner: &Inner, entry: &Entry) {
    let mut pause = PAUSE;
    while entry.phase() != Phase::Removed {
        match look(inner, entry).await {
            Ok(Some(record)) => {
                entry.set(Phase::Exited(exit_of(record)));
                return;
            }
            Ok(None) => {}
            Err(error) => {
                warn!(container = entry.record.id, task = entry.record.task(), %error, "cannot follow a container, trying again");
            }
        }
        sleep(pause).await;
        pause = (pause * 2).min(MAX_PAUSE);
    }
}

/// The container's end; `None` when its shim lives and did not tell it yet.
async fn look(inner: &Inner, entry: &Entry) -> io::Result<Option<ExitRecord>> {
    let (bundle, dir) = (inner.paths.bundle(&entry.record.id), inner.paths.shim(&entry.record.id));
    if let Some(record) = ExitRecord::load(&bundle)? {
        return Ok(Some(record));
    }
    if !lock::is_held(&dir)? {
        // It may have written its record between the two looks.
        return match ExitRecord::load(&bundle)? {
            Some(record) => Ok(Some(record)),
            None => declare_lost(inner, entry).await.map(Some),
        };
    }
    let asked = async {
        let mut shim = ShimClient::connect(&dir).await?;
        if let Reply::Running(running) = shim.ask(Request::State).await? {
            entry.set(Phase::Running(running));
        }
        shim.wait().await
    };
    // A shim that goes away without a word is met again above, in the next look.
    Ok(asked.await.ok())
}

async fn declare_lost(inner: &Inner, entry: &Entry) -> io::Result<ExitRecord> {
    let bundle = inner.paths.bundle(&entry.record.id);
    let record = entry.record.clone();
    spawn_blocking(move || {
        Cgroup::of(&record.cgroup)?.destroy(KILL_PATIENCE)?;
        let exit = ExitRecord {
            code: LOST,
            oom: false,
            at: skep_common::clock::Timestamp::from(std::time::SystemTime::now()).0,
            error: Some("the container was lost: its shim was killed or the machine restarted".to_owned()),
        };
        exit.save(&bundle)?;
        warn!(
            container = record.id,
            task = record.task(),
            "a container was lost with its shim; its processes are gone"
        );
        Ok(exit)
    })
    .await?
}
