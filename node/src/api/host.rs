//! What the kernel says of this machine when asked; nothing is kept.

use std::{fs, path::Path};

/// GOARCH of this build: Docker's word for it.
pub(super) const ARCH: &str = if cfg!(target_arch = "x86_64") {
    "amd64"
} else if cfg!(target_arch = "aarch64") {
    "arm64"
} else {
    std::env::consts::ARCH
};

/// Release of the running kernel.
pub(super) fn kernel_version() -> String {
    rustix::system::uname().release().to_string_lossy().into_owned()
}

/// Name and version of the distribution, as os-release(5) has them.
pub(super) fn operating_system() -> (String, String) {
    let file = fs::read_to_string("/etc/os-release").or_else(|_| fs::read_to_string("/usr/lib/os-release"));
    let file = file.unwrap_or_default();
    let field = |name: &str| {
        let value = file.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches(['"', '\'']).to_owned()).unwrap_or_default()
    };
    (field("PRETTY_NAME"), field("VERSION_ID"))
}

/// Whether cgroups are of version 2 alone.
pub(super) fn cgroup_version() -> &'static str {
    if Path::new("/sys/fs/cgroup/cgroup.controllers").exists() { "2" } else { "1" }
}

/// Whether a switch of `/proc/sys` is on; one that is not there is off.
pub(super) fn sysctl(name: &str) -> bool {
    fs::read_to_string(Path::new("/proc/sys").join(name)).is_ok_and(|value| value.trim() == "1")
}

/// Entries of a directory of this process in `/proc/self`.
pub(super) fn count_own(directory: &str) -> u64 {
    let entries = fs::read_dir(Path::new("/proc/self").join(directory));
    entries.map_or(0, |entries| u64::try_from(entries.count()).unwrap_or(u64::MAX))
}
