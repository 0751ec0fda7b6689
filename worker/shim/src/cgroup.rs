//! A container's cgroup in every hierarchy the host has, version 1 or 2.
//!
//! Owns nothing but the way to it: libcontainer makes the cgroup of the controllers it knows and sets the limits, this
//! module makes the rest, holds the container in all of them, counts OOM kills, kills what is left, and removes it.

use std::{
    fs, io,
    path::{Path, PathBuf},
    time::Duration,
};

use rustix::{
    fs::statfs,
    process::{Pid, Signal, getpid, kill_process},
};

/// Where hierarchies are mounted, on every host there is.
pub(crate) const ROOT: &str = "/sys/fs/cgroup";
/// `CGROUP2_SUPER_MAGIC` of linux/magic.h.
const CGROUP2: u32 = 0x6367_7270;
/// Pause between two looks at a cgroup that is emptying.
const PAUSE: Duration = Duration::from_millis(5);

/// Whether version 2 is what containers are confined by here: it is what is mounted on `/sys/fs/cgroup` itself. Other
/// mounts of it, wherever they are, change nothing.
///
/// # Errors
/// There is no `/sys/fs/cgroup`.
pub fn is_unified() -> io::Result<bool> {
    Ok(u32::try_from(statfs(ROOT)?.f_type).is_ok_and(|magic| magic == CGROUP2))
}

/// One cgroup, by its directory in each hierarchy.
#[derive(Debug, Clone)]
pub struct Cgroup {
    groups: Vec<Group>,
}

/// A cgroup in one hierarchy.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Group {
    /// Where the hierarchy is mounted.
    pub(crate) mount: PathBuf,
    /// The cgroup's directory.
    pub(crate) dir: PathBuf,
    /// The options of its file system: the controllers of a version 1 hierarchy, or its name, are among them.
    options: Vec<String>,
    /// Whether it is the one of version 2.
    pub(crate) unified: bool,
}

impl Group {
    pub(crate) fn has(&self, controller: &str) -> bool {
        !self.unified && self.options.iter().any(|option| option == controller)
    }

    /// Where a process is in this hierarchy, by its `/proc/<pid>/cgroup`.
    fn place<'a>(&self, memberships: &'a str) -> Option<&'a str> {
        memberships.lines().find_map(|line| {
            let (controllers, path) = line.split_once(':')?.1.split_once(':')?;
            let here = if self.unified {
                controllers.is_empty()
            } else {
                !controllers.is_empty() && controllers.split(',').all(|controller| self.has(controller))
            };
            here.then_some(path)
        })
    }
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
        // A mount that another one covers is not to be reached.
        let groups: Vec<Group> =
            groups(&mounts, relative).into_iter().filter(|group| group.mount.join("cgroup.procs").exists()).collect();
        if groups.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup file system is mounted"));
        }
        Ok(Self { groups })
    }

    /// How many processes in it the kernel has killed for want of memory.
    #[must_use]
    pub fn oom_kills(&self) -> u64 {
        let files = self.dirs().flat_map(|dir| [dir.join("memory.events"), dir.join("memory.oom_control")]);
        files
            .filter_map(|file| fs::read_to_string(file).ok())
            .filter_map(|text| oom_kill_count(&text))
            .max()
            .unwrap_or(0)
    }

    /// The processes in it and in what is below it, as the host numbers them.
    #[must_use]
    pub fn processes(&self) -> Vec<i32> {
        let mut all = Vec::new();
        self.dirs().for_each(|dir| collect_processes(dir, &mut all));
        all.sort_unstable();
        all.dedup();
        all
    }

    /// Whether it exists in any hierarchy.
    #[must_use]
    pub fn exists(&self) -> bool {
        self.dirs().any(Path::exists)
    }

    /// Kills every process in it and removes it, trying for `patience`.
    ///
    /// # Errors
    /// A process or a directory is still there.
    pub fn destroy(&self, patience: Duration) -> io::Result<()> {
        let mut waited = Duration::ZERO;
        loop {
            self.kill();
            match self.dirs().try_for_each(remove) {
                Ok(()) => return Ok(()),
                Err(error) if waited >= patience => return Err(error),
                Err(_) => {
                    std::thread::sleep(PAUSE);
                    waited += PAUSE;
                }
            }
        }
    }

    /// Kills every process in it. Where the kernel cannot do that at once they are held still meanwhile, so that none
    /// can fork faster than it is found.
    fn kill(&self) {
        let at_once = |group: &Group| group.unified && fs::write(group.dir.join("cgroup.kill"), "1").is_ok();
        let killed = self.groups.iter().filter(|group| at_once(group)).count() > 0;
        let freeze = |state| {
            for group in self.groups.iter().filter(|group| !killed && group.has("freezer")) {
                let _ = fs::write(group.dir.join("freezer.state"), state);
            }
        };
        freeze("FROZEN");
        for pid in self.processes() {
            // A pid seen here is a process of the cgroup: none of them can have been reaped and its number given
            // to another outside without leaving this list, save within the microseconds in between.
            if let Some(pid) = Pid::from_raw(pid).filter(|pid| *pid != getpid()) {
                let _ = kill_process(pid, Signal::KILL);
            }
        }
        freeze("THAWED");
    }

    /// Makes it in every hierarchy.
    ///
    /// # Errors
    /// The kernel refuses.
    pub(crate) fn make(&self) -> io::Result<()> {
        self.dirs().try_for_each(fs::create_dir_all)
    }

    /// Sees to it that a process is in it in every hierarchy there is: a process outside of one is outside of what that
    /// one limits.
    ///
    /// # Errors
    /// The kernel refuses, or the process is gone.
    pub(crate) fn hold(&self, pid: u32, path: &str) -> io::Result<()> {
        let memberships = fs::read_to_string(format!("/proc/{pid}/cgroup"))?;
        for group in &self.groups {
            if group.place(&memberships) != Some(path) {
                fs::write(group.dir.join("cgroup.procs"), pid.to_string())?;
            }
        }
        Ok(())
    }

    /// Itself in each hierarchy.
    pub(crate) fn groups(&self) -> &[Group] {
        &self.groups
    }

    /// Moves the calling process into it, making it where it is missing, in the hierarchies that process managers kill
    /// by: version 2 and systemd's own. Where the process already sits at the root nothing is done.
    ///
    /// # Errors
    /// It cannot be made, or the kernel refuses.
    pub(crate) fn enter(&self) -> io::Result<()> {
        let present = fs::read_to_string("/proc/self/cgroup")?;
        for group in self.groups.iter().filter(|group| group.unified || group.has("name=systemd")) {
            if group.place(&present) != Some("/") {
                fs::create_dir_all(&group.dir)?;
                fs::write(group.dir.join("cgroup.procs"), std::process::id().to_string())?;
            }
        }
        Ok(())
    }

    fn dirs(&self) -> impl Iterator<Item = &Path> {
        self.groups.iter().map(|group| group.dir.as_path())
    }
}

