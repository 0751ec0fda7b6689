//! A directory tree built from hostile instructions.
//!
//! Invariant: nothing outside the root is created, changed or looked at, whatever names and symlinks the
//! instructions use. Parents resolve within the root (`openat2`, `RESOLVE_IN_ROOT`); the last part of a name is never
//! followed.

use std::{
    ffi::{OsStr, OsString},
    fs::File,
    io,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
};

use rustix::{
    fs::{
        AtFlags, FileType, Gid, Mode, OFlags, ResolveFlags, Timespec, Timestamps, Uid, XattrFlags, chmodat, chownat,
        fchmod, fsetxattr, linkat, mkdirat, mknodat, open, openat, openat2, statat, symlinkat, unlinkat, utimensat,
    },
    io::Errno,
};

use crate::file_tree::remove_tree_at;

const DIRECTORY: OFlags = OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::CLOEXEC);
const IMPLIED_MODE: Mode = Mode::from_raw_mode(0o755);

/// The tree, by its root.
#[derive(Debug)]
pub(super) struct Tree {
    root: OwnedFd,
}

/// A name in a directory of the tree.
#[derive(Debug)]
pub(super) struct DirEntry {
    parent: OwnedFd,
    name: OsString,
}

/// Owner, permissions and age of a thing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Attributes {
    pub(super) uid: u32,
    pub(super) gid: u32,
    pub(super) mode: u32,
    pub(super) mtime: i64,
}

/// A special file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Node {
    Character(u32, u32),
    Block(u32, u32),
    Fifo,
}

impl Tree {
    pub(super) fn open(root: &Path) -> io::Result<Self> {
        Ok(Self { root: open(root, DIRECTORY, Mode::empty())? })
    }

    /// The directory entry of a path of normal parts; its parents are made where they are missing. The root itself is `.`.
    pub(super) fn entry(&self, path: &Path) -> io::Result<DirEntry> {
        let name = path.file_name().unwrap_or(OsStr::new(".")).to_owned();
        let parent = self.directory(path.parent().unwrap_or(Path::new("")))?;
        Ok(DirEntry { parent, name })
    }

    fn directory(&self, path: &Path) -> io::Result<OwnedFd> {
        match self.resolve(path) {
            Err(Errno::NOENT) => {}
            found => return Ok(found?),
        }
        // How many parts are there: whatever follows one that is missing is missing too. Each look starts at the root,
        // where links lead: as few as can be.
        let parts: Vec<&OsStr> = path.iter().collect();
        let first = |count: usize| parts.iter().take(count).collect::<PathBuf>();
        let (mut there, mut missing, mut here) = (0, parts.len(), self.resolve(Path::new(""))?);
        while missing - there > 1 {
            let count = usize::midpoint(there, missing);
            match self.resolve(&first(count)) {
                Err(Errno::NOENT) => missing = count,
                found => (there, here) = (count, found?),
            }
        }
        // One that is a link to nowhere is there for `mkdir`; after that all are new and none is a link.
        for part in parts.into_iter().skip(there) {
            mkdirat(&here, part, IMPLIED_MODE)?;
            here = openat(&here, part, DIRECTORY | OFlags::NOFOLLOW, Mode::empty())?;
            fchmod(&here, IMPLIED_MODE)?;
        }
        Ok(here)
    }

    fn resolve(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let path = if path.as_os_str().is_empty() { Path::new(".") } else { path };
        openat2(&self.root, path, DIRECTORY, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
    }
}

impl DirEntry {
    /// A directory; one that is there stays with what is in it.
    pub(super) fn make_directory(&self) -> io::Result<()> {
        if self.kind()? == Some(FileType::Directory) {
            return Ok(());
        }
        self.clear()?;
        Ok(mkdirat(&self.parent, &self.name, IMPLIED_MODE)?)
    }

    /// An empty file, new and open for writing.
    pub(super) fn make_file(&self) -> io::Result<File> {
        self.clear()?;
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        Ok(openat(&self.parent, &self.name, flags, Mode::from_raw_mode(0o600))?.into())
    }

    /// A symbolic link, wherever it points to.
    pub(super) fn make_symlink(&self, target: &Path) -> io::Result<()> {
        self.clear()?;
        Ok(symlinkat(target, &self.parent, &self.name)?)
    }

    /// Another name for what is at `source`, which is itself not followed.
    pub(super) fn make_link(&self, source: &Self) -> io::Result<()> {
        source.kind()?.ok_or(Errno::NOENT)?;
        if rustix::fs::fstat(&source.parent)?.st_ino == rustix::fs::fstat(&self.parent)?.st_ino
            && source.name == self.name
        {
            return Ok(());
        }
        self.clear()?;
        Ok(linkat(&source.parent, &source.name, &self.parent, &self.name, AtFlags::empty())?)
    }

    /// A special file.
    pub(super) fn make_node(&self, node: Node) -> io::Result<()> {
        self.clear()?;
        let (kind, device) = match node {
            Node::Character(major, minor) => (FileType::CharacterDevice, rustix::fs::makedev(major, minor)),
            Node::Block(major, minor) => (FileType::BlockDevice, rustix::fs::makedev(major, minor)),
            Node::Fifo => (FileType::Fifo, 0),
        };
        Ok(mknodat(&self.parent, &self.name, kind, Mode::from_raw_mode(0o600), device)?)
    }

    /// Sets an extended attribute of the directory or file here.
    pub(super) fn set_xattr(&self, name: &str, value: &[u8]) -> io::Result<()> {
        let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
        let file = openat(&self.parent, &self.name, flags, Mode::empty())?;
        Ok(fsetxattr(&file, name, value, XattrFlags::empty())?)
    }

