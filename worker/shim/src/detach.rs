//! Cuts the shim loose from the daemon that started it.

use std::{
    fs::{File, OpenOptions},
    io,
    os::fd::AsFd as _,
    path::Path,
};

use nix::{
    sched::{CloneFlags, unshare},
    sys::signal::{SigmaskHow, pthread_sigmask},
    unistd::setgroups,
};
use rustix::{
    fs::Mode,
    mount::{MountPropagationFlags, mount_bind, mount_change},
    process::{getpid, set_child_subreaper, setsid, umask},
    stdio::{dup2_stderr, dup2_stdin, dup2_stdout},
    thread::{LinkNameSpaceType, move_into_link_name_space},
};

use crate::{cgroup::Cgroup, keeper, loopback, plan, sys};

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
pub(crate) fn process(cgroup_parent: &Path) -> io::Result<()> {
    // Fails only for the leader of a process group, which has what setsid gives.
    let _ = setsid();
    pthread_sigmask(SigmaskHow::SIG_BLOCK, Some(&keeper::signals()), None)?;
    set_child_subreaper(Some(getpid()))?;
    // Docker's, whatever the daemon's is: containers inherit it.
    umask(Mode::from_raw_mode(0o022));
    // The daemon's groups are not the container's, and libcontainer leaves them where it has none to set.
    setgroups(&[])?;
    Cgroup::of(&cgroup_parent.join("shims").to_string_lossy())?.enter()?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    // What the host mounts later shows up here; what is mounted here does not show up there.
    Ok(mount_change("/", MountPropagationFlags::DOWNSTREAM | MountPropagationFlags::REC)?)
}

/// Makes the container's network namespace, its loopback up, and binds it to the file [`plan::NETWORK`] of the shim's
/// directory. The shim itself stays outside.
pub(crate) fn network(dir: &Path) -> io::Result<()> {
    const HERE: &str = "/proc/self/ns/net";
    let name = dir.join(plan::NETWORK);
    let outside = File::open(HERE)?;
    File::create(&name)?;
    unshare(CloneFlags::CLONE_NEWNET)?;
    loopback::up()?;
    mount_bind(HERE, &name)?;
    Ok(move_into_link_name_space(outside.as_fd(), Some(LinkNameSpaceType::Network))?)
}
