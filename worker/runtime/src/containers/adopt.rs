//! Adopts the containers that exist when the runtime is opened.

use std::{fs, io, path::Path, sync::Arc, time::Duration};

use futures::future::join_all;
use skep_shim::{cgroup::Cgroup, exit::ExitRecord, lock};
use tokio::{task::spawn_blocking, time::timeout};
use tracing::{info, warn};

use super::{
    Inner,
    entry::{ContainerEntry, Phase, exit_of},
    finished,
    paths::is_id,
    prepare::STARTED,
    record::{Found, Record},
    storage, watch,
};
use crate::{RuntimeError, file_tree::remove_tree};

/// How long opening waits to learn the pids of running containers; later ones come when they come.
const PATIENCE: Duration = Duration::from_secs(2);
const KILL_PATIENCE: Duration = Duration::from_secs(10);

/// Fills the table from disk, starts a watcher for every container that was running, clears leftovers.
pub(super) async fn adopt(inner: &Arc<Inner>) -> Result<(), RuntimeError> {
    let scanned = Arc::clone(inner);
    let entries = finished(
        spawn_blocking(move || scan(&scanned).map_err(|error| storage("cannot read the containers", &error))).await,
    )?;
    let running: Vec<_> = entries.iter().filter(|entry| entry.phase() == Phase::Starting).cloned().collect();
    inner.entries().extend(entries.into_iter().map(|entry| (entry.record.id.clone(), entry)));
    running.iter().for_each(|entry| watch::spawn(inner, entry, None));
    let known = running.iter().map(|entry| entry.until(|phase| *phase != Phase::Starting));
    // A shim that is late is listed with pid 0 until it answers.
    let _ = timeout(PATIENCE, join_all(known)).await;
    Ok(())
}

fn scan(inner: &Inner) -> io::Result<Vec<Arc<ContainerEntry>>> {
    let mut entries = Vec::new();
    for (id, bundle) in directories(&inner.paths.containers())? {
        let dir = inner.paths.shim(&id);
        let started = bundle.join(STARTED).exists();
        let Some(record) = record(inner, &id, started) else {
            info!(container = id, "clearing a container that was never finished");
            if let Err(error) = clear(inner, &id, &bundle) {
                warn!(container = id, %error, "it cannot be cleared; the next start of the daemon tries again");
            }
            continue;
        };
        let phase = match ExitRecord::find(&dir, &bundle) {
            Ok(Some(exit)) => Phase::Exited(exit_of(exit)),
            Ok(None) if started => Phase::Starting,
            Ok(None) => Phase::Created,
            // A torn record is as good as none: the watcher finds out and writes another.
            Err(error) => {
                warn!(container = id, %error, "the exit record is unreadable");
                for place in [&dir, &bundle] {
                    let _ = fs::remove_file(place.join(skep_shim::exit::FILE));
                }
                Phase::Starting
            }
        };
        entries.push(Arc::new(ContainerEntry::new(record, phase)));
    }
    clear_shims(inner, &entries)?;
    Ok(entries)
}

/// The record of a container, or what can be said of one without: nobody kills what runs because it cannot be read.
/// `None` for a container that was never finished, or whose removal has begun.
fn record(inner: &Inner, id: &str, started: bool) -> Option<Record> {
    let runs = || lock::is_held(&inner.paths.shim(id)).unwrap_or(true);
    let record = match Record::load(&inner.paths.bundle(id)) {
        Found::Record(record) => record,
        Found::Unreadable(reason) if started => {
            warn!(container = id, reason, "the record of a container is unreadable; it is kept without");
            Record::default()
        }
        Found::Nothing if started && runs() => {
            warn!(container = id, "a container runs without a record; it is kept");
            Record::default()
        }
        Found::Unreadable(_) | Found::Nothing => return None,
    };
    let or = |said: String, known: String| if said.is_empty() { known } else { said };
    Some(Record {
        id: id.to_owned(),
        name: or(record.name, id.to_owned()),
        cgroup: or(record.cgroup, inner.cgroup(id)),
        ..record
    })
}

fn clear(inner: &Inner, id: &str, bundle: &Path) -> io::Result<()> {
    Cgroup::of(&inner.cgroup(id))?.destroy(KILL_PATIENCE)?;
    remove_tree(bundle)?;
    Ok(())
}

/// Kills orphaned shims: those of containers that no record names.
fn clear_shims(inner: &Inner, entries: &[Arc<ContainerEntry>]) -> io::Result<()> {
    for (id, dir) in directories(&inner.paths.shims())? {
        if entries.iter().any(|entry| entry.record.id == id) {
            continue;
        }
        warn!(container = id, "killing a container whose record is gone");
        match Cgroup::of(&inner.cgroup(&id))?.destroy(KILL_PATIENCE) {
            Ok(()) => {
                remove_tree(&dir)?;
            }
            Err(error) => warn!(container = id, %error, "it does not die; the next start of the daemon tries again"),
        }
    }
    Ok(())
}

fn directories(parent: &Path) -> io::Result<Vec<(String, std::path::PathBuf)>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(parent)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if is_id(&name) && entry.file_type()?.is_dir() {
            found.push((name, entry.path()));
        }
    }
    Ok(found)
}
