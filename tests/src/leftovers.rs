//! What a cluster could leave on the machine: processes, mounts, namespaces, cgroups.
//!
//! Looked at by what the cluster itself owned, so that clusters side by side do not accuse each other.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

/// What would tell of a cluster once it is down.
pub(crate) struct Traces {
    home: PathBuf,
    /// First part of the names of its network namespaces.
    id: String,
    /// Its containers, which name cgroups.
    containers: BTreeSet<String>,
}

impl Traces {
    /// To be taken while the cluster in `home` is still there.
    pub(crate) fn of(home: &Path) -> Self {
        let nodes = fs::read_dir(home).into_iter().flatten().flatten();
        let containers = nodes.flat_map(|node| names_in(&node.path().join("data/containers"))).collect();
        let id = fs::read_to_string(home.join("id")).unwrap_or_default().trim().to_owned();
        Self { home: home.to_owned(), id, containers }
    }

    /// Whatever of it is on the machine now.
    pub(crate) fn found(&self) -> BTreeSet<String> {
        let home = self.home.to_string_lossy();
        let mut found = BTreeSet::new();
        for pid in names_in(Path::new("/proc")) {
            // A process may end while it is looked at.
            let command = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
            let command = String::from_utf8_lossy(&command).replace('\0', " ");
            if command.contains(&*home) && command.split(' ').any(|word| word == "daemon" || word == "shim") {
                found.insert(format!("process {pid}: {command}"));
            }
        }
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let mounts =
            mounts.lines().filter_map(|line| line.split(' ').nth(4)).filter(|target| target.starts_with(&*home));
        found.extend(mounts.map(|target| format!("mount {target}")));
        let namespaces = names_in(Path::new("/run/netns")).into_iter();
        found.extend(
            namespaces
                .filter(|name| !self.id.is_empty() && name.starts_with(&self.id))
                .map(|name| format!("namespace {name}")),
        );
        self.cgroups(Path::new("/sys/fs/cgroup"), 0, &mut found);
        found
    }

    fn cgroups(&self, dir: &Path, depth: u32, found: &mut BTreeSet<String>) {
        for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
            if depth > 4 || !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            let name = entry.file_name().to_string_lossy().into_owned();
            if self.containers.iter().any(|container| name.contains(container)) {
                found.insert(format!("cgroup {}", entry.path().display()));
            }
            self.cgroups(&entry.path(), depth + 1, found);
        }
    }
}

fn names_in(dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(dir).into_iter().flatten().flatten();
    entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect()
}
