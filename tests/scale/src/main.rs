//! `skep-scale`: a swarm of real managers and many agents on one machine, and what it does when it is large. One
//! `name<TAB>value<TAB>unit` a line.
//!
//! **Real**: three managers, each a process of its own (this program again, as `skep-scale manager`) around
//! [`skep_manager::Manager`]: Raft on disk, mTLS and gRPC over loopback. Every agent is a [`skep_worker::Worker`] as in the
//! daemon, enrolled with the join token, with a certificate, a connection and a session of its own; five
//! thousand share a process.
//!
//! **Left out**: the daemon around both (Docker's API, certificate renewal, facts about the machine), and containers: what an
//! agent prepares, starts and stops is done at once ([`runtime`]). The agents' task.db is real, but in memory where the
//! machine has `/dev/shm`: a thousand agents have a thousand disks. Everything shares the cores of one machine, the agents
//! included, so a rate is what managers *and* agents reach together; the CPU seconds beside it say who used what.

mod agent_processes;
mod agents;
mod enroll;
mod manager;
mod managers;
mod options;
mod run;
mod runtime;
mod spec;
mod subprocess;
mod swarm;
mod usage;

use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser as _;
use tikv_jemallocator::Jemalloc;
use tokio::signal::unix::{SignalKind, signal};
use tracing_subscriber::EnvFilter;

use crate::options::{Command, Options};

/// As in the daemon.
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

/// How much the agents stand back behind the managers.
const AGENTS_NICE: i32 = 10;

fn main() -> ExitCode {
    let options = Options::parse();
    // What goes wrong in a run that kills managers is expected to; who looks for something asks for more.
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("off"));
    tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr).init();
    // In a swarm a manager has a machine to itself: here the agents get what the managers leave. Threads inherit it.
    if matches!(options.command, Some(Command::Agents(_)))
        && let Err(error) = rustix::process::nice(AGENTS_NICE)
    {
        eprintln!("skep-scale: the agents' priority cannot be lowered: {error}");
    }
    let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("skep-scale: {error}");
            return ExitCode::FAILURE;
        }
    };
    let result = runtime.block_on(async {
        match options.command {
            Some(Command::Manager { dir, join }) => manager::run(&dir, join).await,
            Some(Command::Agents(joining)) => agents::run(joining).await,
            None => measure(options).await,
        }
    });
    // A thread that waits for a disk, or for standard input, holds up nobody.
    runtime.shutdown_background();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("skep-scale: {error:#}");
            ExitCode::FAILURE
        }
    }
}

/// Measures, and leaves nothing behind however that ends.
async fn measure(options: Options) -> Result<()> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let limit = options.limit();
    let mut run = run::Run::new(options)?;
    let result = tokio::select! {
        result = tokio::time::timeout(limit, run.measure()) => {
            result.unwrap_or_else(|_| bail!("not done after {} s (--limit)", limit.as_secs()))
        }
        _ = interrupt.recv() => bail!("interrupted"),
        _ = terminate.recv() => bail!("interrupted"),
    };
    run.clean_up().await;
    result
}
