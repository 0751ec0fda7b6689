//! Tables of what follows what, and properties that hold for any order of events.

use proptest::prelude::*;
use skep_proto::v1::{ContainerSpec, TaskSpec};

use super::*;

const NOW: Timestamp = Timestamp(1_000);

fn task(state: TaskState, desired: TaskState) -> Task {
    let container =
        ContainerSpec { stop_signal: "SIGINT".into(), stop_grace_period: Some(2_000_000_000), ..Default::default() };
    Task {
        id: "t1".into(),
        desired_state: desired.into(),
        spec: Some(TaskSpec { container: Some(container), ..TaskSpec::default() }.into()),
        status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
        ..Task::default()
    }
}

fn exit(code: i32) -> Exit {
    Exit { code, oom: code == 137, at: Timestamp(777), error: None }
}

/// Effects as a person would say them.
fn words(effects: &[Effect]) -> String {
    let word = |effect: &Effect| match effect {
        Effect::Prepare => "prepare".to_owned(),
        Effect::Save(task) => format!("save {}", task.status.as_ref().unwrap().state().as_str_name()),
        Effect::Start => "start".to_owned(),
        Effect::Stop { signal, grace } => format!("stop {signal} {}s", grace.as_secs()),
        Effect::Remove => "remove".to_owned(),
        Effect::Report(status) => status.state().as_str_name().to_owned(),
        Effect::Forget => "forget".to_owned(),
    };
    effects.iter().map(word).collect::<Vec<_>>().join(", ").replace("TASK_STATE_", "")
}

/// Feeds the events to a machine and compares what it answers to each.
fn play(task: Task, script: &[(Event, &str)]) -> TaskMachine {
    let mut machine = TaskMachine::new(task);
    for (event, expected) in script {
        let effects = machine.handle(event.clone(), NOW);
        assert_eq!(words(&effects), *expected, "after {event:?}");
    }
    machine
}

fn status(machine: &TaskMachine) -> &TaskStatus {
    machine.task().status.as_ref().unwrap()
}

#[test]
fn a_task_runs_and_completes() {
    let machine = play(
        task(TaskState::Assigned, TaskState::Running),
        &[
            (Event::Adopted(Found::Nothing), "ACCEPTED, PREPARING, prepare"),
            (Event::Prepared, "READY, STARTING, save STARTING"),
            (Event::Saved, "start"),
            (Event::Started { pid: 42 }, "RUNNING, save RUNNING"),
            (Event::Exited(exit(0)), "COMPLETE, save COMPLETE"),
            (Event::Desired(TaskState::Shutdown), ""),
            (Event::Desired(TaskState::Remove), "remove"),
            (Event::Removed, ""),
            (Event::Forgotten, "forget"),
        ],
    );
    assert!(machine.is_finished());
    let container = status(&machine).container.as_ref().unwrap();
    assert_eq!((container.pid, container.exit_code), (42, 0));
    assert_eq!(container.container_id, container_id_of_task("t1"));
    assert_eq!(status(&machine).timestamp, 777, "the state was entered when the container ended");
}

#[test]
fn ready_waits_for_running() {
    let mut machine = play(
        task(TaskState::Assigned, TaskState::Ready),
        &[(Event::Adopted(Found::Nothing), "ACCEPTED, PREPARING, prepare"), (Event::Prepared, "READY")],
    );
    let effects = machine.handle(Event::Desired(TaskState::Running), NOW);
    assert_eq!(words(&effects), "STARTING, save STARTING");
    assert_eq!(machine.handle(Event::Desired(TaskState::Ready), NOW), [], "the desired state never goes back");
}

#[test]
fn a_jobs_task_is_to_complete_and_runs_until_it_has() {
    let machine = play(
        task(TaskState::Assigned, TaskState::Ready),
        &[
            (Event::Adopted(Found::Nothing), "ACCEPTED, PREPARING, prepare"),
            (Event::Prepared, "READY"),
            (Event::Desired(TaskState::Complete), "STARTING, save STARTING"),
            (Event::Saved, "start"),
            (Event::Started { pid: 42 }, "RUNNING, save RUNNING"),
            (Event::Desired(TaskState::Complete), ""),
            (Event::Exited(exit(0)), "COMPLETE, save COMPLETE"),
            (Event::Desired(TaskState::Complete), ""),
        ],
    );
    assert!(!machine.is_live() && !machine.is_finished());
    play(
        task(TaskState::Running, TaskState::Complete),
        &[(Event::Adopted(Found::Running { pid: 7 }), "save RUNNING"), (Event::Exited(exit(3)), "FAILED, save FAILED")],
    );
}

