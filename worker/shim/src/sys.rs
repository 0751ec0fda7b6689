//! The few system calls no crate wraps safely for us. Everything unsafe in this crate is here.

#![expect(unsafe_code, reason = "system calls whose soundness rests on this process having one thread")]

use std::{
    io,
    os::fd::{AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
};

use nix::{
    errno::Errno,
    libc,
    sys::signal::SigSet,
    unistd::{ForkResult, fork},
};
use rustix::process::{WaitOptions, wait};

use crate::devices::Instruction;

/// Closes every file but the standard streams. For a process that holds no other, or will use none again.
pub(crate) fn close_all_but_streams() -> io::Result<()> {
    // SAFETY: a system call on numbers. By the contract above no value that owns one of these files is used later.
    match unsafe { libc::close_range(3, libc::c_uint::MAX, 0) } {
        0 => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Sends any signal, real-time ones included, to a process.
pub(crate) fn send_signal(pid: libc::pid_t, signal: i32) -> Result<(), Errno> {
    // SAFETY: a system call on numbers.
    Errno::result(unsafe { libc::kill(pid, signal) }).map(drop)
}

/// Waits for a signal out of a blocked set, real-time ones included, and gives its number.
pub(crate) fn next_signal(signals: &SigSet) -> Result<i32, Errno> {
    // SAFETY: the set is valid for the call, and nothing is to be written beside the result.
    Errno::result(unsafe { libc::sigwaitinfo(signals.as_ref(), std::ptr::null_mut()) })
}

/// Reaps every child that has ended; the exit code of child `pid` once it is among them: its own, or 128 + n when
/// signal n ended it, whichever n.
pub(crate) fn reap(pid: libc::pid_t) -> Option<i32> {
    let mut ended = None;
    while let Ok(Some((child, status))) = wait(WaitOptions::NOHANG) {
        let code = status.exit_status().or_else(|| status.terminating_signal().map(|signal| 128 + signal));
        if child.as_raw_pid() == pid {
            ended = ended.or(code);
        }
    }
    ended
}

/// Confines this process to a filter: an array of `struct sock_filter`.
pub(crate) fn load_seccomp_filter(filter: &[u8]) -> io::Result<()> {
    let mut program: Vec<libc::sock_filter> = filter
        .chunks_exact(8)
        .map(|chunk| libc::sock_filter {
            code: u16::from_ne_bytes([chunk[0], chunk[1]]),
            jt: chunk[2],
            jf: chunk[3],
            k: u32::from_ne_bytes([chunk[4], chunk[5], chunk[6], chunk[7]]),
        })
        .collect();
    let len = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let program = libc::sock_fprog { len, filter: program.as_mut_ptr() };
    // SAFETY: `program` points to `len` instructions that live until the call returns; the kernel copies them.
    let result = unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const program) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Lets nobody write through a mount.
pub(crate) fn make_read_only(mount: BorrowedFd<'_>) -> io::Result<()> {
    let change = libc::mount_attr { attr_set: libc::MOUNT_ATTR_RDONLY, attr_clr: 0, propagation: 0, userns_fd: 0 };
    // SAFETY: the path and `change` outlive the call, and the size is that of `change`.
    let result = unsafe {
        libc::syscall(
            libc::SYS_mount_setattr,
            mount.as_raw_fd(),
            c"".as_ptr(),
            libc::AT_EMPTY_PATH,
            &raw const change,
            size_of::<libc::mount_attr>(),
        )
    };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// `BPF_PROG_LOAD`, as far as it is filled in here (`union bpf_attr`).
#[repr(C)]
struct LoadProgram {
    kind: u32,
    instructions: u32,
    program: u64,
    license: u64,
}

/// `BPF_PROG_ATTACH`.
#[repr(C)]
struct AttachProgram {
    target: u32,
    program: u32,
    place: u32,
    flags: u32,
}

/// Gives the kernel a program that decides on devices.
pub(crate) fn load_device_program(instructions: &[Instruction]) -> io::Result<OwnedFd> {
    const BPF_PROG_LOAD: libc::c_int = 5;
    const BPF_PROG_TYPE_CGROUP_DEVICE: u32 = 15;
    let mut program = Vec::with_capacity(instructions.len() * 8);
    for (code, registers, offset, number) in instructions {
        program.extend([*code, *registers]);
        program.extend(offset.to_ne_bytes());
        program.extend(number.to_ne_bytes());
    }
    let license = c"Apache-2.0";
    let load = LoadProgram {
        kind: BPF_PROG_TYPE_CGROUP_DEVICE,
        instructions: u32::try_from(instructions.len()).map_err(io::Error::other)?,
        program: program.as_ptr() as u64,
        license: license.as_ptr() as u64,
    };
    // SAFETY: both pointers in `load` are to memory that outlives the call, and its size is the one passed.
    let file = unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_LOAD, &raw const load, size_of::<LoadProgram>()) };
    match libc::c_int::try_from(file) {
        // SAFETY: the kernel has just made this file for us.
        Ok(file) if file >= 0 => Ok(unsafe { OwnedFd::from_raw_fd(file) }),
        _ => Err(io::Error::last_os_error()),
    }
}

/// Makes such a program decide for a cgroup; it stays while the cgroup does.
pub(crate) fn attach_device_program(cgroup: BorrowedFd<'_>, program: BorrowedFd<'_>) -> io::Result<()> {
    const BPF_PROG_ATTACH: libc::c_int = 8;
    const BPF_CGROUP_DEVICE: u32 = 6;
    const BPF_F_ALLOW_MULTI: u32 = 2;
    let number = |file: BorrowedFd<'_>| u32::try_from(file.as_raw_fd()).map_err(io::Error::other);
    let attach = AttachProgram {
        target: number(cgroup)?,
        program: number(program)?,
        place: BPF_CGROUP_DEVICE,
        flags: BPF_F_ALLOW_MULTI,
    };
    // SAFETY: `attach` outlives the call and its size is the one passed.
    let result =
        unsafe { libc::syscall(libc::SYS_bpf, BPF_PROG_ATTACH, &raw const attach, size_of::<AttachProgram>()) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

/// Gives every signal its default disposition, those too that the C library keeps for itself and its own call spares.
pub(crate) fn restore_signals() {
    const LAST: libc::c_int = 64;
    const SET_SIZE: libc::size_t = 8;
    // The kernel's `struct sigaction`: SIG_DFL, no flags, no restorer, an empty mask.
    let default = [0_u64; 4];
    for signal in 1..=LAST {
        // SAFETY: `default` is at least as long as the kernel's structure and names no handler; the old one is not asked.
        // SIGKILL and SIGSTOP are refused, and stay as they are.
        let null = std::ptr::null_mut::<libc::c_void>();
        unsafe { libc::syscall(libc::SYS_rt_sigaction, signal, default.as_ptr(), null, SET_SIZE) };
    }
}

/// Forks. The process must have one thread.
pub(crate) fn fork_single_threaded() -> Result<ForkResult, Errno> {
    // SAFETY: with one thread nothing can be held by another at the fork, so the child may do anything.
    unsafe { fork() }
}
