//! The directory entries of task.db: the database itself, those put into quarantine, and the mark that says that
//! an opening is under way.
//!
//! Invariant: nothing here deletes a database that may be of use; a spoiled one is renamed, and only the last
//! [`KEPT`] renamed ones stay.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::statvfs;

/// How many quarantined databases are kept for diagnosis.
const KEPT: usize = 2;

/// Below this a disk counts as full: sled writes whole segments of half a mebibyte.
const RESERVE_BYTES: u64 = 1 << 20;

/// Where task.db is.
#[derive(Debug, Clone)]
pub(super) struct Files {
    directory: PathBuf,
}

impl Files {
    /// task.db in `directory`.
    pub(super) fn new(directory: &Path) -> Self {
        Self { directory: directory.to_owned() }
    }

    /// The database.
    pub(super) fn database(&self) -> PathBuf {
        self.directory.join("task.db")
    }

    /// Marks that the database is being opened. True when the mark was there: the last opening ended with the
    /// process (sled aborts, or takes all memory, on some spoiled files).
    pub(super) fn begin_opening(&self) -> io::Result<bool> {
        fs::create_dir_all(&self.directory)?;
        match fs::File::create_new(self.mark()) {
            Ok(_) => Ok(false),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(true),
            Err(error) => Err(error),
        }
    }

    /// The database is open, or known not to be.
    pub(super) fn end_opening(&self) -> io::Result<()> {
        // A mark that stays costs one needless quarantine, no more.
        let _ = fs::remove_file(self.mark());
        Ok(())
    }

    /// Renames the database away and says what to; `None` when there is none.
    pub(super) fn quarantine(&self) -> io::Result<Option<PathBuf>> {
        let mut before = self.quarantined()?;
        let next = before.last().map_or(1, |(number, _)| number + 1);
        let to = self.directory.join(format!("task.db.quarantined-{next}"));
        match fs::rename(self.database(), &to) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        }
        before.push((next, to.clone()));
        for (_, old) in before.iter().rev().skip(KEPT) {
            remove_any(old)?;
        }
        Ok(Some(to))
    }

    /// Removes the database and everything beside it.
    pub(super) fn wipe(&self) -> io::Result<()> {
        if !self.directory.exists() {
            return Ok(());
        }
        for (_, old) in self.quarantined()? {
            remove_any(&old)?;
        }
        self.end_opening()?;
        remove_any(&self.database())
    }

    /// Whether the disk has no room for another record.
    pub(super) fn disk_is_full(&self) -> bool {
        // A disk that cannot be asked says so when it is written to.
        statvfs(&self.directory).is_ok_and(|disk| {
            let no_blocks = disk.f_bfree.saturating_mul(disk.f_frsize) < RESERVE_BYTES;
            let no_inodes = disk.f_files > 0 && disk.f_ffree == 0;
            no_blocks || no_inodes
        })
    }

    fn mark(&self) -> PathBuf {
        self.directory.join("task.db.opening")
    }

    /// Oldest first.
    fn quarantined(&self) -> io::Result<Vec<(u64, PathBuf)>> {
        let mut found = Vec::new();
        for entry in fs::read_dir(&self.directory)? {
            let entry = entry?;
            let name = entry.file_name();
            let number = name.to_str().and_then(|name| name.strip_prefix("task.db.quarantined-"));
            if let Some(Ok(number)) = number.map(str::parse) {
                found.push((number, entry.path()));
            }
        }
        found.sort_unstable();
        Ok(found)
    }
}

/// Removes a directory, or whatever a user put in its place.
fn remove_any(path: &Path) -> io::Result<()> {
    let removed = match fs::symlink_metadata(path) {
        Ok(found) if found.is_dir() => fs::remove_dir_all(path),
        Ok(_) => fs::remove_file(path),
        Err(error) => Err(error),
    };
    match removed {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(directory: &Path) -> Vec<String> {
        let mut names: Vec<_> =
            fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }

    #[test]
    fn the_last_two_in_quarantine_stay() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(directory.path());
        assert_eq!(files.quarantine().unwrap(), None);
        for round in 0..11 {
            // A directory as sled makes one, or what somebody put there.
            if round % 2 == 0 {
                fs::create_dir(files.database()).unwrap();
            } else {
                fs::write(files.database(), "junk").unwrap();
            }
            assert!(files.quarantine().unwrap().is_some());
        }
        assert_eq!(names(directory.path()), ["task.db.quarantined-10", "task.db.quarantined-11"]);
        files.wipe().unwrap();
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn an_opening_that_never_ended_is_noticed_once() {
        let directory = tempfile::tempdir().unwrap();
        let files = Files::new(&directory.path().join("worker"));
        assert!(!files.begin_opening().unwrap());
        assert!(files.begin_opening().unwrap());
        files.end_opening().unwrap();
        assert!(!files.begin_opening().unwrap());
    }

    #[test]
    fn a_disk_with_room_is_not_full() {
        let directory = tempfile::tempdir().unwrap();
        assert!(!Files::new(directory.path()).disk_is_full());
        assert!(!Files::new(Path::new("/no/such/place")).disk_is_full());
    }
}
