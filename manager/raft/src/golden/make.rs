//! How a golden directory is made: a manager that writes every kind of object and of action, twice, with a snapshot between.

use std::{path::Path, sync::Arc, time::Duration};

use skep_common::{
    clock::Timestamp,
    feature_level::FEATURE_LEVEL,
    id::{Ids as _, SeededIds},
    revision::revision_id,
};
use skep_proto::v1::{
    Action, AssignRaftId, Cluster, Node, NodeChange, ObjectKind, ObjectRef, Service, ServiceRevision, Task, TaskChange,
    Transaction, action,
};
use skep_store::{IntoObject as _, Store, TxBuilder, View};

use super::{Level, NODE, fill::Schema, settled, start};
use crate::{Open, ProposeError, RaftNode, config::FIRST_RAFT_ID};

/// Variants of each kind: enough for every field of every oneof.
const VARIANTS: usize = 4;

/// How often the leader's own writes may come between.
const TRIES: usize = 20;

const NOW: Timestamp = Timestamp::from_secs(1_764_500_000);

/// What objects that hang together need of their own (full names): ids, numbers, versions.
pub(super) const SET: &[&str] = &[
    "skep.v1.AssignRaftId.node_id",
    "skep.v1.Cluster.feature_level",
    "skep.v1.Cluster.id",
    "skep.v1.ManagerStatus.raft_id",
    "skep.v1.Meta.created_at",
    "skep.v1.Meta.updated_at",
    "skep.v1.Meta.version",
    "skep.v1.Node.id",
    "skep.v1.NodeChange.id",
    "skep.v1.NodeChange.version",
    "skep.v1.ObjectRef.id",
    "skep.v1.ObjectRef.kind",
    "skep.v1.ObjectRef.version",
    "skep.v1.Service.id",
    "skep.v1.Service.last_revision",
    "skep.v1.Service.previous_revision",
    "skep.v1.Service.revision",
    "skep.v1.ServiceRevision.id",
    "skep.v1.ServiceRevision.number",
    "skep.v1.ServiceRevision.service_id",
    "skep.v1.Task.id",
    "skep.v1.Task.revision",
    "skep.v1.Task.service_id",
    "skep.v1.Task.service_of_revision",
    "skep.v1.Task.spec_of_revision",
    "skep.v1.TaskChange.id",
    "skep.v1.TaskChange.version",
];

/// Which variant a transaction's content is.
pub(super) fn variant(transaction: &Transaction) -> usize {
    transaction.by.strip_prefix("variant ").unwrap().parse().unwrap()
}

struct Maker {
    schema: Schema,
    ids: SeededIds,
    raft: RaftNode,
    store: Arc<Store>,
    written: Vec<Transaction>,
}

/// Makes the directory of today's level.
pub(super) async fn make(dir: &Path) -> Level {
    let (raft, store) = start(dir, Open::Create { raft_id: FIRST_RAFT_ID }).await;
    let mut maker = Maker { schema: Schema::new(), ids: SeededIds::new(1), raft, store, written: Vec::new() };
    let first = maker.first();
    maker.raft.bootstrap(first.clone()).await.unwrap();
    maker.written.push(first);
    maker.everything(0).await;
    maker.take_snapshot().await;
    maker.everything(2 * VARIANTS).await;
    settled(&maker.store).await;
    let objects = maker.store.view().objects().map(|object| object.into_object()).collect();
    maker.raft.shutdown().await;
    Level { transactions: maker.written, objects }
}

impl Maker {
    fn cluster(&self, variant: usize) -> Cluster {
        Cluster { id: "golden".to_owned(), feature_level: FEATURE_LEVEL, ..self.schema.filled("Cluster", variant) }
    }

    fn first(&self) -> Transaction {
        let view = View::default();
        let mut tx = TxBuilder::new(&view, NOW);
        tx.create(self.cluster(0));
        tx.create(Node { id: NODE.to_owned(), ..self.schema.filled("Node", 0) });
        Transaction { by: "variant 0".to_owned(), ..tx.build() }
    }

