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
    /// There is no such file, or the kernel is older than Linux 5.12.
    pub fn read_only(path: &Path) -> io::Result<Self> {
        let mount = open_tree(CWD, path, OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC)?;
        sys::make_read_only(mount.as_fd())?;
        Ok(Self { path: format!("/proc/self/fd/{}", mount.as_raw_fd()).into(), _mount: mount })
    }

    /// Where a child of this process finds it when it executes it.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.path
    }
}
