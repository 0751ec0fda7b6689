//! The simulation as a test: many seeds, and the same seed twice.

use std::{num::NonZero, thread};

use skep_sim::{Config, play, run};

const SEEDS: u64 = 1500;

/// Whatever happens, nothing that must never be is, and once repaired the swarm is what was asked for.
#[test]
fn every_seed_holds() {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let outcome = play(0..SEEDS, threads, 1, Config::new, |_| {});
    if let Some((seed, failure)) = outcome.failures.first() {
        panic!("seed {seed}: {failure}");
    }
    let containers = outcome.containers;
    assert!(containers > 10 * SEEDS, "only {containers} containers were started: next to nothing happened");
    assert!(outcome.tally.missing().is_empty(), "this never happened: {:?}", outcome.tally.missing());
}

/// A run is a function of its seed: that is what makes a failure worth having.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [2, 3, 5] {
        let config = Config { keep_trace: true, ..Config::new(seed) };
        let (first, second) = (run(&config).unwrap(), run(&config).unwrap());
        assert!(first.lines > 300, "seed {seed}: next to nothing happened");
        assert!(first.trace == second.trace, "seed {seed} went two ways");
        assert_eq!(first, second);
    }
    let digest = |seed| run(&Config::new(seed)).unwrap().digest;
    assert_ne!(digest(2), digest(3));
}