    /// Sets owner, then permissions, which a change of owner would strip of their special bits. A symlink has none.
    pub(super) fn set_attributes(&self, attributes: Attributes) -> io::Result<()> {
        let (uid, gid) = (Uid::from_raw(attributes.uid), Gid::from_raw(attributes.gid));
        chownat(&self.parent, &self.name, Some(uid), Some(gid), AtFlags::SYMLINK_NOFOLLOW)?;
        if self.kind()? != Some(FileType::Symlink) {
            let mode = Mode::from_raw_mode(attributes.mode & 0o7777);
            chmodat(&self.parent, &self.name, mode, AtFlags::empty())?;
        }
        self.set_mtime(attributes.mtime)
    }

    /// Sets the age.
    pub(super) fn set_mtime(&self, seconds: i64) -> io::Result<()> {
        let time = Timespec { tv_sec: seconds, tv_nsec: 0 };
        let times = Timestamps { last_access: time, last_modification: time };
        Ok(utimensat(&self.parent, &self.name, &times, AtFlags::SYMLINK_NOFOLLOW)?)
    }

    /// Removes what is here.
    fn clear(&self) -> io::Result<()> {
        match self.kind()? {
            None => Ok(()),
            Some(FileType::Directory) if self.name == "." => Err(Errno::ISDIR.into()),
            Some(FileType::Directory) => {
                remove_tree_at(&self.parent, self.name.as_os_str())?;
                Ok(())
            }
            Some(_) => Ok(unlinkat(&self.parent, &self.name, AtFlags::empty())?),
        }
    }

    fn kind(&self) -> io::Result<Option<FileType>> {
        match statat(&self.parent, &self.name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) => Ok(Some(FileType::from_raw_mode(stat.st_mode))),
            Err(Errno::NOENT) => Ok(None),
            Err(error) => Err(error.into()),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{fs, io::Write as _, os::unix::fs::symlink};

    use super::*;

    /// A tree inside a directory whose other content must not change.
    fn tree() -> (tempfile::TempDir, Tree) {
        let outer = tempfile::tempdir().unwrap();
        fs::create_dir(outer.path().join("root")).unwrap();
        fs::write(outer.path().join("secret"), "outside").unwrap();
        let tree = Tree::open(&outer.path().join("root")).unwrap();
        (outer, tree)
    }

    fn write(tree: &Tree, path: &str) -> io::Result<()> {
        tree.entry(Path::new(path))?.make_file()?.write_all(b"inside")
    }

    #[test]
    fn symlinks_in_the_way_resolve_within_the_root() {
        let (outer, tree) = tree();
        let root = outer.path().join("root");
        symlink("../..", root.join("up")).unwrap();
        symlink(outer.path(), root.join("absolute")).unwrap();
        write(&tree, "up/secret").unwrap();
        // The absolute target does not exist within the root: it cannot be made through the link.
        assert!(write(&tree, "absolute/secret").is_err());
        assert_eq!(fs::read(root.join("secret")).unwrap(), b"inside");
        assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"outside");
    }

    #[test]
    fn what_is_missing_of_a_long_path_is_made_after_what_is_there() {
        let (outer, tree) = tree();
        let root = outer.path().join("root");
        for (there, parts) in [(0, 5), (1, 2), (3, 17), (16, 17), (17, 17)] {
            let path = |count| (0..count).map(|n| format!("{there}-{n}")).collect::<PathBuf>();
            fs::create_dir_all(root.join(path(there))).unwrap();
            // Beside every directory a link to it: the way leads through links.
            let through: PathBuf = (0..parts)
                .map(|n| {
                    let link = format!("link-{there}-{parts}-{n}");
                    if n < there {
                        symlink(format!("{there}-{n}"), root.join(path(n)).join(&link)).unwrap();
                        link
                    } else {
                        format!("{there}-{n}")
                    }
                })
                .collect();
            tree.entry(&through.join("file")).unwrap().make_file().unwrap();
            assert!(root.join(path(parts)).join("file").is_file(), "{there} of {parts}");
        }
    }

    #[test]
    fn a_symlink_at_the_name_itself_is_replaced_not_followed() {
        let (outer, tree) = tree();
        let root = outer.path().join("root");
        symlink("../secret", root.join("file")).unwrap();
        write(&tree, "file").unwrap();
        assert_eq!(fs::read(outer.path().join("secret")).unwrap(), b"outside");
        assert_eq!(fs::read(root.join("file")).unwrap(), b"inside");
    }

    #[test]
    fn a_hard_link_to_a_symlink_is_the_symlink() {
        let (outer, tree) = tree();
        let root = outer.path().join("root");
        symlink("../secret", root.join("link")).unwrap();
        let source = tree.entry(Path::new("link")).unwrap();
        tree.entry(Path::new("copy")).unwrap().make_link(&source).unwrap();
        assert!(fs::symlink_metadata(root.join("copy")).unwrap().is_symlink());
        let missing = tree.entry(Path::new("none")).unwrap();
        assert!(tree.entry(Path::new("copy")).unwrap().make_link(&missing).is_err());
        assert!(root.join("copy").symlink_metadata().is_ok(), "a failed link leaves what was there");
    }

    #[test]
    fn a_directory_stays_and_gives_way_to_a_file() {
        let (outer, tree) = tree();
        let root = outer.path().join("root");
        write(&tree, "dir/file").unwrap();
        tree.entry(Path::new("dir")).unwrap().make_directory().unwrap();
        assert!(root.join("dir/file").exists());
        write(&tree, "dir").unwrap();
        assert!(root.join("dir").is_file());
        assert!(tree.entry(Path::new("")).unwrap().make_file().is_err());
    }
}
