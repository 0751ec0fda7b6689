//! Space on a disk that is really there: blocks that belong to a file before anything is written to it.
//!
//! A [`Reserve`] is a file of its own that is given up when the disk is full, so that what must be written still can be.
//! [`preallocate`] reserves space at the end of a file for that file alone. Both need a file system that
//! can allocate ahead (ext4, xfs, tmpfs …); on one that copies on write (btrfs, zfs) they reserve space all the same, but
//! not for writes into the middle of a file.

use std::{
    fs::{self, File, OpenOptions},
    io,
    os::unix::fs::{MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use rustix::{
    fs::{FallocateFlags, fallocate, statvfs},
    io::Errno,
};

/// Bytes of a block in `st_blocks`, whatever the file system's own block is (stat(2)).
const STAT_BLOCK: u64 = 512;

/// A file that reserves space until it is needed. One per path.
#[derive(Debug)]
pub struct Reserve {
    path: PathBuf,
    bytes: u64,
}

impl Reserve {
    /// A reserve of so many bytes at `path`; nothing is taken yet. What an earlier process has taken still counts.
    pub fn new(path: PathBuf, bytes: u64) -> Self {
        Self { path, bytes }
    }

    /// Takes the space if it is not taken and at least as much again is left to others. Whether it is held now.
    ///
    /// # Errors
    /// Anything but a full disk.
    pub fn take(&self) -> io::Result<bool> {
        if self.is_held() {
            return Ok(true);
        }
        let directory = self.path.parent().unwrap_or(Path::new("/"));
        if free_bytes(directory)? < self.bytes.saturating_mul(2) {
            return Ok(false);
        }
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&self.path)?;
        match preallocate(&file, 0, self.bytes) {
            Ok(()) => Ok(true),
            Err(error) => {
                self.release()?;
                if is_full(&error) { Ok(false) } else { Err(error) }
            }
        }
    }

    /// Gives the space back to the disk.
    ///
    /// # Errors
    /// When the file is there and cannot be removed.
    pub fn release(&self) -> io::Result<()> {
        match fs::remove_file(&self.path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    /// Whether the space is taken.
    pub fn is_held(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.blocks() * STAT_BLOCK >= self.bytes)
    }
}

/// Makes sure that the bytes of `file` from `offset` on, `bytes` of them, have their place on the disk. The file does not get
/// longer by it, and what is written there already stays.
///
/// # Errors
/// When the disk is full ([`is_full`]), or cannot do it ([`io::ErrorKind::Unsupported`]).
pub fn preallocate(file: &File, offset: u64, bytes: u64) -> io::Result<()> {
    loop {
        match fallocate(file, FallocateFlags::KEEP_SIZE, offset, bytes) {
            Err(Errno::INTR) => {}
            done => return Ok(done?),
        }
    }
}

/// Whether this is what a full disk or a used up quota answers.
pub fn is_full(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}

/// How many bytes the disk under `path` still gives to anybody.
///
/// # Errors
/// When there is no such path.
pub fn free_bytes(path: &Path) -> io::Result<u64> {
    let disk = statvfs(path)?;
    Ok(disk.f_bavail.saturating_mul(disk.f_frsize))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_held_takes_room_and_is_given_back() {
        const BYTES: u64 = 8 << 20;
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        let reserve = Reserve::new(path.clone(), BYTES);
        assert!(!reserve.is_held());
        assert!(reserve.take().unwrap() && reserve.is_held());
        let file = fs::metadata(&path).unwrap();
        assert!(file.len() == 0 && file.blocks() * STAT_BLOCK >= BYTES);
        assert!(Reserve::new(path.clone(), BYTES).is_held(), "also for the next process");
        reserve.release().unwrap();
        assert!(!reserve.is_held() && !path.exists());
        reserve.release().unwrap();
    }

    #[test]
    fn what_is_not_there_cannot_be_held() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("reserve");
        assert!(!Reserve::new(path.clone(), 1 << 60).take().unwrap());
        assert!(!path.exists());
    }

    #[test]
    fn room_at_the_end_of_a_file_leaves_the_file_as_it_is() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("log");
        fs::write(&path, b"entries").unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        preallocate(&file, 0, 1 << 20).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"entries");
        assert!(fs::metadata(&path).unwrap().blocks() * STAT_BLOCK >= 1 << 20);
    }
}
