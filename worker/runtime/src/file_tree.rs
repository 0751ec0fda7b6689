//! Looks through, and removes, directory trees that a container or an image has made.
//!
//! Owns nothing. Such a tree is as deep and as wide as its maker liked, deeper than any stack and than any path, and a
//! container that runs changes it meanwhile. Invariants: no link is followed and nothing outside the tree is touched;
//! the stack and the number of open files do not grow with the tree.

use std::{
    ffi::CStr,
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use rustix::{
    fs::{AtFlags, Dir, FileType, Mode, OFlags, Stat, fstat, open, openat, renameat, statat, unlinkat},
    io::Errno,
    path::Arg,
};

const DIRECTORY: OFlags =
    OFlags::RDONLY.union(OFlags::DIRECTORY).union(OFlags::NOFOLLOW).union(OFlags::NONBLOCK).union(OFlags::CLOEXEC);
/// How many levels of a tree are kept open while what is below them is looked through.
const HELD: usize = 32;
/// Entries looked at in one tree: a container could make new ones for as long as somebody counts them.
const MAX_ENTRIES: u64 = 1 << 24;
/// What a directory is called that waits for its removal at the root of its tree; a number follows.
const WAITING: &str = "skep-removed-";

/// Removes a directory and all that is in it; false where there is none. One that was interrupted can be done again.
///
/// # Errors
/// The disk's, and `ENOTDIR` for anything but a directory, which stays.
pub(crate) fn remove_tree(path: &Path) -> io::Result<bool> {
    let (Some(parent), Some(name)) = (path.parent(), path.file_name()) else {
        return Err(io::ErrorKind::InvalidInput.into());
    };
    let parent = if parent.as_os_str().is_empty() { Path::new(".") } else { parent };
    match open(parent, DIRECTORY.difference(OFlags::NOFOLLOW), Mode::empty()) {
        Err(Errno::NOENT) => Ok(false),
        parent => remove_tree_at(parent?, name),
    }
}

/// The same for a name in an open directory.
///
/// # Errors
/// Those of [`remove_tree`].
pub(crate) fn remove_tree_at(parent: impl AsFd, name: impl Arg + Copy) -> io::Result<bool> {
    let root = match openat(&parent, name, DIRECTORY, Mode::empty()) {
        Err(Errno::NOENT) => return Ok(false),
        root => root?,
    };
    let mut removal = Removal { root, moved: 0, removed: 0 };
    loop {
        let found = removal.empty(None)?;
        removal.remove_waiting()?;
        if removed(&parent, name, found)? {
            return Ok(true);
        }
    }
}

/// A removal under way. Every directory is moved to the root of the tree before it is emptied, which makes the tree
/// flat: those with the numbers from `removed` up to `moved` are still to be emptied.
struct Removal {
    root: OwnedFd,
    moved: u64,
    removed: u64,
}

impl Removal {
    /// Removes the files of a directory, by default the root, and moves its directories to the root. Whether there were
    /// any.
    fn empty(&mut self, dir: Option<&OwnedFd>) -> io::Result<bool> {
        let mut found = false;
        let mut entries = Dir::read_from(dir.unwrap_or(&self.root))?;
        while let Some(entry) = entries.read() {
            let entry = entry?;
            let name = entry.file_name();
            if is_dots(name) {
                continue;
            }
            match unlinkat(dir.unwrap_or(&self.root), name, AtFlags::empty()) {
                Ok(()) => found = true,
                Err(Errno::NOENT) => {}
                // Those that wait already are met again while the root is read.
                Err(Errno::ISDIR) if dir.is_none() && number(name).is_some_and(|number| number < self.moved) => {}
                Err(Errno::ISDIR) => {
                    self.take(dir, name)?;
                    found = true;
                }
                Err(error) => return Err(error.into()),
            }
        }
        Ok(found)
    }

    /// Moves a directory to the root.
    fn take(&mut self, dir: Option<&OwnedFd>, name: &CStr) -> io::Result<()> {
        loop {
            let free = waiting(self.moved);
            self.moved += 1;
            match renameat(dir.unwrap_or(&self.root), name, &self.root, &free) {
                Ok(()) | Err(Errno::NOENT) => return Ok(()),
                // The tree's maker, or an interrupted removal, has used the name: it waits there as well.
                Err(Errno::EXIST | Errno::NOTEMPTY | Errno::NOTDIR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    fn remove_waiting(&mut self) -> io::Result<()> {
        while self.removed < self.moved {
            let name = waiting(self.removed);
            match openat(&self.root, &name, DIRECTORY, Mode::empty()) {
                Err(Errno::NOENT | Errno::NOTDIR) => {}
                dir => {
                    let dir = dir?;
                    loop {
                        let found = self.empty(Some(&dir))?;
                        if removed(&self.root, name.as_str(), found)? {
                            break;
                        }
                    }
                }
            }
            self.removed += 1;
        }
        Ok(())
    }
}

/// Removes a directory that was just emptied. False when it must be looked through again: reading a directory that
/// changes may miss some of it.
fn removed(parent: impl AsFd, name: impl Arg, found: bool) -> io::Result<bool> {
    match unlinkat(parent, name, AtFlags::REMOVEDIR) {
        Ok(()) | Err(Errno::NOENT) => Ok(true),
        Err(Errno::NOTEMPTY | Errno::EXIST) if found => Ok(false),
        Err(error) => Err(error.into()),
    }
}

fn waiting(number: u64) -> String {
    format!("{WAITING}{number}")
}

/// The number in a name of [`waiting`].
fn number(name: &CStr) -> Option<u64> {
    let name = name.to_str().ok()?;
    let number = name.strip_prefix(WAITING)?.parse().ok()?;
    (waiting(number) == name).then_some(number)
}

/// Shows everything below a directory, and not the directory itself. What goes meanwhile is left out; so is, deep in a
/// tree, what is beside a directory that somebody moves elsewhere while it is looked through.
///
/// # Errors
/// The disk's, and one for more than [`MAX_ENTRIES`]; what was seen until then was shown.
pub(crate) fn visit(path: &Path, mut show: impl FnMut(&Stat)) -> io::Result<()> {
    let mut here = Dir::new(open(path, DIRECTORY, Mode::empty())?)?;
    let mut above: Vec<Level> = Vec::new();
    let mut left = MAX_ENTRIES;
    loop {
        let Some(entry) = here.read() else {
            match above.pop() {
                None => return Ok(()),
                Some(Level::Held(dir)) => here = dir,
                Some(Level::Left(position)) => match position.back_from(&here)? {
                    Some(dir) => here = dir,
                    None => above.truncate(HELD),
                },
            }
            continue;
        };
        let entry = entry?;
        let name = entry.file_name();
        if is_dots(name) {
            continue;
        }
        left = left.checked_sub(1).ok_or_else(|| io::Error::other(format!("more than {MAX_ENTRIES} files")))?;
        let stat = match statat(here.fd()?, name, AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => continue,
            stat => stat?,
        };
        show(&stat);
        if FileType::from_raw_mode(stat.st_mode) != FileType::Directory {
            continue;
        }
        let child = match openat(here.fd()?, name, DIRECTORY, Mode::empty()) {
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            child => Dir::new(child?)?,
        };
        let position = DirPosition { offset: entry.offset(), identity: identity(&here.stat()?) };
        let parent = std::mem::replace(&mut here, child);
        above.push(if above.len() < HELD { Level::Held(parent) } else { Level::Left(position) });
    }
}

/// A directory that is looked through, above the present one.
enum Level {
    Held(Dir),
    Left(DirPosition),
}

/// How far a directory was read before it was closed.
struct DirPosition {
    offset: i64,
    identity: (u64, u64),
}

impl DirPosition {
    /// The directory again, unless the one below has been moved out of it.
    fn back_from(&self, below: &Dir) -> io::Result<Option<Dir>> {
        let parent = openat(below.fd()?, c"..", DIRECTORY, Mode::empty())?;
        if identity(&fstat(&parent)?) != self.identity {
            return Ok(None);
        }
        let mut parent = Dir::new(parent)?;
        parent.seek(self.offset)?;
        Ok(Some(parent))
    }
}

fn identity(stat: &Stat) -> (u64, u64) {
    (stat.st_dev, stat.st_ino)
}

fn is_dots(name: &CStr) -> bool {
    matches!(name.to_bytes(), b"." | b"..")
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{
        fs::{self, File},
        os::unix::fs::symlink,
    };

    use rustix::fs::mkdirat;

    use super::*;

    /// Deeper than the longest path, and than [`STACK`] bears calls.
    const DEEP: u64 = 3_000;
    const STACK: usize = 128 << 10;

    /// Runs a test on a small stack, so that the tree need not be as deep as a container's can be.
    pub(crate) fn on_a_small_stack(test: fn()) {
        std::thread::Builder::new().stack_size(STACK).spawn(test).unwrap().join().unwrap();
    }

    /// Makes [`DEEP`] directories one in the other, and returns the last of them.
    pub(crate) fn deep(root: &Path) -> OwnedFd {
        let mut here = open(root, DIRECTORY, Mode::empty()).unwrap();
        for _ in 0..DEEP {
            mkdirat(&here, "a", Mode::RWXU).unwrap();
            here = openat(&here, "a", DIRECTORY, Mode::empty()).unwrap();
        }
        here
    }

    #[test]
    fn a_tree_deeper_than_the_stack_is_looked_through_and_removed() {
        on_a_small_stack(looked_through_and_removed);
    }

    fn looked_through_and_removed() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        fs::create_dir(&root).unwrap();
        let last = deep(&root);
        // Beside the deep one and read after it or before: neither is missed.
        for name in ["0", "b", "z"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("file"), "text").unwrap();
        }
        mkdirat(&last, "beside", Mode::RWXU).unwrap();
        drop(last);
        let (mut files, mut directories) = (0, 0);
        visit(&root, |stat| match FileType::from_raw_mode(stat.st_mode) {
            FileType::Directory => directories += 1,
            _ => files += 1,
        })
        .unwrap();
        assert_eq!((files, directories), (3, DEEP + 4));

        assert!(remove_tree(&root).unwrap());
        assert!(!root.exists());
        assert!(!remove_tree(&root).unwrap(), "there was nothing left");
    }

    #[test]
    fn every_subdirectory_is_seen_on_every_level() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        let mut path = root.clone();
        for _ in 0..2 * HELD {
            path.push("down");
            fs::create_dir_all(&path).unwrap();
            for name in ["a", "k", "x"] {
                fs::create_dir(path.join(name)).unwrap();
                fs::write(path.join(name).join("file"), "").unwrap();
            }
        }
        let mut seen = 0;
        visit(&root, |_| seen += 1).unwrap();
        assert_eq!(seen, 2 * HELD * 7);
        assert!(remove_tree(&root).unwrap());
        assert!(!root.exists());
    }

    #[test]
    fn a_directory_moved_out_while_it_is_looked_through_leads_nowhere_and_hides_nothing() {
        let outer = tempfile::tempdir().unwrap();
        let (root, other) = (outer.path().join("root"), outer.path().join("other"));
        let (mut path, mut moving) = (root.clone(), root.clone());
        for level in 0..2 * HELD {
            path.push("down");
            if level == HELD + 10 {
                moving.clone_from(&path);
            }
        }
        fs::create_dir_all(&path).unwrap();
        fs::write(path.join("last"), "text").unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "text").unwrap();
        for name in ["a", "k", "x"] {
            fs::create_dir(root.join(name)).unwrap();
            fs::write(root.join(name).join("file"), "").unwrap();
        }
        let mut seen = 0;
        visit(&root, |stat| {
            seen += 1;
            if stat.st_size == 4 && FileType::from_raw_mode(stat.st_mode) == FileType::RegularFile {
                fs::rename(&moving, other.join("moved")).unwrap();
            }
        })
        .unwrap();
        assert!(other.join("moved").exists());
        assert_eq!(seen, 2 * HELD + 1 + 6);
    }

    #[test]
    fn what_links_lead_to_stays_and_is_not_seen() {
        let outer = tempfile::tempdir().unwrap();
        let (root, other) = (outer.path().join("root"), outer.path().join("other"));
        fs::create_dir_all(root.join("in")).unwrap();
        fs::create_dir(&other).unwrap();
        fs::write(other.join("file"), "text").unwrap();
        symlink(&other, root.join("in/link")).unwrap();
        symlink(&other, outer.path().join("root-link")).unwrap();
        let mut seen = 0;
        visit(&root, |_| seen += 1).unwrap();
        assert_eq!(seen, 2);
        assert!(remove_tree(&root).unwrap());
        assert!(remove_tree(&outer.path().join("root-link")).is_err());
        assert!(remove_tree(&other.join("file")).is_err());
        assert!(other.join("file").exists());
    }

    #[test]
    fn names_that_a_removal_uses_itself_do_not_stop_it() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        for name in ["0", "1", "3", "+1", "01", "4000", "18446744073709551616"] {
            fs::create_dir_all(root.join(format!("{WAITING}{name}/in/in"))).unwrap();
            fs::write(root.join(format!("{WAITING}{name}/in/file")), "").unwrap();
        }
        fs::create_dir(root.join(waiting(5))).unwrap();
        File::create(root.join(waiting(2))).unwrap();
        for name in 0..20 {
            fs::create_dir_all(root.join(format!("{name}/in"))).unwrap();
        }
        assert!(remove_tree(&root).unwrap());
        assert!(!root.exists());
    }
}
