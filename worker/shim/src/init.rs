//! The init of a container that asked for one: reaps orphans and passes signals on.
//!
//! It is this program's own image, already in memory and already inside the walls, so the container's file system
//! needs no init binary. It holds no capability the command has not, and no open file but the standard streams.

use std::ffi::CString;

use nix::{
    sys::{
        signal::{SigSet, SigmaskHow, Signal, kill, pthread_sigmask},
        wait::{WaitPidFlag, WaitStatus, waitpid},
    },
    unistd::{ForkResult, Pid},
};

use crate::{payload, sys};

/// Runs the command as a child and ends with its exit code.
pub(crate) fn run(args: &[CString]) -> ! {
    // Blocked signals wait to be fetched; the first process of a pid namespace would otherwise never get them.
    let all = SigSet::all();
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&all), None);
    match sys::fork_single_threaded() {
        Ok(ForkResult::Child) => payload::execute(args),
        Ok(ForkResult::Parent { child }) => {
            let _ = sys::close_all_but_streams();
            serve(child, &all)
        }
        Err(_) => std::process::exit(126),
    }
}

fn serve(command: Pid, signals: &SigSet) -> ! {
    loop {
        match signals.wait() {
            Ok(Signal::SIGCHLD) => {
                if let Some(code) = reap(command) {
                    std::process::exit(code);
                }
            }
            Ok(signal) => {
                let _ = kill(command, signal);
            }
            // A signal number nix has no name for (a real-time one).
            Err(_) => {}
        }
    }
}

/// Reaps what has ended; the command's exit code once it is among them.
fn reap(command: Pid) -> Option<i32> {
    let mut ended = None;
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Ok(WaitStatus::Exited(pid, code)) if pid == command => ended = Some(code),
            Ok(WaitStatus::Signaled(pid, signal, _)) if pid == command => ended = Some(128 + signal as i32),
            Ok(WaitStatus::StillAlive) | Err(_) => return ended,
            Ok(_) => {}
        }
    }
}
