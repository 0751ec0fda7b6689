//! What consensus promises, without how it keeps it: one log, entries that are committed stay, one leader per term.
//!
//! Everything it does not promise is taken away at random: between any two entries the leader may change; what was not
//! yet committed is then lost or committed by the next leader; followers lag; a killed manager comes back with a
//! snapshot; managers are cut off from one another, and a leader without a quorum goes on believing that it leads until
//! its patience ends. Who is a member changes as entries of the log. Invariant checked on the way: at equal indexes all
//! managers' states are equal, byte for byte.

mod members;

use std::{collections::BTreeMap, time::Duration};

use skep_proto::{Message, v1::Transaction};
use skep_store::{ApplyError, ChangeSet, View};

pub(crate) use self::members::Member;
use self::members::Members;
use crate::{
    Mutant,
    context::{Context, Step, Violation, must},
    event::Event,
    leader::Origin,
    node::skew,
    rng::Rng,
    tally::Kind,
    trace,
};

/// How many entries apart states are compared.
const COMPARE_EVERY: u64 = 64;

/// Entries a manager may lack that nothing hinders.
const MAX_LAG: u64 = 50;

/// How long a leader that was asked to step down does not stand again.
const ABDICATION: Duration = Duration::from_secs(3);

struct LogEntry {
    content: Content,
    origin: Origin,
    /// The state it was planned in, until the entry has been looked at.
    seen: Option<View>,
}

enum Content {
    Write(Transaction),
    Members(Members),
}

/// One replica.
pub(crate) struct Manager {
    /// The node it is on.
    pub(crate) node: String,
    pub(crate) view: View,
    pub(crate) is_up: bool,
    /// On which side of a partition it is; without one all are on the same.
    pub(crate) is_cut: bool,
    /// Milliseconds its clock is wrong by.
    pub(crate) skew: i64,
}

impl Manager {
    fn new(node: &str, rng: &mut Rng) -> Self {
        Self { node: node.to_owned(), view: View::default(), is_up: true, is_cut: false, skew: skew(rng) }
    }
}

/// An entry that was applied.
pub(crate) struct Applied {
    pub(crate) index: u64,
    pub(crate) origin: Origin,
    pub(crate) before: View,
    /// The state it was planned in, for who applies it first.
    pub(crate) seen: Option<View>,
    /// `None` for an entry that changes the members.
    pub(crate) outcome: Option<Result<ChangeSet, ApplyError>>,
}

/// The managers and their log.
pub(crate) struct Raft {
    log: Vec<LogEntry>,
    committed: usize,
    /// The replicas of all members, by Raft id.
    pub(crate) managers: BTreeMap<u64, Manager>,
    /// Who is a member, as far as it is committed.
    members: Members,
    /// Who was one from which entry on.
    membership: Vec<(u64, Members)>,
    /// The leader, while there is one. It may lack a quorum.
    pub(crate) leader: Option<u64>,
    pub(crate) term: u64,
    /// How long the log was when the leader lost its quorum: what it added since only it has.
    fork: Option<usize>,
    /// Who was asked to step down, and until when that holds.
    abdicates: Option<(u64, Duration)>,
    /// Digests of states, by index.
    digests: BTreeMap<u64, u64>,
}

