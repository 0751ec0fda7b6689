//! What single transactions do and what refuses them; what names and prefixes find.

use skep_common::clock::Timestamp;
use skep_proto::{
    Message as _,
    v1::{Annotations, Cluster, Object, ObjectKind, Service, ServiceSpec, Task, TaskSpec, TaskState, Transaction},
};

use super::{TapVersion as _, next, node, service, task, with};
use crate::{ApplyError, Change, LookupError, Refused, Store, TxBuilder, View};

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
    let kinds: Vec<_> =
        changes.changes.iter().map(|change| (change.object().id(), change.before().is_some())).collect();
    assert_eq!(kinds, [("s", true), ("t", false)]);
}

#[test]
fn what_is_refused_of_independent_changes_takes_nothing_with_it() {
    let old = next(&View::default(), |tx| {
        tx.create(Cluster { id: "c".into(), feature_level: 1, ..Cluster::default() });
        tx.create(task("a", "s", 1, "", TaskState::New)).create(task("b", "s", 2, "", TaskState::New));
    });
    let on = |id: &str| Task { node_id: "n".into(), ..Task::clone(old.task(id).unwrap()) };
    let assign = with(&old, |tx| {
        tx.independent().update(on("a")).update(on("b")).update(Task { slot: 9, ..on("b") });
    });
    let moved_on = next(&old, |tx| {
        tx.update(Task { slot: 7, ..Task::clone(old.task("a").unwrap()) });
    });
    let (after, changes) = moved_on.apply(3, &assign).unwrap();
    let conflict = |action, id: &str, read, found| Refused {
        action,
        error: ApplyError::Conflict { kind: ObjectKind::Task, id: id.into(), read, found },
    };
    // The second change of one object has not read what the first has written.
    assert_eq!(changes.refused, [conflict(0, "a", 1, 2), conflict(2, "b", 1, 3)]);
    assert_eq!((after.task("a").unwrap().slot, after.task("b").unwrap().slot), (7, 2));
    assert_eq!((after.task("b").unwrap().node_id.as_str(), changes.changes.len()), ("n", 1));

    let together = Transaction { independent: false, ..assign.clone() };
    assert!(moved_on.apply(3, &together).is_err());
    let expecting = Transaction { expect: with(&old, |tx| _ = tx.expect(ObjectKind::Task, "a")).expect, ..assign };
    assert!(moved_on.apply(3, &expecting).is_err(), "what is expected holds for all");
}

