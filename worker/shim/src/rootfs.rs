//! Mounts a container's root file system.

use std::{
    ffi::{CString, OsStr, OsString},
    io,
    os::{fd::OwnedFd, unix::ffi::OsStrExt as _},
    path::{Component, Path, PathBuf},
};

use rustix::{
    fs::{AtFlags, FileType, Mode, OFlags, ResolveFlags, mkdirat, open, openat2, readlinkat, statat},
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

/// What the isolation rests on. libcontainer follows the names of these while it still sees the host's files, so a
/// link here would lead it out: whatever is not a plain directory is refused, what is missing is made.
const FOUNDATIONS: [&str; 3] = ["dev", "proc", "sys"];

/// Links followed on the way to one directory, as many as the kernel follows.
const MAX_LINKS: usize = 40;

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
/// the root, and where one leads to nothing that is what is made.
pub(crate) fn ensure_dir(root: &Path, path: &Path) -> io::Result<()> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (mut to_go, mut links) = (parts(path), 0);
    // Without a link in it.
    let mut made = PathBuf::from("/");
    while let Some(name) = to_go.pop() {
        if name == ".." {
            made.pop();
            continue;
        }
        let parent = lookup(&root, &made)?;
        match statat(&parent, name.as_os_str(), AtFlags::SYMLINK_NOFOLLOW) {
            Err(Errno::NOENT) => mkdirat(&parent, name.as_os_str(), Mode::from_raw_mode(0o755))?,
            Err(error) => return Err(error.into()),
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_dir() => {}
            Ok(stat) if FileType::from_raw_mode(stat.st_mode).is_symlink() => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(io::Error::other(format!("{} leads in a circle", path.display())));
                }
                let target = readlinkat(&parent, name.as_os_str(), Vec::new())?;
                let target = Path::new(OsStr::from_bytes(target.as_bytes()));
                if target.has_root() {
                    made = PathBuf::from("/");
                }
                to_go.extend(parts(target));
                continue;
            }
            Ok(_) => return Err(io::Error::other(format!("{} is not a directory", made.join(name).display()))),
        }
        made.push(name);
    }
    Ok(())
}

/// The parts of a path, the first last.
fn parts(path: &Path) -> Vec<OsString> {
    let walked = path.components().filter(|part| matches!(part, Component::Normal(_) | Component::ParentDir));
    walked.rev().map(|part| part.as_os_str().to_owned()).collect()
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
        symlink("//new/one", root.join("nowhere")).unwrap();
        symlink("nowhere/../../..", root.join("real/chain")).unwrap();
        ensure_dir(&root, Path::new("/nowhere")).unwrap();
        ensure_dir(&root, Path::new("/nowhere/two")).unwrap();
        assert!(root.join("new/one/two").is_dir());
        ensure_dir(&root, Path::new("/real/chain/three")).unwrap();
        assert!(root.join("three").is_dir());
        symlink("circle", root.join("circle")).unwrap();
        std::fs::write(root.join("file"), "").unwrap();
        for (path, reason) in [("/circle", "/circle leads in a circle"), ("/file/x", "/file is not a directory")] {
            assert_eq!(ensure_dir(&root, Path::new(path)).unwrap_err().to_string(), reason);
        }

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

    #[test]
    fn as_many_links_are_followed_as_the_kernel_does() {
        let root = tempfile::tempdir().unwrap();
        // `n` leads on to `n - 1`, and `0` is nothing yet.
        for n in 1..=MAX_LINKS + 1 {
            symlink((n - 1).to_string(), root.path().join(n.to_string())).unwrap();
        }
        let path = |links: usize| PathBuf::from(format!("/{links}"));
        assert!(ensure_dir(root.path(), &path(MAX_LINKS + 1)).is_err());
        assert!(!root.path().join("0").exists());
        ensure_dir(root.path(), &path(MAX_LINKS)).unwrap();
        assert!(root.path().join("0").is_dir());
    }
}
