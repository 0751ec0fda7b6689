//! One version of the replicated state: immutable and shared.
//!
//! Invariant: the indexes say exactly what the tables hold; [`View::put`] and [`View::take`] are the only writers.

use std::sync::Arc;

use imbl::OrdSet;
use skep_proto::v1::{Cluster, Node, NodeRole, ObjectKind, Service, Task, TaskState, service_spec::Mode};

use crate::{
    index::{Group, Index},
    key::Key,
    kinds::{AnyObject, Tables},
    lifecycle::state,
    sum::{NodeLoad, Sum, TaskCounts},
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
    /// By the number of their service's group, and their slot.
    tasks_of_slot: OrdSet<(Group, u64, Row)>,
    /// Tasks in NEW and PENDING only, which the managers look for. There are few, and a running task's changes do not
    /// touch this index.
    early_tasks: Index<TaskState, Task>,
    /// By service and run.
    task_counts: Sum<(Key, u64), TaskCounts>,
    /// By node.
    node_loads: Sum<Key, NodeLoad>,
    /// Those that are managers, or are to be.
    managers: Index<(), Node>,
    nodes_by_public_key: Index<Arc<[u8]>, Node>,
    /// Those with a task for each node.
    global_services: Index<(), Service>,
}

impl Default for Indexes {
    fn default() -> Self {
        Self {
            tasks_of_service: Index::new(|task| named(&task.service_id)),
            tasks_of_node: Index::new(|task| named(&task.node_id)),
            tasks_of_slot: OrdSet::new(),
            early_tasks: Index::new(|task| Some(state(task)).filter(|state| is_early(*state))),
            task_counts: Sum::new(|task| Some((named(&task.service_id)?, task.job_iteration)), TaskCounts::of),
            node_loads: Sum::new(|task| named(&task.node_id), NodeLoad::of),
            managers: Index::new(|node| is_manager(node).then_some(())),
            nodes_by_public_key: Index::new(|node| public_key(node)),
            global_services: Index::new(|service| is_global(service).then_some(())),
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

    /// The nodes that are managers, were let in as such, or are to be managers, by id.
    pub fn managers(&self) -> impl Iterator<Item = &Arc<Node>> {
        let rows = self.state.indexes.managers.get(());
        rows.filter_map(|row| self.state.tables.nodes.at(row))
    }

    /// The node whose certificate is for this key; of several the one with the smallest id.
    pub fn node_by_public_key(&self, key: &[u8]) -> Option<&Arc<Node>> {
        let row = self.state.indexes.nodes_by_public_key.get(key).next()?;
        self.state.tables.nodes.at(row)
    }

    /// What a node has to bear.
    pub fn load_of_node(&self, node_id: &str) -> NodeLoad {
        self.state.indexes.node_loads.get(&node_id.into())
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

    /// The services that have a task for each node, jobs among them, by id.
    pub fn global_services(&self) -> impl Iterator<Item = &Arc<Service>> {
        let rows = self.state.indexes.global_services.get(());
        rows.filter_map(|row| self.state.tables.services.at(row))
    }

    /// The services (ids) that have tasks, whether they still exist or not, in order.
    pub fn services_with_tasks(&self) -> impl Iterator<Item = &str> {
        let counts = &self.state.indexes.task_counts;
        let first = |from| counts.from(from).next().map(|((service, _), _)| service);
        let groups = std::iter::successors(first((Key::default(), 0)), move |service| {
            counts
                .from(((*service).clone(), u64::MAX))
                .find(|((next, _), _)| next != *service)
                .map(|((next, _), _)| next)
        });
        groups.filter_map(|service| self.a_task_of(service).map(|task| task.service_id.as_str()))
    }

    /// How many tasks a service has, over all its runs.
    pub fn task_count_of_service(&self, service_id: &str) -> u64 {
        let service = Key::from(service_id);
        let runs = self.state.indexes.task_counts.from((service.clone(), 0));
        runs.take_while(|((of, _), _)| *of == service).map(|(_, counts)| counts.all).sum()
    }

    /// How the tasks of a run of a service fare; of a service that is no job the run is 0.
    pub fn task_counts(&self, service_id: &str, run: u64) -> TaskCounts {
        self.state.indexes.task_counts.get(&(service_id.into(), run))
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

    /// The tasks of a slot, with those kept as history, by id.
    pub fn tasks_of_slot(&self, service_id: &str, slot: u64) -> impl Iterator<Item = &Arc<Task>> {
        let indexes = &self.state.indexes;
        let group = indexes.tasks_of_service.group(&service_id.into());
        let found = group.map(|group| indexes.tasks_of_slot.range((group, slot, 0)..=(group, slot, Row::MAX)));
        let mut tasks: Vec<_> = self.tasks_at(found.into_iter().flatten().map(|(.., row)| *row)).collect();
        tasks.sort_unstable_by(|one, other| one.id.cmp(&other.id));
        tasks.into_iter()
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

    fn a_task_of(&self, service: &Key) -> Option<&Arc<Task>> {
        let group = self.state.indexes.tasks_of_service.group(service)?;
        self.tasks_at(self.state.indexes.tasks_of_service.members(group)).next()
    }

    fn tasks_at(&self, rows: impl Iterator<Item = Row>) -> impl Iterator<Item = &Arc<Task>> {
        rows.filter_map(|row| self.state.tables.tasks.at(row))
    }
}

/// Whether the managers move on a task in this state.
fn is_early(state: TaskState) -> bool {
    state < TaskState::Assigned
}

/// Whether who decides on managers has to look at a node.
fn is_manager(node: &Node) -> bool {
    let desired = node.spec.as_ref().map_or(NodeRole::Worker, |spec| spec.desired_role());
    node.manager.is_some() || desired == NodeRole::Manager || node.role() == NodeRole::Manager
}

fn public_key(node: &Node) -> Option<&[u8]> {
    node.certificate.as_ref().map(|certificate| certificate.public_key.as_slice())
}

fn is_global(service: &Service) -> bool {
    matches!(service.spec.as_ref().and_then(|spec| spec.mode.as_ref()), Some(Mode::Global(_) | Mode::GlobalJob(_)))
}

/// An id that a field holds, if it holds one.
fn named(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty())
}

impl Indexes {
    /// Takes a task out of its slot, unless it stays there. To be done while its service's group is there.
    fn leave_slot(&mut self, row: Row, old: Option<&Task>, new: Option<&Task>) {
        let Some(old) = old.filter(|old| new.is_none_or(|new| !same_slot(old, new))) else { return };
        if let Some(group) = self.tasks_of_service.group(&old.service_id.as_str().into()) {
            self.tasks_of_slot.remove(&(group, old.slot, row));
        }
    }

    /// Puts a task into its slot, unless it was there. To be done when its service's group is there.
    fn enter_slot(&mut self, row: Row, old: Option<&Task>, new: Option<&Task>) {
        let Some(new) = new.filter(|new| old.is_none_or(|old| !same_slot(old, new))) else { return };
        if let Some(group) = self.tasks_of_service.group(&new.service_id.as_str().into()) {
            self.tasks_of_slot.insert((group, new.slot, row));
        }
    }

    /// Updates the indexes for an object in a row of its table; `old` and `new` are of one kind.
    fn change(&mut self, row: Row, old: Option<&AnyObject>, new: Option<&AnyObject>) {
        match new.or(old) {
            Some(AnyObject::Task(_)) => {
                let (old, new) = (old.and_then(task), new.and_then(task));
                self.leave_slot(row, old, new);
                self.tasks_of_service.change(row, old, new);
                self.enter_slot(row, old, new);
                self.tasks_of_node.change(row, old, new);
                self.early_tasks.change(row, old, new);
                self.task_counts.change(old, new);
                self.node_loads.change(old, new);
            }
            Some(AnyObject::Node(_)) => {
                let (old, new) = (old.and_then(node), new.and_then(node));
                self.managers.change(row, old, new);
                self.nodes_by_public_key.change(row, old, new);
            }
            Some(AnyObject::Service(_)) => {
                self.global_services.change(row, old.and_then(service), new.and_then(service));
            }
            // These are found by id, name and prefix alone.
            Some(AnyObject::Cluster(_) | AnyObject::Revision(_)) | None => {}
        }
    }
}

fn same_slot(one: &Task, other: &Task) -> bool {
    (&one.service_id, one.slot) == (&other.service_id, other.slot)
}

fn task(object: &AnyObject) -> Option<&Task> {
    if let AnyObject::Task(task) = object { Some(task) } else { None }
}

fn node(object: &AnyObject) -> Option<&Node> {
    if let AnyObject::Node(node) = object { Some(node) } else { None }
}

fn service(object: &AnyObject) -> Option<&Service> {
    if let AnyObject::Service(service) = object { Some(service) } else { None }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("version", &self.version).field("objects", &self.object_count()).finish()
    }
}
