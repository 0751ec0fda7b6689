//! Rebalancing: a service never pays for a move, and moves are few.

use std::{collections::BTreeMap, time::Duration};

use skep_core::{rebalance::COOL_DOWN, task::TaskExt};
use skep_proto::v1::{Task, TaskCause, TaskState, UpdateState};
use skep_store::{AnyObject, Change};

use super::{Sight, tasks::is_down};
use crate::{
    context::{Step, must},
    tally::{Kind, Tally},
};

/// What the clocks of two leaders may differ by.
const SKEW: Duration = Duration::from_secs(4);

/// What is remembered of moves.
#[derive(Debug, Default)]
pub(super) struct Moves {
    /// The last task that was made to move one, by service.
    last: BTreeMap<String, String>,
}

impl Moves {
    pub(super) fn changed(&mut self, sight: &Sight<'_>, change: &Change, tally: &mut Tally) -> Step {
        match change {
            Change::Create(AnyObject::Task(task)) if task.cause() == TaskCause::Rebalance => {
                tally.count(Kind::Move);
                self.begins(sight, task)
            }
            Change::Update { old: AnyObject::Task(old), new: AnyObject::Task(new) }
                if old.is_wanted() && !new.is_wanted() =>
            {
                costs_nothing(sight, old)
            }
            _ => Ok(()),
        }
    }

    /// One at a time, after a while of rest, and not into an update.
    fn begins(&mut self, sight: &Sight<'_>, task: &Task) -> Step {
        let at = task.created_at();
        // A move is forgotten with its task: when the service was scaled down, say.
        let last = self.last.insert(task.service_id.clone(), task.id.clone());
        let last = last.and_then(|last| sight.before.task(&last)).map(|last| last.created_at());
        must!(
            last.is_none_or(|last| at + SKEW >= last + COOL_DOWN),
            "{} is moved {:?} after the one before it",
            task.replaces,
            last.map(|last| at.since(last))
        );
        let status = sight.after.service(&task.service_id).and_then(|service| service.update_status.as_ref());
        let state = status.map(|status| status.state()).unwrap_or_default();
        must!(
            !matches!(state, UpdateState::Updating | UpdateState::RollbackStarted),
            "{} is moved during an update",
            task.replaces
        );
        let current = sight.seen.task(&task.replaces);
        must!(
            current.is_some_and(|current| current.is_wanted() && current.state() == TaskState::Running),
            "{} is moved and does not run",
            task.replaces
        );
        Ok(())
    }
}

/// A task that is moved goes only when the one that replaces it runs, or when there is nothing left to replace.
fn costs_nothing(sight: &Sight<'_>, moved: &Task) -> Step {
    let Some(old) = sight.seen.task(&moved.id) else { return Ok(()) };
    let mut others = sight.seen.tasks_of_service(&old.service_id);
    let replacement =
        others.find(|task| task.cause() == TaskCause::Rebalance && task.replaces == old.id && task.is_wanted());
    // It may be taken back in the same plan: then there is nothing it has to wait for.
    let Some(replacement) = replacement.filter(|it| sight.after.task(&it.id).is_some_and(|it| it.is_wanted())) else {
        return Ok(());
    };
    must!(
        replacement.state() >= TaskState::Running || old.is_terminal() || is_down(sight.seen, &old.node_id),
        "{} has to go before {}, to which it is moved, runs",
        old.id,
        replacement.id
    );
    Ok(())
}
