//! Small changes are the updates of whole objects in other words.

use proptest::prelude::*;
use skep_common::clock::Timestamp;
use skep_proto::{
    Message as _,
    v1::{
        Action, Cluster, ContainerStatus, GenericResource, Meta, Node, NodeDescription, NodeState, NodeStatus,
        RestartState, Task, TaskSpec, TaskState, TaskStatus, Transaction, action::Action as Step,
    },
};

use super::{next, node, task};
use crate::{AnyObject, IntoObject as _, TxBuilder, View};

const NOW: Timestamp = Timestamp(1_000_000);

type EditTask = fn(&mut Task, i64);
type EditNode = fn(&mut Node, i64);

/// One field of a task that becomes another.
fn edit_task() -> impl Strategy<Value = EditTask> {
    let edits: &[EditTask] = &[
        |task, n| {
            task.status.get_or_insert_default().state =
                if n % 2 == 0 { TaskState::Running } else { TaskState::New }.into()
        },
        |task, n| task.status.get_or_insert_default().timestamp = n,
        |task, n| task.status.get_or_insert_default().message = format!("message {}", n % 2),
        |task, n| task.status.get_or_insert_default().err = "x".repeat(n.unsigned_abs() as usize % 2),
        |task, n| task.status.get_or_insert_default().applied_at = if n % 2 == 0 { NOW.as_nanos() } else { 0 },
        |task, n| task.status.get_or_insert_default().running_at = n,
        |task, n| {
            task.status.get_or_insert_default().container =
                Some(ContainerStatus { exit_code: (n % 2) as i32, ..Default::default() })
        },
        |task, _| task.status.get_or_insert_default().container = None,
        |task, _| task.status = Some(TaskStatus::default()),
        |task, _| task.status = None,
        |task, n| task.desired_state = if n % 2 == 0 { TaskState::Shutdown } else { TaskState::New }.into(),
        |task, n| task.node_id = "n".repeat(n.unsigned_abs() as usize % 3),
        |task, n| task.generic_resources = vec![GenericResource::default(); n.unsigned_abs() as usize % 2],
        |task, n| {
            task.restart = Some(RestartState { attempts: n.unsigned_abs() % 2, ..RestartState::default() }.into())
        },
        |task, _| task.restart = None,
        |task, n| task.slot = n.unsigned_abs() % 3,
        |task, n| task.service_id = "s".repeat(n.unsigned_abs() as usize % 2),
        |task, n| task.replaces = "r".repeat(n.unsigned_abs() as usize % 2),
        |task, n| task.spec = Some(TaskSpec { force_update: n.unsigned_abs() % 2, ..TaskSpec::default() }.into()),
        |task, _| task.spec = None,
        |task, n| task.meta.get_or_insert_default().created_at = n,
        |task, n| task.meta = Some(Meta { version: n.unsigned_abs() % 3, ..Meta::default() }),
    ];
    prop::sample::select(edits)
}

fn edit_node() -> impl Strategy<Value = EditNode> {
    let edits: &[EditNode] = &[
        |node, n| node.status = Some(NodeStatus { state: NodeState::Down.into(), since: n, ..NodeStatus::default() }),
        |node, _| node.status = None,
        |node, n| {
            node.description = Some(NodeDescription { hostname: format!("h{}", n % 2), ..NodeDescription::default() })
        },
        |node, _| node.description = None,
        |node, n| node.role = (n % 2) as i32,
    ];
    prop::sample::select(edits)
}

/// Which object, which edits of it, and with what.
#[derive(Debug, Clone)]
enum Edit {
    Task(u8, Vec<(EditTask, i64)>),
    Node(u8, Vec<(EditNode, i64)>),
}

fn edit() -> impl Strategy<Value = Edit> {
    let number = || prop_oneof![-3..3i64, Just(i64::MIN), Just(i64::MAX), Just(NOW.as_nanos())];
    prop_oneof![
        3 => (0..4u8, prop::collection::vec((edit_task(), number()), 0..4)).prop_map(|(id, edits)| Edit::Task(id, edits)),
        1 => (0..2u8, prop::collection::vec((edit_node(), number()), 0..3)).prop_map(|(id, edits)| Edit::Node(id, edits)),
    ]
}

impl Edit {
    fn of(&self, view: &View) -> AnyObject {
        match self {
            Self::Task(id, edits) => {
                let mut task = view.task(&format!("t{id}")).map(|task| Task::clone(task)).unwrap_or_default();
                edits.iter().for_each(|(edit, n)| edit(&mut task, *n));
                task.into()
            }
            Self::Node(id, edits) => {
                let mut node = view.node(&format!("n{id}")).map(|node| Node::clone(node)).unwrap_or_default();
                edits.iter().for_each(|(edit, n)| edit(&mut node, *n));
                node.into()
            }
        }
    }
}

