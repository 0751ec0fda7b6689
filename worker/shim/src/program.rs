//! The program file of the shims, where nobody can write to it.
//!
//! Before a container's own program runs, its first process runs ours, and an image can hold on to that file: through
//! `/proc/self/exe`, when its command is that link and its dynamic loader is its own (CVE-2019-5736). The kernel keeps
//! a running program from being written, but not the same file a moment later. So shims are started through a mount of
//! that one file that is read-only and attached nowhere: there is nothing to write to and nothing to unmount.

use std::{
    io,
    os::fd::{AsFd as _, AsRawFd as _, OwnedFd},
    path::{Path, PathBuf},
};

use rustix::{
    fs::CWD,
    io::Errno,
    mount::{OpenTreeFlags, open_tree},
};

use crate::sys;

/// A program to start shims from.
#[derive(Debug)]
pub struct Program {
    path: PathBuf,
    /// What `path` names.
    _mount: OwnedFd,
}

impl Program {
    /// The program at `path` as it is now; a file that takes its name later is another.
    ///
    /// # Errors
    /// There is no such file, it is on no mount of this process's namespace, or the kernel is older than Linux 5.12.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        let mount = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC);
        let mount = mount.map_err(|error| explained(error.into()))?;
        sys::make_read_only(mount.as_fd()).map_err(explained)?;
        Ok(Self { path: format!("/proc/self/fd/{}", mount.as_raw_fd()).into(), _mount: mount })
    }

    /// Where a child of this process finds it when it executes it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}

/// What the kernel has only a word for.
fn explained(error: io::Error) -> io::Error {
    let why = match Errno::from_io_error(&error) {
        Some(Errno::NOSYS) => "the kernel is older than Linux 5.12, or does not let this process mount",
        Some(Errno::INVAL) => "it was started from a file in memory, or of another mount namespace",
        _ => return error,
    };
    io::Error::new(error.kind(), why)
}

#[cfg(test)]
mod tests {
    use std::{fs::File, os::fd::AsRawFd};

    use rustix::fs::{MemfdFlags, memfd_create};

    use super::*;

    #[test]
    fn a_program_that_was_replaced_is_still_there_and_one_that_cannot_be_used_says_why() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("program");
        let file = File::create(&path).unwrap();
        std::fs::remove_file(&path).unwrap();
        let running = |fd: &dyn AsRawFd| PathBuf::from(format!("/proc/self/fd/{}", fd.as_raw_fd()));
        let program = Program::read_only(&running(&file)).unwrap();
        let written = File::options().write(true).open(program.path()).unwrap_err();
        assert_eq!(Errno::from_io_error(&written), Some(Errno::ROFS));

        let memory = memfd_create("program", MemfdFlags::CLOEXEC).unwrap();
        let refused = Program::read_only(&running(&memory)).unwrap_err().to_string();
        assert!(refused.contains("a file in memory"), "{refused}");
        let old = explained(Errno::NOSYS.into()).to_string();
        assert!(old.contains("older than Linux 5.12"), "{old}");
    }
}
