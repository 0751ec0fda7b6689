//! `skep-sim`: plays runs of the simulation, one seed or many.
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::{io::Write as _, process::ExitCode, time::Duration};

use clap::Parser;
use skep_sim::{Bug, Config, run};

/// Plays a whole swarm on a clock of its own, faults and all. The same seed is the same run.
#[derive(Debug, Parser)]
struct Options {
    /// Play this seed only.
    #[arg(long)]
    seed: Option<u64>,
    /// Play so many seeds…
    #[arg(long, default_value_t = 300)]
    seeds: u64,
    /// …from this one on.
    #[arg(long, default_value_t = 0)]
    from: u64,
    /// Simulated seconds of faults.
    #[arg(long, default_value_t = 60)]
    chaos: u64,
    /// Print what happened.
    #[arg(long)]
    trace: bool,
    /// Plant a bug (with the feature `planted-bugs`).
    #[arg(long)]
    bug: Option<Bug>,
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    let seeds = match options.seed {
        Some(seed) => seed..seed + 1,
        None => options.from..options.from + options.seeds,
    };
    for seed in seeds {
        let config = Config {
            chaos: Duration::from_secs(options.chaos),
            bug: options.bug,
            keep_trace: options.trace,
            ..Config::new(seed)
        };
        let (trace, verdict) = match run(&config) {
            Ok(report) => {
                let text = format!(
                    "seed {seed}: {} entries, {} terms, {} containers, trace {:016x}",
                    report.entries, report.terms, report.containers, report.digest
                );
                (report.trace, Ok(text))
            }
            Err(failure) => (failure.trace.clone(), Err(format!("seed {seed}: {failure}"))),
        };
        std::io::stdout().write_all(&trace)?;
        match verdict {
            Ok(text) => println!("{text}"),
            Err(text) => {
                println!("{text}");
                return Ok(ExitCode::FAILURE);
            }
        }
    }
    Ok(ExitCode::SUCCESS)
}
