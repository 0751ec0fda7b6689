//! Property tests over random histories: the store says what the naive model says, replicas stay equal byte by byte, a
//! snapshot and the rest of the log are the log, and a watcher can rebuild the state from what it hears.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use skep_common::revision::revision_id;
use skep_proto::{
    Message as _,
    v1::{
        Action, AssignRaftId, Certificate, GenericResource, GlobalService, Node, NodeChange, NodeDescription, NodeRole,
        Object, ObjectKind, ObjectRef, Service, ServiceRevision, SnapshotHeader, Task, TaskAssignment, TaskChange,
        TaskState, TaskStatusChange, Transaction, action::Action as Step, service_spec::Mode,
    },
};

use super::{TapVersion as _, made_from, model::Model, node, revision, service, task};
use crate::{AnyObject, ChangeSet, NodeLoad, Selector, Store, StoreObject, TaskCounts, View};

const STATES: [TaskState; 4] = [TaskState::New, TaskState::Pending, TaskState::Running, TaskState::Failed];

/// An object in a small space of ids and names, so that steps meet. As often as not it carries no version, or one
/// that some entry of the history may have given it.
fn object() -> impl Strategy<Value = Object> {
    let version = prop_oneof![Just(0), 1..20u64];
    let any = prop_oneof![
        (0..5u8, 0..4u8, version.clone(), (0..3u64, 0..3u64, any::<bool>())).prop_map(
            |(id, name, version, (revision, previous_revision, updated))| {
                let made = service(&id_of(id), &name_of(name));
                let previous_spec = updated.then(|| self::revision("", previous_revision).spec.unwrap());
                let made = Service { revision, previous_revision, previous_spec, ..made };
                at(if name == 1 { global(made) } else { made }, version)
            }
        ),
        (0..3u8, 0..2u8, version.clone()).prop_map(|(id, host, version)| at(
            certified(node(&id_of(id), &format!("host{host}"), &name_of(id)), host),
            version
        )),
        (0..3u8, 0..3u64, any::<bool>(), any::<bool>()).prop_map(|(of, number, right, whole)| {
            let revision = revision(&id_of(of), number);
            let id = if right { revision.id.clone() } else { id_of(of) };
            ServiceRevision { id, spec: revision.spec.filter(|_| whole), ..revision }.into()
        }),
        (0..8u8, (0..3u8, 0..3u64), 0..3u8, 0..STATES.len(), version, made()).prop_map(
            |(id, (of, slot), on, state, version, made)| at(
                wanted(Task {
                    id: id_of(id),
                    ..made_as(made, task("", &id_of(of), slot, &name_of(on), STATES[state]))
                }),
                version
            )
        ),
    ];
    any.prop_map(AnyObject::into_proto)
}

/// A service with a task for each node.
fn global(mut service: Service) -> Service {
    service.spec.get_or_insert_default().mode = Some(Mode::Global(GlobalService {}));
    service
}

/// A node whose key is its host's, and which is a manager on the first host.
fn certified(node: Node, host: u8) -> Node {
    let certificate = Some(Certificate { public_key: vec![host], ..Certificate::default() });
    let role = if host == 0 { NodeRole::Manager } else { NodeRole::Worker };
    Node { certificate, role: role.into(), ..node }
}

/// A task of which something is wanted that depends on its slot, as does its run, and what it was given.
fn wanted(task: Task) -> Task {
    let (desired, run) =
        [(TaskState::Running, 0), (TaskState::Complete, 1), (TaskState::Shutdown, 1)][task.slot as usize];
    let generic_resources = if run == 0 { Vec::new() } else { vec![GenericResource::default()] };
    Task { desired_state: desired.into(), job_iteration: run, generic_resources, ..task }
}

/// The revision of a task, what is left out of it as the revision's, and what it carries.
fn made() -> impl Strategy<Value = (u64, [bool; 2], Option<u64>)> {
    (0..3u64, any::<[bool; 2]>(), prop::option::of(0..3u64))
}

fn made_as((number, [spec, service], own): (u64, [bool; 2], Option<u64>), task: Task) -> Task {
    let annotations = revision("", 0).spec.unwrap().annotations;
    Task {
        revision: number,
        spec: own.filter(|_| !spec).map(|own| made_from(own).into()),
        service: annotations.filter(|_| !service && own.is_some()),
        spec_of_revision: spec,
        service_of_revision: service,
        ..task
    }
}

fn at<T: StoreObject + Into<AnyObject>>(object: T, version: u64) -> AnyObject {
    object.tap_version(version).into()
}

/// Ids and names of which the first is none.
fn id_of(n: u8) -> String {
    if n == 0 { String::new() } else { format!("id{n}") }
}

fn name_of(n: u8) -> String {
    if n == 0 { String::new() } else { format!("name{n}") }
}

fn reference() -> impl Strategy<Value = ObjectRef> {
    let id = prop_oneof![4 => (0..8u8).prop_map(id_of), 1 => (0..3u8, 0..3u64).prop_map(|(of, n)| revision_id(&id_of(of), n))];
    (0..5i32, id, prop_oneof![Just(0), 1..20u64]).prop_map(|(kind, id, version)| ObjectRef { kind, id, version })
}

