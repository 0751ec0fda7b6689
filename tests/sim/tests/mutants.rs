//! Mutation test of the simulation: every mutant (known bug) is found within a few seeds.

use skep_sim::{Config, Mutant, run};

/// Seeds a mutant may survive.
const PATIENCE: u64 = 100;

#[test]
fn every_mutant_is_found() {
    let survivors: Vec<Mutant> =
        Mutant::ALL.into_iter().filter(|mutant| first_seed_that_finds(*mutant).is_none()).collect();
    assert!(survivors.is_empty(), "not found within {PATIENCE} seeds: {survivors:?}");
}

fn first_seed_that_finds(mutant: Mutant) -> Option<u64> {
    (0..PATIENCE).find(|seed| {
        let found = run(&Config { mutant: Some(mutant), ..Config::new(*seed) }).err();
        if let Some(failure) = &found {
            assert!(
                failure.replay.contains("--mutant"),
                "the command would not switch the mutant on again: {}",
                failure.replay
            );
        }
        found.is_some()
    })
}
