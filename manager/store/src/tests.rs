//! The store against a naive model, and the promises watchers and snapshots rely on.

mod deltas;
mod history;
mod model;
mod revisions;
mod transactions;
mod watching;

use skep_common::clock::Timestamp;
use skep_common::revision::revision_id;
use skep_proto::v1::{
    Annotations, Node, NodeDescription, NodeSpec, Service, ServiceRevision, ServiceSpec, Task, TaskSpec, TaskState,
    TaskStatus, Transaction,
};

use crate::{StoreObject, TxBuilder, View};

fn service(id: &str, name: &str) -> Service {
    let annotations = Annotations { name: name.into(), ..Annotations::default() };
    let spec = ServiceSpec { annotations: Some(annotations.into()), ..ServiceSpec::default() };
    Service { id: id.into(), spec: Some(spec), ..Service::default() }
}

fn node(id: &str, hostname: &str, name: &str) -> Node {
    let annotations = Annotations { name: name.into(), ..Annotations::default() };
    Node {
        id: id.into(),
        spec: Some(NodeSpec { annotations: Some(annotations), ..NodeSpec::default() }),
        description: Some(NodeDescription { hostname: hostname.into(), ..NodeDescription::default() }),
        ..Node::default()
    }
}

fn task(id: &str, service: &str, slot: u64, node: &str, state: TaskState) -> Task {
    let status = TaskStatus { state: state.into(), ..TaskStatus::default() };
    Task {
        id: id.into(),
        service_id: service.into(),
        slot,
        node_id: node.into(),
        status: Some(status),
        ..Task::default()
    }
}

/// A revision of a service, whose tasks are told by its number.
fn revision(service: &str, number: u64) -> ServiceRevision {
    let spec = ServiceSpec { task: Some(made_from(number).into()), ..self::service("", "web").spec.unwrap() };
    ServiceRevision {
        id: revision_id(service, number),
        service_id: service.into(),
        number,
        spec: Some(spec),
        ..ServiceRevision::default()
    }
}

/// What tasks of a revision are made from.
fn made_from(number: u64) -> TaskSpec {
    TaskSpec { force_update: number, ..TaskSpec::default() }
}

fn with(view: &View, write: impl FnOnce(&mut TxBuilder<'_>)) -> Transaction {
    let mut tx = TxBuilder::new(view, Timestamp(7));
    write(&mut tx);
    tx.build()
}

fn next(view: &View, write: impl FnOnce(&mut TxBuilder<'_>)) -> View {
    view.apply(view.version() + 1, &with(view, write)).unwrap().0
}

trait TapVersion {
    fn tap_version(self, version: u64) -> Self;
}

impl<T: StoreObject> TapVersion for T {
    fn tap_version(mut self, version: u64) -> Self {
        self.meta_mut().version = version;
        self
    }
}
