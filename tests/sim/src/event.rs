//! Everything that can happen, and when: one queue, in order of time and then of asking.

use std::{cmp::Ordering, collections::BinaryHeap, time::Duration};

use skep_core::roles::RaftAction;
use skep_proto::v1::Transaction;
use skep_store::View;
use skep_worker::task_machine;

use crate::{
    leader::{Loop, Ticket},
    network::{ToAgent, ToLeader},
};

/// Something that happens.
#[derive(Debug, Clone)]
pub(crate) enum Event {
    // ---- consensus
    /// Entries up to here are on a quorum.
    Commit { term: u64, index: usize },
    /// A manager that is behind applies some of what is committed.
    CatchUp { manager: u64 },
    /// A manager may lead now.
    Elect,
    /// A manager that was killed is back, with what it had on disk.
    ManagerStarts { manager: u64 },
    /// A leader without a quorum loses patience.
    GiveUp { term: u64 },
    /// While there are two leaders, nodes go from one to the other.
    TurnAround,
    /// A manager's clock is set right.
    SetClock { manager: u64 },
    /// Managers that were cut off are so no more, unless that was an earlier time.
    Heal { split: u64 },
    /// A node that is to be a manager asks to be a member.
    Join { node: String },
    /// A leader looks whether new members have caught up.
    Tidy { term: u64 },
    /// Something decided about a member is done.
    ChangeMembers { term: u64, action: RaftAction },
    // ---- the leader's loops
    /// A loop looks, and plans.
    Look { term: u64, which: Loop },
    /// A loop has waited for so long.
    Due { term: u64, which: Loop, wait: u64 },
    /// What a loop planned in a state is on its way into the log.
    Propose { ticket: Ticket, seen: View, transactions: Vec<Transaction> },
    /// Nobody waits for one of a loop's proposals any more.
    Abandoned { ticket: Ticket },
    /// One that nobody waits for any more goes into the log.
    Late { ticket: Ticket, seen: View, transaction: Transaction },
    /// Nobody waits for any of them any more.
    Deadline { ticket: Ticket },
    /// A loop reads behind all that was proposed: behind this entry, once that is known.
    Barrier { term: u64, which: Loop, behind: Option<usize> },
    /// What a node's stream has to say is said.
    Flush { term: u64, node: String },
    // ---- messages
    /// Arrives at whoever leads now.
    AtLeader { node: String, message: ToLeader },
    /// Arrives at a node.
    AtAgent { node: String, message: ToAgent },
    // ---- nodes
    /// Something of the agent's own, unless it was restarted since.
    Agent { node: String, incarnation: u64, what: AgentEvent },
    /// A container ends, unless it did before.
    ContainerEnds { node: String, task: String, code: i32, why: Ending },
    /// A killed agent starts again.
    AgentStarts { node: String },
    /// A link is whole again.
    Reconnect { node: String },
    // ---- the world
    /// A fault or a user's whim.
    Chaos,
}

impl Event {
    /// The leader that something happens in, if it does in one.
    pub(crate) fn term(&self) -> Option<u64> {
        match self {
            Self::Look { term, .. }
            | Self::Due { term, .. }
            | Self::Barrier { term, .. }
            | Self::Flush { term, .. }
            | Self::ChangeMembers { term, .. } => Some(*term),
            Self::Propose { ticket, .. }
            | Self::Abandoned { ticket }
            | Self::Late { ticket, .. }
            | Self::Deadline { ticket } => Some(ticket.term),
            _ => None,
        }
    }
}

/// Why a container ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// It was told to.
    Stopped,
    /// The program broke down, or had enough.
    Mishap,
    /// The program has done its work.
    Done,
}

/// Something of an agent's own.
#[derive(Debug, Clone)]
pub(crate) enum AgentEvent {
    /// It is time to look for a session.
    Connect,
    /// The session's connection is gone.
    Broken {
        session: String,
    },
    Heartbeat {
        session: String,
    },
    SendReports {
        session: String,
        again: bool,
    },
    /// An operation of a task's driver is done.
    Done {
        task: String,
        operation: u64,
        event: Option<task_machine::Event>,
    },
    /// The runtime says that a watched container ended.
    ContainerEnded {
        task: String,
    },
    /// A container no task has claimed has stopped.
    RemoveUnclaimed {
        task: String,
    },
}

/// What is yet to happen.
#[derive(Default)]
pub(crate) struct Queue {
    heap: BinaryHeap<QueuedEvent>,
    asked: u64,
}

struct QueuedEvent {
    at: Duration,
    number: u64,
    event: Event,
}

impl Queue {
    pub(crate) fn push(&mut self, at: Duration, event: Event) {
        self.asked += 1;
        self.heap.push(QueuedEvent { at, number: self.asked, event });
    }

    pub(crate) fn pop(&mut self) -> Option<(Duration, Event)> {
        self.heap.pop().map(|entry| (entry.at, entry.event))
    }
}

impl QueuedEvent {
    fn key(&self) -> (Duration, u64) {
        (self.at, self.number)
    }
}

/// The heap gives the greatest first: that is the earliest.
impl Ord for QueuedEvent {
    fn cmp(&self, other: &Self) -> Ordering {
        other.key().cmp(&self.key())
    }
}

impl PartialOrd for QueuedEvent {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for QueuedEvent {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for QueuedEvent {}