    /// Writes what is built on the newest view; anew, when the leader's own writes came between.
    async fn write(&mut self, variant: usize, build: impl Fn(&Schema, &mut TxBuilder<'_>)) {
        for _ in 0..TRIES {
            let view = self.store.view();
            let mut tx = TxBuilder::new(&view, NOW);
            build(&self.schema, &mut tx);
            let transaction = Transaction { by: format!("variant {variant}"), ..tx.build() };
            match self.raft.propose(transaction.clone()).await {
                Ok(_) => return self.written.push(transaction),
                Err(ProposeError::Conflict(_)) => {}
                Err(error) => panic!("{error}"),
            }
        }
        panic!("variant {variant} is refused");
    }

    /// Every kind of action, in so many variants from `first` on for what is made, and as many after these for its changes.
    async fn everything(&mut self, first: usize) {
        let services: Vec<String> = (0..VARIANTS).map(|_| self.ids.next_id()).collect();
        for (variant, service) in (first..).zip(&services) {
            let [node, own, shared, gone] = std::array::from_fn(|_| self.ids.next_id());
            self.create(variant, &node, service, [&own, &shared, &gone]).await;
            self.change(variant, &node, service, [&own, &shared]).await;
            self.write(variant, |_, tx| {
                tx.remove(ObjectKind::Task, &gone);
            })
            .await;
        }
        // One of each kind goes, and the rest stays.
        let service = &services[1];
        let revision = revision_id(service, 8);
        let node = self.store.view().nodes().map(|node| node.id.clone()).find(|id| id != NODE).unwrap();
        self.write(first, |_, tx| {
            let kinds = [
                (ObjectKind::Cluster, "golden"),
                (ObjectKind::Node, NODE),
                (ObjectKind::Service, service),
                (ObjectKind::Revision, &revision),
                (ObjectKind::Task, "none"),
            ];
            for (kind, id) in kinds {
                tx.expect(kind, id);
            }
            tx.remove(ObjectKind::Node, &node).remove(ObjectKind::Revision, &revision);
        })
        .await;
    }

    /// A node, a service with two revisions, and tasks: one that carries its own spec, two that are of a revision.
    async fn create(&mut self, variant: usize, node: &str, service: &str, [own, shared, gone]: [&str; 3]) {
        self.write(variant, |schema, tx| {
            tx.create(Node { id: node.to_owned(), ..schema.filled("Node", variant) });
            tx.create(Service {
                id: service.to_owned(),
                revision: 7,
                previous_revision: 8,
                last_revision: 9,
                ..schema.filled("Service", variant)
            });
            for number in [7, 8] {
                let revision: ServiceRevision = schema.filled("ServiceRevision", variant);
                let (id, service_id) = (revision_id(service, number), service.to_owned());
                // One has the service's spec, one its own.
                let spec = revision.spec.clone().filter(|_| number == 8);
                tx.create(ServiceRevision { id, service_id, number, spec, ..revision });
            }
        })
        .await;
        self.write(variant, |schema, tx| {
            for (id, revision) in [(own, 1), (shared, 7), (gone, 7)] {
                let of = tx.view().revision(service, revision).and_then(|revision| revision.spec.clone());
                let task: Task = schema.filled("Task", variant);
                let spec = of.as_ref().map_or(task.spec.clone(), |spec| spec.task.clone());
                let name = of.as_ref().map_or(task.service.clone(), |spec| spec.annotations.clone());
                tx.create(Task {
                    id: id.to_owned(),
                    service_id: service.to_owned(),
                    revision,
                    spec,
                    service: name,
                    spec_of_revision: false,
                    service_of_revision: false,
                    ..task
                });
            }
        })
        .await;
    }

    async fn change(&mut self, variant: usize, node: &str, service: &str, [own, shared]: [&str; 2]) {
        let next = variant + VARIANTS;
        self.write(next, |schema, tx| {
            let view = tx.view();
            let cluster = view.cluster().unwrap();
            let meta = cluster.meta;
            tx.update(Cluster {
                id: cluster.id.clone(),
                feature_level: FEATURE_LEVEL,
                meta,
                ..schema.filled("Cluster", next)
            });
            let meta = view.node(node).unwrap().meta;
            let whole = Node { id: node.to_owned(), meta, ..schema.filled("Node", next) };
            tx.push(Action { action: Some(action::Action::Update(whole.into_object())) });
            let old = view.service(service).unwrap();
            tx.update(Service {
                id: old.id.clone(),
                meta: old.meta,
                revision: 7,
                previous_revision: 8,
                last_revision: 9,
                ..schema.filled("Service", next)
            });
        })
        .await;
        self.write(next, |schema, tx| {
            let view = tx.view();
            let version = |id: &str| view.task(id).unwrap().meta.unwrap().version;
            let change =
                |id: &str, version| TaskChange { id: id.to_owned(), version, ..schema.filled("TaskChange", next) };
            tx.independent();
            // The last has been read too long ago.
            for change in [change(own, version(own)), change(shared, version(shared)), change(shared, 1)] {
                tx.push(Action { action: Some(action::Action::ChangeTask(change)) });
            }
        })
        .await;
        self.write(next, |schema, tx| {
            let version = tx.view().node(node).unwrap().meta.unwrap().version;
            let change = NodeChange { id: node.to_owned(), version, ..schema.filled("NodeChange", next) };
            tx.push(Action { action: Some(action::Action::ChangeNode(change)) });
        })
        .await;
        self.write(next, |schema, tx| {
            let assign = AssignRaftId { node_id: node.to_owned(), ..schema.filled("AssignRaftId", next) };
            tx.push(Action { action: Some(action::Action::AssignRaftId(assign)) });
        })
        .await;
    }

    /// The log before it goes.
    async fn take_snapshot(&self) {
        settled(&self.store).await;
        let raft = self.raft.openraft();
        raft.trigger().snapshot().await.unwrap();
        let mut metrics = raft.metrics();
        let taken = metrics.wait_for(|metrics| metrics.snapshot.is_some()).await.unwrap().snapshot.unwrap();
        raft.trigger().purge_log(taken.index).await.unwrap();
        let purged = metrics.wait_for(|metrics| metrics.purged.is_some());
        tokio::time::timeout(Duration::from_secs(10), purged).await.unwrap().unwrap();
    }
}

/// Every kind that an action or an object can be of, as the log has it.
pub(super) fn kinds(transactions: &[Transaction]) -> Vec<ObjectKind> {
    let kind = |seen: &ObjectRef| seen.kind();
    transactions.iter().flat_map(|transaction| &transaction.expect).map(kind).collect()
}
