//! `skep-sim`: plays runs of the simulation, one seed or many.
#![expect(clippy::print_stdout, reason = "it is a command")]

use std::{
    io::Write as _,
    num::NonZero,
    process::ExitCode,
    thread,
    time::{Duration, Instant},
};

use clap::Parser;
use skep_sim::{Config, Mutant, Outcome, play, run};

/// Lines of progress a long run prints.
const PROGRESS: u64 = 50;

/// Runs from which on every kind of thing must have happened.
const ENOUGH: u64 = 500;

/// Plays a whole swarm on a clock of its own, faults and all. The same seed is the same run.
#[derive(Debug, Parser)]
#[command(after_help = "\
The long run is best built with optimisations:

  cargo run --release -p skep-sim -- --seeds 50000

It ends with what happened in all seeds together, and fails when some kind of fault or change never did.
A failure prints the command that plays its seed again. With --failures 20 a long run shows more kinds of failure
than the first one.")]
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
    /// Threads; as many as there are cores if not given.
    #[arg(long)]
    jobs: Option<usize>,
    /// Stop after so many seeds that failed.
    #[arg(long, default_value_t = 1)]
    failures: usize,
    /// Simulated seconds of faults.
    #[arg(long, default_value_t = 60)]
    chaos: u64,
    /// Print what happened (with --seed).
    #[arg(long, requires = "seed")]
    trace: bool,
    /// Switch a mutant on: a known bug (with the feature `mutants`).
    #[arg(long)]
    mutant: Option<Mutant>,
}

impl Options {
    fn config(&self, seed: u64) -> Config {
        let chaos = Duration::from_secs(self.chaos);
        Config { chaos, mutant: self.mutant, keep_trace: self.trace, ..Config::new(seed) }
    }
}

fn main() -> anyhow::Result<ExitCode> {
    let options = Options::parse();
    match options.seed {
        Some(seed) => one(&options, seed),
        None => Ok(many(&options)),
    }
}

fn one(options: &Options, seed: u64) -> anyhow::Result<ExitCode> {
    let (trace, text, code) = match run(&options.config(seed)) {
        Ok(report) => {
            let text = format!(
                "seed {seed}: {} entries, {} terms, {} containers, trace {:016x}; {}",
                report.entries, report.terms, report.containers, report.digest, report.tally
            );
            (report.trace, text, ExitCode::SUCCESS)
        }
        Err(failure) => (failure.trace.clone(), format!("seed {seed}: {failure}"), ExitCode::FAILURE),
    };
    std::io::stdout().write_all(&trace)?;
    println!("{text}");
    Ok(code)
}

#[expect(clippy::disallowed_methods, reason = "how long the command takes is no part of any run")]
fn many(options: &Options) -> ExitCode {
    let begun = Instant::now();
    let threads = options.jobs.unwrap_or_else(|| thread::available_parallelism().map_or(1, NonZero::get));
    let every = (options.seeds / PROGRESS).max(1);
    let watch = |outcome: &Outcome| {
        if outcome.runs.is_multiple_of(every) {
            println!("{} of {} seeds, {:.0} s", outcome.runs, options.seeds, begun.elapsed().as_secs_f64());
        }
    };
    let seeds = options.from..options.from.saturating_add(options.seeds);
    let outcome = play(seeds, threads, options.failures, |seed| options.config(seed), watch);
    let took = begun.elapsed().as_secs_f64();
    if let Some((seed, failure)) = outcome.failures.first() {
        println!("seed {seed}: {failure}");
        for (seed, failure) in &outcome.failures[1..] {
            println!("seed {seed}: {}", failure.what);
        }
        println!("{} seeds failed, {} went well, in {took:.1} s", outcome.failures.len(), outcome.runs);
        return ExitCode::FAILURE;
    }
    println!("{} seeds in {took:.1} s: {} containers, {}", outcome.runs, outcome.containers, outcome.tally);
    let missing = outcome.tally.missing();
    if outcome.runs >= ENOUGH && !missing.is_empty() {
        println!("this never happened: {}", missing.join(", "));
        return ExitCode::FAILURE;
    }
    ExitCode::SUCCESS
}
