//! Disk space reserved for the log: blocks behind the end of its file, allocated before they are needed.
//!
//! redb writes in place and into pages it has freed, so all it needs from the disk is space for its file to grow. With that
//! reserved, commits still succeed on a disk that something else has filled, so that the swarm can still be told to stop
//! what fills it. What was used is reserved again as soon as the disk has space.

use std::{
    fs::File,
    io,
    sync::atomic::{AtomicU64, Ordering},
    time::Duration,
};

use skep_common::reserve::{is_full, preallocate};
use tokio::sync::watch;
use tracing::{info, warn};

/// Held behind the end of the file: thousands of entries.
const RESERVED: u64 = 16 << 20;

/// Taken at a time. What a full disk cannot give in one piece it may give in part, and a tmpfs that cannot give all of a piece
/// takes back what it had given of it before.
const PIECE: u64 = 1 << 20;

/// How often to ask a full disk again.
pub(super) const AGAIN: Duration = Duration::from_secs(5);

/// The space reserved behind the end of one file.
#[derive(Debug)]
pub(super) struct ReservedSpace {
    file: File,
    /// Bytes from the start of the file that are surely allocated.
    held: AtomicU64,
    /// How long the file was then. One that has been cut since has lost what was behind its end.
    length: AtomicU64,
    is_short: watch::Sender<bool>,
}

impl ReservedSpace {
    pub(super) fn new(file: File) -> Self {
        Self { file, held: AtomicU64::new(0), length: AtomicU64::new(0), is_short: watch::Sender::new(false) }
    }

    /// Whether the disk has no space left to reserve.
    pub(super) fn is_short(&self) -> watch::Receiver<bool> {
        self.is_short.subscribe()
    }

    /// Takes what is missing, after the file may have grown.
    pub(super) fn hold(&self) {
        match self.try_hold() {
            Ok(()) => {
                if self.is_short.send_replace(false) {
                    info!("the disk has room for the Raft log again");
                }
            }
            Err(error) if is_full(&error) => {
                if !self.is_short.send_replace(true) {
                    warn!("the disk is full; the Raft log lives on the room that was held back for it");
                }
            }
            // A file system that cannot: then there is no more than the disk itself gives.
            Err(error) if matches!(error.kind(), io::ErrorKind::Unsupported) => {
                self.held.store(u64::MAX, Ordering::Relaxed);
            }
            Err(error) => warn!(%error, "no room can be held back for the Raft log"),
        }
    }

    fn try_hold(&self) -> io::Result<()> {
        let length = self.file.metadata()?.len();
        let wanted = length + RESERVED;
        if length < self.length.swap(length, Ordering::Relaxed) {
            self.held.store(length, Ordering::Relaxed);
        }
        // Half of it may be used up before it is filled up again.
        if self.held.load(Ordering::Relaxed) < length + RESERVED / 2 {
            let mut held = self.held.load(Ordering::Relaxed);
            while held < wanted {
                let end = (held / PIECE + 1).saturating_mul(PIECE).min(wanted);
                preallocate(&self.file, held, end - held)?;
                held = end;
                self.held.store(held, Ordering::Relaxed);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::MetadataExt as _, path::Path, process::Command};

    use super::*;

    #[test]
    fn a_file_that_grows_has_its_space_before_it() {
        let file = tempfile::tempfile().unwrap();
        let reserved = ReservedSpace::new(file.try_clone().unwrap());
        let allocated = || file.metadata().unwrap().blocks() * 512;
        reserved.hold();
        assert!(allocated() >= RESERVED && file.metadata().unwrap().len() == 0);
        file.set_len(3 * RESERVED).unwrap();
        reserved.hold();
        assert!(allocated() >= 4 * RESERVED, "{}", allocated());
        file.set_len(RESERVED).unwrap();
        assert!(allocated() < 2 * RESERVED, "what was behind the end is gone");
        reserved.hold();
        assert!(allocated() >= 2 * RESERVED, "{}", allocated());
        assert!(!*reserved.is_short().borrow());
    }

    /// A tmpfs until it is dropped; making one needs root.
    struct Tmpfs(tempfile::TempDir);

    impl Tmpfs {
        fn new(options: &str) -> Self {
            let dir = tempfile::tempdir().unwrap();
            let mut mount = Command::new("mount");
            assert!(
                mount.args(["-t", "tmpfs", "-o", options, "skep-test"]).arg(dir.path()).status().unwrap().success()
            );
            Self(dir)
        }

        fn path(&self) -> &Path {
            self.0.path()
        }
    }

    impl Drop for Tmpfs {
        fn drop(&mut self) {
            let _best_effort = Command::new("umount").arg("-l").arg(self.path()).status();
        }
    }

    #[test]
    fn a_disk_that_gives_no_more_takes_nothing_back() {
        let disk = Tmpfs::new("size=32m");
        let mut file = fs::File::create(disk.path().join("log")).unwrap();
        let reserved = ReservedSpace::new(file.try_clone().unwrap());
        reserved.hold();
        assert!(!*reserved.is_short().borrow());
        let mut others = fs::File::create(disk.path().join("others")).unwrap();
        while others.write_all(&[1; 4096]).is_ok() {}
        // More than half of the room is used: it is asked for again, in vain.
        file.write_all(&vec![1; usize::try_from(RESERVED).unwrap() * 3 / 4]).unwrap();
        reserved.hold();
        assert!(*reserved.is_short().borrow());
        assert!(others.write_all(&[1; 4096]).is_err(), "somebody else has the room");
        // Nor does a process that begins now, and does not know what it has.
        let next = ReservedSpace::new(file.try_clone().unwrap());
        next.hold();
        let allocated = file.metadata().unwrap().blocks() * 512;
        assert!(*next.is_short().borrow() && allocated > RESERVED - PIECE, "{allocated}");
    }
}
