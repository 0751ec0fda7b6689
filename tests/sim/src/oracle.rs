//! What must never be, whatever happened. Looked at on every entry of the log and every start and end of a container.

mod attempts;
mod jobs;
mod moves;
mod roles;
mod spread;
mod tasks;

use std::{collections::BTreeMap, time::Duration};

use skep_core::{roles::Member, task::TaskExt};
use skep_proto::v1::{Service, Task, UpdateState};
use skep_store::{AnyObject, Change, ChangeSet, View};

pub(crate) use self::spread::is_even;
use self::{jobs::Jobs, moves::Moves, roles::Promises, tasks::Tasks};
use crate::{
    context::{Context, Step, must},
    leader::Origin,
    node::Node,
    tally::Kind,
};

/// The memory of a run.
#[derive(Debug, Default)]
pub(crate) struct Oracle {
    tasks: Tasks,
    jobs: Jobs,
    moves: Moves,
    promises: Promises,
    /// The last entry that was looked at.
    looked_at: u64,
}

/// An entry, and the swarm at that moment.
#[derive(Clone, Copy)]
pub(crate) struct Sight<'a> {
    pub(crate) before: &'a View,
    pub(crate) after: &'a View,
    /// The state whoever proposed it saw.
    pub(crate) seen: &'a View,
    pub(crate) origin: Origin,
    pub(crate) nodes: &'a BTreeMap<String, Node>,
    pub(crate) members: &'a [Member],
    /// The nodes that voted in the state whoever proposed it saw.
    pub(crate) voters_then: &'a [String],
    pub(crate) now: Duration,
    /// Whether nothing has been broken for a while, so that nothing has reason to be late.
    pub(crate) is_settled: bool,
}

impl Sight<'_> {
    /// Whether the container of a task runs, whatever anybody believes.
    fn is_running(&self, task: &Task) -> bool {
        self.nodes.get(&task.node_id).is_some_and(|node| node.machine.runtime.is_running(&task.id))
    }
}

impl Oracle {
    pub(crate) fn container_starts(&mut self, task: &str, node: &str, now: Duration) -> Step {
        self.tasks.container_starts(task, node, now)
    }

    /// A node stops a container only when its task is not to run any more, or the node is no more.
    pub(crate) fn container_stopped(&self, newest: &View, task: &str, node: &str) -> Step {
        let is_wanted = newest.task(task).is_some_and(|task| task.is_wanted());
        must!(!is_wanted || newest.node(node).is_none(), "{node} stops {task}, which is to run");
        Ok(())
    }

    pub(crate) fn container_ends(&mut self, task: &str, code: i32) {
        self.jobs.container_ends(task, code);
    }

    /// Whether a task was forgotten so lately that its node may not have heard of it.
    pub(crate) fn is_just_forgotten(&self, task: &str, now: Duration) -> bool {
        self.tasks.is_just_forgotten(task, now)
    }

    pub(crate) fn containers_started(&self) -> usize {
        self.tasks.containers_started()
    }

    /// Whether an entry has not been looked at yet.
    pub(crate) fn is_news(&mut self, index: u64) -> bool {
        let is_news = index > self.looked_at;
        self.looked_at = self.looked_at.max(index);
        is_news
    }

    /// What users were told is done is done.
    pub(crate) fn promises_are_kept(&self, view: &View) -> Step {
        self.promises.are_kept(view)
    }

    /// An entry changed the state.
    pub(crate) fn applied(&mut self, sight: &Sight<'_>, changes: &ChangeSet, context: &mut Context) -> Step {
        if sight.origin == Origin::User {
            self.promises.made(changes);
        }
        for change in &changes.changes {
            self.tasks.changed(sight, change, &mut context.tally)?;
            self.jobs.changed(sight, change, &mut context.tally)?;
            self.moves.changed(sight, change, &mut context.tally)?;
            roles::changed(sight, change, &mut context.tally)?;
            if let Change::Update { old: AnyObject::Service(old), new: AnyObject::Service(new) } = change {
                count_updates(old, new, context);
            }
        }
        Ok(())
    }
}

fn count_updates(old: &Service, new: &Service, context: &mut Context) {
    let rolls_back =
        |service: &Service| service.update_status.as_ref().is_some_and(|it| it.state() == UpdateState::RollbackStarted);
    if rolls_back(new) && !rolls_back(old) {
        context.tally.count(Kind::Rollback);
    } else if old.revision != new.revision {
        context.tally.count(Kind::Update);
    }
}
