//! What all loops of a leader have in common: look, plan, propose, learn what became of it, wait, again.
//!
//! Owns when a loop looks and at how much. A [`Loop`] is told what happens and says what to do next ([`Next`]); it waits
//! for nothing and does nothing itself, so the daemon and the simulation run the same one.
//!
//! Invariants: a loop reacts to the first change at once and takes along what is there behind it; it looks at everything
//! at its start, when the state was replaced, and again and again after that, however much happens meanwhile, so no event
//! decides correctness; it plans again only when the fate of everything it proposed is known.

mod due;
mod planners;
mod scoped;
mod sweep;
#[cfg(test)]
mod tests;

use std::time::Duration;

use skep_common::clock::Timestamp;
use skep_proto::v1::Transaction;
use skep_store::{Change, News, Selector, View};

pub use self::{
    planners::{Allocator, Cron, Orchestrator, Reaper, Scheduler},
    scoped::{ByService, Scoped},
};
use crate::Plan;

/// How often a loop looks at everything without being asked.
pub const PERIOD: Duration = Duration::from_secs(10);

/// What the clocks of the leader say.
#[derive(Debug, Clone, Copy)]
pub struct Now {
    /// Jumps at times; what is written is dated by it.
    pub wall: Timestamp,
    /// Never goes back; what is waited for is measured by it.
    pub monotonic: Duration,
}

/// One component of the leader: a decision and what may change it.
pub trait Reconciler {
    /// For the log and the journal.
    const NAME: &'static str;

    /// The changes that may change the decision.
    fn watches(&self) -> Selector;

    /// How long after [`Reconciler::reset`] or [`Reconciler::sweep`] to look at everything, or at some more of it, without
    /// being asked.
    fn period(&self) -> Duration {
        PERIOD
    }

    /// One of the watched changes; `view` is what they all led to.
    fn note(&mut self, _change: &Change, _view: &View) {}

    /// Anything may have changed: the next plan begins to look at everything.
    fn reset(&mut self) {}

    /// A period has passed: the next plan looks at everything, or at the next part of it.
    fn sweep(&mut self) {
        self.reset();
    }

    /// What is to be written.
    fn plan(&mut self, view: &View, now: Now) -> Plan;

    /// What was planned last has been written: it may be let go.
    fn done(&mut self) {}

    /// Whether there is more to look at than the last plan was about, which has been written: the next one is made at once.
    fn is_behind(&self) -> bool {
        false
    }
}

/// What became of a proposal; of several, the greatest counts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fate {
    /// It is in the state.
    Written,
    /// The state had moved on; nothing of it was written, or of independent changes not all.
    Refused,
    /// It may be written later, or never.
    Unknown,
    /// This manager no longer leads.
    Unled,
}

/// What a loop wants next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Next {
    /// Everything is written: do what follows from it outside the state, then plan when something changes, or after
    /// [`Loop::patience`].
    Wait,
    /// Plan when something changes, or after a moment that grows with every refusal.
    Retry,
    /// Read behind everything that was proposed, then plan: whatever is ever written of it is in the state then.
    Barrier,
    /// Nothing: the term is over.
    End,
}

/// The loop around one component.
#[derive(Debug)]
pub struct Loop<R> {
    reconciler: R,
    /// When its period began; `None` when it is to begin to look at everything now.
    looked_at: Option<Duration>,
    /// When the plan before said that there is something to do.
    wake_at: Option<Timestamp>,
}

impl<R: Reconciler> Loop<R> {
    /// A loop that begins by looking at everything.
    pub fn new(reconciler: R) -> Self {
        Self { reconciler, looked_at: None, wake_at: None }
    }

    /// The component.
    pub fn reconciler(&mut self) -> &mut R {
        &mut self.reconciler
    }

    /// What is to be proposed in this state. `news` is what led to it from the state planned on before.
    pub fn plan(&mut self, view: &View, news: News, now: Now) -> Vec<Transaction> {
        match news {
            News::Everything => self.looked_at = None,
            News::Changes(changes) => changes.iter().for_each(|change| self.reconciler.note(change, view)),
        }
        match self.looked_at {
            Some(at) if now.monotonic < at + self.reconciler.period() => {}
            Some(_) => {
                self.reconciler.sweep();
                self.looked_at = Some(now.monotonic);
            }
            None => {
                self.reconciler.reset();
                self.looked_at = Some(now.monotonic);
            }
        }
        let plan = self.reconciler.plan(view, now);
        // What was due already was looked at just now.
        self.wake_at = plan.wake_at().filter(|at| *at > now.wall);
        plan.transactions
    }

    /// What became of all that was proposed, the worst of it; of nothing, [`Fate::Written`].
    pub fn settled(&mut self, fate: Fate) -> Next {
        match fate {
            Fate::Written => {
                self.reconciler.done();
                Next::Wait
            }
            Fate::Refused => Next::Retry,
            // What was planned for is still to be looked at, and behind the barrier the state says what became of it.
            Fate::Unknown => Next::Barrier,
            Fate::Unled => Next::End,
        }
    }

    /// How long to wait for a change before planning all the same.
    pub fn patience(&self, now: Now) -> Duration {
        if self.reconciler.is_behind() {
            return Duration::ZERO;
        }
        let full = self.looked_at.map_or(Duration::ZERO, |at| at + self.reconciler.period());
        let full = full.saturating_sub(now.monotonic);
        self.wake_at.map_or(full, |at| full.min(at.since(now.wall)))
    }
}
