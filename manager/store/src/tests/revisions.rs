//! What tasks have of their revisions: written once, in memory once, and the same to whoever reads it.

use skep_common::clock::Timestamp;
use skep_proto::{
    Message as _,
    v1::{
        Annotations, ContainerSpec, Object, ObjectKind, Placement, ResourceRequirements, Resources, Service,
        ServiceRevision, Task, TaskSpec, TaskState, Transaction, action::Action, object,
    },
};

use super::{made_from, next, revision, service, task, with};
use crate::{ApplyError, RestoreError, TxBuilder, View};

/// A task of revision 1 of service `s`, as the orchestrator makes it.
fn of_first(id: &str) -> Task {
    let spec = revision("s", 1).spec.unwrap();
    Task { revision: 1, spec: spec.task, service: spec.annotations, ..task(id, "s", 1, "", TaskState::New) }
}

/// The state after a transaction that went through the log.
fn logged(view: &View, write: impl FnOnce(&mut TxBuilder<'_>)) -> View {
    let bytes = with(view, write).encode_to_vec();
    view.apply(view.version() + 1, &Transaction::decode(&bytes[..]).unwrap()).unwrap().0
}

/// A service with a revision.
fn with_revision() -> View {
    logged(&View::default(), |tx| {
        let made = Service { spec: revision("s", 1).spec, ..service("s", "web") };
        tx.create(Service { revision: 1, ..made }).create(ServiceRevision { spec: None, ..revision("s", 1) });
    })
}

fn restored(view: &View) -> View {
    let objects = view.snapshot().map(|object| Object::decode(&object.encode_to_vec()[..]).unwrap());
    View::restore(&view.snapshot_header(), objects.collect::<Vec<_>>()).unwrap()
}

/// The tasks that a transaction makes, as they are written.
fn written(transaction: &Transaction) -> Vec<Task> {
    let objects = transaction.actions.iter().filter_map(|action| match action.action.as_ref()? {
        Action::Create(Object { object: Some(object::Object::Task(task)) }) => Some(Task::clone(task)),
        _ => None,
    });
    objects.collect()
}

#[test]
fn a_task_is_written_without_what_its_revision_says() {
    let view = with_revision();
    let made = with(&view, |tx| _ = tx.create(of_first("t")));
    let [task] = &written(&made)[..] else { panic!("one task was made") };
    assert_eq!((&task.spec, &task.service), (&None, &None));
    let after = logged(&view, |tx| _ = tx.create(of_first("t")));
    for view in [&after, &restored(&after)] {
        let (task, spec) = (view.task("t").unwrap(), view.revision("s", 1).unwrap().spec.as_ref().unwrap());
        assert_eq!(Task { meta: None, ..Task::clone(task) }, of_first("t"));
        // Revision, service and task hold one message.
        let of_service = view.service("s").unwrap().spec.as_ref().unwrap();
        assert!(task.spec.as_ref().unwrap().is_same(spec.task.as_ref().unwrap()));
        assert!(task.service.as_ref().unwrap().is_same(spec.annotations.as_ref().unwrap()));
        assert!(of_service.task.as_ref().unwrap().is_same(spec.task.as_ref().unwrap()));
    }
    // So it stays when the service comes through the log again.
    let touched = logged(&after, |tx| _ = tx.update(after.service("s").unwrap().clone()));
    let (of_service, task) = (touched.service("s").unwrap().spec.as_ref().unwrap(), touched.task("t").unwrap());
    assert!(of_service.task.as_ref().unwrap().is_same(task.spec.as_ref().unwrap()));
}

#[test]
fn a_task_that_differs_from_its_revision_or_has_none_carries_its_own() {
    let view = with_revision();
    let renamed = Annotations { name: "web".into(), labels: [("a".into(), "b".into())].into() };
    for (id, made, leaves_out) in [
        ("labelled", Task { service: Some(renamed.into()), ..of_first("labelled") }, (true, false)),
        ("other", Task { spec: Some(made_from(7).into()), ..of_first("other") }, (false, true)),
        ("unrecorded", Task { revision: 3, ..of_first("unrecorded") }, (false, false)),
        ("bare", task("bare", "s", 1, "", TaskState::New), (false, false)),
    ] {
        let transaction = with(&view, |tx| _ = tx.create(made.clone()));
        let written = &written(&transaction)[0];
        assert_eq!((written.spec_of_revision, written.service_of_revision), leaves_out, "{id}");
        let after = view.apply(2, &transaction).unwrap().0;
        for view in [&after, &restored(&after)] {
            assert_eq!(Task { meta: None, ..Task::clone(view.task(id).unwrap()) }, made);
        }
    }
}

#[test]
fn a_task_without_its_revision_is_refused() {
    let view = with_revision();
    let made = with(&view, |tx| _ = tx.create(of_first("t")));
    let without = next(&view, |tx| _ = tx.remove(ObjectKind::Revision, "s.1"));
    let refused = without.apply(3, &made).unwrap_err();
    assert_eq!(refused, ApplyError::NotFound { kind: ObjectKind::Revision, id: "s.1".into() });

    let after = view.apply(2, &made).unwrap().0;
    let mut header = after.snapshot_header();
    header.objects -= 1;
    let objects = after.snapshot().filter(|it| !matches!(it.object, Some(object::Object::Revision(_))));
    assert_eq!(View::restore(&header, objects).unwrap_err(), RestoreError::NoRevision("t".into()));

    // One that outlives its revision holds what that said.
    let outlived = next(&after, |tx| _ = tx.remove(ObjectKind::Revision, "s.1"));
    assert_eq!(restored(&outlived).task("t").unwrap().spec, of_first("t").spec);
    let twice = [after, restored(&outlived)].map(|view| view.task("t").unwrap().clone());
    assert_eq!(twice[0], twice[1]);
}

/// A plain task of a plain program: how much of it is its spec.
#[test]
fn a_created_task_takes_a_third_of_the_room_it_would_with_its_spec() {
    let container = ContainerSpec {
        image: "registry.example.com/team/web:1.27.3".into(),
        args: vec!["--listen".into(), "0.0.0.0:8080".into()],
        env: vec!["MODE=production".into(), "DATABASE=postgres://db.example.com:5432/web".into()],
        ..ContainerSpec::default()
    };
    let limits = Some(Resources { nano_cpus: 500_000_000, memory_bytes: 256 << 20, ..Resources::default() });
    let spec = TaskSpec {
        container: Some(container),
        resources: Some(ResourceRequirements { limits, ..ResourceRequirements::default() }),
        placement: Some(Placement { constraints: vec!["node.labels.zone==east".into()], ..Placement::default() }),
        ..TaskSpec::default()
    };
    let id = |n: u8| format!("{n:025}");
    let mut recorded = revision(&id(1), 1);
    recorded.spec.get_or_insert_default().task = Some(spec.into());
    let view = next(&View::default(), |tx| _ = tx.create(recorded.clone()));
    let of = recorded.spec.unwrap();
    let made =
        Task { revision: 1, spec: of.task, service: of.annotations, ..task(&id(2), &id(1), 7, "", TaskState::New) };
    let bytes = |view: &View| {
        let mut tx = TxBuilder::new(view, Timestamp(7));
        tx.create(made.clone());
        tx.build().encoded_len()
    };
    let (whole, small) = (bytes(&View::default()), bytes(&view));
    assert!(small * 3 < whole && small < 100, "{whole} and {small} bytes");
}
