//! What a container sees of cgroups where they are version 1: its own one in each hierarchy, read-only.
//!
//! Version 2 has namespaces for it. Here the shim puts the view together in its own mount namespace, in the directory
//! [`plan::CGROUP_VIEW`] of its own, and the container gets a copy of that: whoever could write there would lift the
//! container's limits, or have the host run a program (`release_agent`).

use std::{ffi::CString, fs, io, os::unix::fs::symlink, path::Path};

use rustix::mount::{MountFlags, mount, mount_bind, mount_remount};

use crate::{
    cgroup::{Cgroup, ROOT},
    plan,
};

const FLAGS: MountFlags = MountFlags::NOSUID.union(MountFlags::NODEV).union(MountFlags::NOEXEC);

/// Puts the view of a cgroup, which must exist, together below `dir`.
pub(crate) fn make(cgroup: &Cgroup, dir: &Path) -> io::Result<()> {
    let view = dir.join(plan::CGROUP_VIEW);
    fs::create_dir(&view)?;
    let options = CString::from(c"mode=755");
    mount("tmpfs", &view, "tmpfs", FLAGS, options.as_c_str())?;
    for group in cgroup.groups().iter().filter(|group| !group.unified) {
        let Ok(name) = group.mount.strip_prefix(ROOT) else { continue };
        let target = view.join(name);
        fs::create_dir_all(&target)?;
        mount_bind(&group.dir, &target)?;
        mount_remount(&target, MountFlags::BIND | MountFlags::RDONLY | FLAGS, c"")?;
    }
    // The names of controllers that share a hierarchy: `cpu` for `cpu,cpuacct`.
    for entry in fs::read_dir(ROOT)?.filter_map(Result::ok) {
        if let Ok(target) = fs::read_link(entry.path()) {
            symlink(target, view.join(entry.file_name()))?;
        }
    }
    Ok(mount_remount(&view, MountFlags::RDONLY | FLAGS, options.as_c_str())?)
}
