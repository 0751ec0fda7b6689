//! One state of everything, immutable, shared by whoever looks at it.
//!
//! Invariant: the indexes say exactly what the tables hold; [`View::put`] and [`View::take`] are the only writers.

use std::sync::Arc;

use skep_proto::{
    Shared,
    v1::{Annotations, Cluster, Node, ObjectKind, Service, Task, TaskSpec, TaskState},
};

use crate::{
    index::Index,
    key::Key,
    object::{AnyObject, StoreObject},
    table::{Place, Table},
};

/// A state of the swarm. Cloning is O(1); a clone never changes.
#[derive(Clone, Default)]
pub struct View {
    version: u64,
    tables: Arc<Tables>,
}

#[derive(Clone)]
struct Tables {
    nodes: Table<Node>,
    services: Table<Service>,
    tasks: Table<Task>,
    clusters: Table<Cluster>,
    tasks_of_service: Index<Key, Task>,
    tasks_of_node: Index<Key, Task>,
    tasks_of_slot: Index<(Key, u64), Task>,
    /// Only those that no node was told of: the managers look for these to move them on. There are few, and a task that
    /// runs changes nothing here.
    early_tasks: Index<TaskState, Task>,
}

impl Default for Tables {
    fn default() -> Self {
        Self {
            nodes: Table::default(),
            services: Table::default(),
            tasks: Table::default(),
            clusters: Table::default(),
            tasks_of_service: Index::new(|task| named(&task.service_id)),
            tasks_of_node: Index::new(|task| named(&task.node_id)),
            tasks_of_slot: Index::new(|task| named(&task.service_id).map(|service| (service, task.slot))),
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
        self.tables.nodes.get(id)
    }

    /// All nodes, by id.
    pub fn nodes(&self) -> impl Iterator<Item = &Arc<Node>> {
        self.tables.nodes.iter()
    }

    /// How many nodes there are.
    pub fn node_count(&self) -> usize {
        self.tables.nodes.len()
    }

    /// A service by id.
    pub fn service(&self, id: &str) -> Option<&Arc<Service>> {
        self.tables.services.get(id)
    }

    /// A service by its name.
    pub fn service_by_name(&self, name: &str) -> Option<&Arc<Service>> {
        self.tables.services.named(name).next()
    }

    /// All services, by id.
    pub fn services(&self) -> impl Iterator<Item = &Arc<Service>> {
        self.tables.services.iter()
    }

    /// A task by id.
    pub fn task(&self, id: &str) -> Option<&Arc<Task>> {
        self.tables.tasks.get(id)
    }

    /// All tasks, by id.
    pub fn tasks(&self) -> impl Iterator<Item = &Arc<Task>> {
        self.tables.tasks.iter()
    }

    /// How many tasks there are.
    pub fn task_count(&self) -> usize {
        self.tables.tasks.len()
    }

    /// The tasks of a service, by id. A task that names none is no service's.
    pub fn tasks_of_service(&self, service_id: &str) -> impl Iterator<Item = &Arc<Task>> {
        self.tables.tasks_at(self.tables.tasks_of_service.get(service_id))
    }

    /// The tasks assigned to a node, by id.
    pub fn tasks_of_node(&self, node_id: &str) -> impl Iterator<Item = &Arc<Task>> {
        self.tables.tasks_at(self.tables.tasks_of_node.get(node_id))
    }

    /// The tasks a slot has had that are not yet forgotten, by id.
    pub fn tasks_of_slot(&self, service_id: &str, slot: u64) -> impl Iterator<Item = &Arc<Task>> {
        self.tables.tasks_at(self.tables.tasks_of_slot.get((service_id, slot)))
    }

    /// The tasks whose observed state is `wanted`, by id. Those in NEW and PENDING are found by index, for any other
    /// state all tasks are looked at.
    pub fn tasks_in_state(&self, wanted: TaskState) -> impl Iterator<Item = &Arc<Task>> {
        let found = self.tables.tasks_at(self.tables.early_tasks.get(wanted));
        let all = (!is_early(wanted)).then(|| self.tasks()).into_iter().flatten();
        found.chain(all.filter(move |task| state(task) == wanted))
    }

    /// The cluster; `None` until the first entry.
    pub fn cluster(&self) -> Option<&Arc<Cluster>> {
        self.tables.clusters.iter().next()
    }

    /// Any object by kind and id.
    pub fn object(&self, kind: ObjectKind, id: &str) -> Option<AnyObject> {
        match kind {
            ObjectKind::Node => self.node(id).cloned().map(Into::into),
            ObjectKind::Service => self.service(id).cloned().map(Into::into),
            ObjectKind::Task => self.task(id).cloned().map(Into::into),
            ObjectKind::Cluster => self.tables.clusters.get(id).cloned().map(Into::into),
        }
    }

    /// Every object: by kind, then by id.
    pub fn objects(&self) -> impl Iterator<Item = AnyObject> + '_ {
        let tables = &*self.tables;
        let clusters = tables.clusters.iter().cloned().map(AnyObject::from);
        let nodes = tables.nodes.iter().cloned().map(AnyObject::from);
        let services = tables.services.iter().cloned().map(AnyObject::from);
        let tasks = tables.tasks.iter().cloned().map(AnyObject::from);
        clusters.chain(nodes).chain(services).chain(tasks)
    }

    /// How many objects there are.
    pub fn object_count(&self) -> usize {
        let tables = &*self.tables;
        tables.clusters.len() + tables.nodes.len() + tables.services.len() + tables.tasks.len()
    }

    pub(crate) fn set_version(&mut self, version: u64) {
        self.version = version;
    }

