//! Tasks: where they run, how often, beside what, and that they only go forward.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use skep_common::limits;
use skep_core::{
    mode::{is_global, is_job},
    orchestrator::STOP_PATIENCE,
    task::TaskExt,
};
use skep_proto::v1::{NodeState, Task, TaskCause, TaskState, UpdateOrder, UpdateState, service_spec::Mode};
use skep_store::{AnyObject, Change, View};

use super::{Sight, attempts::Attempts};
use crate::{
    context::{Step, must},
    fitness::{host_ports, reserved},
    tally::{Excuse, Tally},
};

/// How long a node may take to hear that a task is forgotten, and to clear it away.
const FAREWELL: Duration = Duration::from_secs(5);

/// Grace period of every simulated service, and what clocks may be wrong by.
const GRACE_AND_SKEW: Duration = Duration::from_secs(2);

/// What is remembered of tasks.
#[derive(Debug, Default)]
pub(super) struct Tasks {
    /// Where each task's container was started.
    started: BTreeMap<String, String>,
    /// When a task was forgotten.
    forgotten: BTreeMap<String, Duration>,
    attempts: Attempts,
    /// The slots last counted: after which entry, of which service, and how many.
    slots: (u64, String, u64),
}

impl Tasks {
    /// A task starts at most one container, ever, anywhere.
    pub(super) fn container_starts(&mut self, task: &str, node: &str, now: Duration) -> Step {
        let before = self.started.insert(task.to_owned(), node.to_owned());
        must!(before.is_none(), "the container of {task} is started on {node} at {now:?}, and was on {before:?}");
        Ok(())
    }

    pub(super) fn containers_started(&self) -> usize {
        self.started.len()
    }

    /// Whether a task was forgotten so lately that its node may not have heard of it.
    pub(super) fn is_just_forgotten(&self, task: &str, now: Duration) -> bool {
        self.forgotten.get(task).is_some_and(|at| now <= *at + FAREWELL)
    }

    pub(super) fn changed(&mut self, sight: &Sight<'_>, change: &Change, tally: &mut Tally) -> Step {
        let Sight { after, now, .. } = *sight;
        match change {
            Change::Create(AnyObject::Task(new)) => {
                alone_in_its_place(after, new)?;
                self.made_for_its_service(after, new)?;
                self.attempts.made(sight, new)?;
                within_parallelism(after, new)?;
                place_is_free(sight, None, new, tally)?;
            }
            Change::Update { old: AnyObject::Task(old), new: AnyObject::Task(new) } => {
                only_forward(old, new)?;
                place_is_free(sight, Some(old), new, tally)?;
                if !old.may_run() && new.may_run() {
                    not_overcommitted(after, &new.node_id)?;
                }
            }
            Change::Remove(AnyObject::Task(task)) => {
                self.forgotten.insert(task.id.clone(), now);
                must!(
                    !sight.is_running(task) || is_excused(sight, &task.node_id, tally),
                    "{} is forgotten while its container runs on {}",
                    task.id,
                    task.node_id
                );
            }
            _ => {}
        }
        Ok(())
    }

    /// A task is made only for a service that is there, as the service is.
    fn made_for_its_service(&mut self, view: &View, task: &Task) -> Step {
        let version = view.service(&task.service_id).map(|service| service.revision);
        must!(
            version.is_some_and(|version| task.revision <= version),
            "{} is made for version {} of {}, which is {version:?}",
            task.id,
            task.revision,
            task.service_id
        );
        let spec = view.service(&task.service_id).and_then(|service| service.spec.as_ref());
        let Some(Mode::Replicated(mode)) = spec.and_then(|spec| spec.mode.as_ref()) else { return Ok(()) };
        if self.slots.0 != view.version() || self.slots.1 != task.service_id {
            let wanted = view.tasks_of_service(&task.service_id).filter(|task| task.is_wanted());
            let slots = wanted.map(|task| task.slot).collect::<BTreeSet<u64>>().len() as u64;
            self.slots = (view.version(), task.service_id.clone(), slots);
        }
        // Those that are too many were there before.
        let is_too_many = self.slots.2 > mode.replicas;
        let mut others = view.tasks_of_service(&task.service_id).filter(|other| other.id != task.id);
        must!(
            !is_too_many || others.any(|other| other.slot == task.slot),
            "{} is made in a new slot of {}, which has {} of {}",
            task.id,
            task.service_id,
            self.slots.2,
            mode.replicas
        );
        Ok(())
    }
}

/// A task is to run only when what was in its slot before has stopped, cannot be asked, or had time enough; but for
/// the one it is started beside. That it may be was looked at when it was made, whatever users have changed since.
fn place_is_free(sight: &Sight<'_>, old: Option<&Task>, new: &Task, tally: &mut Tally) -> Step {
    let view = sight.after;
    let starts = |task: &Task| (TaskState::Running..=TaskState::Complete).contains(&task.desired_state());
    let raised = starts(new) && old.is_none_or(|old| old.desired_state() < TaskState::Running);
    if !raised {
        return Ok(());
    }
    // By the clock that made the task.
    let written = new.meta.map_or(0, |meta| meta.updated_at);
    let had_time =
        written - new.created_at().0 >= i64::try_from((STOP_PATIENCE - GRACE_AND_SKEW).as_nanos()).unwrap_or(0);
    let others = view.tasks_of_service(&new.service_id).filter(|other| other.id != new.id);
    let is_beside = |other: &Task| other.is_wanted() && other.id == new.replaces;
    for other in others.filter(|other| same_place(view, other, new) && !is_beside(other)) {
        must!(
            !sight.is_running(other) || had_time || is_excused(sight, &other.node_id, tally),
            "{} is to run while {} still runs in its slot, on {}; on record it is {:?}, and to be {:?}",
            new.id,
            other.id,
            other.node_id,
            other.state(),
            other.desired_state()
        );
    }
    Ok(())
}

