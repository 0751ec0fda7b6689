//! The store against a naive model, and the promises watchers and snapshots rely on.

use std::collections::BTreeMap;

use futures::{FutureExt as _, StreamExt as _};
use proptest::prelude::*;
use skep_common::clock::Timestamp;
use skep_proto::{
    Message as _,
    v1::{
        Annotations, Node, NodeDescription, NodeSpec, Object, ObjectKind, Service, ServiceSpec, Task, TaskState,
        TaskStatus, Transaction,
    },
};

use crate::{
    AnyObject, ApplyError, Change, LookupError, Selector, Store, StoreObject, TxBuilder, View, WatchError, Watcher,
};

fn service(id: &str, name: &str) -> Service {
    let annotations = Annotations { name: name.into(), ..Annotations::default() };
    let spec = ServiceSpec { annotations: Some(annotations), ..ServiceSpec::default() };
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

fn with(view: &View, write: impl FnOnce(&mut TxBuilder<'_>)) -> Transaction {
    let mut tx = TxBuilder::new(view, Timestamp(7));
    write(&mut tx);
    tx.build()
}

fn next(view: &View, write: impl FnOnce(&mut TxBuilder<'_>)) -> View {
    view.apply(view.version() + 1, &with(view, write)).unwrap().0
}

#[test]
fn versions_and_times_are_the_entrys() {
    let view = next(&View::default(), |tx| {
        tx.create(service("s", "web"));
    });
    let stored = view.service("s").unwrap();
    let meta = stored.meta.unwrap();
    assert_eq!((meta.version, meta.created_at, meta.updated_at), (1, 7, 7));

    let mut tx = TxBuilder::new(&view, Timestamp(9));
    tx.update(stored.clone());
    let (view, changes) = view.apply(5, &tx.build()).unwrap();
    let meta = view.service("s").unwrap().meta.unwrap();
    assert_eq!((meta.version, meta.created_at, meta.updated_at), (5, 7, 9));
    assert!(matches!(&changes.changes[..], [Change::Update { .. }]));
    assert_eq!((changes.version, view.version()), (5, 5));
}

#[test]
fn what_changed_in_between_refuses_everything() {
    let old = next(&View::default(), |tx| {
        tx.create(service("s", "web")).create(service("t", "db"));
    });
    let stale_update = with(&old, |tx| {
        tx.create(service("u", "new")).update(old.service("s").unwrap().clone());
    });
    let stale_remove = with(&old, |tx| {
        tx.remove(ObjectKind::Service, "s");
    });
    let stale_read = with(&old, |tx| {
        tx.expect(ObjectKind::Service, "s").create(service("u", "new"));
    });
    let absent_read = with(&View::default(), |tx| {
        tx.expect(ObjectKind::Service, "s").create(service("u", "new"));
    });

    let new = next(&old, |tx| {
        tx.update(old.service("s").unwrap().clone());
    });
    for tx in [stale_update, stale_remove, stale_read] {
        let error = new.apply(9, &tx).unwrap_err();
        assert_eq!(error, ApplyError::Conflict { kind: ObjectKind::Service, id: "s".into(), read: 1, found: 2 });
    }
    assert_eq!(new.apply(9, &absent_read).unwrap_err().to_string(), "service s is at version 2, not 0");
    assert!(new.service("u").is_none());
}

#[test]
fn changes_of_one_object_in_a_transaction_see_each_other() {
    let view = next(&View::default(), |tx| {
        tx.create(service("s", "web"));
    });
    let tx = with(&view, |tx| {
        tx.update(service("s", "web2").tap_version(1)).update(service("s", "web3").tap_version(1));
        tx.create(task("t", "s", 1, "", TaskState::New)).update(task("t", "s", 1, "n", TaskState::Assigned));
        tx.create(task("gone", "s", 2, "", TaskState::New)).remove(ObjectKind::Task, "gone");
    });
    let (view, changes) = view.apply(2, &tx).unwrap();
    assert_eq!(view.find_service("web3").unwrap().id, "s");
    assert_eq!(view.task("t").unwrap().node_id, "n");
    let kinds: Vec<_> = changes.changes.iter().map(|change| (change.object().id(), change.before().is_some())).collect();
    assert_eq!(kinds, [("s", true), ("t", false)]);
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

#[test]
fn service_names_are_unique_and_node_names_are_not() {
    let view = next(&View::default(), |tx| {
        tx.create(service("s", "web")).create(node("n1", "host", ""));
    });
    let error = view
        .apply(
            2,
            &with(&view, |tx| {
                tx.create(service("t", "web"));
            }),
        )
        .unwrap_err();
    assert_eq!(error.to_string(), "name conflicts with an existing object: service web already exists");
    let view = next(&view, |tx| {
        tx.create(node("n2", "host", "alias"));
    });

    assert_eq!(view.find_node("alias").unwrap().id, "n2");
    assert_eq!(view.find_node("n1").unwrap().id, "n1");
    assert_eq!(view.find_node("host").unwrap_err().to_string(), "node host is ambiguous (2 matches found)");
    assert_eq!(view.find_service("w").unwrap_err().to_string(), "service w not found");
    assert!(matches!(view.find_node("n"), Err(LookupError::Ambiguous { matches: 2, .. })));
    assert!(matches!(view.find_node(""), Err(LookupError::NotFound { .. })));
}

#[test]
fn a_raft_id_is_the_entrys_index() {
    let view = next(&View::default(), |tx| {
        tx.create(node("a", "a", "")).create(node("b", "b", ""));
    });
    let view = next(&view, |tx| {
        tx.assign_raft_id("a", "10.0.0.1:2377");
    });
    let manager = view.node("a").unwrap().manager.clone().unwrap();
    assert_eq!((manager.raft_id, manager.addr.as_str()), (2, "10.0.0.1:2377"));

    let twice = with(&view, |tx| {
        tx.assign_raft_id("a", "x").assign_raft_id("b", "y");
    });
    assert!(matches!(view.apply(3, &twice), Err(ApplyError::Malformed(_))));
    assert!(matches!(
        view.apply(
            3,
            &with(&view, |tx| {
                tx.assign_raft_id("c", "z");
            })
        ),
        Err(ApplyError::NotFound { .. })
    ));
}

#[test]
fn malformed_transactions_are_errors() {
    let view = View::default();
    let empty_action = Transaction { actions: vec![Default::default()], ..Transaction::default() };
    let no_object = with(&view, |_| {});
    let mut no_object = no_object;
    no_object
        .actions
        .push(skep_proto::v1::Action { action: Some(skep_proto::v1::action::Action::Create(Object::default())) });
    let nameless = with(&view, |tx| {
        tx.create(Service::default());
    });
    for tx in [empty_action, no_object, nameless] {
        assert!(matches!(view.apply(1, &tx), Err(ApplyError::Malformed(_))), "{tx:?}");
    }
    let missing = with(&view, |tx| {
        tx.update(service("s", "x"));
    });
    assert!(matches!(view.apply(1, &missing), Err(ApplyError::NotFound { .. })));
}

fn heard(watcher: &mut Watcher) -> Vec<String> {
    let mut words = Vec::new();
    while let Some(Some(event)) = watcher.next().now_or_never() {
        match event {
            Ok(event) => words.extend(event.changes.iter().map(|change| change.object().id().to_owned())),
            Err(error) => words.push(error.to_string()),
        }
    }
    words
}

#[test]
fn a_watcher_hears_what_it_selected_and_no_more() {
    let store = Store::default();
    let mut all = store.watch(Selector::All);
    let mut services = store.watch(Selector::Kinds(vec![ObjectKind::Service]));
    let mut of_node = store.watch(Selector::TasksOfNode("n1".into()));
    let mut of_service = store.watch(Selector::TasksOfService("s".into()));

    let tx = with(&store.view(), |tx| {
        tx.create(service("s", "web"));
        tx.create(task("a", "s", 1, "n1", TaskState::Assigned));
        tx.create(task("b", "s", 2, "n2", TaskState::Assigned));
        tx.create(task("c", "other", 1, "n1", TaskState::Assigned));
    });
    store.commit(1, &tx).unwrap();

    assert_eq!(heard(&mut all), ["s", "a", "b", "c"]);
    assert_eq!(heard(&mut services), ["s"]);
    assert_eq!(heard(&mut of_node), ["a", "c"]);
    assert_eq!(heard(&mut of_service), ["a", "b"]);

    // A removed task is still its node's news.
    store
        .commit(
            2,
            &with(&store.view(), |tx| {
                tx.remove(ObjectKind::Task, "a");
            }),
        )
        .unwrap();
    assert_eq!(heard(&mut of_node), ["a"]);
    assert_eq!(heard(&mut services), Vec::<String>::new());
}

#[test]
fn a_view_and_its_watch_have_no_gap() {
    let store = Store::default();
    store
        .commit(
            1,
            &with(&store.view(), |tx| {
                tx.create(service("s", "web"));
            }),
        )
        .unwrap();
    let (view, mut watcher) = store.view_and_watch(Selector::All);
    store
        .commit(
            2,
            &with(&store.view(), |tx| {
                tx.create(service("t", "db"));
            }),
        )
        .unwrap();
    assert!(view.service("s").is_some() && view.service("t").is_none());
    assert_eq!(heard(&mut watcher), ["t"]);
}

#[test]
fn a_refused_entry_moves_the_version_and_nothing_else() {
    let store = Store::default();
    let mut watcher = store.watch(Selector::All);
    let bad = with(&store.view(), |tx| {
        tx.update(service("s", "x"));
    });
    assert!(store.commit(4, &bad).is_err());
    store.skip(5);
    assert_eq!((store.view().version(), store.view().object_count()), (5, 0));
    assert_eq!(heard(&mut watcher), Vec::<String>::new());
}

#[test]
fn a_slow_watcher_and_one_whose_state_was_replaced_must_start_again() {
    let store = Store::default();
    let mut slow = store.watch(Selector::All);
    for index in 1..2000 {
        let name = format!("s{index}");
        store
            .commit(
                index,
                &with(&store.view(), |tx| {
                    tx.create(service(&name, &name));
                }),
            )
            .unwrap();
    }
    let words = heard(&mut slow);
    assert_eq!(words.last().unwrap(), &WatchError::Lagged.to_string());
    assert!(slow.next().now_or_never().unwrap().is_none(), "it goes on after it lagged");

    let mut watcher = store.watch(Selector::TasksOfNode("n".into()));
    store.replace(View::default());
    assert_eq!(watcher.next().now_or_never().unwrap(), Some(Err(WatchError::Lagged)));
}

fn bytes(view: &View) -> Vec<u8> {
    let mut bytes = view.snapshot_header().encode_length_delimited_to_vec();
    view.snapshot().for_each(|object| bytes.extend(object.encode_length_delimited_to_vec()));
    bytes
}

/// One step of a random history. Small id spaces, so that steps meet.
#[derive(Debug, Clone)]
enum Step {
    CreateService(u8, u8),
    UpdateService(u8, u8, bool),
    RemoveService(u8, bool),
    CreateTask(u8, u8, u8),
    UpdateTask(u8, u8, usize, bool),
    RemoveTask(u8),
}

fn steps() -> impl Strategy<Value = Vec<Vec<Step>>> {
    let step = prop_oneof![
        (0..6u8, 0..4u8).prop_map(|(id, name)| Step::CreateService(id, name)),
        (0..6u8, 0..4u8, any::<bool>()).prop_map(|(id, name, stale)| Step::UpdateService(id, name, stale)),
        (0..6u8, any::<bool>()).prop_map(|(id, stale)| Step::RemoveService(id, stale)),
        (0..9u8, 0..3u8, 0..3u8).prop_map(|(id, service, node)| Step::CreateTask(id, service, node)),
        (0..9u8, 0..3u8, 0..STATES.len(), any::<bool>())
            .prop_map(|(id, node, state, stale)| Step::UpdateTask(id, node, state, stale)),
        (0..9u8).prop_map(Step::RemoveTask),
    ];
    prop::collection::vec(prop::collection::vec(step, 1..4), 1..40)
}

const STATES: [TaskState; 4] = [TaskState::New, TaskState::Pending, TaskState::Running, TaskState::Failed];

/// Writes a step against `view`; a stale one carries a version that is not the present one.
fn write(tx: &mut TxBuilder<'_>, view: &View, step: &Step) {
    let version =
        |kind, id: &str, stale: bool| view.object(kind, id).map_or(0, |it| it.version()) + u64::from(stale) * 1000;
    match step {
        Step::CreateService(id, name) => {
            tx.create(service(&format!("s{id}"), &format!("name{name}")));
        }
        Step::UpdateService(id, name, stale) => {
            let id = format!("s{id}");
            let version = version(ObjectKind::Service, &id, *stale);
            tx.update(service(&id, &format!("name{name}")).tap_version(version));
        }
        Step::RemoveService(id, stale) => {
            if *stale {
                tx.expect(ObjectKind::Service, "never-there");
            }
            tx.remove(ObjectKind::Service, &format!("s{id}"));
        }
        Step::CreateTask(id, service, node) => {
            tx.create(task(
                &format!("t{id}"),
                &format!("s{service}"),
                u64::from(*id % 3),
                &format!("n{node}"),
                TaskState::New,
            ));
        }
        Step::UpdateTask(id, node, state, stale) => {
            let id = format!("t{id}");
            let version = version(ObjectKind::Task, &id, *stale);
            tx.update(task(&id, "s0", 1, &format!("n{node}"), STATES[*state]).tap_version(version));
        }
        Step::RemoveTask(id) => {
            tx.remove(ObjectKind::Task, &format!("t{id}"));
        }
    }
}

/// What the indexes must say, from nothing but the list of all objects.
fn check_indexes(view: &View) {
    let tasks: Vec<_> = view.tasks().cloned().collect();
    let ids = |tasks: Vec<&std::sync::Arc<Task>>| tasks.iter().map(|task| task.id.clone()).collect::<Vec<_>>();
    for key in 0..6 {
        let (service_id, node_id) = (format!("s{key}"), format!("n{key}"));
        let of_service = tasks.iter().filter(|task| task.service_id == service_id);
        assert_eq!(ids(view.tasks_of_service(&service_id).collect()), ids(of_service.clone().collect()));
        for slot in 0..3 {
            let of_slot = of_service.clone().filter(|task| task.slot == slot);
            assert_eq!(ids(view.tasks_of_slot(&service_id, slot).collect()), ids(of_slot.collect()));
        }
        let of_node = tasks.iter().filter(|task| task.node_id == node_id);
        assert_eq!(ids(view.tasks_of_node(&node_id).collect()), ids(of_node.collect()));
    }
    for state in STATES {
        let in_state = tasks.iter().filter(|task| task.status.as_ref().unwrap().state() == state);
        assert_eq!(ids(view.tasks_in_state(state).collect()), ids(in_state.collect()));
    }
    let mut names = BTreeMap::new();
    for service in view.services() {
        let name = service.spec.as_ref().unwrap().annotations.as_ref().unwrap().name.clone();
        assert_eq!(view.service_by_name(&name).unwrap().id, service.id);
        assert!(names.insert(name, service.id.clone()).is_none(), "two services share a name");
    }
}

proptest! {
    #[test]
    fn a_history_is_the_same_everywhere(history in steps()) {
        let (live, replica) = (Store::default(), Store::default());
        let mut watcher = live.watch(Selector::All);
        let mut mirror: BTreeMap<(ObjectKind, String), AnyObject> = BTreeMap::new();
        let mut log = Vec::new();
        let half = history.len() / 2;
        let mut snapshot = bytes(&View::default());

        for (index, entry) in (1..).zip(&history) {
            let view = live.view();
            let mut tx = TxBuilder::new(&view, Timestamp(index as i64));
            entry.iter().for_each(|step| write(&mut tx, &view, step));
            let tx = tx.build();
            let result = live.commit(index, &tx);
            prop_assert_eq!(&result, &replica.commit(index, &tx));
            if result.is_err() {
                prop_assert_eq!(view.objects().collect::<Vec<_>>(), live.view().objects().collect::<Vec<_>>());
            }
            check_indexes(&live.view());
            log.push((index, tx));
            if log.len() == half {
                snapshot = bytes(&live.view());
            }
        }
        prop_assert_eq!(bytes(&live.view()), bytes(&replica.view()));

        // The snapshot and the rest of the log give the same bytes.
        let mut rest = &snapshot[..];
        let header = skep_proto::v1::SnapshotHeader::decode_length_delimited(&mut rest).unwrap();
        let mut objects = Vec::new();
        while !rest.is_empty() {
            objects.push(Object::decode_length_delimited(&mut rest).unwrap());
        }
        let restored = Store::new(View::restore(&header, objects).unwrap());
        for (index, tx) in log.iter().skip(half) {
            let _same_as_before = restored.commit(*index, tx);
        }
        prop_assert_eq!(bytes(&restored.view()), bytes(&live.view()));

        // What the watcher heard rebuilds the state.
        while let Some(Some(event)) = watcher.next().now_or_never() {
            for change in &event.unwrap().changes {
                let key = (change.kind(), change.object().id().to_owned());
                match change.after() {
                    Some(new) => drop(mirror.insert(key, new.clone())),
                    None => drop(mirror.remove(&key)),
                }
            }
        }
        let mirrored: Vec<_> = mirror.into_values().collect();
        let mut wanted: Vec<_> = live.view().objects().collect();
        wanted.sort_by_key(|object| (object.kind(), object.id().to_owned()));
        prop_assert_eq!(mirrored, wanted);
    }

    #[test]
    fn bytes_from_anywhere_never_panic(noise in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(tx) = Transaction::decode(&noise[..]) {
            let _either = View::default().apply(1, &tx);
        }
        if let Ok(object) = Object::decode(&noise[..]) {
            let header = skep_proto::v1::SnapshotHeader { last_index: 1, objects: 1 };
            let _either = View::restore(&header, [object]);
        }
    }
}

#[test]
fn a_snapshot_that_is_not_whole_is_refused() {
    let view = next(&View::default(), |tx| {
        tx.create(service("s", "web"));
    });
    let mut header = view.snapshot_header();
    let objects: Vec<_> = view.snapshot().collect();
    assert!(View::restore(&header, [objects[0].clone(), objects[0].clone()]).is_err());
    assert!(View::restore(&header, [Object::default()]).is_err());
    header.objects = 2;
    assert!(View::restore(&header, objects).is_err());
}
