//! Cuts the shim loose from the daemon that started it.

use std::{
    fs::{File, OpenOptions},
    io,
    path::Path,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{SigmaskHow, pthread_sigmask},
};
use rustix::{
    mount::{MountPropagationFlags, mount_change},
    process::{getpid, set_child_subreaper, setsid},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
};

use crate::{cgroup::Cgroup, keeper, loopback, plan::Network, sys};

/// Closes every file the daemon may have leaked, and points the standard streams at nothing. Gives what was standard
/// output: where the daemon waits for the start report.
pub(crate) fn streams() -> io::Result<File> {
    sys::close_all_but_streams()?;
    let report = File::from(rustix::io::fcntl_dupfd_cloexec(rustix::stdio::stdout(), 3)?);
    let null = OpenOptions::new().read(true).write(true).open("/dev/null")?;
    dup2_stdin(&null)?;
    dup2_stdout(&null)?;
    dup2_stderr(&null)?;
    Ok(report)
}

/// Own session, own cgroup, adopted children, and a mount namespace of its own, so that the container's root file
/// system is nobody else's mount and goes with the last process that sees it, however that ends.
pub(crate) fn process(cgroup_parent: &Path, network: Network) -> io::Result<()> {
    // Fails only for the leader of a process group, which has what setsid gives.
    let _ = setsid();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&keeper::signals()), None)?;
    set_child_subreaper(Some(getpid()))?;
    Cgroup::of(&cgroup_parent.join("shims").to_string_lossy())?.enter()?;

    let mut namespaces = CloneFlags::CLONE_NEWNS;
    if network == Network::Own {
        namespaces |= CloneFlags::CLONE_NEWNET;
    }
    unshare(namespaces)?;
    // What the host mounts later shows up here; what is mounted here does not show up there.
    mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?;
    if network == Network::Own {
        loopback::up()?;
    }
    Ok(())
}
