//! Mounts a container's root file system.

use std::{
    ffi::CString,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, statat},
    io::Errno,
    mount::{MountFlags, mount},
    process::chdir,
};

use crate::plan::Overlay;

/// Mounts the overlay on `target`. Changes the working directory.
pub(crate) fn mount_overlay(overlay: &Overlay, target: &Path) -> io::Result<()> {
    chdir(&overlay.base)?;
    let options = format!("lowerdir={},upperdir={},workdir={}", overlay.lower.join(":"), overlay.upper, overlay.work);
    let options = CString::new(options)?;
    mount("overlay", target, "overlay", MountFlags::empty(), options.as_c_str())?;
    chdir("/")?;
    Ok(())
}

/// What the walls are built on. libcontainer follows the names of these while it still sees the host's files, so a
/// link here would lead it out: whatever is not a plain directory is refused, what is missing is made.
const FOUNDATIONS: [&str; 3] = ["dev", "proc", "sys"];

/// Makes sure that a root can be built on.
pub(crate) fn ensure_foundations(root: &Path) -> io::Result<()> {
    let root = lookup(&open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?, Path::new("/"))?;
    for name in FOUNDATIONS {
        match statat(&root, name, AtFlags::SYMLINK_NOFOLLOW) {
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {}
            Ok(_) => return Err(io::Error::other(format!("/{name} of the image is not a directory"))),
            Err(Errno::NOENT) => mkdirat(&root, name, Mode::from_raw_mode(0o755))?,
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Makes a directory inside a root, with its parents, whatever symlinks the image put in the way: they resolve within
/// the root.
pub(crate) fn ensure_dir(root: &Path, path: &Path) -> io::Result<()> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let mut parent = lookup(&root, Path::new("/"))?;
    let mut made = PathBuf::from("/");
    for part in path.components() {
        let Component::Normal(name) = part else { continue };
        made.push(name);
        parent = match lookup(&root, &made) {
            Err(error) if error == Errno::NOENT => {
                mkdirat(&parent, name, Mode::from_raw_mode(0o755))?;
                lookup(&root, &made)?
            }
            found => found?,
        };
    }
    Ok(())
}

fn lookup(root: &OwnedFd, path: &Path) -> Result<OwnedFd, Errno> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    openat2(root, path, flags, Mode::empty(), ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn directories_are_made_inside_whatever_the_symlinks_say() {
        let outer = tempfile::tempdir().unwrap();
        let root = outer.path().join("root");
        std::fs::create_dir_all(root.join("real")).unwrap();
        symlink("/real", root.join("absolute")).unwrap();
        symlink("../../../..", root.join("up")).unwrap();

        ensure_dir(&root, Path::new("/a/b/c")).unwrap();
        ensure_dir(&root, Path::new("/absolute/x")).unwrap();
        ensure_dir(&root, Path::new("/up/y")).unwrap();

        assert!(root.join("a/b/c").is_dir());
        assert!(root.join("real/x").is_dir());
        assert!(root.join("y").is_dir());
        assert!(!outer.path().join("y").exists());
    }

    #[test]
    fn nothing_is_built_on_a_link() {
        let outer = tempfile::tempdir().unwrap();
        for name in FOUNDATIONS {
            let root = tempfile::tempdir().unwrap();
            symlink(outer.path(), root.path().join(name)).unwrap();
            let refused = ensure_foundations(root.path()).unwrap_err().to_string();
            assert_eq!(refused, format!("/{name} of the image is not a directory"));
        }
        let root = tempfile::tempdir().unwrap();
        ensure_foundations(root.path()).unwrap();
        ensure_foundations(root.path()).unwrap();
        assert!(FOUNDATIONS.iter().all(|name| root.path().join(name).is_dir()));
    }

    #[test]
    fn a_file_in_the_way_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(ensure_dir(root.path(), Path::new("/file/dir")).is_err());
    }
}
