//! What a cluster could leave on the machine: processes, mounts, namespaces, cgroups.

use std::{collections::BTreeSet, fs, path::Path};

use anyhow::Result;

/// Everything of skep's that is on the machine at one moment.
#[derive(Debug, PartialEq, Eq)]
pub struct Leftovers(BTreeSet<String>);

impl Leftovers {
    /// Looks.
    pub fn now() -> Result<Self> {
        let mut found = BTreeSet::new();
        for entry in fs::read_dir("/proc")?.flatten() {
            // A process may end while it is looked at.
            let Ok(command) = fs::read(entry.path().join("cmdline")) else {
                continue;
            };
            let words: Vec<_> = command.split(|byte| *byte == 0).map(String::from_utf8_lossy).collect();
            if words.first().is_some_and(|program| Path::new(program.as_ref()).ends_with("skep"))
                && words.get(1).is_some_and(|verb| verb == "daemon" || verb == "shim")
            {
                found.insert(format!("process {}", words.join(" ")));
            }
        }
        for line in fs::read_to_string("/proc/self/mountinfo")?.lines() {
            if let Some(target) = line.split(' ').nth(4).filter(|target| target.contains("/skt")) {
                found.insert(format!("mount {target}"));
            }
        }
        for entry in fs::read_dir("/run/netns").into_iter().flatten().flatten() {
            let name = entry.file_name().to_string_lossy().into_owned();
            if name.starts_with("sk") {
                found.insert(format!("namespace {name}"));
            }
        }
        cgroups(Path::new("/sys/fs/cgroup"), 0, &mut found);
        Ok(Self(found))
    }

    /// What is here that was not there before.
    pub fn beyond(&self, before: &Self) -> String {
        self.0.difference(&before.0).cloned().collect::<Vec<_>>().join("\n")
    }
}

/// Collects the groups below every group named `skep…`.
fn cgroups(dir: &Path, depth: u32, found: &mut BTreeSet<String>) {
    for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
        if !entry.file_type().is_ok_and(|kind| kind.is_dir()) || depth > 4 {
            continue;
        }
        let path = entry.path();
        if dir.to_string_lossy().contains("/skep") {
            found.insert(format!("cgroup {}", path.display()));
        }
        cgroups(&path, depth + 1, found);
    }
}
