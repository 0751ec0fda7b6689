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

const UNIFIED: &str = "/sys/fs/cgroup/cgroup.controllers";

/// What the kernel can limit.
pub(super) struct Cgroups {
    /// 1, or 2 where there is version 2 alone.
    pub(super) version: &'static str,
    controllers: Vec<String>,
}

impl Cgroups {
    /// The controllers that are there now.
    pub(super) fn read() -> Self {
        if let Ok(unified) = fs::read_to_string(UNIFIED) {
            return Self { version: "2", controllers: unified.split_whitespace().map(str::to_owned).collect() };
        }
        // name, hierarchy, number of cgroups, enabled
        let table = fs::read_to_string("/proc/cgroups").unwrap_or_default();
        let rows = table.lines().filter_map(|row| row.strip_suffix('1')?.split_whitespace().next());
        Self { version: "1", controllers: rows.map(str::to_owned).collect() }
    }

    /// Whether a controller is there.
    pub(super) fn has(&self, controller: &str) -> bool {
        self.controllers.iter().any(|known| known == controller)
    }

    /// Whether swap is counted apart.
    pub(super) fn has_swap(&self) -> bool {
        match self.version {
            "2" => self.has("memory") && Path::new("/proc/swaps").exists(),
            _ => Path::new("/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes").exists(),
        }
    }
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
