//! Which services a planner is to look at, and at how much of each.
//!
//! Invariant: whatever a planner may have to do because of a change is in the scope after [`Scope::note`]: a slot, or where
//! what becomes of one depends on the others, the whole service.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::Bound::{Excluded, Unbounded},
    sync::Arc,
};

use skep_proto::v1::{Node, Task, TaskState};
use skep_store::{AnyObject, Change, StoreObject as _, View};

use crate::{mode::is_global, node_status, slot::SlotKey, task::TaskExt};

/// What to plan for. A loop collects one from the changes it sees, and adds every service in turn, so that a change it
/// missed delays and never loses anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every service, and what is left of services that are gone.
    All,
    /// These services (ids), whether they still exist or not.
    Services(BTreeMap<String, Extent>),
}

/// How much of a service is to be looked at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Extent {
    /// All of it.
    Whole,
    /// What has to do with these slots. A planner may look at more.
    Slots(BTreeSet<SlotKey>),
}

static WHOLE: Extent = Extent::Whole;

impl Scope {
    /// No service.
    pub fn none() -> Self {
        Self::Services(BTreeMap::new())
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Services(services) if services.is_empty())
    }

    /// Adds all of a service.
    pub fn add(&mut self, service_id: &str) {
        // A task that belongs to no service is nobody's to look after.
        if let Self::Services(services) = self
            && !service_id.is_empty()
        {
            services.insert(service_id.to_owned(), Extent::Whole);
        }
    }

    /// Adds a slot of a service.
    pub fn add_slot(&mut self, service_id: &str, slot: SlotKey) {
        let Self::Services(services) = self else { return };
        match services.get_mut(service_id) {
            Some(Extent::Whole) => {}
            Some(Extent::Slots(slots)) => drop(slots.insert(slot)),
            None if service_id.is_empty() => {}
            None => drop(services.insert(service_id.to_owned(), Extent::Slots([slot].into()))),
        }
    }

    /// Adds all that is in another.
    pub(crate) fn merge(&mut self, other: Self) {
        let Self::Services(others) = other else { return *self = Self::All };
        for (service, extent) in others {
            match extent {
                Extent::Whole => self.add(&service),
                Extent::Slots(slots) => slots.into_iter().for_each(|slot| self.add_slot(&service, slot)),
            }
        }
    }

    /// Takes services out, in the order of their ids, from the first after `last` on and then from the beginning: so many that
    /// what they weigh by `weight` together comes to `limit`, and at least one. Sets `last`.
    pub(crate) fn take_part(&mut self, last: &mut String, limit: u64, weight: impl Fn(&str) -> u64) -> Self {
        let Self::Services(services) = self else { return std::mem::replace(self, Self::none()) };
        let (mut part, mut taken) = (BTreeMap::new(), 0);
        while taken < limit {
            let next = services.range::<str, _>((Excluded(last.as_str()), Unbounded)).next();
            let Some((id, _)) = next.or_else(|| services.first_key_value()) else { break };
            id.clone_into(last);
            let Some(extent) = services.remove(last) else { break };
            taken += match &extent {
                Extent::Whole => weight(last),
                Extent::Slots(slots) => slots.len() as u64,
            };
            part.insert(last.clone(), extent);
        }
        Self::Services(part)
    }

    /// Adds what a change may concern, in the state after it. Progress of a task that neither starts, ends nor changes what
    /// is wanted concerns nobody, unless it takes over from another; nor does a first task, that is to run at once, or where
    /// the scheduler put it.
    pub fn note(&mut self, change: &Change, view: &View) {
        match change.object() {
            AnyObject::Service(service) => self.add(&service.id),
            AnyObject::Task(task) if task_matters(change, view) => self.add_slot_of(task, view),
            AnyObject::Node(node) if node_matters(change) => {
                if node_matters_to_tasks(change) {
                    for task in view.tasks_of_node(&node.id) {
                        self.add_slot_of(task, view);
                    }
                }
                for service in view.global_services() {
                    self.add_slot(&service.id, SlotKey::Node(node.id.clone()));
                }
            }
            // A revision comes with a change of its service, and goes when nobody cares any more.
            AnyObject::Task(_) | AnyObject::Node(_) | AnyObject::Cluster(_) | AnyObject::Revision(_) => {}
        }
    }

    fn add_slot_of(&mut self, task: &Task, view: &View) {
        match view.service(&task.service_id) {
            Some(service) => self.add_slot(&task.service_id, SlotKey::of(task, is_global(service))),
            None => self.add(&task.service_id),
        }
    }

    /// What is in scope, in the order of ids: services, and services that are gone but have left something.
    pub(crate) fn extents<'a>(&'a self, view: &'a View) -> BTreeMap<&'a str, &'a Extent> {
        match self {
            Self::Services(services) => services.iter().map(|(id, extent)| (id.as_str(), extent)).collect(),
            Self::All => everything(view).into_iter().map(|id| (id, &WHOLE)).collect(),
        }
    }
}