#[test]
fn a_failed_task_keeps_its_container_until_it_is_to_be_removed() {
    let machine = play(
        task(TaskState::Assigned, TaskState::Running),
        &[
            (Event::Adopted(Found::Nothing), "ACCEPTED, PREPARING, prepare"),
            (Event::Prepared, "READY, STARTING, save STARTING"),
            (Event::Saved, "start"),
            (Event::Started { pid: 42 }, "RUNNING, save RUNNING"),
            (Event::Exited(exit(137)), "FAILED, save FAILED"),
            (Event::Desired(TaskState::Shutdown), ""),
        ],
    );
    assert_eq!(status(&machine).err, "task: non-zero exit (137)");
    assert!(status(&machine).container.as_ref().unwrap().oom_killed);
    assert!(!machine.is_live());
}

#[test]
fn a_stop_on_request_is_a_shutdown_whatever_the_code() {
    for desired in [TaskState::Shutdown, TaskState::Remove] {
        let then = if desired == TaskState::Remove { ", remove" } else { "" };
        let machine = play(
            task(TaskState::Running, TaskState::Running),
            &[
                (Event::Adopted(Found::Running { pid: 7 }), "save RUNNING"),
                (Event::Desired(desired), "save RUNNING, stop SIGINT 2s"),
                (Event::Desired(desired), ""),
                (Event::Exited(exit(143)), &format!("SHUTDOWN, save SHUTDOWN{then}")),
            ],
        );
        assert_eq!(status(&machine).container.as_ref().unwrap().exit_code, 143);
        assert_eq!(status(&machine).err, "");
    }
}

#[test]
fn a_stop_overtakes_every_step_before_the_start() {
    let shutdown = || Event::Desired(TaskState::Shutdown);
    // While preparing: the step is not cut short, but nothing follows it.
    play(
        task(TaskState::Assigned, TaskState::Running),
        &[
            (Event::Adopted(Found::Nothing), "ACCEPTED, PREPARING, prepare"),
            (shutdown(), ""),
            (Event::Prepared, "READY, SHUTDOWN, save SHUTDOWN"),
            (Event::Forgotten, "remove"),
        ],
    );
    // While the record is being saved (a full disk makes that long): it is not waited for.
    play(
        task(TaskState::Assigned, TaskState::Running),
        &[
            (Event::Adopted(Found::Created), "READY, STARTING, save STARTING"),
            (shutdown(), "SHUTDOWN, save SHUTDOWN"),
            (Event::Saved, ""),
        ],
    );
    // While starting: stopped as soon as it runs.
    play(
        task(TaskState::Assigned, TaskState::Running),
        &[
            (Event::Adopted(Found::Created), "READY, STARTING, save STARTING"),
            (Event::Saved, "start"),
            (shutdown(), ""),
            (Event::Started { pid: 1 }, "RUNNING, save RUNNING, stop SIGINT 2s"),
        ],
    );
    // Before anything.
    play(
        task(TaskState::Assigned, TaskState::Shutdown),
        &[(Event::Adopted(Found::Nothing), "SHUTDOWN, save SHUTDOWN"), (Event::Forgotten, "forget")],
    );
}

#[test]
fn failures_to_begin() {
    let prepare_failed = |reject| Event::PrepareFailed { err: "No such image: x".into(), reject };
    for (reject, expected) in [(true, "REJECTED, save REJECTED"), (false, "FAILED, save FAILED")] {
        let machine = play(
            task(TaskState::Assigned, TaskState::Running),
            &[
                (Event::Adopted(Found::Nothing), "ACCEPTED, PREPARING, prepare"),
                (prepare_failed(reject), expected),
                (Event::Desired(TaskState::Remove), "remove"),
            ],
        );
        assert_eq!(status(&machine).err, "No such image: x");
    }
    let machine = play(
        task(TaskState::Assigned, TaskState::Running),
        &[
            (Event::Adopted(Found::Created), "READY, STARTING, save STARTING"),
            (Event::Saved, "start"),
            (Event::StartFailed { err: "exec: \"x\": not found".into() }, "FAILED, save FAILED"),
        ],
    );
    assert_eq!(status(&machine).err, "exec: \"x\": not found");
}

