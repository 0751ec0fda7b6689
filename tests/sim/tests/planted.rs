//! Proof that the simulation finds bugs: each known one, planted, is found within a few seeds.

use skep_sim::{Bug, Config, run};

/// Seeds a bug may hide for.
const PATIENCE: u64 = 100;

#[test]
fn every_planted_bug_is_found() {
    let hidden: Vec<Bug> = Bug::ALL.into_iter().filter(|bug| first_seed_that_finds(*bug).is_none()).collect();
    assert!(hidden.is_empty(), "not found within {PATIENCE} seeds: {hidden:?}");
}

fn first_seed_that_finds(bug: Bug) -> Option<u64> {
    (0..PATIENCE).find(|seed| {
        let found = run(&Config { bug: Some(bug), ..Config::new(*seed) }).err();
        if let Some(failure) = &found {
            assert!(failure.replay.contains("--bug"), "the command would not plant the bug again: {}", failure.replay);
        }
        found.is_some()
    })
}