/// All services (ids) there are, or were as far as they have left something.
pub(crate) fn everything(view: &View) -> BTreeSet<&str> {
    let existing = view.services().map(|service| service.id.as_str());
    let left = view.revisions().map(|revision| revision.service_id.as_str());
    existing.chain(view.services_with_tasks()).chain(left).filter(|id| !id.is_empty()).collect()
}

fn task_matters(change: &Change, view: &View) -> bool {
    match change {
        Change::Create(AnyObject::Task(new)) => !is_first(new) || is_moved(&Task::default(), new, view),
        Change::Update { old: AnyObject::Task(old), new: AnyObject::Task(new) } => {
            old.desired_state != new.desired_state
                || old.is_terminal() != new.is_terminal()
                || old.may_run() && !new.may_run()
                || is_moved(old, new, view)
                || takes_over(old, new)
        }
        _ => true,
    }
}

/// Whether a task is a slot's first, and waits for nothing. A job's may make an earlier run's superfluous.
fn is_first(task: &Task) -> bool {
    task.replaces.is_empty() && task.job_iteration == 0 && task.desired_state() == TaskState::Running
}

/// Whether a task was put on a node that may have become unfit for it since.
fn is_moved(old: &Task, new: &Task, view: &View) -> bool {
    // Who put it there saw the task as it was before, and so the node as it still is.
    let is_known = |node: &Arc<Node>| node.version() < old.version();
    old.node_id != new.node_id && !view.node(&new.node_id).is_some_and(is_known)
}

/// Whether a task began to run that something waits for: the task it replaces, or the next turn of an update.
fn takes_over(old: &Task, new: &Task) -> bool {
    new.state() == TaskState::Running && old.state() < TaskState::Running && !new.replaces.is_empty()
}

/// Whether a service with a task for each node may want one there now, or want none any more.
fn node_matters(change: &Change) -> bool {
    let Change::Update { old: AnyObject::Node(old), new: AnyObject::Node(new) } = change else { return true };
    node_status::state(old) != node_status::state(new) || node_matters_to_tasks(change)
}

/// Whether tasks that are on a node may have to leave it, or count as lost. That nobody knows how it is, which of every node is
/// said after a change of leader, is no reason.
fn node_matters_to_tasks(change: &Change) -> bool {
    let Change::Update { old: AnyObject::Node(old), new: AnyObject::Node(new) } = change else { return true };
    node_status::is_down(old) != node_status::is_down(new)
        || old.spec != new.spec
        || old.role != new.role
        || old.description != new.description
        || addr(old) != addr(new)
}