    /// A name of the object that another one of its kind has, where names are unique.
    pub(crate) fn name_taken(&self, object: &AnyObject) -> Option<String> {
        fn taken<T: StoreObject>(table: &Table<T>, object: &T) -> Option<String> {
            let mut names = object.names().filter(|_| T::UNIQUE_NAMES);
            let taken = names.find(|name| table.named(name).any(|other| other.id() != object.id()));
            taken.map(str::to_owned)
        }
        match object {
            AnyObject::Node(node) => taken(&self.tables.nodes, node),
            AnyObject::Service(service) => taken(&self.tables.services, service),
            AnyObject::Task(task) => taken(&self.tables.tasks, task),
            AnyObject::Cluster(cluster) => taken(&self.tables.clusters, cluster),
        }
    }

    pub(crate) fn node_table(&self) -> &Table<Node> {
        &self.tables.nodes
    }

    pub(crate) fn service_table(&self) -> &Table<Service> {
        &self.tables.services
    }

    pub(crate) fn task_table(&self) -> &Table<Task> {
        &self.tables.tasks
    }

    /// Where an object is in its table.
    pub(crate) fn place(&self, kind: ObjectKind, id: &str) -> Option<Place> {
        let id = &Key::from(id);
        match kind {
            ObjectKind::Node => self.tables.nodes.place(id),
            ObjectKind::Service => self.tables.services.place(id),
            ObjectKind::Task => self.tables.tasks.place(id),
            ObjectKind::Cluster => self.tables.clusters.place(id),
        }
    }

    pub(crate) fn at(&self, kind: ObjectKind, place: Place) -> Option<AnyObject> {
        match kind {
            ObjectKind::Node => self.tables.nodes.at(place).cloned().map(Into::into),
            ObjectKind::Service => self.tables.services.at(place).cloned().map(Into::into),
            ObjectKind::Task => self.tables.tasks.at(place).cloned().map(Into::into),
            ObjectKind::Cluster => self.tables.clusters.at(place).cloned().map(Into::into),
        }
    }

    /// What a task has of its service becomes, where it is equal, the very message that the task had before, or else the
    /// service's own: so it is in memory once, and not for every task and version. It came apart on its way through the
    /// log.
    pub(crate) fn share(&self, object: &mut AnyObject, before: Option<&AnyObject>) {
        let AnyObject::Task(task) = object else { return };
        if let Some(AnyObject::Task(before)) = before {
            share(task, before.spec.as_ref(), before.service.as_ref());
        } else if let Some(spec) = self.service(&task.service_id).and_then(|service| service.spec.as_ref()) {
            share(task, spec.task.as_ref(), spec.annotations.as_ref());
        }
    }

    /// Puts an object in place of the one with its id, which has this place; `None`: there is none.
    pub(crate) fn put(&mut self, place: Option<Place>, object: AnyObject) {
        fn put<T: StoreObject>(table: &mut Table<T>, place: Option<Place>, object: Arc<T>) -> (Place, Option<Arc<T>>) {
            match place {
                Some(place) => (place, table.set(place, object)),
                None => (table.add(object), None),
            }
        }
        let tables = Arc::make_mut(&mut self.tables);
        match object {
            AnyObject::Node(node) => drop(put(&mut tables.nodes, place, node)),
            AnyObject::Service(service) => drop(put(&mut tables.services, place, service)),
            AnyObject::Cluster(cluster) => drop(put(&mut tables.clusters, place, cluster)),
            AnyObject::Task(task) => {
                let (place, old) = put(&mut tables.tasks, place, task.clone());
                tables.index(place, old.as_deref(), Some(&task));
            }
        }
    }

    pub(crate) fn take(&mut self, kind: ObjectKind, id: &str) {
        let tables = Arc::make_mut(&mut self.tables);
        match kind {
            ObjectKind::Node => drop(tables.nodes.take(id)),
            ObjectKind::Service => drop(tables.services.take(id)),
            ObjectKind::Cluster => drop(tables.clusters.take(id)),
            ObjectKind::Task => {
                if let Some((place, old)) = tables.tasks.take(id) {
                    tables.index(place, Some(&old), None);
                }
            }
        }
    }
}

fn state(task: &Task) -> TaskState {
    task.status.as_ref().map_or(TaskState::New, |status| status.state())
}

/// Whether a task in this state is the managers' to move on.
fn is_early(state: TaskState) -> bool {
    state < TaskState::Assigned
}

/// An id that a field holds, if it holds one.
fn named(id: &str) -> Option<&str> {
    Some(id).filter(|id| !id.is_empty())
}

fn share(task: &mut Arc<Task>, spec: Option<&Shared<TaskSpec>>, service: Option<&Shared<Annotations>>) {
    fn equal<'a, T: PartialEq>(mine: Option<&Shared<T>>, other: Option<&'a Shared<T>>) -> Option<&'a Shared<T>> {
        other.filter(|other| mine.is_some_and(|mine| !mine.is_same(other) && mine == *other))
    }
    if let Some(spec) = equal(task.spec.as_ref(), spec) {
        Arc::make_mut(task).spec = Some(spec.clone());
    }
    if let Some(service) = equal(task.service.as_ref(), service) {
        Arc::make_mut(task).service = Some(service.clone());
    }
}

impl Tables {
    fn index(&mut self, place: Place, old: Option<&Task>, new: Option<&Task>) {
        self.tasks_of_service.change(place, old, new);
        self.tasks_of_node.change(place, old, new);
        self.tasks_of_slot.change(place, old, new);
        self.early_tasks.change(place, old, new);
    }

    fn tasks_at(&self, places: impl Iterator<Item = Place>) -> impl Iterator<Item = &Arc<Task>> {
        places.filter_map(|place| self.tasks.at(place))
    }
}

impl std::fmt::Debug for View {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("View").field("version", &self.version).field("objects", &self.object_count()).finish()
    }
}
