//! The few system calls no crate wraps safely for us. Everything unsafe in this crate is here.

#![expect(unsafe_code, reason = "system calls whose soundness rests on this process having one thread")]

use std::io;

use nix::{
    errno::Errno,
    libc,
    sys::signal::{SigHandler, Signal, signal},
    unistd::{ForkResult, fork},
};

/// Closes every file but the standard streams. For a process that holds no other, or will use none again.
pub(crate) fn close_all_but_streams() -> io::Result<()> {
    // SAFETY: a system call on numbers. By the contract above no value that owns one of these files is used later.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends any signal, real-time ones included, to a process.
pub(crate) fn send_signal(pid: u32, signal: i32) -> Result<(), Errno> {
    let pid = libc::pid_t::try_from(pid).map_err(|_| Errno::ESRCH)?;
    // SAFETY: a system call on numbers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Lets SIGPIPE end the process again, as it does before a Rust `main`.
pub(crate) fn restore_sigpipe() {
    // SAFETY: sets a default disposition, not a handler.
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigDfl) };
}

/// Forks. The process must have one thread.
pub(crate) fn fork_single_threaded() -> Result<ForkResult, Errno> {
    // SAFETY: with one thread nothing can be held by another at the fork, so the child may do anything.
    unsafe { fork() }
}
