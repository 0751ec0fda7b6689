//! What each command does. One module a command group.

mod daemon;

use std::process::ExitCode;

use crate::args::{Command, Skep};

/// Runs the command and says how it went: one sentence on stderr and 1 when it failed.
pub(crate) fn run(skep: Skep) -> ExitCode {
    let result = match skep.command {
        Command::Daemon(args) => daemon::run(args),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
