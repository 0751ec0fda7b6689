//! The simulation as a test: many seeds, and the same seed twice.

use std::{num::NonZero, thread};

use skep_sim::{Config, Failure, run};

const SEEDS: u64 = 2000;

/// Whatever happens, nothing that must never be is, and once repaired the swarm is what was asked for.
#[test]
fn every_seed_holds() {
    let workers = thread::available_parallelism().map_or(1, NonZero::get) as u64;
    let play = move |worker: u64| -> Result<usize, Failure> {
        let seeds = (worker..SEEDS).step_by(workers as usize);
        seeds.map(|seed| run(&Config::new(seed)).map(|report| report.containers)).sum()
    };
    let running: Vec<_> = (0..workers).map(|worker| thread::spawn(move || play(worker))).collect();
    let played: Vec<_> = running.into_iter().map(|worker| worker.join().unwrap()).collect();
    let containers: usize = played.into_iter().map(|played| played.unwrap_or_else(|failure| panic!("{failure}"))).sum();
    assert!(containers > 10 * SEEDS as usize, "only {containers} containers were started: next to nothing happened");
}

/// A run is a function of its seed: that is what makes a failure worth having.
#[test]
fn the_same_seed_is_the_same_run() {
    for seed in [1, 2, 3] {
        let config = Config { keep_trace: true, ..Config::new(seed) };
        let (first, second) = (run(&config).unwrap(), run(&config).unwrap());
        assert!(first.lines > 300, "seed {seed}: next to nothing happened");
        assert!(first.trace == second.trace, "seed {seed} went two ways");
        assert_eq!(first, second);
    }
    let digest = |seed| run(&Config::new(seed)).unwrap().digest;
    assert_ne!(digest(1), digest(2));
}
