//! What a node says that it has, what it is sent, and what it keeps of that.

use super::*;

#[tokio::test]
async fn what_a_node_said_that_it_has_is_not_told_again_and_stays() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    manager.had_streams(1).await;
    manager.send(message(2, vec![task("t1", TaskState::Running)], &[]));
    manager.reported("t1", TaskState::Running).await;
    let pid = host.pid("t1").await;
    assert!(pid.is_some());

    manager.assign(None);
    manager.send(message(10, Vec::new(), &[]));
    manager.had_streams(2).await;
    let have = manager.have();
    let [t1] = &have[..] else { panic!("{have:?}") };
    assert_eq!((t1.kind(), t1.id.as_str()), (AssignmentKind::Task, "t1"));
    assert_eq!((t1.version, t1.observed()), (TaskState::Running as u64, TaskState::Running));
    // The difference, in two messages.
    manager.send(AssignmentsMessage { generation: 0, ..message(1, vec![task("t2", TaskState::Running)], &[]) });
    manager.send(message(2, vec![task("t3", TaskState::Running)], &[]));
    manager.reported("t2", TaskState::Running).await;
    manager.reported("t3", TaskState::Running).await;
    assert_eq!((host.pid("t1").await, host.starts("t1")), (pid, 1));
    manager.send(message(3, vec![task("t1", TaskState::Shutdown)], &[]));
    manager.reported("t1", TaskState::Shutdown).await;
    assert_eq!(manager.streams(), 2, "there was no other gap");
    worker.shutdown().await;
}

#[tokio::test]
async fn tasks_come_without_what_their_revision_says_and_outlive_a_restart_with_it() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    manager.assign(None);
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    manager.had_streams(1).await;
    let of_revision = |id: &str| {
        let mut task = Task { revision: 3, ..task(id, TaskState::Running) };
        let spec = ServiceSpec { task: task.spec.clone(), ..ServiceSpec::default() };
        skep_common::revision::leave_out(&mut task, &spec);
        assert!(task.spec.is_none());
        (task, spec)
    };
    let (t1, spec) = of_revision("t1");
    let revision = ServiceRevision { id: "service.3".into(), number: 3, spec: Some(spec), ..Default::default() };
    let revision = Assignment { assignment: Some(assignment::Assignment::Revision(revision)) };
    let update = vec![revision, assigned(t1)];
    manager.send(AssignmentsMessage { sequence: 1, generation: 1, update, remove: Vec::new() });
    manager.reported("t1", TaskState::Running).await;
    manager.send(message(2, vec![of_revision("t2").0], &[]));
    manager.reported("t2", TaskState::Running).await;
    worker.shutdown().await;

    // A task is put back together from the records alone; a revision that it has not in memory has to be told again.
    let worker = host.start(&[&manager]).await;
    manager.had_streams(2).await;
    let names: Vec<String> = manager.have().into_iter().map(|have| have.id).collect();
    assert_eq!(names, ["t1", "t2"]);
    manager.send(message(1, vec![of_revision("t3").0], &[]));
    manager.had_streams(3).await;
    assert_eq!((host.starts("t1"), host.starts("t2"), host.starts("t3")), (1, 1, 0));
    worker.shutdown().await;
}

/// A membership that could not be cleared away has left its records behind; no manager takes reports of these.
#[tokio::test]
async fn the_records_of_another_node_are_dropped() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    let host = Host::new(&ca);
    {
        let (task_db, keeper, _) = TaskDb::open(&host.worker_dir(), NodeMessage::new()).await;
        let foreign = Task { node_id: "before".into(), ..task("foreign", TaskState::Running) };
        task_db.save(&foreign).await;
        keeper.close().await;
    }
    manager.assign(vec![task("own", TaskState::Running)]);
    let worker = host.start(&[&manager]).await;
    manager.reported("own", TaskState::Running).await;
    assert_eq!(manager.have(), []);
    assert_eq!(manager.states("foreign"), []);
    worker.shutdown().await;
    let (_, keeper, records) = TaskDb::open(&host.worker_dir(), NodeMessage::new()).await;
    assert_eq!(records.iter().map(|task| task.id.as_str()).collect::<Vec<_>>(), ["own"]);
    keeper.close().await;
}

#[tokio::test]
async fn after_a_gap_the_node_asks_again() {
    let ca = Ca::new();
    let manager = Manager::start(&ca, "m1").await;
    let host = Host::new(&ca);
    let worker = host.start(&[&manager]).await;
    manager.had_streams(1).await;

    manager.assign(vec![task("t1", TaskState::Running), task("t2", TaskState::Running)]);
    // The message with t1 was lost; this one cannot be applied.
    manager.send(message(3, vec![task("t2", TaskState::Running)], &[]));
    manager.had_streams(2).await;
    manager.reported("t1", TaskState::Running).await;
    manager.reported("t2", TaskState::Running).await;
    assert_eq!(manager.sessions(), 1, "the session goes on");
    worker.shutdown().await;
}
