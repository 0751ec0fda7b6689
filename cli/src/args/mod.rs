//! What can be typed, as types. No behaviour: [`crate::commands`] acts.

mod daemon;

use clap::{Parser, Subcommand};

pub(crate) use self::daemon::DaemonArgs;

/// Several machines become one; you say what should run, and it keeps running.
#[derive(Debug, Parser)]
#[command(name = "skep", version, disable_version_flag = true, disable_help_subcommand = true)]
pub(crate) struct Skep {
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run a node on this machine
    Daemon(DaemonArgs),
}
