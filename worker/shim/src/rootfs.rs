//! Mounts a container's root file system.

use std::{
    ffi::CString,
    io,
    os::fd::OwnedFd,
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{Mode, OFlags, ResolveFlags, mkdirat, open, openat2},
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
    fn a_file_in_the_way_is_an_error() {
        let root = tempfile::tempdir().unwrap();
        std::fs::write(root.path().join("file"), "").unwrap();
        assert!(ensure_dir(root.path(), Path::new("/file/dir")).is_err());
    }
}
