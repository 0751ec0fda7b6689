//! Disk pressure: watches the free space of the data root's file system, and evicts containers before it is used up.
//!
//! Owns the node's [`DiskLevel`] and the decision which container is evicted. From [`DiskLevel::NearlyFull`] on no images are
//! loaded; from [`DiskLevel::Full`] on no container is made, logs are not written (each shim checks that itself) and files of
//! ended containers are deleted; at [`DiskLevel::Danger`] the container that has written the most lately is ended, one at a
//! time. Invariant: a container that has written next to nothing since there was space is not evicted.

use std::{
    fs, io,
    path::Path,
    sync::{Arc, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustix::fs::{Stat, lstat};
use skep_common::disk_space::{DiskLevel, DiskSpace};
use skep_shim::lock;
use tokio::{sync::watch, task::spawn_blocking, time::sleep};
use tracing::{info, warn};

use super::{
    Inner,
    entry::{ContainerEntry, Phase},
    finished,
    prepare::UPPER,
};
use crate::{
    Exit, RuntimeError, Signal,
    bundle::ETC_FILES,
    file_tree::{remove_tree, visit},
};

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

/// Deletes files of ended containers; in danger, where that is not enough, evicts a container.
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
    fn largest_writer(&self, since: SystemTime) -> Option<(Arc<ContainerEntry>, u64)> {
        let running: Vec<Arc<ContainerEntry>> =
            self.entries().values().filter(|entry| matches!(entry.phase(), Phase::Running(_))).cloned().collect();
        running
            .into_iter()
            .map(|entry| {
                let bytes = written_since(&self.paths.bundle(&entry.record.id), since);
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
            // While its shim is there, its file system may still be mounted.
            if lock::is_held(&self.paths.shim(id))? {
                return Err(io::ErrorKind::ResourceBusy.into());
            }
            give_up(&self.paths.bundle(id))
        };
        let mut all = true;
        for id in &ended {
            match given_up(id) {
                Ok(true) => info!(container = id, "the disk is full: what an ended container had written was deleted"),
                Ok(false) => {}
                Err(_) => all = false,
            }
        }
        all
    }

    /// Kills a container, and has that reason told as its end.
    async fn evict(&self, entry: &ContainerEntry, bytes: u64) -> Result<(), RuntimeError> {
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

impl ContainerEntry {
    /// The end of a container, with the reason this runtime gave for it if it did.
    pub(super) fn explained(&self, exit: Exit) -> Exit {
        let blamed = self.blamed.lock().unwrap_or_else(PoisonError::into_inner).clone();
        Exit { error: blamed.or(exit.error), ..exit }
    }
}

/// Bytes on the disk of what a container wrote since then: all in its own file system, and the files of its bundle it
/// can write to. What cannot be read counts nothing.
fn written_since(bundle: &Path, since: SystemTime) -> u64 {
    let mut bytes = 0;
    let mut count = |stat: &Stat| {
        if changed(stat) >= since {
            bytes += u64::try_from(stat.st_blocks).unwrap_or(0) * BLOCK;
        }
    };
    ETC_FILES.iter().filter_map(|name| lstat(bundle.join(name)).ok()).for_each(|stat| count(&stat));
    // What was seen before an error is enough to go by.
    let _ = visit(&bundle.join(UPPER), count);
    bytes
}

/// When a file was last changed: the one of its times that nobody can set.
fn changed(stat: &Stat) -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(u64::try_from(stat.st_ctime).unwrap_or(0) + 1)
}

/// Deletes what [`written_since`] counts. False where there was none.
fn give_up(bundle: &Path) -> io::Result<bool> {
    let mut any = remove_tree(&bundle.join(UPPER))?;
    for name in ETC_FILES {
        match fs::remove_file(bundle.join(name)) {
            Ok(()) => any = true,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error),
        }
    }
    Ok(any)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::file_tree::tests::{deep, on_a_small_stack};

    /// A bundle with the directory a container writes to.
    fn bundle() -> (tempfile::TempDir, std::path::PathBuf) {
        let bundle = tempfile::tempdir().unwrap();
        let upper = bundle.path().join(UPPER);
        fs::create_dir(&upper).unwrap();
        (bundle, upper)
    }

    #[test]
    fn what_was_written_lately_counts_as_it_lies_on_the_disk() {
        let (bundle, upper) = bundle();
        fs::create_dir(upper.join("in")).unwrap();
        fs::write(upper.join("in/file"), vec![1; 1 << 20]).unwrap();
        fs::File::open(upper.join("in/file")).unwrap().sync_all().unwrap();
        // A hole is no room taken, and what a link leads to is somebody else's.
        fs::File::create(upper.join("hole")).unwrap().set_len(1 << 30).unwrap();
        std::os::unix::fs::symlink("/", upper.join("root")).unwrap();
        let written = written_since(bundle.path(), UNIX_EPOCH);
        assert!((1 << 20..2 << 20).contains(&written), "{written}");
        assert_eq!(written_since(bundle.path(), SystemTime::now() + Duration::from_secs(60)), 0);
    }

    #[test]
    fn what_a_container_writes_to_its_files_in_etc_counts_and_goes_as_the_rest() {
        for name in ETC_FILES {
            let (bundle, _upper) = bundle();
            let file = bundle.path().join(name);
            fs::write(&file, vec![1; 2 << 20]).unwrap();
            fs::File::open(&file).unwrap().sync_all().unwrap();
            assert!(written_since(bundle.path(), UNIX_EPOCH) >= 2 << 20, "{name}");
            assert!(give_up(bundle.path()).unwrap());
            assert!(!file.exists());
            assert!(!give_up(bundle.path()).unwrap(), "there was nothing left");
        }
    }

    #[test]
    fn a_file_below_more_directories_than_a_stack_bears_is_found() {
        on_a_small_stack(found_and_given_up);
    }

    fn found_and_given_up() {
        let (bundle, upper) = bundle();
        let (mode, flags) = (rustix::fs::Mode::RWXU, rustix::fs::OFlags::WRONLY | rustix::fs::OFlags::CREATE);
        let mut file = fs::File::from(rustix::fs::openat(deep(&upper), "file", flags, mode).unwrap());
        io::Write::write_all(&mut file, &vec![1; 1 << 20]).unwrap();
        file.sync_all().unwrap();
        assert!(written_since(bundle.path(), UNIX_EPOCH) >= 1 << 20);
        assert!(give_up(bundle.path()).unwrap());
        assert!(!upper.exists());
    }
}
