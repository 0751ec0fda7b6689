//! The tasks of one place of a service (a slot, or a node of a global service), and which of them hold it.
//!
//! Usually one task of a place is wanted: its *holder*. While its replacement is started first there are two: the
//! *successor* names the holder in `Task.replaces` and takes over when it runs, or when it has passed its
//! [trial](crate::rollout::trial_ends).
//!
//! Invariants: which tasks hold a place follows from the state alone; telling the others to stop changes nothing about
//! it; a holder is given up for its successor only when that runs, or when the holder is of no more use.

use std::{cmp::Reverse, collections::BTreeMap, sync::Arc, time::Duration};

use skep_common::clock::Timestamp;
use skep_proto::v1::{Service, Task, TaskState, UpdateState};
use skep_store::View;

use crate::{
    enforcer::{self, Nodes},
    restart,
    rollout::trial_ends,
    task::{Place, TaskExt},
    update::is_dirty,
};

/// How long after the restart policy gave up its successor a task that has to leave its node is given another.
pub(crate) const RETRY: Duration = Duration::from_secs(60);

/// A service's tasks by place; of a job those of one run, of other services `run` is 0.
pub(crate) fn places<'v>(view: &'v View, service_id: &str, run: u64, global: bool) -> BTreeMap<Place<'v>, Tenants<'v>> {
    let mut places: BTreeMap<Place<'v>, Tenants<'v>> = BTreeMap::new();
    for task in view.tasks_of_service(service_id).filter(|task| task.job_iteration == run) {
        let tenants = places.entry(Place::of(task, global)).or_default();
        if task.is_leaving() { tenants.leaving.push(task) } else { tenants.staying.push(task) }
    }
    places
}

/// The tasks of one place of a service.
#[derive(Debug, Default)]
pub(crate) struct Tenants<'a> {
    /// Those the place counts, by id.
    pub(crate) staying: Vec<&'a Arc<Task>>,
    /// Those that are on their way out for good.
    pub(crate) leaving: Vec<&'a Arc<Task>>,
}

impl<'a> Tenants<'a> {
    /// The wanted task. Should there be several, the one that is furthest.
    pub(crate) fn wanted(&self) -> Option<&'a Arc<Task>> {
        let wanted = self.staying.iter().copied().filter(|task| task.is_wanted());
        wanted.max_by_key(|task| (!task.is_terminal(), task.state(), Reverse(&task.id)))
    }

    /// The task a finished place ended with. What was tried beside it and came to nothing does not count, however late.
    pub(crate) fn last(&self) -> Option<&'a Arc<Task>> {
        let is_replaced = |task: &Task| self.staying.iter().any(|other| other.replaces == task.id);
        let lateness = |task: &Task| (task.is_last(), !is_replaced(task), task.created_at());
        self.staying.iter().copied().max_by_key(|task| (lateness(task), Reverse(&task.id)))
    }

    /// All of them.
    pub(crate) fn all(&self) -> impl Iterator<Item = &'a Arc<Task>> {
        self.staying.iter().chain(&self.leaving).copied()
    }
}

/// A place that is kept, and who holds it.
#[derive(Debug)]
pub(crate) struct Held<'t, 'v> {
    pub(crate) place: Place<'v>,
    pub(crate) tenants: &'t Tenants<'v>,
    /// `None` when the place is finished: its last task is over, and the restart policy wanted no other.
    pub(crate) holder: Option<&'v Arc<Task>>,
    /// What takes over from the holder as soon as it runs.
    pub(crate) successor: Option<&'v Arc<Task>>,
    /// Those that are wanted and should not be.
    pub(crate) surplus: Vec<&'v Arc<Task>>,
}

impl<'t, 'v> Held<'t, 'v> {
    /// Who holds a place of a service.
    pub(crate) fn of(
        nodes: &Nodes<'_>,
        service: &Service,
        place: Place<'v>,
        tenants: &'t Tenants<'v>,
        now: Timestamp,
    ) -> Self {
        let wanted: Vec<&'v Arc<Task>> = tenants.staying.iter().copied().filter(|task| task.is_wanted()).collect();
        let pair = wanted.iter().find_map(|successor| {
            let holder = wanted.iter().find(|holder| holder.id == successor.replaces)?;
            Some((*holder, *successor))
        });
        let (holder, successor) = match pair {
            None => (tenants.wanted(), None),
            Some((holder, successor)) => match Tenure::of(nodes, service, holder, successor, now) {
                Tenure::Shared => (Some(holder), Some(successor)),
                Tenure::Holder => (Some(holder), None),
                Tenure::Successor => (Some(successor), None),
            },
        };
        let holds = |task: &Arc<Task>| [holder, successor].into_iter().flatten().any(|other| other.id == task.id);
        let surplus = wanted.iter().copied().filter(|task| !holds(task)).collect();
        Self { place, tenants, holder, successor, surplus }
    }

    /// The last task made for the place.
    pub(crate) fn newest(&self) -> Option<&'v Arc<Task>> {
        self.successor.or(self.holder).or_else(|| self.tenants.last())
    }

    /// Whether one task holds the place, and runs there. What is surplus does not matter: it is being told to stop.
    pub(crate) fn is_settled(&self) -> bool {
        self.successor.is_none() && self.holder.is_some_and(|task| task.state() == TaskState::Running)
    }
}

