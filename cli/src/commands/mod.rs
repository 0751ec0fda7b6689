//! What each command does. One module a command group.
//!
//! A command talks to the daemon through [`Context::client`] and to the user through [`Context::printer`], and nothing
//! else: what it prints can be read by a test.

mod daemon;
mod events;
mod explain;
mod image;
mod info;
mod moment;
mod names;
mod node;
mod ps;
mod service;
mod swarm;
mod tasks;
#[cfg(test)]
mod testing;
mod version;
mod what_if;

use std::process::ExitCode;

use anyhow::Result;
use clap::error::ErrorKind;
use skep_dockerapi::filters::Filters;

use crate::{
    args::{Command, Filter, Skep},
    client::{Client, DEFAULT_HOST},
    output::{PrintError, Printer},
};

/// Exit code of a command line that makes no sense, as Docker's.
const USAGE: u8 = 125;

/// What a command works with.
pub(crate) struct Context {
    pub(crate) client: Client,
    pub(crate) printer: Printer,
}

/// Runs the command and says how it went: one sentence on stderr and 1 when it failed.
pub(crate) fn run(skep: Skep) -> ExitCode {
    let result = match skep.command {
        Command::Daemon(args) => match skep.host {
            None => daemon::run(args),
            Some(_) => {
                Err(anyhow::anyhow!("--host before \"daemon\" is a daemon to speak to: write it behind \"daemon\""))
            }
        },
        command => speak(skep.host, command),
    };
    match result {
        Ok(()) => ExitCode::SUCCESS,
        // The reader of the output has closed it.
        Err(error) if matches!(error.downcast_ref(), Some(PrintError::Closed)) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Says what is wrong with a command line, or shows the help it asked for.
pub(crate) fn explain(error: &clap::Error) -> ExitCode {
    // Help and usage are for a person; when stdout is closed there is nothing to report.
    let _ = error.print();
    match error.kind() {
        ErrorKind::DisplayHelp | ErrorKind::DisplayVersion | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand => {
            ExitCode::SUCCESS
        }
        _ => ExitCode::from(USAGE),
    }
}

/// A command for a daemon, on a runtime of this one thread.
fn speak(host: Option<String>, command: Command) -> Result<()> {
    let host = host.or_else(|| std::env::var("SKEP_HOST").ok().filter(|host| !host.is_empty()));
    let mut context =
        Context { client: Client::new(host.as_deref().unwrap_or(DEFAULT_HOST))?, printer: Printer::stdio() };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let result = runtime.block_on(dispatch(&mut context, command));
    // A read from stdin that never ends must not hold up the end of the command.
    runtime.shutdown_background();
    result
}

async fn dispatch(context: &mut Context, command: Command) -> Result<()> {
    match command {
        Command::Swarm(command) => swarm::run(context, command).await,
        Command::Node(command) => node::run(context, command).await,
        Command::Service(command) => service::run(context, command).await,
        Command::Task(command) => explain::run(context, command).await,
        Command::WhatIf(command) => what_if::run(context, command).await,
        Command::Image(command) => image::run(context, command).await,
        Command::Ps(args) => ps::run(context, args).await,
        Command::Events(args) => events::run(context, args).await,
        Command::Info => info::run(context).await,
        Command::Version => version::run(context).await,
        Command::Daemon(args) => daemon::run(args),
    }
}

/// Filters as they were typed.
fn filters(typed: &[Filter]) -> Filters {
    let mut filters = Filters::default();
    for filter in typed {
        filters.add(&filter.name, filter.value.as_str());
    }
    filters
}

/// What went wrong with some of several things, when the rest went well.
#[derive(Debug, Default)]
struct Failures(Vec<String>);

impl Failures {
    /// Notes a failure. Output that cannot be printed is no such failure: it ends the command.
    fn note(&mut self, error: anyhow::Error) -> Result<()> {
        if error.is::<PrintError>() {
            return Err(error);
        }
        self.0.push(format!("{error:#}"));
        Ok(())
    }

    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them as one error, a line each.
    fn into_result(self) -> Result<()> {
        if self.0.is_empty() { Ok(()) } else { Err(anyhow::anyhow!(self.0.join("\n"))) }
    }
}
