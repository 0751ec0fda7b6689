//! Files that are either the old or the new one, whatever happens in between.

#[cfg(any(test, feature = "testing"))]
pub mod power_cut;

use std::{
    ffi::OsString,
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{OpenOptionsExt as _, PermissionsExt as _},
    path::Path,
};

/// Replaces the file at `path` by `bytes` with permission bits `mode`, durably: written beside it, fsynced, renamed over
/// it, and the directory fsynced. When this returns an error the old content is still there or the new one is, never a mixture.
///
/// One writer per path: two at a time would share the temporary file.
pub fn write_atomic(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let directory = parent(path);
    let temporary = temporary(path)?;
    let written = write_synced(&temporary, bytes, mode).and_then(|()| fs::rename(&temporary, path));
    if let Err(error) = written {
        // Best effort: the next write truncates what is left over anyway.
        let _ = fs::remove_file(&temporary);
        return Err(error);
    }
    sync_dir(directory)
}

/// Makes renames, creations and removals in `directory` durable.
pub fn sync_dir(directory: &Path) -> io::Result<()> {
    let directory = File::open(directory)?;
    sync_file(&directory)
}

/// Makes what was written to `file` durable. The one place where files are synced, so that a test can see what a power cut
/// would leave ([`power_cut`]).
pub fn sync_file(file: &File) -> io::Result<()> {
    #[cfg(any(test, feature = "testing"))]
    power_cut::before_sync();
    file.sync_all()?;
    #[cfg(any(test, feature = "testing"))]
    power_cut::note_sync(file)?;
    Ok(())
}

fn write_synced(path: &Path, bytes: &[u8], mode: u32) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(mode).open(path)?;
    // The mode of `open` passes through the umask and does nothing to a file left over from a crash.
    file.set_permissions(fs::Permissions::from_mode(mode))?;
    file.write_all(bytes)?;
    sync_file(&file)
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary(path: &Path) -> io::Result<std::path::PathBuf> {
    let name = path.file_name().ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "not a file name"))?;
    let mut temporary = OsString::from(".");
    temporary.push(name);
    temporary.push(".tmp");
    Ok(path.with_file_name(temporary))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mode(path: &Path) -> u32 {
        fs::metadata(path).unwrap().permissions().mode() & 0o777
    }

    fn names(directory: &Path) -> Vec<OsString> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name()).collect()
    }

    #[test]
    fn replaces_content_and_mode_and_leaves_nothing_beside_it() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_atomic(&path, b"one", 0o644).unwrap();
        write_atomic(&path, b"two", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"two");
        assert_eq!(mode(&path), 0o600);
        assert_eq!(names(directory.path()), ["key"]);
    }

    #[test]
    fn what_a_crash_left_over_is_overwritten_and_gets_the_mode() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        let left_over = directory.path().join(".key.tmp");
        fs::write(&left_over, b"a longer half-written secret").unwrap();
        fs::set_permissions(&left_over, fs::Permissions::from_mode(0o666)).unwrap();
        write_atomic(&path, b"new", 0o600).unwrap();
        assert_eq!(fs::read(&path).unwrap(), b"new");
        assert_eq!(mode(&path), 0o600);
    }

    #[test]
    fn a_failed_write_keeps_the_old_and_cleans_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("taken");
        fs::create_dir_all(path.join("inside")).unwrap();
        assert!(write_atomic(&path, b"x", 0o600).is_err());
        assert!(path.join("inside").is_dir());
        assert_eq!(names(directory.path()), ["taken"]);
    }

    /// Whenever the power goes, the file is the old or the new one; and the new one when the write was acknowledged.
    #[test]
    fn a_power_cut_leaves_the_old_or_the_new_and_never_a_mixture() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("key");
        write_atomic(&path, b"old", 0o600).unwrap();
        let (written, cuts) = power_cut::record(directory.path(), || write_atomic(&path, b"new", 0o600));
        written.unwrap();
        assert!(cuts.len() >= 3, "{} places", cuts.len());
        for (number, cut) in cuts.iter().enumerate() {
            for left in cut.outcomes() {
                let found = left.file("key").map(<[u8]>::to_vec);
                let whole = found == Some(b"old".to_vec()) || found == Some(b"new".to_vec());
                assert!(whole, "place {number}: {found:?}");
            }
        }
        let last = cuts.last().unwrap();
        assert!(last.outcomes().iter().all(|left| left.file("key") == Some(b"new")), "it was acknowledged");
    }
}
