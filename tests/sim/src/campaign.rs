//! Many seeds on several cores, and what happened in all of them together.

use std::{
    ops::Range,
    panic,
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use crate::{Config, Failure, Tally, run};

/// What became of many runs.
#[derive(Debug, Clone, Default)]
pub struct Outcome {
    /// Runs that went well.
    pub runs: u64,
    /// Containers they started.
    pub containers: u64,
    /// What happened in them.
    pub tally: Tally,
    /// The seeds that failed, lowest first.
    pub failures: Vec<(u64, Failure)>,
}

/// Plays seeds on so many threads until so many failed. `watch` hears of every run, one at a time.
pub fn play(
    seeds: Range<u64>,
    threads: usize,
    patience: usize,
    config: impl Fn(u64) -> Config + Sync,
    watch: impl Fn(&Outcome) + Sync,
) -> Outcome {
    let next = AtomicU64::new(seeds.start);
    let outcome = Mutex::new(Outcome::default());
    let work = || {
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end {
                return;
            }
            let config = config(seed);
            // What panics has a seed too.
            let played = panic::catch_unwind(|| run(&config)).unwrap_or_else(|_| {
                let (what, replay) = ("it panicked".to_owned(), config.replay());
                Err(Failure { what, at: Duration::ZERO, tail: String::new(), replay, trace: Vec::new() })
            });
            let mut outcome = outcome.lock().unwrap_or_else(PoisonError::into_inner);
            match played {
                Ok(report) => {
                    outcome.runs += 1;
                    outcome.containers += report.containers as u64;
                    outcome.tally.add(&report.tally);
                    watch(&outcome);
                }
                Err(failure) => {
                    outcome.failures.push((seed, failure));
                    if outcome.failures.len() >= patience {
                        next.store(seeds.end, Ordering::Relaxed);
                    }
                }
            }
        }
    };
    thread::scope(|scope| {
        for _ in 0..threads.max(1) {
            scope.spawn(work);
        }
    });
    let mut outcome = outcome.into_inner().unwrap_or_else(PoisonError::into_inner);
    outcome.failures.sort_by_key(|(seed, _)| *seed);
    outcome
}
