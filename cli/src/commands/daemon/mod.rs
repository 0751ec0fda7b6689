//! `skep daemon`: merges flags and configuration file, starts logging, runs the node until it is told to stop.

mod config;

use std::io::IsTerminal as _;

use anyhow::{Context as _, Result};
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use tracing_subscriber::EnvFilter;

use crate::{args::DaemonArgs, files};

/// Runs until SIGTERM or SIGINT.
pub(crate) fn run(args: DaemonArgs) -> Result<()> {
    let (mut options, log_level) = config::resolve(args)?;
    let raised = files::raise();
    let filter = EnvFilter::try_from_env("SKEP_LOG").or_else(|_| EnvFilter::try_new(filter(&log_level)))?;
    tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr)
        // A log that cannot be written, on a full disk, is no reason to end; saying so would be written to the same place.
        .log_internal_errors(false)
        .init();
    match raised {
        Ok(before) => {
            let before = before.map(|before| before.to_string());
            options.shim_args.extend(before.into_iter().flat_map(|before| [files::SHIM_OPTION.into(), before.into()]));
        }
        Err(error) => warn!(%error, "the number of files this daemon may open stays as it is"),
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().thread_name("skep").build()?;
    let ended = runtime.block_on(async {
        let stop = CancellationToken::new();
        stop_on_signal(stop.clone())?;
        skep_node::daemon::run(options, stop).await.context("the daemon could not run")
    });
    // What still waits for a disk on a thread of its own does not keep the process.
    runtime.shutdown_background();
    ended
}

/// The level for our own crates; of the libraries' only what an operator can act on. openraft calls every attempt to
/// reach an absent peer an error; what of it matters skep-raft says itself.
fn filter(level: &str) -> String {
    let own =
        ["skep", "skep_node", "skep_manager", "skep_raft", "skep_worker", "skep_runtime", "skep_common", "skep_ca"];
    let own: Vec<String> = own.iter().map(|name| format!("{name}={level}")).collect();
    format!("warn,openraft=off,{}", own.join(","))
}

fn stop_on_signal(stop: CancellationToken) -> Result<()> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        stop.cancel();
    });
    Ok(())
}