fn task_change() -> impl Strategy<Value = TaskChange> {
    let node =
        prop::option::of((0..3u8).prop_map(|on| TaskAssignment { node_id: name_of(on), ..TaskAssignment::default() }));
    let state = prop::option::of((0..STATES.len()).prop_map(|state| STATES[state].into()));
    (0..8u8, 0..20u64, state, node).prop_map(|(id, version, state, assignment)| {
        let status = Some(TaskStatusChange { state, ..TaskStatusChange::default() });
        TaskChange { id: id_of(id), version, status, assignment, ..TaskChange::default() }
    })
}

/// A random transaction. With `right` its versions are made those of the view it meets, so that many are taken.
#[derive(Debug, Clone)]
struct RandomTransaction {
    transaction: Transaction,
    right: bool,
}

fn entry() -> impl Strategy<Value = RandomTransaction> {
    let step = prop_oneof![
        4 => object().prop_map(Step::Create),
        4 => object().prop_map(Step::Update),
        2 => reference().prop_map(Step::Remove),
        1 => (0..3u8).prop_map(|id| Step::AssignRaftId(AssignRaftId { node_id: id_of(id), addr: "a".into() })),
        1 => Just(Step::Create(Object::default())),
        2 => task_change().prop_map(Step::ChangeTask),
        1 => (0..3u8, 0..20u64, 0..2u8).prop_map(|(id, version, host)| {
            let hostname = format!("host{host}");
            let description = Some(NodeDescription { hostname, ..NodeDescription::default() });
            Step::ChangeNode(NodeChange { id: id_of(id), version, status: None, description })
        }),
    ];
    let actions = prop::collection::vec(step.prop_map(|step| Action { action: Some(step) }), 1..4);
    let expect = prop::collection::vec(reference(), 0..2);
    (actions, expect, 0..100i64, prop::bool::weighted(0.8), prop::bool::weighted(0.3)).prop_map(
        |(actions, expect, now, right, independent)| RandomTransaction {
            transaction: Transaction { now, actions, expect, independent, ..Transaction::default() },
            right,
        },
    )
}

impl RandomTransaction {
    /// The transaction as a proposer that saw `view` would write it.
    fn meet(&self, view: &View) -> Transaction {
        let mut transaction = self.transaction.clone();
        if !self.right {
            return transaction;
        }
        let version_of = |kind: i32, id: &str| {
            let kind = ObjectKind::try_from(kind).unwrap();
            view.object(kind, id).map_or(0, |object| object.version())
        };
        for seen in &mut transaction.expect {
            seen.version = version_of(seen.kind, &seen.id);
        }
        for action in &mut transaction.actions {
            match &mut action.action {
                Some(Step::ChangeTask(change)) => change.version = version_of(ObjectKind::Task.into(), &change.id),
                Some(Step::ChangeNode(change)) => change.version = version_of(ObjectKind::Node.into(), &change.id),
                Some(Step::Remove(seen)) => seen.version = version_of(seen.kind, &seen.id),
                Some(Step::Update(object)) => {
                    let Some(mut updated) = AnyObject::from_proto(object.clone()) else { continue };
                    updated.meta_mut().version = version_of(updated.kind().into(), updated.id());
                    *object = updated.into_proto();
                }
                _ => {}
            }
        }
        transaction
    }
}

fn bytes(view: &View) -> Vec<u8> {
    let mut bytes = view.snapshot_header().encode_length_delimited_to_vec();
    view.snapshot().for_each(|object| bytes.extend(object.encode_length_delimited_to_vec()));
    bytes
}

fn restore(mut snapshot: &[u8]) -> View {
    let header = SnapshotHeader::decode_length_delimited(&mut snapshot).unwrap();
    let mut objects = Vec::new();
    while !snapshot.is_empty() {
        objects.push(Object::decode_length_delimited(&mut snapshot).unwrap());
    }
    View::restore(&header, objects).unwrap()
}

/// Every object, by kind and id: the model's order.
fn sorted(view: &View) -> Vec<AnyObject> {
    let mut objects: Vec<_> = view.objects().collect();
    objects.sort_by_key(|object| (object.kind(), object.id().to_owned()));
    objects
}

