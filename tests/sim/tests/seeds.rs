//! The simulation as a test: many seeds, and the same seed twice.

use std::{num::NonZero, thread};

use skep_sim::{Config, Failure, run};

const SEEDS: u64 = 300;

/// Whatever happens, nothing that must never be is, and once repaired the swarm is what was asked for.
#[test]
fn every_seed_holds() {
    let workers = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let failures: Vec<Failure> = thread::scope(|scope| {
        let share = |worker| (worker..SEEDS).step_by(workers as usize);
        let first_failure = |worker| share(worker).find_map(|seed| run(&Config::new(seed)).err());
        let running: Vec<_> = (0..workers).map(|worker| scope.spawn(move || first_failure(worker))).collect();
        running.into_iter().filter_map(|worker| worker.join().unwrap()).collect()
    });
    assert!(failures.is_empty(), "{}", failures[0]);
}

/// A run is a function of its seed: that is what makes a failure worth having.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3] {
        let config = Config { keep_trace: true, ..Config::new(seed) };
        let (first, second) = (run(&config).unwrap(), run(&config).unwrap());
        assert!(first.lines > 1000, "seed {seed}: next to nothing happened");
        assert!(first.trace == second.trace, "seed {seed} went two ways");
        assert_eq!(first, second);
    }
    let digest = |seed| run(&Config::new(seed)).unwrap().digest;
    assert_ne!(digest(1), digest(2));
}
