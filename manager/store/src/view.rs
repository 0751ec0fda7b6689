//! One version of the replicated state: immutable and shared.
//!
//! Invariant: the indexes say exactly what the tables hold; [`View::put`] and [`View::take`] are the only writers.

use std::sync::Arc;

use skep_proto::v1::{Cluster, Node, ObjectKind, Service, Task, TaskState};

use crate::{
    index::Index,
    key::Key,
    kinds::{AnyObject, Tables},
    table::Row,
};

/// A state of the swarm. Cloning is O(1); a clone never changes.
#[derive(Clone, Default)]
pub struct View {
    version: u64,
    state: Arc<State>,
}

#[derive(Clone, Default)]
struct State {
    tables: Tables,
    indexes: Indexes,
}

#[derive(Clone)]
struct Indexes {
    tasks_of_service: Index<Key, Task>,
    tasks_of_node: Index<Key, Task>,
    /// Tasks in NEW and PENDING only, which the managers look for. There are few, and a running task's changes do not
    /// touch this index.
    early_tasks: Index<TaskState, Task>,
}

impl Default for Indexes {
    fn default() -> Self {
        Self {
            tasks_of_service: Index::new(|task| named(&task.service_id)),
            tasks_of_node: Index::new(|task| named(&task.node_id)),
            early_tasks: Index::new(|task| Some(state(task)).filter(|state| is_early(*state))),
        }
    }
}

impl View {
    /// Log index of the last entry that is in this state; 0 of the empty one.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// A node by id.
    pub fn node(&self, id: &str) -> Option<&Arc<Node>> {
        self.state.tables.nodes.get(id)
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.state.tables.nodes.iter()
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.state.tables.nodes.len()
    }

    /// A service by id.
    pub fn service(&self, id: &str) -> Option<&Arc<Service>> {
        self.state.tables.services.get(id)
    }

    /// A service by its name.
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.state.tables.services.named(name).next()
    }

    /// All services, by id.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.state.tables.services.iter()
    }

    /// A task by id.
    pub fn task(&self, id: &str) -> Option<&Arc<Task>> {
        self.state.tables.tasks.get(id)
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.state.tables.tasks.iter()
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> usize {
        self.state.tables.tasks.len()
    }

    /// The tasks of a service, by id. A task that names none is no service's.
    pub fn tasks_of_service(&self, service_id: &str) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_at(self.state.indexes.tasks_of_service.get(service_id))
    }

    /// The tasks assigned to a node, by id.
    pub fn tasks_of_node(&self, node_id: &str) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_at(self.state.indexes.tasks_of_node.get(node_id))
    }

    /// The tasks of a slot, with those kept as history, by id. All tasks of the service are looked at.
    pub fn tasks_of_slot(&self, service_id: &str, slot: u64) -> impl Iterator<Item = &Arc<Task>> {
        self.tasks_of_service(service_id).filter(move |task| task.slot == slot)
    }

    /// The tasks whose observed state is `wanted`, by id. Those in NEW and PENDING are found by index, for any other
    /// state all tasks are looked at.
    pub fn tasks_in_state(&self, wanted: TaskState) -> impl Iterator<Item = &Arc<Task>> {
        let found = self.tasks_at(self.state.indexes.early_tasks.get(wanted));
        let all = (!is_early(wanted)).then(|| self.tasks()).into_iter().flatten();
        found.chain(all.filter(move |task| state(task) == wanted))
    }

    /// The cluster; `None` until the first entry.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.state.tables.clusters.iter().next()
    }

    /// The cluster's feature level: what may be proposed. 0 without a cluster.
    pub fn feature_level(&self) -> u32 {
        self.cluster().map_or(0, |cluster| cluster.feature_level)
    }

    /// Any object by kind and id.
    pub fn object(&self, kind: ObjectKind, id: &str) -> Option<AnyObject> {
        self.state.tables.object(kind, id)
    }

    /// Every object: by kind, then by id.
    pub fn objects(&self) -> impl Iterator<Item = AnyObject> + '_ {
        self.state.tables.objects()
    }

    /// How many objects there are.
    pub fn object_count(&self) -> usize {
        self.state.tables.len()
    }

    pub(crate) fn tables(&self) -> &Tables {
        &self.state.tables
    }

    pub(crate) fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    /// Puts an object in place of the one with its id, which has this row; `None`: there is none.
    pub(crate) fn put(&mut self, row: Option<Row>, object: AnyObject) {
        let state = Arc::make_mut(&mut self.state);
        let (row, old) = state.tables.put(row, object.clone());
        state.indexes.change(row, old.as_ref(), Some(&object));
    }

    pub(crate) fn take(&mut self, kind: ObjectKind, id: &str) {
        let state = Arc::make_mut(&mut self.state);
        if let Some((row, old)) = state.tables.take(kind, id) {
            state.indexes.change(row, Some(&old), None);
        }
    }

    fn tasks_at(&self, rows: impl Iterator<Item = Row>) -> impl Iterator<Item = &Arc<Task>> {
        rows.filter_map(|row| self.state.tables.tasks.at(row))
    }
}

fn state(task: &Task) -> TaskState {
    task.status.as_ref().map_or(TaskState::New, |status| status.state())
}

/// Whether the managers move on a task in this state.
fn is_early(state: TaskState) -> bool {
    state < TaskState::Assigned
}

/// An id that a field holds, if it holds one.
fn named(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty())
}

impl Indexes {
    /// Updates the indexes for an object in a row of its table.
    fn change(&mut self, row: Row, old: Option<&AnyObject>, new: Option<&AnyObject>) {
        if let (None | Some(AnyObject::Task(_)), None | Some(AnyObject::Task(_))) = (old, new) {
            let (old, new) = (task(old), task(new));
            self.tasks_of_service.change(row, old, new);
            self.tasks_of_node.change(row, old, new);
            self.early_tasks.change(row, old, new);
        }
    }
}

fn task(object: Option<&AnyObject>) -> Option<&Task> {
    match object {
        Some(AnyObject::Task(task)) => Some(task),
        _ => None,
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("version", &self.version).field("objects", &self.object_count()).finish()
    }
}
