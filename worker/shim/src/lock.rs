//! Whether a shim lives, told by a lock and not by a pid, which could be somebody else's by now.
//!
//! Owns the file `lock` in the shim's directory. A record lock (`fcntl`) and not `flock`: it belongs to the process
//! alone, so that neither the container's first process before it executes its command nor anything else the shim
//! forks can keep a dead shim looking alive.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    process::{Flock, FlockType, fcntl_getlk},
};

/// Name of the lock in the shim's directory.
pub const FILE: &str = "lock";

/// Held as long as this process lives and the value is kept.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Lock {
    /// Takes the lock of a shim's directory.
    ///
    /// # Errors
    /// Another shim holds it, or the file cannot be made.
    pub fn take(dir: &Path) -> io::Result<Self> {
        let file =
            OpenOptions::new().read(true).write(true).create(true).truncate(false).mode(0o600).open(dir.join(FILE))?;
        fcntl_lock(&file, FlockOperation::NonBlockingLockExclusive)?;
        Ok(Self { _file: file })
    }
}

/// Whether a shim holds the lock of this directory.
///
/// # Errors
/// The lock file is there and cannot be asked.
pub fn is_held(dir: &Path) -> io::Result<bool> {
    let file = match OpenOptions::new().read(true).write(true).open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(false),
        Err(error) => return Err(error),
    };
    Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.is_some())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_without_a_shim_has_no_holder() {
        let dir = tempfile::tempdir().unwrap();
        assert!(!is_held(dir.path()).unwrap());
        // One's own record lock never shows as held: the tests of the runtime look at another process's.
        let lock = Lock::take(dir.path()).unwrap();
        drop(lock);
        assert!(!is_held(dir.path()).unwrap());
    }
}