impl Raft {
    /// Managers on these nodes, with Raft ids from 1 on.
    pub(crate) fn new<'a>(nodes: impl Iterator<Item = &'a str>, rng: &mut Rng) -> Self {
        let managers: BTreeMap<u64, Manager> = (1..).zip(nodes.map(|node| Manager::new(node, rng))).collect();
        let voter = |(id, manager): (&u64, &Manager)| (*id, Member { node: manager.node.clone(), votes: true });
        let members: Members = managers.iter().map(voter).collect();
        Self {
            log: Vec::new(),
            committed: 0,
            membership: vec![(0, members.clone())],
            members,
            managers,
            leader: None,
            term: 0,
            fork: None,
            abdicates: None,
            digests: BTreeMap::new(),
        }
    }

    /// The first entry of all.
    pub(crate) fn found(&mut self, transaction: Transaction) {
        self.log.push(LogEntry { content: Content::Write(transaction), origin: Origin::User, seen: None });
        self.committed = self.log.len();
    }

    /// The state as the leader reads it for others, who get nothing from a leader that cannot ask a quorum.
    pub(crate) fn leader_view(&self) -> Option<View> {
        let leader = self.leader.filter(|leader| self.has_quorum(*leader))?;
        Some(self.managers[&leader].view.clone())
    }

    /// Whether a quorum would say that the leader of this term leads.
    pub(crate) fn is_confirmed(&self, term: u64) -> bool {
        self.term == term && self.leader.is_some_and(|leader| self.has_quorum(leader))
    }

    /// The newest state any manager has.
    pub(crate) fn newest(&self) -> View {
        let views = self.managers.values().map(|manager| &manager.view);
        views.max_by_key(|view| view.version()).cloned().unwrap_or_default()
    }

    /// Puts entries into the leader's log; they are committed a little later.
    pub(crate) fn propose(
        &mut self,
        context: &mut Context,
        origin: Origin,
        seen: &View,
        transactions: Vec<Transaction>,
    ) {
        let write = |transaction| LogEntry { content: Content::Write(transaction), origin, seen: Some(seen.clone()) };
        self.log.extend(transactions.into_iter().map(write));
        self.commit_soon(context);
    }

    /// Entries there are, committed or not.
    pub(crate) fn len(&self) -> usize {
        self.log.len()
    }

    fn commit_soon(&self, context: &mut Context) {
        let (low, high) = if context.misfortune(50) { (100, 800) } else { (1, 8) };
        context.soon(low, high, Event::Commit { term: self.term, index: self.log.len() });
    }

    /// Entries up to here are committed, if the term still lasts; as soon as the leader has a quorum.
    pub(crate) fn commit(&mut self, context: &mut Context, term: u64, index: usize) {
        let Some(leader) = self.leader.filter(|_| term == self.term && index > self.committed) else { return };
        if !self.has_quorum(leader) {
            context.soon(50, 200, Event::Commit { term, index });
            return;
        }
        self.fork = None;
        self.commit_up_to(context, index);
        self.wake_followers(context);
    }

    fn commit_up_to(&mut self, context: &mut Context, index: usize) {
        let from = self.committed.min(index);
        self.committed = index;
        let changed = (from..index).rev().find_map(|at| match &self.log[at].content {
            Content::Members(members) => Some((at as u64 + 1, members.clone())),
            Content::Write(_) => None,
        });
        if let Some((at, members)) = changed {
            self.membership.push((at, members.clone()));
            self.become_members(context, members);
        }
    }

    /// The leader is no more. Another may follow soon.
    pub(crate) fn depose(&mut self, context: &mut Context, kill: bool) {
        let Some(leader) = self.leader.take() else { return };
        context.log(format_args!("m{leader} leads no more"));
        if kill {
            self.kill(context, leader);
        }
        context.soon(50, 1500, Event::Elect);
    }

    /// A manager that may not lead is killed.
    pub(crate) fn kill(&mut self, context: &mut Context, id: u64) {
        let Some(manager) = self.managers.get_mut(&id).filter(|manager| manager.is_up) else { return };
        manager.is_up = false;
        context.log(format_args!("m{id} is killed"));
        context.tally.count(Kind::ManagerKilled);
        context.soon(500, 5000, Event::ManagerStarts { manager: id });
    }

    /// The leader is to be another, and is so for a while.
    pub(crate) fn abdicate(&mut self, context: &mut Context) {
        self.abdicates = self.leader.map(|leader| (leader, context.now + ABDICATION));
        self.depose(context, false);
    }

    /// Some manager takes over with what it has of the log; says which. A leader that has lost its quorum does not
    /// hear of it.
    pub(crate) fn elect(&mut self, context: &mut Context) -> Option<u64> {
        if self.leader.is_some_and(|leader| self.has_quorum(leader)) {
            return None;
        }
        let abdicates = |id: u64| self.abdicates.is_some_and(|(who, until)| who == id && context.now < until);
        let may_lead = |id: &u64| self.votes(*id) && self.managers[id].is_up && self.has_quorum(*id) && !abdicates(*id);
        let fit: Vec<u64> = self.managers.keys().copied().filter(may_lead).collect();
        let Some(leader) = context.rng.pick(&fit).copied() else {
            context.soon(100, 500, Event::Elect);
            return None;
        };
        // What was not committed is in the new leader's log or is not.
        let open = self.fork.take().unwrap_or(self.log.len()).min(self.log.len()) - self.committed;
        let lost = usize::from(context.mutant.has(Mutant::ForgetfulLog)).min(self.committed);
        self.log.truncate(self.committed + context.rng.below(open + 1) - lost);
        self.commit_up_to(context, self.log.len());
        self.term += 1;
        self.leader = self.managers.contains_key(&leader).then_some(leader);
        if self.leader.is_none() {
            // What it took over says that it is a member no more.
            context.soon(100, 500, Event::Elect);
            return None;
        }
        context.log(format_args!("m{leader} leads in term {} from {}", self.term, self.committed));
        context.soon(200, 500, Event::Tidy { term: self.term });
        self.wake_followers(context);
        Some(leader)
    }

    // ---- partitions ----------------------------------------------------------------------------

    /// Cuts these managers off from the others. Says whether the leader has lost its quorum.
    pub(crate) fn split(&mut self, cut: &[u64]) -> bool {
        for (id, manager) in &mut self.managers {
            manager.is_cut = cut.contains(id);
        }
        let is_alone = self.leader.is_some_and(|leader| !self.has_quorum(leader));
        self.fork = is_alone.then_some(self.log.len());
        is_alone
    }

    pub(crate) fn is_split(&self) -> bool {
        self.managers.values().any(|manager| manager.is_cut)
    }

    /// All managers reach each other again.
    pub(crate) fn heal(&mut self, context: &mut Context) {
        for manager in self.managers.values_mut() {
            manager.is_cut = false;
        }
        self.fork = None;
        self.wake_followers(context);
        context.soon(1, 1000, Event::Elect);
    }

    // ---- replicas ------------------------------------------------------------------------------

    /// A killed manager comes back with a snapshot of what it had.
    pub(crate) fn start_manager(&mut self, context: &mut Context, id: u64) -> Step {
        let Some(manager) = self.managers.get_mut(&id).filter(|manager| !manager.is_up) else { return Ok(()) };
        let restored = copy(&manager.view)?;
        must!(digest(&restored) == digest(&manager.view), "m{id} came back with another state than it left with");
        manager.view = restored;
        manager.is_up = true;
        context.soon(1, 100, Event::CatchUp { manager: id });
        Ok(())
    }

    /// Applies the next committed entry on a manager that can have it.
    pub(crate) fn apply_next(&mut self, id: u64) -> Result<Option<Applied>, Violation> {
        let side = self.leader.and_then(|leader| self.managers.get(&leader)).is_some_and(|leader| leader.is_cut);
        let Some(replica) = self.managers.get_mut(&id) else { return Ok(None) };
        let at = usize::try_from(replica.view.version()).unwrap_or(usize::MAX);
        if !replica.is_up || replica.is_cut != side || at >= self.committed {
            return Ok(None);
        }
        let entry = &mut self.log[at];
        let index = at as u64 + 1;
        let (origin, seen) = (entry.origin, entry.seen.take());
        let before = replica.view.clone();
        let outcome = match &entry.content {
            Content::Write(transaction) => Some(before.apply(index, transaction).map(|(view, changes)| {
                replica.view = view;
                changes
            })),
            Content::Members(_) => None,
        };
        if !matches!(outcome, Some(Ok(_))) {
            replica.view = before.skip(index);
        }
        if index.is_multiple_of(COMPARE_EVERY) {
            let own = digest(&replica.view);
            let known = *self.digests.entry(index).or_insert(own);
            must!(own == known, "m{id} has another state at {index} than a manager before it");
        }
        Ok(Some(Applied { index, origin, before, seen, outcome }))
    }

    /// Whether every manager is up, and has applied nearly all that is committed.
    pub(crate) fn is_close(&self) -> bool {
        let lag = |manager: &Manager| (self.committed as u64).saturating_sub(manager.view.version());
        self.managers.values().all(|manager| manager.is_up && lag(manager) < MAX_LAG)
    }

    /// Whether all managers have one state.
    pub(crate) fn is_even(&self) -> bool {
        let states: Vec<u64> = self.managers.values().map(|manager| digest(&manager.view)).collect();
        states.windows(2).all(|pair| pair[0] == pair[1])
    }

    fn wake_followers(&self, context: &mut Context) {
        for manager in self.managers.keys().copied().filter(|manager| Some(*manager) != self.leader) {
            context.soon(1, 100, Event::CatchUp { manager });
        }
    }
}

/// A state by way of its snapshot.
fn copy(view: &View) -> Result<View, Violation> {
    View::restore(&view.snapshot_header(), view.snapshot())
        .map_err(|error| Violation(format!("a snapshot cannot be read: {error}")))
}

/// A digest of a whole state.
fn digest(view: &View) -> u64 {
    let header = view.snapshot_header().encode_to_vec();
    trace::digest(std::iter::once(header).chain(view.snapshot().map(|object| object.encode_to_vec())))
}
