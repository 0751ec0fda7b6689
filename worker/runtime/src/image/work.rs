//! Whose turn it is to work on an archive, and whether anybody still wants that work.
//!
//! Invariants: a load has its turn only while it works, never while it waits for its client; at every step it lets those
//! that wait for a turn go first, so that one archive, however made, slows the others down and never holds them up; a
//! load nobody waits for ends at its next step.

use std::{cell::RefCell, sync::Arc};

use futures::executor::block_on;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio_util::sync::CancellationToken;

use super::bad;
use crate::RuntimeError;

/// The work of one load. Belongs to the thread that does it.
#[derive(Debug)]
pub(crate) struct Work {
    turns: Arc<Semaphore>,
    turn: RefCell<Option<OwnedSemaphorePermit>>,
    unwanted: CancellationToken,
}

impl Work {
    /// Waits for the first turn. Blocks.
    pub(super) fn begin(turns: Arc<Semaphore>, unwanted: CancellationToken) -> Self {
        let work = Self { turns, turn: RefCell::new(None), unwanted };
        work.take_turn();
        work
    }

    /// Gives the turn away for as long as `wait` blocks.
    pub(super) fn wait<T>(&self, wait: impl FnOnce() -> T) -> T {
        self.turn.take();
        let waited = wait();
        self.take_turn();
        waited
    }

    /// Between two pieces of work: lets those that wait have a turn.
    ///
    /// # Errors
    /// The caller is gone.
    pub(super) fn step(&self) -> Result<(), RuntimeError> {
        if self.turns.available_permits() == 0 {
            self.wait(|| ());
        }
        if self.unwanted.is_cancelled() { Err(bad("nobody waits for it any more")) } else { Ok(()) }
    }

    fn take_turn(&self) {
        // It is never closed.
        *self.turn.borrow_mut() = block_on(Arc::clone(&self.turns).acquire_owned()).ok();
    }
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    #[test]
    fn who_waits_for_a_client_or_takes_a_step_lets_others_work() {
        let turns = Arc::new(Semaphore::new(1));
        let work = Work::begin(Arc::clone(&turns), CancellationToken::new());
        assert_eq!(turns.available_permits(), 0);
        work.wait(|| assert_eq!(turns.available_permits(), 1));
        assert_eq!(turns.available_permits(), 0);

        let other = thread::spawn({
            let turns = Arc::clone(&turns);
            move || drop(Work::begin(turns, CancellationToken::new()))
        });
        while !other.is_finished() {
            work.step().unwrap();
        }
        other.join().unwrap();
    }

    #[test]
    fn work_that_nobody_wants_ends_at_its_next_step() {
        let unwanted = CancellationToken::new();
        let work = Work::begin(Arc::new(Semaphore::new(1)), unwanted.clone());
        work.step().unwrap();
        unwanted.cancel();
        assert!(work.step().is_err());
    }
}