#[test]
fn adoption_after_a_restart() {
    use TaskState::{Assigned, Complete, Failed, Orphaned, Running, Shutdown, Starting};
    let cases = [
        // Still running: nothing to tell that was not told, or the missing step.
        (Running, Running, Found::Running { pid: 7 }, "save RUNNING"),
        (Starting, Running, Found::Running { pid: 7 }, "RUNNING, save RUNNING"),
        // Records lost with task.db: what runs is adopted all the same.
        (Assigned, Running, Found::Running { pid: 7 }, "RUNNING, save RUNNING"),
        // Ended meanwhile.
        (Running, Running, Found::Exited(exit(0)), "COMPLETE, save COMPLETE"),
        (Running, Running, Found::Exited(exit(3)), "FAILED, save FAILED"),
        (Running, Shutdown, Found::Exited(exit(143)), "SHUTDOWN, save SHUTDOWN"),
        // Never a second container.
        (Starting, Running, Found::Created, "FAILED, save FAILED"),
        (Running, Running, Found::Nothing, "FAILED, save FAILED"),
        (Running, Shutdown, Found::Nothing, "SHUTDOWN, save SHUTDOWN"),
        // Already concluded and reported.
        (Failed, Shutdown, Found::Exited(exit(3)), ""),
        (Complete, Running, Found::Nothing, ""),
        // The swarm gave the task up while the node was away: what still runs is surplus.
        (Orphaned, Shutdown, Found::Running { pid: 7 }, "save ORPHANED, stop SIGINT 2s"),
    ];
    for (state, desired, found, expected) in cases {
        play(task(state, desired), &[(Event::Adopted(found), expected)]);
    }
}

#[test]
fn a_container_nobody_can_speak_for_has_failed() {
    let machine = play(
        task(TaskState::Running, TaskState::Running),
        &[
            (Event::Adopted(Found::Running { pid: 7 }), "save RUNNING"),
            (Event::Lost { err: "No such container: t1".into() }, "FAILED, save FAILED"),
        ],
    );
    assert_eq!(status(&machine).err, "No such container: t1");
}

#[test]
fn docker_s_grace_is_the_default() {
    let mut machine = TaskMachine::new(Task { desired_state: TaskState::Running.into(), ..Task::default() });
    machine.handle(Event::Adopted(Found::Running { pid: 1 }), NOW);
    let effects = machine.handle(Event::Forgotten, NOW);
    assert_eq!(effects.last(), Some(&Effect::Stop { signal: String::new(), grace: Duration::from_secs(10) }));
}

#[test]
fn a_container_of_a_node_that_leaves_has_little_time_whatever_it_was_promised() {
    let running = || {
        let mut task = task(TaskState::Running, TaskState::Running);
        task.spec = Some(
            TaskSpec {
                container: Some(ContainerSpec { stop_grace_period: Some(60_000_000_000), ..Default::default() }),
                ..TaskSpec::default()
            }
            .into(),
        );
        task
    };
    let adopted = (Event::Adopted(Found::Running { pid: 7 }), "save RUNNING");
    play(running(), &[adopted.clone(), (Event::Leaving, "save RUNNING, stop  5s")]);
    // The stop that is under way is cut short, once.
    play(
        running(),
        &[
            adopted,
            (Event::Desired(TaskState::Shutdown), "save RUNNING, stop  60s"),
            (Event::Leaving, "stop  5s"),
            (Event::Leaving, ""),
            (Event::Exited(exit(137)), "SHUTDOWN, save SHUTDOWN, remove"),
            (Event::Removed, "forget"),
        ],
    );
    // A shorter grace stays what it is.
    let mut machine = TaskMachine::new(task(TaskState::Running, TaskState::Running));
    machine.handle(Event::Adopted(Found::Running { pid: 7 }), NOW);
    assert_eq!(words(&machine.handle(Event::Leaving, NOW)), "save RUNNING, stop SIGINT 2s");
}

