//! `skep`: the one binary. `skep daemon` is a node, `skep shim` the process beside a container, and everything else a
//! client of the Docker Engine API.

mod args;
mod client;
mod commands;
mod files;
mod output;

use std::process::ExitCode;

use clap::Parser as _;
use tikv_jemallocator::Jemalloc;

/// A daemon lives long and frees from many threads: glibc's allocator takes a fifth of a busy manager's time, and keeps what was
/// freed (docs/adr/0028).
#[global_allocator]
static ALLOCATOR: Jemalloc = Jemalloc;

fn main() -> ExitCode {
    // Before anything else: a shim is a single thread with as little memory as can be.
    let mut words = std::env::args_os().skip(1);
    if words.next().is_some_and(|word| word == "shim") {
        match files::restore(words) {
            Ok(words) => skep_shim::main(words),
            Err(error) => {
                eprintln!("skep shim: {}: {error}", files::SHIM_OPTION);
                return ExitCode::FAILURE;
            }
        }
    }
    match args::Skep::try_parse() {
        Ok(skep) => commands::run(skep),
        Err(error) => commands::explain(&error),
    }
}