/// A cgroup in every hierarchy that is mounted. One that is mounted more than once counts once, by its mount in the
/// usual place.
fn groups(mountinfo: &str, relative: &str) -> Vec<Group> {
    let mut found: Vec<(&str, Group)> = Vec::new();
    for line in mountinfo.lines() {
        // proc_pid_mountinfo(5): the device is field 3, the mount point field 5; the type follows the separator.
        let Some((mount, filesystem)) = line.split_once(" - ") else { continue };
        let (mut mount, mut filesystem) = (mount.split(' '), filesystem.split(' '));
        let (Some(device), Some(point)) = (mount.nth(2), mount.nth(1)) else { continue };
        let (Some(kind), Some(options)) = (filesystem.next(), filesystem.nth(1)) else { continue };
        if !matches!(kind, "cgroup" | "cgroup2") {
            continue;
        }
        let point = PathBuf::from(point);
        let group = Group {
            dir: point.join(relative),
            options: options.split(',').map(str::to_owned).collect(),
            unified: kind == "cgroup2",
            mount: point,
        };
        match found.iter_mut().find(|(known, _)| *known == device) {
            Some((_, known)) if !known.mount.starts_with(ROOT) && group.mount.starts_with(ROOT) => *known = group,
            Some(_) => {}
            None => found.push((device, group)),
        }
    }
    found.into_iter().map(|(_, group)| group).collect()
}

fn oom_kill_count(text: &str) -> Option<u64> {
    text.lines().find_map(|line| line.strip_prefix("oom_kill ")?.trim().parse().ok())
}

fn below(dir: &Path) -> impl Iterator<Item = PathBuf> {
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    entries.filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir())).map(|entry| entry.path())
}

fn collect_processes(dir: &Path, all: &mut Vec<i32>) {
    if let Ok(text) = fs::read_to_string(dir.join("cgroup.procs")) {
        all.extend(text.lines().filter_map(|pid| pid.parse::<i32>().ok()));
        below(dir).for_each(|dir| collect_processes(&dir, all));
    }
}