/// Whether a node was down or gone in a state.
pub(super) fn is_down(view: &View, node: &str) -> bool {
    view.node(node).is_none_or(|node| node.status.as_ref().is_some_and(|status| status.state() == NodeState::Down))
}

/// Whether a node could not be asked when this was decided. It may have come back before that was written.
fn is_excused(sight: &Sight<'_>, node: &str, tally: &mut Tally) -> bool {
    let was_down = is_down(sight.seen, node);
    if was_down && !is_down(sight.before, node) {
        tally.excuse(Excuse::NodeCameBack);
    }
    was_down
}

/// At most one task of a slot is wanted, or two while one starts before the other stops.
fn alone_in_its_place(view: &View, task: &Task) -> Step {
    let others = view.tasks_of_service(&task.service_id);
    let rivals: Vec<&str> = others
        .filter(|other| other.is_wanted() && other.id != task.id && same_place(view, other, task))
        .map(|other| other.id.as_str())
        .collect();
    let most = usize::from(may_start_first(view, task));
    must!(!task.is_wanted() || rivals.len() <= most, "{} is wanted beside {rivals:?} in slot {}", task.id, task.slot);
    Ok(())
}

/// Whether a task may be started before the one it replaces has stopped: the service has it so, or had it so when a
/// predecessor was started beside that one.
fn may_start_first(view: &View, task: &Task) -> bool {
    let spec = view.service(&task.service_id).and_then(|service| service.spec.as_ref());
    if spec.is_some_and(is_job) {
        return false;
    }
    // The one that is moved runs on until the one that replaces it does.
    if task.cause() == TaskCause::Rebalance {
        return true;
    }
    let configs = spec.into_iter().flat_map(|spec| [&spec.update, &spec.rollback]);
    let goes_on = |other: &std::sync::Arc<Task>| other.id != task.id && other.replaces == task.replaces;
    configs.flatten().any(|config| config.order() == UpdateOrder::StartFirst)
        || !task.replaces.is_empty() && view.tasks_of_service(&task.service_id).any(goes_on)
}

/// An update has no more tasks under way at a time than it may.
fn within_parallelism(view: &View, task: &Task) -> Step {
    let is_updated = |task: &Task| matches!(task.cause(), TaskCause::Update | TaskCause::Rollback);
    let Some(service) = view.service(&task.service_id).filter(|_| is_updated(task)) else { return Ok(()) };
    let Some(spec) = service.spec.as_ref().filter(|_| task.revision == service.revision) else { return Ok(()) };
    let state = service.update_status.as_ref().map(|status| status.state()).unwrap_or_default();
    let rolls_back = matches!(state, UpdateState::RollbackStarted | UpdateState::RollbackPaused);
    let config = if rolls_back { spec.rollback } else { spec.update };
    let most = config.map_or(limits::UPDATE_PARALLELISM, |config| config.parallelism);
    let under_way = view.tasks_of_service(&service.id).filter(|other| {
        is_updated(other)
            && other.revision == service.revision
            && other.is_wanted()
            && other.state() < TaskState::Running
    });
    let under_way = under_way.count() as u64;
    must!(most == 0 || under_way <= most, "{under_way} tasks of {} are updated at a time, of {most}", service.id);
    Ok(())
}

/// Both states of a task only grow, and it never moves.
fn only_forward(old: &Task, new: &Task) -> Step {
    must!(new.state() >= old.state(), "{} went back from {:?} to {:?}", new.id, old.state(), new.state());
    must!(
        new.desired_state() >= old.desired_state(),
        "what is wanted of {} went back from {:?} to {:?}",
        new.id,
        old.desired_state(),
        new.desired_state()
    );
    must!(
        old.node_id.is_empty() || old.node_id == new.node_id,
        "{} moved from {} to {}",
        new.id,
        old.node_id,
        new.node_id
    );
    Ok(())
}

/// What tasks reserve on a node is at most what it has, and each of its ports is one task's.
fn not_overcommitted(view: &View, node_id: &str) -> Step {
    let Some(node) = view.node(node_id) else { return Ok(()) };
    let capacity = node.description.as_ref().and_then(|description| description.resources.clone()).unwrap_or_default();
    let tasks = || view.tasks_of_node(node_id).filter(|task| task.may_run());
    let cpus: i64 = tasks().map(|task| reserved(task).nano_cpus).sum();
    must!(cpus <= capacity.nano_cpus, "{cpus} of {} CPUs of {node_id} are reserved", capacity.nano_cpus);
    let memory: i64 = tasks().map(|task| reserved(task).memory_bytes).sum();
    must!(memory <= capacity.memory_bytes, "{memory} of {} bytes of {node_id} are reserved", capacity.memory_bytes);
    let mut taken = BTreeMap::new();
    for task in tasks() {
        for port in host_ports(task) {
            let other = taken.insert(port, &task.id);
            must!(other.is_none(), "port {port} of {node_id} is taken by {other:?} and {}", task.id);
        }
    }
    Ok(())
}

/// Whether two tasks of a service are in one slot, numbered or by node, of one run of a job.
fn same_place(view: &View, a: &Task, b: &Task) -> bool {
    let on_nodes = || view.service(&a.service_id).map_or(a.slot == 0, |service| is_global(service));
    a.job_iteration == b.job_iteration && a.slot == b.slot && (a.node_id == b.node_id || !on_nodes())
}
