//! What consensus promises, without how it keeps it: one log, entries that are committed stay, one leader per term.
//!
//! Everything it does not promise is taken away at random: between any two entries the leader may change; what was not
//! yet committed is then lost or committed by the next leader; followers lag; a killed manager comes back with a
//! snapshot. Invariant checked on the way: at equal indexes all managers' states are equal, byte for byte.

use std::collections::BTreeMap;

use skep_proto::{Message, v1::Transaction};
use skep_store::{ApplyError, ChangeSet, View};

use crate::{
    Bug,
    context::{Context, Step, Violation, must},
    event::Event,
    leader::Origin,
    node::skew,
    rng::Rng,
    tally::Kind,
    trace,
};

/// How many entries apart states are compared.
const COMPARE_EVERY: u64 = 16;

/// Entries a manager may lack that nothing hinders.
const MAX_LAG: u64 = 50;

struct Entry {
    transaction: Transaction,
    origin: Origin,
}

/// One replica.
pub(crate) struct Manager {
    pub(crate) view: View,
    pub(crate) is_up: bool,
    /// Milliseconds its clock is wrong by.
    pub(crate) skew: i64,
}

/// An entry that was applied.
pub(crate) struct Applied {
    pub(crate) index: u64,
    pub(crate) origin: Origin,
    pub(crate) before: View,
    pub(crate) outcome: Result<ChangeSet, ApplyError>,
}

/// The managers and their log.
pub(crate) struct Raft {
    log: Vec<Entry>,
    committed: usize,
    pub(crate) managers: Vec<Manager>,
    /// The leader, while there is one.
    pub(crate) leader: Option<usize>,
    pub(crate) term: u64,
    /// Digests of states, by index.
    digests: BTreeMap<u64, u64>,
}

impl Raft {
    pub(crate) fn new(managers: usize, rng: &mut Rng) -> Self {
        let manager = |_| Manager { view: View::default(), is_up: true, skew: skew(rng) };
        Self {
            log: Vec::new(),
            committed: 0,
            managers: (0..managers).map(manager).collect(),
            leader: None,
            term: 0,
            digests: BTreeMap::new(),
        }
    }

    /// The leader's state, while there is one.
    pub(crate) fn leader_view(&self) -> Option<View> {
        self.leader.map(|leader| self.managers[leader].view.clone())
    }

    /// The newest state any manager has.
    pub(crate) fn newest(&self) -> View {
        let views = self.managers.iter().map(|manager| &manager.view);
        views.max_by_key(|view| view.version()).cloned().unwrap_or_default()
    }

    /// Puts entries into the leader's log; they are committed a little later.
    pub(crate) fn propose(&mut self, context: &mut Context, origin: Origin, transactions: Vec<Transaction>) {
        self.log.extend(transactions.into_iter().map(|transaction| Entry { transaction, origin }));
        let (low, high) = if context.misfortune(50) { (100, 800) } else { (1, 8) };
        context.soon(low, high, Event::Commit { term: self.term, index: self.log.len() });
    }

    /// Entries up to here are committed, if the term still lasts.
    pub(crate) fn commit(&mut self, context: &mut Context, term: u64, index: usize) {
        if self.leader.is_none() || term != self.term || index <= self.committed {
            return;
        }
        self.committed = index;
        self.wake_followers(context);
    }

    /// The leader is no more. Another may follow soon.
    pub(crate) fn depose(&mut self, context: &mut Context, kill: bool) {
        let Some(leader) = self.leader.take() else { return };
        context.log(format_args!("m{leader} leads no more{}", if kill { ", killed" } else { "" }));
        if kill {
            self.managers[leader].is_up = false;
            context.tally.count(Kind::ManagerKilled);
            context.soon(500, 5000, Event::ManagerStarts { manager: leader });
        }
        context.soon(50, 1500, Event::Elect);
    }

    /// Some manager takes over with what it has of the log; says which.
    pub(crate) fn elect(&mut self, context: &mut Context) -> Option<usize> {
        if self.leader.is_some() {
            return None;
        }
        let up: Vec<usize> = (0..self.managers.len()).filter(|manager| self.managers[*manager].is_up).collect();
        let Some(leader) = context.rng.pick(&up).copied() else {
            context.soon(100, 500, Event::Elect);
            return None;
        };
        // What was not committed is in the new leader's log or is not.
        let open = self.log.len() - self.committed;
        let lost = usize::from(context.bugs.has(Bug::ForgetfulLog)).min(self.committed);
        self.log.truncate(self.committed + context.rng.below(open + 1) - lost);
        self.committed = self.log.len();
        self.term += 1;
        self.leader = Some(leader);
        context.log(format_args!("m{leader} leads in term {} from {}", self.term, self.committed));
        self.wake_followers(context);
        Some(leader)
    }

    /// A killed manager comes back with a snapshot of what it had.
    pub(crate) fn start_manager(&mut self, context: &mut Context, manager: usize) -> Step {
        let view = &self.managers[manager].view;
        let restored = View::restore(&view.snapshot_header(), view.snapshot());
        let restored = restored.map_err(|error| Violation(format!("m{manager} cannot read its snapshot: {error}")))?;
        must!(digest(&restored) == digest(view), "m{manager} came back with another state than it left with");
        self.managers[manager].view = restored;
        self.managers[manager].is_up = true;
        context.soon(1, 100, Event::CatchUp { manager });
        Ok(())
    }

    /// Applies the next committed entry on a manager.
    pub(crate) fn apply_next(&mut self, manager: usize) -> Result<Option<Applied>, Violation> {
        let replica = &mut self.managers[manager];
        let at = usize::try_from(replica.view.version()).unwrap_or(usize::MAX);
        if !replica.is_up || at >= self.committed {
            return Ok(None);
        }
        let entry = &self.log[at];
        let index = at as u64 + 1;
        let before = replica.view.clone();
        let outcome = match before.apply(index, &entry.transaction) {
            Ok((view, changes)) => {
                replica.view = view;
                Ok(changes)
            }
            Err(error) => {
                replica.view = before.skip(index);
                Err(error)
            }
        };
        if index.is_multiple_of(COMPARE_EVERY) {
            let own = digest(&replica.view);
            let known = *self.digests.entry(index).or_insert(own);
            must!(own == known, "m{manager} has another state at {index} than a manager before it");
        }
        Ok(Some(Applied { index, origin: entry.origin, before, outcome }))
    }

    /// Whether every manager is up, and has applied nearly all that is committed.
    pub(crate) fn is_close(&self) -> bool {
        let lag = |manager: &Manager| (self.committed as u64).saturating_sub(manager.view.version());
        self.managers.iter().all(|manager| manager.is_up && lag(manager) < MAX_LAG)
    }

    /// Whether all managers have one state.
    pub(crate) fn is_even(&self) -> bool {
        let states: Vec<u64> = self.managers.iter().map(|manager| digest(&manager.view)).collect();
        states.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn wake_followers(&self, context: &mut Context) {
        for manager in (0..self.managers.len()).filter(|manager| Some(*manager) != self.leader) {
            context.soon(1, 100, Event::CatchUp { manager });
        }
    }
}

/// A digest of a whole state.
fn digest(view: &View) -> u64 {
    let header = view.snapshot_header().encode_to_vec();
    trace::digest(std::iter::once(header).chain(view.snapshot().map(|object| object.encode_to_vec())))
}
