//! Watches the room on the data root's file system, and sees to it that containers do not take the last of it.
//!
//! Owns the node's [`DiskLevel`] and the decision which container ends. What happens at each level: images are not
//! taken in from [`DiskLevel::NearlyFull`] on; from [`DiskLevel::Full`] on no container is made, logs are not written
//! (each shim sees to that itself) and what ended containers wrote is given up; at [`DiskLevel::Danger`] the container
//! that has written the most lately is ended, one at a time. Invariant: none is ended that has written next to nothing
//! since there was room.

use std::{
    fs, io,
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use skep_common::disk_space::{DiskLevel, DiskSpace};
use skep_shim::lock;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::{info, warn};

use super::{
    Inner,
    entry::{Entry, Phase},
    finished,
    prepare::UPPER,
};
use crate::{Exit, RuntimeError, Signal};

/// How often the disk is asked.
const PERIOD: Duration = Duration::from_millis(500);
/// What a block of `st_blocks` is.
const BLOCK: u64 = 512;
/// A container that has written less fills no disk.
const SUSPICIOUS: u64 = 1 << 20;

/// Watches until the runtime is closed.
pub(super) fn spawn(inner: &Arc<Inner>) {
    let (inner, stop) = (Arc::clone(inner), inner.stop.clone());
    tokio::spawn(async move {
        stop.run_until_cancelled(watch(&inner)).await;
    });
}

async fn watch(inner: &Arc<Inner>) {
    // When the disk was last found with room. A runtime that begins on a full disk knows nothing of that.
    let mut room_until = UNIX_EPOCH;
    loop {
        let asked = SystemTime::now();
        let level = level(inner).await;
        note(&inner.disk, level);
        if level < DiskLevel::Full {
            room_until = asked;
        } else if let Err(error) = relieve(inner, level, room_until).await {
            warn!(%error, "no room can be made on the disk; trying again");
        }
        sleep(PERIOD).await;
    }
}

fn note(disk: &watch::Sender<DiskLevel>, level: DiskLevel) {
    disk.send_if_modified(|known| std::mem::replace(known, level) != level);
}

/// A disk that cannot be asked says so when it is written to.
async fn level(inner: &Arc<Inner>) -> DiskLevel {
    let inner = Arc::clone(inner);
    let asked = spawn_blocking(move || DiskSpace::of(&inner.paths.containers()));
    asked.await.ok().and_then(Result::ok).map_or(DiskLevel::Plenty, |space| space.level())
}

/// Gives up what nobody needs; where that is not enough, in danger, ends a container.
async fn relieve(inner: &Arc<Inner>, level: DiskLevel, room_until: SystemTime) -> Result<(), RuntimeError> {
    let looking = Arc::clone(inner);
    let found = spawn_blocking(move || {
        let all_given_up = looking.give_up_ended();
        Ok((level == DiskLevel::Danger && all_given_up).then(|| looking.largest_writer(room_until)).flatten())
    });
    match finished(found.await)? {
        Some((entry, bytes)) => inner.evict(&entry, bytes).await,
        None => Ok(()),
    }
}

impl Inner {
    /// The running container that has the most bytes in files it changed since then, and how many. Its log does not
    /// count: that has stopped by itself.
    fn largest_writer(&self, since: SystemTime) -> Option<(Arc<Entry>, u64)> {
        let running: Vec<Arc<Entry>> =
            self.entries().values().filter(|entry| matches!(entry.phase(), Phase::Running(_))).cloned().collect();
        running
            .into_iter()
            .map(|entry| {
                let bytes = written_since(&self.paths.bundle(&entry.record.id).join(UPPER), since);
                (entry, bytes)
            })
            .filter(|(_, bytes)| *bytes >= SUSPICIOUS)
            .max_by_key(|(_, bytes)| *bytes)
    }

    /// Deletes what ended containers wrote into their file systems; their logs and their ends stay. False while some
    /// of it cannot go yet.
    fn give_up_ended(&self) -> bool {
        let ended: Vec<String> = self
            .entries()
            .values()
            .filter(|entry| matches!(entry.phase(), Phase::Exited(_)))
            .map(|entry| entry.record.id.clone())
            .collect();
        let given_up = |id: &String| {
            let upper = self.paths.bundle(id).join(UPPER);
            // While its shim is there, its file system may still be mounted.
            if lock::is_held(&self.paths.shim(id))? {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            fs::remove_dir_all(&upper)
        };
        let mut all = true;
        for id in &ended {
            match given_up(id) {
                Ok(()) => info!(container = id, "the disk is full: what an ended container had written was deleted"),
                Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                Err(_) => all = false,
            }
        }
        all
    }

    /// Kills a container, and has that reason told as its end.
    async fn evict(&self, entry: &Entry, bytes: u64) -> Result<(), RuntimeError> {
        let id = &entry.record.id;
        warn!(
            container = id,
            task = entry.record.task(),
            bytes,
            "the disk is full: ending the container that fills it"
        );
        let reason = format!("disk full on node: it had written {} MB", bytes / 1_000_000);
        *entry.blamed.lock().unwrap_or_else(PoisonError::into_inner) = Some(reason);
        match self.stop(id, Some(Signal::KILL), Duration::ZERO).await {
            // It was removed meanwhile.
            Err(RuntimeError::NoSuchContainer(_)) => Ok(()),
            ended => ended,
        }
    }

    /// Whether there is room for one more container.
    pub(super) fn admit(&self) -> Result<(), RuntimeError> {
        if *self.disk.borrow() >= DiskLevel::Full {
            return Err(RuntimeError::Storage("disk full on node: no container is started until there is room".into()));
        }
        Ok(())
    }
}

impl Entry {
    /// The end of a container, with the reason this runtime gave for it if it did.
    pub(super) fn explained(&self, exit: Exit) -> Exit {
        let blamed = self.blamed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Exit { error: blamed.or(exit.error), ..exit }
    }
}

/// Bytes on the disk of the files below a directory that were changed since then. What cannot be read counts nothing;
/// nothing that leads out of the directory is followed.
fn written_since(dir: &Path, since: SystemTime) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let sizes = entries.flatten().map(|entry| match entry.metadata() {
        Ok(meta) if meta.is_dir() => written_since(&entry.path(), since),
        Ok(meta) if changed(&meta) >= since => meta.blocks() * BLOCK,
        _ => 0,
    });
    sizes.sum()
}

/// When a file was last changed: the one of its times that nobody can set.
fn changed(meta: &fs::Metadata) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(meta.ctime()).unwrap_or(0) + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_lately_counts_as_it_lies_on_the_disk() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join("in")).unwrap();
        fs::write(dir.path().join("in/file"), vec![1; 1 << 20]).unwrap();
        fs::File::open(dir.path().join("in/file")).unwrap().sync_all().unwrap();
        // A hole is no room taken, and what a link leads to is somebody else's.
        fs::File::create(dir.path().join("hole")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/", dir.path().join("root")).unwrap();
        let written = written_since(dir.path(), UNIX_EPOCH);
        assert!((1 << 20..2 << 20).contains(&written), "{written}");
        assert_eq!(written_since(dir.path(), SystemTime::now() + Duration::from_secs(60)), 0);
    }
}