#[test]
fn below_their_level_changes_are_not_independent() {
    let of_level = |feature_level| {
        let view = next(&View::default(), |tx| {
            tx.create(Cluster { id: "c".into(), feature_level, ..Cluster::default() });
        });
        with(&view, |tx| _ = tx.independent()).independent
    };
    assert_eq!((of_level(0), of_level(1)), (false, true));
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
    assert!(matches!(error, ApplyError::Taken { by, .. } if by == "s"));
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
    let taken_back = with(&view, |tx| {
        tx.assign_raft_id("a", "x").update(node("a", "a", "").tap_version(2)).assign_raft_id("b", "y");
    });
    assert!(matches!(view.apply(3, &taken_back), Err(ApplyError::Malformed(_))));
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

#[test]
fn what_tasks_have_of_their_service_is_in_memory_once() {
    let spec = TaskSpec { force_update: 1, ..TaskSpec::default() };
    let annotations = Annotations { name: "web".into(), ..Annotations::default() };
    let made = |tx: &mut TxBuilder<'_>| {
        let service = ServiceSpec {
            annotations: Some(annotations.clone().into()),
            task: Some(spec.clone().into()),
            ..ServiceSpec::default()
        };
        tx.create(Service { id: "s".into(), spec: Some(service), ..Service::default() });
        for slot in 1..=2 {
            tx.create(Task {
                spec: Some(spec.clone().into()),
                service: Some(annotations.clone().into()),
                ..task(&format!("t{slot}"), "s", slot, "", TaskState::New)
            });
        }
    };
    let decoded = |tx: Transaction| Transaction::decode(tx.encode_to_vec().as_slice()).unwrap();
    let check = |view: &View| {
        let of_service = view.service("s").unwrap().spec.as_ref().unwrap();
        for task in view.tasks() {
            assert!(task.spec.as_ref().unwrap().is_same(of_service.task.as_ref().unwrap()));
            assert!(task.service.as_ref().unwrap().is_same(of_service.annotations.as_ref().unwrap()));
        }
    };
    let view = View::default().apply(1, &decoded(with(&View::default(), made))).unwrap().0;
    check(&view);
    let moved = with(&view, |tx| {
        tx.update(Task { node_id: "n".into(), ..Task::clone(view.task("t1").unwrap()) });
    });
    let view = view.apply(2, &decoded(moved)).unwrap().0;
    check(&view);
    assert_eq!(view.task("t1").unwrap().node_id, "n");

    let objects = view.snapshot().map(|object| Object::decode(object.encode_to_vec().as_slice()).unwrap());
    let restored = View::restore(&view.snapshot_header(), objects).unwrap();
    check(&restored);
    assert!(restored.objects().eq(view.objects()));
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

#[test]
fn a_nodes_manager_is_the_newest_member_of_it() {
    let view = next(&View::default(), |tx| {
        tx.create(node("a", "one", "")).create(node("b", "two", ""));
    });
    let members = [(3, "a", "10.0.0.1:2377"), (9, "a", "10.0.0.2:2377"), (5, "a", "10.0.0.3:2377")];
    let view = next(&view, |tx| {
        tx.record_members(members);
        assert_eq!((tx.is_empty(), tx.len()), (false, 1));
    });
    let manager = view.node("a").unwrap().manager.clone().unwrap();
    assert_eq!((manager.raft_id, manager.addr.as_str()), (9, "10.0.0.2:2377"));
    assert_eq!(view.node("b").unwrap().manager, None);
    with(&view, |tx| {
        tx.record_members(members);
        assert_eq!((tx.is_empty(), tx.len()), (true, 0));
    });
    let view = next(&view, |tx| {
        tx.record_members([(12, "b", "10.0.0.4:2377")]);
        assert_eq!((tx.is_empty(), tx.len()), (false, 2));
    });
    assert_eq!(view.node("a").unwrap().manager, None);
}

#[test]
fn a_task_keeps_the_spec_it_was_made_from() {
    let spec = |force_update| TaskSpec { force_update, ..TaskSpec::default() };
    let mut web = service("s", "web");
    web.spec.get_or_insert_default().task = Some(spec(2).into());
    let labels = Annotations { name: "older".into(), ..Annotations::default() };
    let view = next(&View::default(), |tx| {
        let old = Task { spec: Some(spec(1).into()), service: Some(labels.clone().into()), ..Task::default() };
        tx.create(web).create(Task { id: "t".into(), service_id: "s".into(), slot: 1, ..old });
    });
    let task = view.task("t").unwrap();
    assert_eq!((task.spec.as_deref(), task.service.as_deref()), (Some(&spec(1)), Some(&labels)));
}

#[test]
fn an_object_is_found_by_what_it_is() {
    let view = next(&View::default(), |tx| {
        tx.create(Cluster { id: "c".into(), ..Cluster::default() });
        tx.create(task("task1", "s", 1, "n", TaskState::Running));
    });
    assert_eq!(view.cluster().unwrap().id, "c");
    assert_eq!(view.find_task("task").unwrap().id, "task1");
    assert!(view.find_task("other").is_err());
    let later = view.skip(9);
    assert_eq!((later.version(), later.task("task1").is_some()), (9, true));
    let written = next(&view, |tx| {
        tx.update(view.object(ObjectKind::Task, "task1").unwrap());
    });
    assert_eq!(written.task("task1").unwrap().node_id, "n");
    assert_eq!(format!("{view:?}"), "View { version: 1, objects: 2 }");

    let store = Store::default();
    store.replace(later);
    assert_eq!((store.view().version(), store.view().find_task("task1").unwrap().slot), (9, 1));
}