/// The indexes say what a search through all objects says.
fn check_indexes(view: &View) {
    let tasks: Vec<_> = view.tasks().cloned().collect();
    let is = |found: Vec<&Arc<Task>>, wanted: &dyn Fn(&Task) -> bool| {
        assert_eq!(found, tasks.iter().filter(|task| wanted(task)).collect::<Vec<_>>());
    };
    for key in 0..8 {
        let (id, name) = (id_of(key), name_of(key));
        // A task that names no service is no service's.
        let of_service = |task: &Task| !id.is_empty() && task.service_id == id;
        is(view.tasks_of_service(&id).collect(), &of_service);
        for slot in 0..3 {
            is(view.tasks_of_slot(&id, slot).collect(), &|task| of_service(task) && task.slot == slot);
        }
        if !name.is_empty() {
            is(view.tasks_of_node(&name).collect(), &|task| task.node_id == name);
            let named = |service: &&Arc<Service>| service.names().any(|held| held == name);
            assert_eq!(view.service_by_name(&name), view.services().find(named));
        }
    }
    for state in STATES {
        is(view.tasks_in_state(state).collect(), &|task| task.status.as_ref().unwrap().state() == state);
    }
    let with_tasks: BTreeSet<&str> =
        tasks.iter().map(|task| task.service_id.as_str()).filter(|id| !id.is_empty()).collect();
    assert_eq!(view.services_with_tasks().collect::<Vec<_>>(), with_tasks.into_iter().collect::<Vec<_>>());
    for key in 1..8 {
        let (id, name) = (id_of(key), name_of(key));
        let of_service = || tasks.iter().filter(|task| task.service_id == id);
        assert_eq!(view.task_count_of_service(&id), of_service().count() as u64);
        for run in 0..2 {
            let mut counted = TaskCounts::default();
            of_service().filter(|task| task.job_iteration == run).for_each(|task| counted += TaskCounts::of(task));
            assert_eq!(view.task_counts(&id, run), counted);
        }
        let mut load = NodeLoad::default();
        tasks.iter().filter(|task| task.node_id == name).for_each(|task| load += NodeLoad::of(task));
        assert_eq!(view.load_of_node(&name), load);
        let holds = |node: &&Arc<Node>| node.certificate.as_ref().is_some_and(|it| it.public_key == [key]);
        assert_eq!(view.node_by_public_key(&[key]), view.nodes().find(holds));
    }
    let is_manager = |node: &&Arc<Node>| node.role() == NodeRole::Manager || node.manager.is_some();
    assert!(view.managers().eq(view.nodes().filter(is_manager)));
    let is_global = |service: &&Arc<Service>| service.spec.as_ref().is_some_and(|spec| spec.mode.is_some());
    assert!(view.global_services().eq(view.services().filter(is_global)));
    assert_eq!(view.task_count(), tasks.len());
    assert_eq!(view.node_count(), view.nodes().count());
    assert_eq!(view.object_count(), view.objects().count());
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_history_is_the_same_everywhere(history in prop::collection::vec(entry(), 1..40)) {
        let replicas = [Store::default(), Store::default(), Store::default()];
        let [live, ..] = &replicas;
        let mut model = Model::default();
        let mut watcher = live.watch(Selector::All);
        let half = history.len() / 2;
        let mut log = Vec::new();
        let mut snapshot = bytes(&View::default());

        for (index, entry) in (1..).zip(&history) {
            let before = live.view();
            let (seen, transaction) = (sorted(&before), entry.meet(&before));
            let results = replicas.each_ref().map(|store| store.commit(index, &transaction));
            prop_assert_eq!(&results[0], &results[1]);
            prop_assert_eq!(&results[0], &results[2]);
            let refused = |changes: &ChangeSet| changes.refused.iter().map(|refused| refused.action).collect();
            prop_assert_eq!(results[0].as_ref().ok().map(refused), model.apply(index, &transaction), "{:?}", results[0]);
            prop_assert_eq!(sorted(&live.view()), model.objects());
            prop_assert_eq!(live.view().version(), index);
            check_indexes(&live.view());
            prop_assert_eq!(sorted(&before), seen, "an old view changed");
            log.push((index, transaction));
            if log.len() == half {
                snapshot = bytes(&live.view());
            }
        }
        let end = bytes(&live.view());
        prop_assert!(replicas.iter().all(|store| bytes(&store.view()) == end));

        let restored = Store::new(restore(&snapshot));
        for (index, transaction) in &log[half..] {
            let _refused_here_as_there = restored.commit(*index, transaction);
        }
        prop_assert_eq!(bytes(&restored.view()), end);
        prop_assert_eq!(sorted(&restored.view()), sorted(&live.view()));
        prop_assert_eq!(sorted(&restore(&bytes(&live.view()))), sorted(&live.view()));

        let mut mirror: BTreeMap<(ObjectKind, String), AnyObject> = BTreeMap::new();
        while let Some(Some(event)) = watcher.next().now_or_never() {
            for change in &event.unwrap().changes {
                let key = (change.kind(), change.object().id().to_owned());
                prop_assert_eq!(change.before(), mirror.get(&key));
                match change.after() {
                    Some(new) => drop(mirror.insert(key, new.clone())),
                    None => drop(mirror.remove(&key)),
                }
            }
        }
        prop_assert_eq!(mirror.into_values().collect::<Vec<_>>(), sorted(&live.view()));
    }

    #[test]
    fn bytes_from_anywhere_never_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(tx) = Transaction::decode(&noise[..]) {
            let _either = View::default().apply(1, &tx);
        }
        if let Ok(object) = Object::decode(&noise[..]) {
            let header = SnapshotHeader { last_index: 1, objects: 1 };
            let _either = View::restore(&header, [object]);
        }
    }
}
