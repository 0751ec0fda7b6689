//! A container's cgroup in every hierarchy the host has, version 1 or 2.
//!
//! Owns nothing but the way to it: libcontainer makes the cgroup and sets its limits, this module counts OOM kills,
//! kills what is left in it, and removes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::process::{Pid, Signal, getpid, kill_process};

/// Pause between two looks at a cgroup that is emptying.
const PAUSE: Duration = Duration::from_millis(5);

/// One cgroup, by its directory in each hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    dirs: Vec<PathBuf>,
}

impl Cgroup {
    /// The cgroup of this path from the root of each hierarchy, whether it exists or not.
    ///
    /// # Errors
    /// The mounts cannot be read, or there is no cgroup file system.
    pub fn of(path: &str) -> io::Result<Self> {
        let relative = path.trim_start_matches('/');
        if relative.is_empty() || relative.split('/').any(|part| part == "..") {
            return Err(io::Error::new(io::ErrorKind::InvalidInput, format!("{path:?} names no cgroup of its own")));
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo")?;
        let dirs: Vec<PathBuf> = hierarchies(&mounts).map(|hierarchy| hierarchy.join(relative)).collect();
        if dirs.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted"));
        }
        Ok(Self { dirs })
    }

    /// How many processes in it the kernel has killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let files = self.dirs.iter().flat_map(|dir| [dir.join("memory.events"), dir.join("memory.oom_control")]);
        files
            .filter_map(|file| fs::read_to_string(file).ok())
            .filter_map(|text| oom_kill_count(&text))
            .max()
            .unwrap_or(0)
    }

    /// The processes in it, as the host numbers them.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let mut all: Vec<i32> = self
            .dirs
            .iter()
            .filter_map(|dir| fs::read_to_string(dir.join("cgroup.procs")).ok())
            .flat_map(|text| text.lines().filter_map(|pid| pid.parse().ok()).collect::<Vec<_>>())
            .collect();
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether it exists in any hierarchy.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dirs.iter().any(|dir| dir.exists())
    }

    /// Kills every process in it and removes it, trying for `patience`.
    ///
    /// # Errors
    /// A process or a directory is still there.
    pub fn destroy(&self, patience: Duration) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        loop {
            for pid in self.processes() {
                // A pid seen here is a process of the cgroup: none of them can have been reaped and its number given
                // to another outside without leaving this list, save within the microseconds in between.
                if let Some(pid) = Pid::from_raw(pid).filter(|pid| *pid != getpid()) {
                    let _ = kill_process(pid, Signal::KILL);
                }
            }
            match self.dirs.iter().try_for_each(|dir| remove(dir)) {
                Ok(()) => return Ok(()),
                Err(error) if waited >= patience => return Err(error),
                Err(_) => {
                    std::thread::sleep(PAUSE);
                    waited += PAUSE;
                }
            }
        }
    }

    /// Its directory where version 2 is the only hierarchy.
    pub(crate) fn unified(&self) -> Option<&Path> {
        match self.dirs.as_slice() {
            [only] if only.join("cgroup.controllers").exists() => Some(only),
            _ => None,
        }
    }

    /// Moves the calling process into it, making it where it is missing, in the hierarchies that process managers kill
    /// by: version 2 and systemd's own. Where the process already sits at the root nothing is done.
    ///
    /// # Errors
    /// It cannot be made, or the kernel refuses.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let present = fs::read_to_string("/proc/self/cgroup")?;
        for (dir, controllers) in self.dirs.iter().zip(self.controllers()) {
            if !matches!(controllers.as_deref(), Some("" | "name=systemd")) {
                continue;
            }
            let at_root = present.lines().any(|line| {
                let mut parts = line.splitn(3, ':').skip(1);
                parts.next() == controllers.as_deref() && parts.next() == Some("/")
            });
            if !at_root {
                fs::create_dir_all(dir)?;
                fs::write(dir.join("cgroup.procs"), std::process::id().to_string())?;
            }
        }
        Ok(())
    }

    /// The controllers of each hierarchy as `/proc/self/cgroup` writes them: empty for version 2.
    fn controllers(&self) -> impl Iterator<Item = Option<String>> {
        self.dirs.iter().map(|dir| {
            if dir.starts_with("/sys/fs/cgroup/systemd") {
                Some("name=systemd".to_owned())
            } else {
                let root = dir.ancestors().find(|dir| dir.join("cgroup.procs").exists())?;
                root.join("cgroup.controllers").exists().then(String::new)
            }
        })
    }
}

/// The mount points of every cgroup hierarchy.
fn hierarchies(mountinfo: &str) -> impl Iterator<Item = PathBuf> {
    mountinfo.lines().filter_map(|line| {
        // proc_pid_mountinfo(5): the mount point is field 5; the type follows the separator.
        let (mount, filesystem) = line.split_once(" - ")?;
        let kind = filesystem.split(' ').next()?;
        let point = mount.split(' ').nth(4)?;
        matches!(kind, "cgroup" | "cgroup2").then(|| PathBuf::from(point))
    })
}

fn oom_kill_count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

/// Removes a cgroup directory and those below it; that it is gone already is no error.
fn remove(dir: &Path) -> io::Result<()> {
    let entries = match fs::read_dir(dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error),
    };
    for entry in entries.filter_map(Result::ok) {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove(&entry.path())?;
        }
    }
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hierarchies_of_both_versions_are_found() {
        let mounts = "\
25 1 253:0 / / rw - ext4 /dev/vda rw
30 25 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu
31 25 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw
";
        let found: Vec<_> = hierarchies(mounts).collect();
        assert_eq!(found, [Path::new("/sys/fs/cgroup/cpu"), Path::new("/sys/fs/cgroup/unified")]);
    }

    #[test]
    fn kills_are_counted_in_the_files_of_both_versions() {
        assert_eq!(oom_kill_count("low 0\nhigh 0\nmax 3\noom 1\noom_kill 2\noom_group_kill 0\n"), Some(2));
        assert_eq!(oom_kill_count("oom_kill_disable 0\nunder_oom 0\noom_kill 1\n"), Some(1));
        assert_eq!(oom_kill_count("oom_kill_disable 0\nunder_oom 0\n"), None);
    }

    #[test]
    fn the_root_is_never_a_containers_cgroup() {
        assert!(Cgroup::of("/").is_err());
        assert!(Cgroup::of("/skep/../..").is_err());
    }
}
