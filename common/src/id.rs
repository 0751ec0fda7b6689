//! Identifiers of everything the swarm stores: 25 characters of base36 holding 128 random bits.
//!
//! Ids are made by whoever proposes a change and travel inside it, so a decision takes `&mut dyn Ids`
//! instead of reaching for a random source: the same arguments give the same plan.

use sha2::{Digest as _, Sha256};

use crate::{base36, random};

/// Characters in an id: the shortest base36 width that holds 128 bits.
pub const ID_LENGTH: usize = 25;

/// A source of fresh ids.
pub trait Ids {
    /// The next id, 25 characters of `[0-9a-z]`, never given before.
    fn next_id(&mut self) -> String;
}

/// Ids from the system's random source.
#[derive(Debug, Clone, Copy, Default)]
pub struct RandomIds;

impl Ids for RandomIds {
    fn next_id(&mut self) -> String {
        base36::encode(&random::bytes::<16>(), ID_LENGTH)
    }
}

/// Ids that repeat from run to run: equal seeds give equal sequences. For simulations and tests.
///
/// The sequence is SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number Generators", 2014),
/// two outputs to an id.
#[derive(Debug, Clone)]
pub struct SeededIds {
    state: u64,
}

impl SeededIds {
    /// The sequence that belongs to `seed`.
    pub fn new(seed: u64) -> Self {
        Self { state: seed }
    }

    fn next_u64(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }
}

impl Ids for SeededIds {
    fn next_id(&mut self) -> String {
        let bits = (u128::from(self.next_u64()) << 64) | u128::from(self.next_u64());
        base36::encode(&bits.to_be_bytes(), ID_LENGTH)
    }
}

/// Whether `text` has the form of an id. Says nothing about whether anything has that id.
pub fn is_id(text: &str) -> bool {
    text.len() == ID_LENGTH && text.bytes().all(|b| b.is_ascii_digit() || b.is_ascii_lowercase())
}

/// The id of a task's one container. Because it follows from the task's id, no crash between making the container
/// and writing that down can give the task a second one, and nobody has to keep it.
#[must_use]
pub fn container_id_of_task(task_id: &str) -> String {
    hex::encode(Sha256::digest(format!("skep container of task {task_id}")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn random_ids_have_the_form_of_ids_and_differ() {
        let ids: BTreeSet<_> = (0..1000).map(|_| RandomIds.next_id()).collect();
        assert_eq!(ids.len(), 1000);
        assert!(ids.iter().all(|id| is_id(id)), "{ids:?}");
    }

    #[test]
    fn equal_seeds_give_equal_sequences_and_others_do_not() {
        let take = |seed| {
            let mut ids = SeededIds::new(seed);
            (0..100).map(|_| ids.next_id()).collect::<Vec<_>>()
        };
        assert_eq!(take(7), take(7));
        assert!(take(7).iter().all(|id| is_id(id) && !take(8).contains(id)));
    }

    #[test]
    fn the_form_is_strict() {
        for bad in ["", "abc", &"a".repeat(26), &"A".repeat(25), &"-".repeat(25), &"é".repeat(13)] {
            assert!(!is_id(bad), "{bad}");
        }
    }

    #[test]
    fn a_containers_id_is_docker_shaped_and_follows_the_task() {
        let id = container_id_of_task("t1");
        assert_eq!(id.len(), 64);
        assert_eq!(id, container_id_of_task("t1"));
        assert_ne!(id, container_id_of_task("t2"));
    }
}