/// Removes a cgroup directory and those below it; that it is gone already is no error.
fn remove(dir: &Path) -> io::Result<()> {
    below(dir).try_for_each(|dir| remove(&dir))?;
    match fs::remove_dir(dir) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &str = "\
25 1 253:0 / / rw - ext4 /dev/vda rw
29 25 0:28 / /mnt/again rw - cgroup2 cgroup2 rw
30 25 0:26 / /sys/fs/cgroup/cpu rw,relatime shared:9 - cgroup cgroup rw,cpu,cpuacct
31 25 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,release_agent=/x,name=systemd
32 25 0:28 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw,nsdelegate
33 25 0:26 /skep/x /var/other rw - cgroup cgroup rw,cpu,cpuacct
";

    fn dirs(mounts: &str) -> Vec<PathBuf> {
        groups(mounts, "skep/x").into_iter().map(|group| group.dir).collect()
    }

    #[test]
    fn each_hierarchy_counts_once_by_its_usual_mount() {
        let want = ["/sys/fs/cgroup/unified/skep/x", "/sys/fs/cgroup/cpu/skep/x", "/sys/fs/cgroup/systemd/skep/x"];
        assert_eq!(dirs(HYBRID), want.map(PathBuf::from));
        let twice = "30 25 0:26 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw\n31 25 0:26 / /mnt rw - cgroup2 cgroup2 rw\n";
        assert_eq!(dirs(twice), [PathBuf::from("/sys/fs/cgroup/skep/x")]);
    }

    #[test]
    fn a_process_is_found_in_each_hierarchy() {
        let memberships = "5:name=systemd:/a\n3:cpu,cpuacct:/b\n2:memory:/c\n0::/d\n";
        let places: Vec<_> = groups(HYBRID, "x").iter().map(|group| group.place(memberships)).collect();
        assert_eq!(places, [Some("/d"), Some("/b"), Some("/a")]);
        assert_eq!(groups(HYBRID, "x")[1].place("2:memory:/c\n0::/d\n"), None);
    }

    #[test]
    fn a_hierarchy_says_which_controllers_it_has() {
        let found = groups(HYBRID, "x");
        let having = |controller| found.iter().map(|group| group.has(controller)).collect::<Vec<_>>();
        assert_eq!(having("cpuacct"), [false, true, false]);
        assert_eq!(having("name=systemd"), [false, false, true]);
        assert_eq!(having("rw"), [false, true, true], "version 2 names none in its options");
        assert_eq!(found.iter().map(|group| group.unified).collect::<Vec<_>>(), [true, false, false]);
    }

    #[test]
    fn the_first_usual_mount_stays() {
        let line = |at: &str| format!("1 0 0:9 / {at} rw - cgroup cgroup rw,pids\n");
        let found = |mounts: &[&str]| dirs(&mounts.iter().map(|at| line(at)).collect::<String>());
        let usual = [PathBuf::from("/sys/fs/cgroup/pids/skep/x")];
        assert_eq!(found(&["/sys/fs/cgroup/pids", "/sys/fs/cgroup/again"]), usual);
        assert_eq!(found(&["/sys/fs/cgroup/pids", "/mnt"]), usual);
        assert_eq!(found(&["/mnt", "/sys/fs/cgroup/pids"]), usual);
        assert_eq!(found(&["/mnt", "/other"]), [PathBuf::from("/mnt/skep/x")]);
        assert!(dirs("1 0 0:9 / /x rw - tmpfs tmpfs rw\n").is_empty());
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
        assert!(Cgroup::of("").is_err());
    }

    #[test]
    fn any_other_path_is_one() {
        for path in ["/skep/x", "skep/x", "/skep/..x"] {
            // Where this machine has no cgroups that is another error.
            let refused = Cgroup::of(path).err().map(|error| error.kind());
            assert_ne!(refused, Some(io::ErrorKind::InvalidInput), "{path}");
        }
    }

    /// A cgroup in these directories, which need be no cgroups.
    fn within(dirs: &[&Path]) -> Cgroup {
        let group = |dir: &&Path| Group {
            mount: PathBuf::from(ROOT),
            dir: dir.to_path_buf(),
            options: Vec::new(),
            unified: false,
        };
        Cgroup { groups: dirs.iter().map(group).collect() }
    }

    #[test]
    fn its_processes_are_those_of_every_hierarchy_and_of_what_is_below() {
        let (one, two) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let below = one.path().join("a/b");
        fs::create_dir_all(&below).unwrap();
        let hold = |dir: &Path, pids: &str| fs::write(dir.join("cgroup.procs"), pids).unwrap();
        hold(one.path(), "30\n20\n");
        hold(&one.path().join("a"), "");
        hold(&below, "4000\n");
        hold(two.path(), "20\n50\n");
        assert_eq!(within(&[one.path(), two.path()]).processes(), [20, 30, 50, 4000]);
        assert!(within(&[&one.path().join("gone")]).processes().is_empty());
    }

    #[test]
    fn its_kills_are_those_of_the_hierarchy_that_counts_them() {
        let (memory, other) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let cgroup = within(&[other.path(), memory.path()]);
        assert_eq!(cgroup.oom_kills(), 0);
        fs::write(memory.path().join("memory.oom_control"), "under_oom 0\noom_kill 3\n").unwrap();
        assert_eq!(cgroup.oom_kills(), 3);
        fs::write(other.path().join("memory.events"), "oom 9\noom_kill 4\n").unwrap();
        assert_eq!(cgroup.oom_kills(), 4);
    }

    #[test]
    fn removing_takes_what_is_below_and_what_is_gone_already_is_no_error() {
        let outer = tempfile::tempdir().unwrap();
        let dir = outer.path().join("x");
        fs::create_dir_all(dir.join("a/b")).unwrap();
        let cgroup = within(&[&outer.path().join("never"), &dir]);
        assert!(cgroup.exists());
        remove(&dir).unwrap();
        assert!(!cgroup.exists());
        remove(&dir).unwrap();
        // As a cgroup with a process in it refuses to go.
        fs::create_dir_all(dir.join("a")).unwrap();
        fs::write(dir.join("a/held"), "").unwrap();
        assert!(remove(&dir).is_err());
    }
}
