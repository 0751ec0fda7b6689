//! The init of a container that asked for one: reaps orphans and passes signals on.
//!
//! It is this program's own image, already in memory and already isolated, so the container's file system
//! needs no init binary. It holds no capability the command has not, and no open file but the standard streams; nobody
//! inside gets at the program's file on the host by way of `/proc/1/exe`.

use std::ffi::CString;

use nix::{
    sys::signal::{SigSet, SigmaskHow, Signal, pthread_sigmask},
    unistd::{ForkResult, Pid},
};
use rustix::process::{DumpableBehavior, set_dumpable_behavior};

use crate::{payload, sys};

/// Runs the command as a child and ends with its exit code.
pub(crate) fn run(args: &[CString]) -> ! {
    // Blocked signals wait to be fetched; the first process of a pid namespace would otherwise never get them.
    let all = SigSet::all();
    let _ = pthread_sigmask(SigmaskHow::SIG_SETMASK, Some(&all), None);
    match sys::fork_single_threaded() {
        Ok(ForkResult::Child) => payload::execute(args),
        Ok(ForkResult::Parent { child }) => {
            let _ = set_dumpable_behavior(DumpableBehavior::NotDumpable);
            let _ = sys::close_all_but_streams();
            serve(child, &all)
        }
        Err(_) => std::process::exit(126),
    }
}

fn serve(command: Pid, signals: &SigSet) -> ! {
    loop {
        match sys::next_signal(signals) {
            Ok(signal) if signal == Signal::SIGCHLD as i32 => {
                if let Some(code) = sys::reap(command.as_raw()) {
                    std::process::exit(code);
                }
            }
            Ok(signal) => {
                let _ = sys::send_signal(command.as_raw(), signal);
            }
            // Interrupted: by a stop and its end.
            Err(_) => {}
        }
    }
}