fn swarm(feature_level: u32) -> View {
    next(&View::default(), |tx| {
        tx.create(Cluster { id: "c".into(), feature_level, ..Cluster::default() });
        tx.create(node("n0", "h0", "")).create(node("n1", "h1", ""));
        tx.create(task("t0", "s", 1, "", TaskState::New))
            .create(Task { status: None, ..task("t1", "", 0, "n", TaskState::New) });
        let container = Some(ContainerStatus::default());
        let status = Some(TaskStatus { container, running_at: 5, ..TaskStatus::default() });
        let restart = Some(RestartState::default().into());
        tx.create(Task { status, restart, ..task("t2", "s", 2, "n", TaskState::Running) });
    })
}

fn is_small(action: &Action) -> bool {
    matches!(action.action, Some(Step::ChangeTask(_) | Step::ChangeNode(_)))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_told_in_small_is_what_was_meant(before in prop::collection::vec(edit(), 0..3), edits in prop::collection::vec(edit(), 1..5)) {
        let seen = swarm(1);
        let (mut small, mut whole) = (TxBuilder::new(&seen, NOW), Vec::new());
        for edit in &edits {
            let object = edit.of(&seen);
            small.update(object.clone());
            whole.push(Action { action: Some(Step::Update(object.into_proto())) });
        }
        let small = Transaction::decode(small.build().encode_to_vec().as_slice()).unwrap();
        let whole = Transaction { actions: whole, ..TxBuilder::new(&seen, NOW).build() };
        // The state they meet may have moved on.
        let met = before.iter().fold(seen.clone(), |view, edit| {
            let mut tx = TxBuilder::new(&view, NOW);
            tx.update(edit.of(&view));
            let tx = tx.build();
            view.apply(view.version() + 1, &tx).map_or(view, |(view, _)| view)
        });
        let index = met.version() + 1;
        match (met.apply(index, &small), met.apply(index, &whole)) {
            (Ok((small, small_changes)), Ok((whole, whole_changes))) => {
                prop_assert_eq!(small_changes, whole_changes);
                prop_assert!(small.snapshot().eq(whole.snapshot()));
            }
            (small, whole) => prop_assert_eq!(small.map(|(_, changes)| changes), whole.map(|(_, changes)| changes)),
        }
        let mut spelled = small;
        seen.spell_out(&mut spelled);
        if before.is_empty() && let (Ok((_, spelled)), Ok((_, whole))) = (met.apply(index, &spelled), met.apply(index, &whole)) {
            prop_assert_eq!(spelled, whole);
        }
    }
}

#[test]
fn what_stays_as_it_was_is_not_written() {
    let view = swarm(1);
    let mut running = Task::clone(view.task("t2").unwrap());
    running.status.get_or_insert_default().set_state(TaskState::Failed);
    let mut assigned = Task::clone(view.task("t0").unwrap());
    assigned.node_id = "n0".into();
    let mut tx = TxBuilder::new(&view, NOW);
    tx.update(running).update(assigned).update(Node { status: Some(NodeStatus::default()), ..node("n0", "h0", "") });
    assert_eq!(tx.build().actions.iter().filter(|action| is_small(action)).count(), 2, "the node was not read");

    let mut other_spec = Task::clone(view.task("t0").unwrap());
    other_spec.spec = Some(TaskSpec { force_update: 7, ..TaskSpec::default() }.into());
    let mut tx = TxBuilder::new(&view, NOW);
    tx.update(other_spec);
    assert!(!is_small(&tx.build().actions[0]));
}

#[test]
fn a_manager_below_the_level_is_sent_whole_objects() {
    let old = swarm(0);
    let fail = |view: &View| {
        let mut task = Task::clone(view.task("t2").unwrap());
        task.status.get_or_insert_default().set_state(TaskState::Failed);
        let mut tx = TxBuilder::new(view, NOW);
        tx.update(task);
        tx.build()
    };
    let whole = fail(&old);
    let meant = Task::clone(old.apply(2, &whole).unwrap().0.task("t2").unwrap());
    assert_eq!(
        whole.actions,
        [Action {
            action: Some(Step::Update(Task { meta: old.task("t2").unwrap().meta, ..meant.clone() }.into_object()))
        }]
    );

    let raised = next(&old, |tx| {
        tx.update(Cluster { feature_level: 1, ..Cluster::clone(old.cluster().unwrap()) });
    });
    let small = fail(&raised);
    assert!(is_small(&small.actions[0]) && small.encoded_len() < whole.encoded_len());
    let met = raised.apply(3, &small).unwrap().0;
    assert_eq!(met.task("t2").unwrap().status, meant.status);
}