/// Who of a holder and its successor stays.
enum Tenure {
    Shared,
    Holder,
    Successor,
}

impl Tenure {
    fn of(nodes: &Nodes<'_>, service: &Service, holder: &Task, successor: &Task, now: Timestamp) -> Self {
        let view = nodes.view;
        if holder.is_terminal() || enforcer::is_silent(view, &holder.node_id) {
            return Self::Successor;
        }
        let runs = successor.state() == TaskState::Running;
        if is_dirty(view, service, successor) {
            // What was asked for has changed again; a holder that is what is asked for now stays.
            return if runs && is_dirty(view, service, holder) { Self::Successor } else { Self::Holder };
        }
        let holder_must_go = nodes.misplaced(service, holder).is_some();
        if runs {
            let is_on_trial = trial_ends(service, successor).is_some_and(|until| until > now);
            return if is_on_trial && !holder_must_go { Self::Shared } else { Self::Successor };
        }
        if is_given_up(successor, now) {
            let is_retried = holder_must_go && successor.observed_at() + RETRY <= now;
            return match successor.state() {
                TaskState::Complete => Self::Successor,
                // A new attempt is due.
                _ if is_retried || began_after(service, successor) => Self::Holder,
                // The policy wants none.
                _ if holder_must_go && restart::after_move(holder).is_none() => Self::Successor,
                _ => Self::Shared,
            };
        }
        // The policy wants every task to run once at most, so nothing would come of it.
        let is_stranded = nodes.misplaced(service, successor).is_some() && restart::after_move(successor).is_none();
        if is_stranded && !successor.is_terminal() { Self::Holder } else { Self::Shared }
    }
}

/// Whether a task is over and the restart policy wants no other. Beside a holder that still runs such a task stays, for
/// it is what says that the update of the place has come to nothing.
pub(crate) fn is_given_up(task: &Task, now: Timestamp) -> bool {
    task.is_terminal() && task.not_before() <= now && restart::after_end(task, now).is_none()
}

/// Whether the update in force began after the task was made.
fn began_after(service: &Service, task: &Task) -> bool {
    service.update_status.as_ref().is_some_and(|status| {
        let is_under_way = matches!(status.state(), UpdateState::Updating | UpdateState::RollbackStarted);
        is_under_way && Timestamp(status.started_at) > task.created_at()
    })
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{
        Availability, Meta, Node, NodeSpec, NodeState, NodeStatus, RestartCondition, RestartPolicy, RestartState,
        TaskSpec, TaskStatus,
    };
    use skep_store::TxBuilder;

    use super::*;

    #[test]
    fn a_replacement_that_can_neither_stay_nor_be_replaced_gives_way_to_its_holder() {
        let node = |id: &str, availability: Availability| Node {
            id: id.into(),
            spec: Some(NodeSpec { availability: availability.into(), ..NodeSpec::default() }),
            status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
            ..Node::default()
        };
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(node("active", Availability::Active)).create(node("drained", Availability::Drain));
        let view = empty.apply(1, &tx.build()).unwrap().0;
        let task = |id: &str, node: &str, state: TaskState, condition: RestartCondition| {
            let restart = Some(RestartPolicy { condition: condition.into(), ..RestartPolicy::default() });
            Arc::new(Task {
                id: id.into(),
                node_id: node.into(),
                spec: Some(TaskSpec { restart, ..TaskSpec::default() }.into()),
                status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
                desired_state: TaskState::Running.into(),
                replaces: if id == "new" { "old".into() } else { String::new() },
                ..Task::default()
            })
        };
        let (once, always) = (RestartCondition::None, RestartCondition::Any);
        for (condition, is_surplus) in [(once, true), (always, false)] {
            let old = task("old", "active", TaskState::Running, condition);
            let new = task("new", "drained", TaskState::Preparing, condition);
            let tenants = Tenants { staying: vec![&old, &new], leaving: Vec::new() };
            let held = Held::of(&Nodes::of(&view), &Service::default(), Place::Slot(1), &tenants, Timestamp(2));
            assert_eq!(held.holder.unwrap().id, "old");
            let (successor, surplus) = if is_surplus { (None, vec![&new]) } else { (Some(&new), Vec::new()) };
            assert_eq!((held.successor, held.surplus), (successor, surplus), "{condition:?}");
        }
    }

    #[test]
    fn a_finished_place_ended_with_what_nothing_was_to_follow_however_late_another_was_tried() {
        let made = |id: &str, created_at, finished| {
            Arc::new(Task {
                id: id.into(),
                meta: Some(Meta { created_at, ..Meta::default() }),
                restart: Some(RestartState { finished, ..RestartState::default() }),
                ..Task::default()
            })
        };
        let (before, last, tried) = (made("a", 1, false), made("b", 2, true), made("c", 3, false));
        let tenants = Tenants { staying: vec![&before, &last, &tried], leaving: Vec::new() };
        assert_eq!(tenants.last().unwrap().id, "b");
        let unfinished = Tenants { staying: vec![&tried, &before], leaving: Vec::new() };
        assert_eq!(unfinished.last().unwrap().id, "c");
        // By a clock that went back what came after was made before.
        let after = Arc::new(Task { replaces: "c".into(), ..Task::clone(&before) });
        let replaced = Tenants { staying: vec![&after, &tried], leaving: Vec::new() };
        assert_eq!(replaced.last().unwrap().id, "a");
    }
}
