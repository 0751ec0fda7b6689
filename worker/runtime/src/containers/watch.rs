//! Watches one started container: follows its shim until the container ends, and cleans up after a shim that was killed.
//!
//! Whatever happens to the connection, this counts, in order: an exit record; a shim that holds its lock; neither, which is a
//! shim that was killed, or has not taken its lock yet: the claim decides. The container's processes are then killed too,
//! because nobody would report their end, and the loss is recorded as the container's exit.

use std::{
    io,
    path::Path,
    sync::Arc,
    time::{Duration, SystemTime},
};

use skep_common::clock::Timestamp;
use skep_shim::{
    cgroup::Cgroup,
    exit::{ExitRecord, LOST},
    lock,
    protocol::{Reply, Request},
};
use tokio::{process::Child, task::spawn_blocking, time::sleep};
use tracing::warn;

use super::{
    Inner,
    entry::{ContainerEntry, Phase, exit_of},
    record::Record,
    shim_client::ShimClient,
};

/// First and longest pause before a shim that does not answer is asked again.
const PAUSE: Duration = Duration::from_millis(10);
const MAX_PAUSE: Duration = Duration::from_secs(1);
/// How long the processes of a lost container may take to die before it is logged.
const KILL_PATIENCE: Duration = Duration::from_secs(10);
/// Follows a container until it has ended. `shim` is its process where this one started it.
pub(super) fn spawn(inner: &Arc<Inner>, entry: &Arc<ContainerEntry>, shim: Option<Child>) {
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

async fn follow(inner: &Inner, entry: &ContainerEntry) {
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
async fn look(inner: &Inner, entry: &ContainerEntry) -> io::Result<Option<ExitRecord>> {
    let (bundle, dir) = (inner.paths.bundle(&entry.record.id), inner.paths.shim(&entry.record.id));
    let record = entry.record.clone();
    let ended = spawn_blocking(move || match end(&dir, &bundle)? {
        End::Known(exit) => Ok(Some(exit)),
        End::Lost => declare_lost(&record, &dir, &bundle).map(Some),
        End::NotYet => io::Result::Ok(None),
    });
    if let Some(exit) = ended.await?? {
        return Ok(Some(exit));
    }
    let dir = inner.paths.shim(&entry.record.id);
    let asked = async {
        let mut shim = ShimClient::connect(&dir, inner.config.shim_patience).await?;
        if let Reply::Running(running) = shim.ask(Request::State).await? {
            entry.set(Phase::Running(running));
        }
        shim.wait().await
    };
    // A shim that goes away without a word is met again above, in the next look.
    Ok(asked.await.ok())
}

/// What there is to know of a container's end without its shim.
enum End {
    Known(ExitRecord),
    NotYet,
    /// Its shim is gone without an exit record.
    Lost,
}

fn end(dir: &Path, bundle: &Path) -> io::Result<End> {
    if let Some(record) = ExitRecord::find(dir, bundle)? {
        return Ok(End::Known(record));
    }
    if lock::is_held(dir)? {
        return Ok(End::NotYet);
    }
    // Whoever comes for the claim now finds it made and leaves. One that made it before has the lock, or had it and has
    // died since, perhaps not without a record.
    match lock::claim(dir) {
        Ok(true) => return Ok(End::Lost),
        Ok(false) => {}
        // Without its directory no shim begins.
        Err(error) if error.kind() == io::ErrorKind::NotFound => {}
        Err(error) => return Err(error),
    }
    if lock::is_held(dir)? {
        return Ok(End::NotYet);
    }
    Ok(ExitRecord::find(dir, bundle)?.map_or(End::Lost, End::Known))
}

fn declare_lost(record: &Record, dir: &Path, bundle: &Path) -> io::Result<ExitRecord> {
    Cgroup::of(&record.cgroup)?.destroy(KILL_PATIENCE)?;
    let at = Timestamp::from(SystemTime::now()).0;
    let reason = "the container was lost: its shim was killed or the machine restarted";
    let exit = ExitRecord::new(LOST, false, at, Some(reason.to_owned()));
    exit.keep(dir, bundle)?;
    warn!(container = record.id, task = record.task(), "a container was lost with its shim; its processes are gone");
    Ok(exit)
}
