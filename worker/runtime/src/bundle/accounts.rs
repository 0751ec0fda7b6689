//! The users and groups an image knows, and what a container's `user` means by them.
//!
//! Files of an image are hostile: they are opened within the image's root, only as regular files, and read up to a
//! bound. Nothing of an image is ever mounted where anything else could see it.

use std::{
    collections::BTreeSet,
    fs::File,
    io::{self, Read as _},
    os::fd::AsRawFd as _,
    path::Path,
    thread,
};

use nix::sched::{CloneFlags, unshare};
use rustix::{
    fs::{FileType, Mode, OFlags, ResolveFlags, fstat, open, openat2},
    io::Errno,
    mount::{MountFlags, MountPropagationFlags, mount, mount_change},
    process::chdir,
};

use super::invalid;
use crate::RuntimeError;

/// As much of an account file as is read.
const MAX_FILE: u64 = 1 << 20;

/// `/etc/passwd` and `/etc/group` of an image.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Accounts {
    passwd: String,
    group: String,
}

/// Whom a container runs as.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) uid: u32,
    pub(crate) gid: u32,
    /// Every group, the primary one first.
    pub(crate) additional_gids: Vec<u32>,
    /// Its home directory; `None` when the image does not know it.
    pub(crate) home: Option<String>,
}

impl Accounts {
    /// Reads the account files of stacked layers, lowest first, directories below `layers_dir`. `mount_point` is an
    /// empty directory. Blocks.
    pub(crate) fn read(layers_dir: &Path, layers: &[String], mount_point: &Path) -> io::Result<Self> {
        if let [only] = layers {
            return Self::read_root(&layers_dir.join(only));
        }
        let stack: Vec<&str> = layers.iter().rev().map(String::as_str).collect();
        let options = std::ffi::CString::new(format!("lowerdir={}", stack.join(":")))?;
        // A thread may have a mount namespace and a working directory of its own; both go when it ends.
        thread::scope(|scope| {
            let reading = scope.spawn(|| {
                unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_FS)?;
                mount_change("/", MountPropagationFlags::PRIVATE | MountPropagationFlags::REC)?;
                chdir(layers_dir)?;
                mount("overlay", mount_point, "overlay", MountFlags::RDONLY, options.as_c_str())?;
                Self::read_root(mount_point)
            });
            reading.join().unwrap_or_else(|_| Err(io::Error::other("the reader of an image's accounts panicked")))
        })
    }

    fn read_root(root: &Path) -> io::Result<Self> {
        Ok(Self { passwd: read_inside(root, "etc/passwd")?, group: read_inside(root, "etc/group")? })
    }

    /// What `user[:group]` means, by name or number, and the additional `groups`. The rules are Docker's: a number
    /// nobody has is taken as it is; the user's own further groups count only when no group is named.
    pub(crate) fn identify(&self, user: &str, groups: &[String]) -> Result<Identity, RuntimeError> {
        let (user, group) = user.split_once(':').map_or((user, None), |(user, group)| (user, Some(group)));
        let user = if user.is_empty() { "0" } else { user };

        let number = user.parse::<u32>().ok();
        let entry = self.users().find(|entry| entry.name == user || number.is_some_and(|uid| uid == entry.uid));
        let mut identity = match (&entry, number) {
            (Some(entry), _) => Identity {
                uid: entry.uid,
                gid: entry.gid,
                additional_gids: Vec::new(),
                home: Some(entry.home.to_owned()).filter(|home| !home.is_empty()),
            },
            (None, Some(uid)) => Identity { uid, ..Identity::default() },
            (None, None) => {
                return Err(invalid(format!("unable to find user {user}: no matching entries in passwd file")));
            }
        };
        match group.filter(|group| !group.is_empty()) {
            Some(group) => identity.gid = self.gid(group)?,
            None => {
                let member = |group: &GroupEntry<'_>| {
                    entry.as_ref().is_some_and(|user| group.members.split(',').any(|member| member == user.name))
                };
                identity.additional_gids = self.groups().filter(member).map(|group| group.gid).collect();
            }
        }
        for group in groups {
            identity.additional_gids.push(self.gid(group)?);
        }
        // The primary group is one of them, so that a program that changes its group can change back.
        identity.additional_gids.insert(0, identity.gid);
        let mut seen = BTreeSet::new();
        identity.additional_gids.retain(|gid| seen.insert(*gid));
        Ok(identity)
    }

    fn gid(&self, group: &str) -> Result<u32, RuntimeError> {
        let number = group.parse::<u32>().ok();
        let named = self.groups().find(|entry| entry.name == group || number.is_some_and(|gid| gid == entry.gid));
        named
            .map(|entry| entry.gid)
            .or(number)
            .ok_or_else(|| invalid(format!("unable to find group {group}: no matching entries in group file")))
    }

    fn users(&self) -> impl Iterator<Item = UserEntry<'_>> {
        self.passwd.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let name = fields.next()?;
            let uid = fields.nth(1)?.parse().ok()?;
            let gid = fields.next()?.parse().ok()?;
            Some(UserEntry { name, uid, gid, home: fields.nth(1).unwrap_or_default() })
        })
    }

    fn groups(&self) -> impl Iterator<Item = GroupEntry<'_>> {
        self.group.lines().filter_map(|line| {
            let mut fields = line.trim().split(':');
            let name = fields.next()?;
            let gid = fields.nth(1)?.parse().ok()?;
            Some(GroupEntry { name, gid, members: fields.next().unwrap_or_default() })
        })
    }
}