/// Where it is seen; empty before it was.
fn addr(node: &Node) -> &str {
    node.status.as_ref().map_or("", |status| &status.addr)
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{
        Meta, NodeDescription, NodeRole, NodeSpec, NodeState, NodeStatus, Service, ServiceSpec, TaskStatus,
        service_spec::Mode,
    };

    use super::*;

    fn task(state: TaskState, desired: TaskState) -> Task {
        Task {
            id: "t".into(),
            service_id: "s".into(),
            desired_state: desired.into(),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            ..Task::default()
        }
    }

    fn whole(service: &str) -> Scope {
        Scope::Services([(service.to_owned(), Extent::Whole)].into())
    }

    fn concerns(old: Task, new: Task) -> bool {
        let mut scope = Scope::none();
        scope.note(&Change::Update { old: old.into(), new: new.into() }, &View::default());
        !scope.is_empty()
    }

    #[test]
    fn progress_concerns_nobody_but_ends_and_wishes_do() {
        use TaskState::*;
        assert!(!concerns(task(Assigned, Running), task(Preparing, Running)));
        assert!(!concerns(task(Starting, Running), task(Running, Running)));
        let replacing = |state| Task { replaces: "old".into(), ..task(state, Running) };
        assert!(concerns(replacing(Starting), replacing(Running)));
        assert!(!concerns(replacing(Preparing), replacing(Starting)));
        assert!(concerns(task(Running, Running), task(Failed, Running)));
        assert!(concerns(task(Running, Running), task(Running, Shutdown)));
        assert!(concerns(task(Pending, Running), task(Rejected, Running)));
        assert!(concerns(task(Running, Running), task(Orphaned, Running)));
        assert!(!concerns(replacing(Running), Task { slot: 1, ..replacing(Running) }));
        let mut scope = Scope::none();
        scope.note(&Change::Remove(task(Failed, Remove).into()), &View::default());
        assert_eq!(scope, whole("s"));
    }

    #[test]
    fn a_placed_task_concerns_its_slot_if_its_node_changed_since_it_was_looked_at() {
        let empty = View::default();
        let mut tx = skep_store::TxBuilder::new(&empty, skep_common::clock::Timestamp(1));
        tx.create(Node { id: "n".into(), ..Node::default() });
        let view = empty.apply(5, &tx.build()).unwrap().0;
        let at = |version, node: &str| Task {
            node_id: node.into(),
            meta: Some(Meta { version, ..Meta::default() }),
            ..task(TaskState::Pending, TaskState::Running)
        };
        let noted = |version, node| {
            let mut scope = Scope::none();
            scope.note(&Change::Update { old: at(version, "").into(), new: at(9, node).into() }, &view);
            !scope.is_empty()
        };
        assert!(!noted(6, "n"));
        assert!(noted(5, "n") && noted(4, "n"), "the node is newer than what was known");
        assert!(noted(6, "gone"));
        assert!(!noted(6, ""));
    }

    #[test]
    fn a_first_task_that_may_run_concerns_nobody() {
        use TaskState::{Complete, New, Ready, Running};
        let first = task(New, Running);
        let replacing = Task { replaces: "old".into(), ..first.clone() };
        let placed = Task { node_id: "n".into(), ..first.clone() };
        let of_job = Task { job_iteration: 1, ..task(New, Complete) };
        for (created, concerned) in
            [(first, false), (task(New, Ready), true), (replacing, true), (placed, true), (of_job, true)]
        {
            let mut scope = Scope::none();
            scope.note(&Change::Create(created.clone().into()), &View::default());
            assert_eq!(!scope.is_empty(), concerned, "{created:?}");
        }
    }

    #[test]
    fn a_part_is_what_comes_next_and_at_least_one() {
        let mut scope = Scope::none();
        for id in ["a", "b", "c", "d"] {
            scope.add(id);
        }
        for n in 0..5 {
            scope.add_slot("e", SlotKey::Number(n));
        }
        let mut last = String::new();
        let mut next = |scope: &mut Scope, limit| match scope.take_part(&mut last, limit, |_| 2) {
            Scope::Services(services) => services.into_keys().collect::<String>(),
            Scope::All => unreachable!(),
        };
        assert_eq!(next(&mut scope, 4), "ab");
        scope.add("a");
        assert_eq!(next(&mut scope, 1), "c");
        assert_eq!(next(&mut scope, 3), "de");
        // Only then what came in meanwhile has its turn.
        assert_eq!(next(&mut scope, 9), "a");
        assert_eq!((next(&mut scope, 9), scope), (String::new(), Scope::none()));
    }

    #[test]
    fn a_task_concerns_its_slot_while_its_service_exists() {
        let view = View::default();
        let mut tx = skep_store::TxBuilder::new(&view, skep_common::clock::Timestamp(1));
        let mode = |mode| Some(ServiceSpec { mode: Some(mode), ..ServiceSpec::default() });
        tx.create(Service { id: "r".into(), spec: mode(Mode::Replicated(Default::default())), ..Service::default() });
        tx.create(Service { id: "g".into(), spec: mode(Mode::Global(Default::default())), ..Service::default() });
        let view = view.apply(1, &tx.build()).unwrap().0;
        let of = |service: &str| Task {
            service_id: service.into(),
            slot: 3,
            node_id: "n".into(),
            ..task(TaskState::Pending, TaskState::Running)
        };
        let noted = |changes: &[Change]| {
            let mut scope = Scope::none();
            changes.iter().for_each(|change| scope.note(change, &view));
            scope
        };
        let slots = |id: &str, slots: &[SlotKey]| {
            Scope::Services([(id.to_owned(), Extent::Slots(slots.iter().cloned().collect()))].into())
        };
        let created = |task: Task| Change::Create(task.into());
        let node = SlotKey::Node("n".into());
        assert_eq!(noted(&[created(of("r"))]), slots("r", &[SlotKey::Number(3)]));
        assert_eq!(noted(&[created(of("g"))]), slots("g", std::slice::from_ref(&node)));
        assert_eq!(noted(&[created(of("gone"))]), whole("gone"));
        let two = [created(of("r")), created(Task { slot: 1, ..of("r") })];
        assert_eq!(noted(&two), slots("r", &[SlotKey::Number(1), SlotKey::Number(3)]));
        let all = [created(of("r")), Change::Remove(Service { id: "r".into(), ..Service::default() }.into())];
        assert_eq!(noted(&all), whole("r"));
        assert_eq!(noted(&[all[1].clone(), all[0].clone()]), whole("r"));
        // A node that joins is a slot of every global service.
        assert_eq!(noted(&[Change::Create(Node { id: "n".into(), ..Node::default() }.into())]), slots("g", &[node]));
    }

    #[test]
    fn a_task_without_a_service_is_in_no_scope() {
        let alone = Task { service_id: String::new(), ..task(TaskState::Failed, TaskState::Running) };
        let mut scope = Scope::none();
        scope.note(&Change::Create(alone.into()), &View::default());
        assert!(scope.is_empty());
    }

    #[test]
    fn a_node_concerns_whoever_has_tasks_there() {
        let mut view = View::default();
        let mut tx = skep_store::TxBuilder::new(&view, skep_common::clock::Timestamp(1));
        tx.create(Task { node_id: "n".into(), ..task(TaskState::Running, TaskState::Running) });
        let tx = tx.build();
        view = view.apply(1, &tx).unwrap().0;

        let ready = Node { id: "n".into(), ..Node::default() };
        let addressed = NodeStatus { addr: "10.0.0.1".into(), ..NodeStatus::default() };
        for changed in [
            Node { spec: Some(NodeSpec::default()), ..ready.clone() },
            Node { role: NodeRole::Manager.into(), ..ready.clone() },
            Node { description: Some(NodeDescription::default()), ..ready.clone() },
            Node { status: Some(addressed), ..ready.clone() },
        ] {
            let mut scope = Scope::none();
            scope.note(&Change::Update { old: ready.clone().into(), new: changed.clone().into() }, &view);
            assert!(!scope.is_empty(), "{changed:?}");
        }
        let status = NodeStatus { state: NodeState::Down.into(), message: "gone".into(), ..NodeStatus::default() };
        let down = Node { status: Some(status), ..ready.clone() };
        let mut scope = Scope::none();
        scope.note(&Change::Update { old: ready.clone().into(), new: ready.clone().into() }, &view);
        assert!(scope.is_empty());
        let known = NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() };
        let known = Node { status: Some(known), ..ready.clone() };
        scope.note(&Change::Update { old: ready.clone().into(), new: known.into() }, &view);
        assert!(scope.is_empty(), "that a leader has heard of it moves no task");
        scope.note(&Change::Update { old: ready.into(), new: down.into() }, &view);
        assert_eq!(scope, whole("s"));
    }
}
