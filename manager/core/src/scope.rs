//! Which services a planner is to look at.

use std::collections::BTreeSet;

use skep_proto::v1::{Task, TaskState};
use skep_store::{AnyObject, Change, View};

use crate::{mode::is_global, node_status, task::TaskExt};

/// Which services to plan for. A loop collects one from the changes it sees, and takes `All` at its start and on its
/// period, so that a change it missed delays and never loses anything.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Scope {
    /// Every service, and what is left of services that are gone.
    All,
    /// These services (ids), whether they still exist or not.
    Services(BTreeSet<String>),
}

impl Scope {
    /// No service.
    pub fn none() -> Self {
        Self::Services(BTreeSet::new())
    }

    /// Whether there is nothing to look at.
    pub fn is_empty(&self) -> bool {
        matches!(self, Self::Services(services) if services.is_empty())
    }

    /// Adds the services a change may concern, in the state after it. Progress of a task that neither starts, ends nor
    /// changes what is wanted concerns nobody, unless it takes over from another.
    pub fn note(&mut self, change: &Change, view: &View) {
        let Self::Services(services) = self else { return };
        match change.object() {
            AnyObject::Service(service) => {
                services.insert(service.id.clone());
            }
            AnyObject::Task(task) if task_matters(change) => {
                services.insert(task.service_id.clone());
            }
            AnyObject::Node(node) if node_matters(change) => {
                services.extend(view.tasks_of_node(&node.id).map(|task| task.service_id.clone()));
                services.extend(view.services().filter(|service| is_global(service)).map(|service| service.id.clone()));
            }
            // A revision comes with a change of its service, and goes when nobody cares any more.
            AnyObject::Task(_) | AnyObject::Node(_) | AnyObject::Cluster(_) | AnyObject::Revision(_) => {}
        }
    }

    /// The ids in scope, each once, in order: of services and of services that are gone but have left something.
    pub(crate) fn ids<'a>(&'a self, view: &'a View) -> BTreeSet<&'a str> {
        let mut ids: BTreeSet<&str> = match self {
            Self::Services(services) => services.iter().map(String::as_str).collect(),
            Self::All => {
                let existing = view.services().map(|service| service.id.as_str());
                let left = view.revisions().map(|revision| revision.service_id.as_str());
                existing.chain(view.tasks().map(|task| task.service_id.as_str())).chain(left).collect()
            }
        };
        // A task that belongs to no service is nobody's to look after.
        ids.remove("");
        ids
    }
}

fn task_matters(change: &Change) -> bool {
    let Change::Update { old: AnyObject::Task(old), new: AnyObject::Task(new) } = change else { return true };
    old.desired_state != new.desired_state
        || old.is_terminal() != new.is_terminal()
        || old.may_run() != new.may_run()
        || old.node_id != new.node_id
        || takes_over(old, new)
}

/// Whether a task began to run that something waits for: the task it replaces, or the next turn of an update.
fn takes_over(old: &Task, new: &Task) -> bool {
    new.state() == TaskState::Running && old.state() < TaskState::Running && !new.replaces.is_empty()
}

fn node_matters(change: &Change) -> bool {
    let Change::Update { old: AnyObject::Node(old), new: AnyObject::Node(new) } = change else { return true };
    node_status::state(old) != node_status::state(new)
        || old.spec != new.spec
        || old.role != new.role
        || old.description != new.description
        || old.status.as_ref().map(|status| &status.addr) != new.status.as_ref().map(|status| &status.addr)
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Node, NodeDescription, NodeRole, NodeSpec, NodeState, NodeStatus, TaskStatus};

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
        assert!(concerns(task(Pending, Running), task(Assigned, Running)));
        assert!(concerns(task(Pending, Running), task(Rejected, Running)));
        let placed = Task { node_id: "n".into(), ..task(Pending, Running) };
        assert!(concerns(task(Pending, Running), placed));
        assert!(!concerns(replacing(Running), Task { slot: 1, ..replacing(Running) }));
        let mut scope = Scope::none();
        scope.note(&Change::Remove(task(Failed, Remove).into()), &View::default());
        assert_eq!(scope, Scope::Services(["s".to_owned()].into()));
    }

    #[test]
    fn a_task_without_a_service_is_in_no_scope() {
        let alone = Task { service_id: String::new(), ..task(TaskState::Failed, TaskState::Running) };
        let mut scope = Scope::none();
        scope.note(&Change::Create(alone.into()), &View::default());
        assert!(scope.ids(&View::default()).is_empty());
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
        scope.note(&Change::Update { old: ready.into(), new: down.into() }, &view);
        assert_eq!(scope, Scope::Services(["s".to_owned()].into()));
    }
}
