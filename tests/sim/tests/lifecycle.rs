//! What nodes make of themselves, as a test: many seeds, and every kind of trouble in them.

use std::collections::BTreeMap;

use skep_sim::{Troubles, run_lifecycle};

const SEEDS: u64 = 400;

#[test]
fn every_node_ends_as_it_was_asked_to_be() {
    let mut all = Troubles::new();
    for seed in 0..SEEDS {
        match run_lifecycle(seed) {
            Ok(troubles) => troubles.into_iter().for_each(|(what, count)| *all.entry(what).or_default() += count),
            Err(violation) => panic!("{violation}"),
        }
    }
    let seldom: BTreeMap<_, _> = all.iter().filter(|(_, count)| **count < 10).collect();
    assert!(seldom.is_empty(), "next to never: {seldom:?}");
    assert_eq!(all.len(), 14, "some trouble never came about: {all:?}");
}

#[test]
fn the_same_seed_is_the_same_run() {
    assert_eq!(run_lifecycle(5), run_lifecycle(5));
}