fn any_found() -> impl Strategy<Value = Found> {
    prop_oneof![
        Just(Found::Nothing),
        Just(Found::Created),
        Just(Found::Running { pid: 9 }),
        (0..3).prop_map(|code| Found::Exited(exit(code))),
    ]
}

fn any_state() -> impl Strategy<Value = TaskState> {
    use TaskState::*;
    prop::sample::select(vec![New, Assigned, Preparing, Ready, Starting, Running, Complete, Shutdown, Failed, Remove])
}

fn any_event() -> impl Strategy<Value = Event> {
    prop_oneof![
        1 => any_found().prop_map(Event::Adopted),
        4 => any_state().prop_map(Event::Desired),
        1 => Just(Event::Forgotten),
        1 => Just(Event::Leaving),
        4 => Just(Event::Prepared),
        1 => any::<bool>().prop_map(|reject| Event::PrepareFailed { err: "no".into(), reject }),
        4 => Just(Event::Saved),
        4 => Just(Event::Started { pid: 3 }),
        1 => Just(Event::StartFailed { err: "no".into() }),
        2 => (0..3).prop_map(|code| Event::Exited(exit(code))),
        1 => Just(Event::Lost { err: "gone".into() }),
        2 => Just(Event::Removed),
    ]
}

/// The answer a runtime that does as it is told gives to an effect.
fn obedient(effect: &Effect) -> Option<Event> {
    match effect {
        Effect::Prepare => Some(Event::Prepared),
        Effect::Save(_) => Some(Event::Saved),
        Effect::Start => Some(Event::Started { pid: 5 }),
        Effect::Stop { .. } => Some(Event::Exited(exit(143))),
        Effect::Remove => Some(Event::Removed),
        Effect::Report(_) | Effect::Forget => None,
    }
}

proptest! {
    #[test]
    fn laws_hold_for_any_order_of_events(
        first in any_state(),
        desired in any_state(),
        events in prop::collection::vec(any_event(), 0..60),
    ) {
        let mut machine = TaskMachine::new(task(first, desired));
        let mut state = machine.state();
        let (mut starts, mut removes, mut forgets) = (0, 0, 0);
        let mut saved_starting = false;
        for event in events {
            for effect in machine.handle(event, NOW) {
                prop_assert_eq!(forgets, 0, "nothing follows the end");
                match effect {
                    Effect::Report(status) => {
                        prop_assert!(status.state() > state, "{:?} after {state:?}", status.state());
                        state = status.state();
                    }
                    Effect::Save(task) => saved_starting |= task.status.unwrap().state() == TaskState::Starting,
                    Effect::Start => {
                        prop_assert!(saved_starting && first < TaskState::Starting);
                        starts += 1;
                    }
                    Effect::Remove => removes += 1,
                    Effect::Forget => forgets += 1,
                    Effect::Prepare | Effect::Stop { .. } => {}
                }
            }
        }
        prop_assert!(starts <= 1 && removes <= 1);
        prop_assert_eq!(state, machine.state(), "every change of state is reported");
    }

    #[test]
    fn a_forgotten_task_comes_to_its_end_from_anywhere(
        first in any_state(),
        found in any_found(),
        events in prop::collection::vec(any_event(), 0..30),
    ) {
        let mut machine = TaskMachine::new(task(first, TaskState::Running));
        let mut outstanding: Option<Effect> = None;
        let note = |effects: Vec<Effect>, outstanding: &mut Option<Effect>| {
            for effect in effects {
                if obedient(&effect).is_some() {
                    *outstanding = Some(effect);
                }
            }
        };
        note(machine.handle(Event::Adopted(found), NOW), &mut outstanding);
        for event in events {
            note(machine.handle(event, NOW), &mut outstanding);
        }
        note(machine.handle(Event::Forgotten, NOW), &mut outstanding);
        for _ in 0..10 {
            if let Some(answer) = outstanding.take().as_ref().and_then(obedient) {
                note(machine.handle(answer, NOW), &mut outstanding);
            }
        }
        prop_assert!(machine.is_finished(), "{machine:?}");
        prop_assert!(machine.state() > TaskState::Running);
    }
}
