//! What becomes of what the leader's loops propose: it is written and they hear of it; it is written and they do not; it
//! is written when nobody waits for it any more; or it never is.

use std::time::Duration;

use skep_proto::v1::Transaction;
use skep_store::View;

use super::Simulation;
use crate::{
    context::Step,
    event::Event,
    leader::{Loop, Origin, Ticket},
    tally::Kind,
};

/// How long a loop waits for what becomes of its proposals.
const DEADLINE: Duration = Duration::from_secs(3);

impl Simulation {
    pub(super) fn propose(&mut self, ticket: Ticket, seen: &View, transactions: Vec<Transaction>) -> Step {
        self.context.after(DEADLINE, Event::Deadline { ticket });
        let mut in_time = Vec::new();
        let mut queued = 0;
        for transaction in transactions {
            if !self.context.misfortune(self.context.temper.delays) {
                in_time.push(transaction);
                continue;
            }
            self.context.soon(20, 500, Event::Abandoned { ticket });
            if self.context.rng.chance(300) {
                self.context.tally.count(Kind::NeverWritten);
                continue;
            }
            queued += 1;
            self.context.soon(100, 4000, Event::Late { ticket, seen: seen.clone(), transaction });
        }
        self.lead(ticket.term, |leader, _, _| {
            leader.queued += queued;
            Ok(())
        })?;
        self.append(ticket, seen, in_time);
        Ok(())
    }

    pub(super) fn write_late(&mut self, ticket: Ticket, seen: &View, transaction: Transaction) -> Step {
        self.context.tally.count(Kind::WrittenLate);
        self.append(ticket, seen, vec![transaction]);
        self.lead(ticket.term, |leader, _, _| {
            leader.queued = leader.queued.saturating_sub(1);
            Ok(())
        })
    }

    /// Puts into the log what a leader proposes, if a quorum has not chosen another since.
    fn append(&mut self, ticket: Ticket, seen: &View, transactions: Vec<Transaction>) {
        if self.raft.leader.is_some() && self.raft.term == ticket.term && !transactions.is_empty() {
            self.raft.propose(&mut self.context, Origin::Loop(ticket), seen, transactions);
        }
    }

    /// A barrier is passed when a quorum says that the leader leads, and the leader has applied all that it proposed
    /// before: what waited to go into the log, too.
    pub(super) fn barrier(&mut self, term: u64, which: Loop, behind: Option<usize>) -> Step {
        let is_confirmed = self.raft.is_confirmed(term);
        let len = self.raft.len();
        self.lead(term, |leader, view, simulation| {
            let behind = behind.or_else(|| (is_confirmed && leader.queued == 0).then_some(len));
            if is_confirmed && behind.is_some_and(|behind| view.version() >= behind as u64) {
                leader.passed(&mut simulation.context, which);
            } else {
                simulation.context.soon(10, 60, Event::Barrier { term, which, behind });
            }
            Ok(())
        })
    }
}