struct UserEntry<'a> {
    name: &'a str,
    uid: u32,
    gid: u32,
    home: &'a str,
}

struct GroupEntry<'a> {
    name: &'a str,
    gid: u32,
    members: &'a str,
}

/// A regular file's text; empty when there is no such file. It is opened for reading only once it is known to be one:
/// to open a device node is to use the host's device, and this process may open any.
fn read_inside(root: &Path, path: &str) -> io::Result<String> {
    let root = open(root, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty())?;
    let (found, resolve) = (OFlags::PATH | OFlags::CLOEXEC, ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS);
    let found = match openat2(&root, path, found, Mode::empty(), resolve) {
        Ok(found) => found,
        // Absent or not to be reached: nobody is known then.
        Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => return Ok(String::new()),
        Err(error) => return Err(error.into()),
    };
    if !FileType::from_raw_mode(fstat(&found)?.st_mode).is_file() {
        return Ok(String::new());
    }
    let mut bytes = Vec::new();
    File::open(format!("/proc/self/fd/{}", found.as_raw_fd()))?.take(MAX_FILE).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::symlink};

    use super::*;

    fn accounts() -> Accounts {
        Accounts {
            passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:1000:1001::/srv:/bin/sh\nbroken\n".into(),
            group: "root:x:0:\nweb:x:1001:\nlog:x:4:web,root\n".into(),
        }
    }

    fn identity(uid: u32, gid: u32, additional_gids: &[u32], home: &str) -> Identity {
        let home = Some(home.to_owned()).filter(|home| !home.is_empty());
        Identity { uid, gid, additional_gids: additional_gids.to_vec(), home }
    }

    #[test]
    fn users_and_groups_go_by_name_and_by_number() {
        let table = [
            ("", identity(0, 0, &[0, 4], "/root")),
            ("web", identity(1000, 1001, &[1001, 4], "/srv")),
            ("1000", identity(1000, 1001, &[1001, 4], "/srv")),
            ("web:log", identity(1000, 4, &[4], "/srv")),
            ("4242", identity(4242, 0, &[0], "")),
            ("4242:77", identity(4242, 77, &[77], "")),
        ];
        for (user, want) in table {
            assert_eq!(accounts().identify(user, &[]).unwrap(), want, "{user:?}");
        }
        assert_eq!(
            accounts().identify("1000:2000", &["3000".into(), "log".into()]).unwrap().additional_gids,
            [2000, 3000, 4]
        );
    }

    #[test]
    fn an_unknown_name_is_told_as_docker_tells_it() {
        let text = accounts().identify("nobody", &[]).unwrap_err().to_string();
        assert_eq!(text, "unable to find user nobody: no matching entries in passwd file");
        let text = accounts().identify("web:none", &[]).unwrap_err().to_string();
        assert_eq!(text, "unable to find group none: no matching entries in group file");
    }

    #[test]
    fn a_link_out_of_the_image_leads_nowhere() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        symlink("/etc/../../../../etc/passwd", root.path().join("etc/group")).unwrap();
        fs::write(root.path().join("etc/passwd"), "me:x:7:7::/:\n").unwrap();
        let accounts = Accounts::read_root(root.path()).unwrap();
        assert_eq!(accounts.group, accounts.passwd, "the link resolves inside");
        fs::remove_file(root.path().join("etc/passwd")).unwrap();
        assert_eq!(Accounts::read_root(root.path()).unwrap(), Accounts::default());
    }

    #[test]
    fn what_is_no_file_is_not_opened() {
        use rustix::fs::{CWD, inotify, makedev, mknodat};

        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("etc")).unwrap();
        let opened = inotify::init(inotify::CreateFlags::NONBLOCK | inotify::CreateFlags::CLOEXEC).unwrap();
        let passwd = root.path().join("etc/passwd");
        // /dev/null; any other would be opened as well, whatever that does.
        let null = makedev(1, 3);
        for (kind, device) in [(FileType::CharacterDevice, null), (FileType::Fifo, 0)] {
            mknodat(CWD, &passwd, kind, Mode::from_raw_mode(0o666), device).unwrap();
            inotify::add_watch(&opened, &passwd, inotify::WatchFlags::OPEN).unwrap();
            assert_eq!(Accounts::read_root(root.path()).unwrap(), Accounts::default());
            let mut event = [0; 256];
            assert_eq!(rustix::io::read(&opened, &mut event), Err(Errno::AGAIN), "{kind:?} was opened");
            // The file, when it goes, is an event as well, but not of this kind.
            fs::remove_file(&passwd).unwrap();
            let _ = rustix::io::read(&opened, &mut event);
        }
        fs::write(&passwd, "me:x:7:7::/:\n").unwrap();
        inotify::add_watch(&opened, &passwd, inotify::WatchFlags::OPEN).unwrap();
        assert_ne!(Accounts::read_root(root.path()).unwrap(), Accounts::default());
        assert!(rustix::io::read(&opened, &mut [0; 256]).is_ok(), "a file is opened, and seen to be");
    }
}
