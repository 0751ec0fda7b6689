//! Whether a shim lives, told by a lock and not by a pid, which could be somebody else's by now.
//!
//! Owns the files `lock` and `claim` in the shim's directory. A record lock (`fcntl`) and not `flock`: it belongs to the process
//! alone, so that neither the container's first process before it executes its command nor anything else the shim
//! forks can keep a dead shim looking alive.
//!
//! A shim that was started a moment ago has no lock yet. Who wants to give its container up for lost, and the shim
//! before it does anything, therefore make the claim first, which only one of them can.

use std::{
    fs::{File, OpenOptions},
    io,
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

use rustix::{
    fs::{FlockOperation, fcntl_lock},
    io::Errno,
    process::{Flock, FlockType, Pid, PidfdFlags, Signal, fcntl_getlk, pidfd_open, pidfd_send_signal},
};

/// Name of the lock in the shim's directory.
pub const FILE: &str = "lock";
const CLAIM: &str = "claim";

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
    Ok(holder(dir)?.is_some())
}

/// Kills the shim that holds the lock of this directory, if one does. What it leaves behind is a killed shim's.
///
/// # Errors
/// The lock file is there and cannot be asked, or the kernel refuses.
pub fn kill_holder(dir: &Path) -> io::Result<()> {
    let Some(pid) = holder(dir)? else { return Ok(()) };
    let process = match pidfd_open(pid, PidfdFlags::empty()) {
        Ok(process) => process,
        Err(Errno::SRCH) => return Ok(()),
        Err(error) => return Err(error.into()),
    };
    // The number may have become another's before it was opened; who holds the lock now is who was opened.
    if holder(dir)? != Some(pid) {
        return Ok(());
    }
    match pidfd_send_signal(&process, Signal::KILL) {
        Err(error) if error != Errno::SRCH => Err(error.into()),
        _ => Ok(()),
    }
}

/// Claims the start of this directory's container, or its loss; whether nobody had done so before.
///
/// # Errors
/// The claim cannot be written down, because the directory is gone or its disk full.
pub fn claim(dir: &Path) -> io::Result<bool> {
    match OpenOptions::new().write(true).create_new(true).mode(0o600).open(dir.join(CLAIM)) {
        Ok(_) => Ok(true),
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => Ok(false),
        Err(error) => Err(error),
    }
}

fn holder(dir: &Path) -> io::Result<Option<Pid>> {
    let file = match OpenOptions::new().read(true).write(true).open(dir.join(FILE)) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(error),
    };
    Ok(fcntl_getlk(&file, &Flock::from(FlockType::WriteLock))?.and_then(|lock| lock.pid))
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
        kill_holder(dir.path()).unwrap();
    }

    #[test]
    fn one_alone_makes_the_claim() {
        let dir = tempfile::tempdir().unwrap();
        assert!(claim(dir.path()).unwrap());
        assert!(!claim(dir.path()).unwrap());
        assert!(claim(Path::new("/nowhere")).is_err());
    }

    #[test]
    fn what_cannot_be_asked_is_an_error_and_no_absence() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("file");
        File::create(&file).unwrap();
        assert!(is_held(&file).is_err());
        assert!(claim(&file).is_err());
    }
}
