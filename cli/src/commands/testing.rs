//! Commands against a scripted daemon.

use clap::Parser as _;

use super::Context;
use crate::{
    args::Skep,
    client::testing::FakeDaemon,
    output::{Printer, printer::testing::Captured},
};

/// Runs a command line and gives what it printed, and what went wrong.
pub(super) async fn run(daemon: &FakeDaemon, line: &[&str]) -> (Captured, Result<(), String>) {
    run_on(daemon, line, None).await
}

/// The same on a terminal of so many columns.
pub(super) async fn run_on(
    daemon: &FakeDaemon,
    line: &[&str],
    terminal: Option<usize>,
) -> (Captured, Result<(), String>) {
    let (printer, captured) = Printer::captured(terminal);
    let mut context = Context { client: daemon.client(), printer };
    let skep = Skep::try_parse_from([&["skep"], line].concat()).unwrap();
    let result = super::dispatch(&mut context, skep.command).await;
    (captured, result.map_err(|error| format!("{error:#}")))
}

/// Runs a command line that must go well.
pub(super) async fn prints(daemon: &FakeDaemon, line: &[&str]) -> String {
    let (captured, result) = run(daemon, line).await;
    assert_eq!(result, Ok(()), "{}", captured.out());
    assert_eq!(captured.err(), "");
    captured.out()
}
