//! A node in a test has what the messages told it, and nothing else.

use proptest::prelude::*;
use skep_common::clock::Timestamp;
use skep_proto::{
    Message as _,
    v1::{
        Annotations, ObjectKind, Service, ServiceRevision, ServiceSpec, TaskSpec, TaskStatus,
        assignment::Assignment as Of,
    },
};
use skep_store::{News, Selector, Store, TxBuilder};

use super::*;

fn commit(store: &Store, edit: impl FnOnce(&View, &mut TxBuilder<'_>)) {
    let view = store.view();
    let mut tx = TxBuilder::new(&view, Timestamp(1));
    edit(&view, &mut tx);
    store.commit(view.version() + 1, &tx.build()).unwrap();
}

fn task(id: &str, node: &str, state: TaskState, desired: TaskState) -> Task {
    Task {
        id: id.into(),
        service_id: "s".into(),
        node_id: node.into(),
        desired_state: desired.into(),
        status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
        ..Task::default()
    }
}

/// The task with something else about it.
fn changed(view: &View, id: &str, change: impl FnOnce(&mut Task)) -> Task {
    let mut task = Task::clone(view.task(id).unwrap());
    change(&mut task);
    task
}

fn spec(number: u64) -> ServiceSpec {
    let annotations = Annotations { name: "web".into(), ..Annotations::default() };
    let task = TaskSpec { force_update: number, ..TaskSpec::default() };
    ServiceSpec { annotations: Some(annotations.into()), task: Some(task.into()), ..ServiceSpec::default() }
}

/// Makes a revision of the service.
fn revise(store: &Store, number: u64) {
    commit(store, |view, tx| {
        let service = Service { id: "s".into(), spec: Some(spec(number)), revision: number, ..Service::default() };
        match view.service("s") {
            Some(old) => tx.update(Service { meta: old.meta, ..service }),
            None => tx.create(service),
        };
        let revision = ServiceRevision {
            id: revision_id("s", number),
            service_id: "s".into(),
            number,
            spec: Some(spec(number)),
            ..ServiceRevision::default()
        };
        tx.create(revision);
    });
}

fn of_revision(task: Task, number: u64) -> Task {
    let ServiceSpec { annotations, task: spec, .. } = spec(number);
    Task { spec, service: annotations, revision: number, ..task }
}

/// A node, and the stream to it.
struct Node<'s> {
    store: &'s Store,
    follower: skep_store::Follower,
    stream: Assignments,
    tasks: BTreeMap<String, Task>,
    revisions: BTreeSet<String>,
    generation: u64,
}

impl<'s> Node<'s> {
    fn new(store: &'s Store, limit: usize) -> Self {
        let (follower, stream) = Self::open(store, &[], limit);
        let (tasks, revisions) = (BTreeMap::new(), BTreeSet::new());
        Self { store, follower, stream, tasks, revisions, generation: 0 }
    }

    fn open(store: &Store, have: &[AssignmentVersion], limit: usize) -> (skep_store::Follower, Assignments) {
        let mut follower = store.follow(Selector::TasksOfNode("n".into()));
        let (view, _) = store.look(&mut follower);
        (follower, Assignments::begin_with("n", &view, have, limit))
    }

    /// What it would say that it has.
    fn have(&self) -> Vec<AssignmentVersion> {
        let tasks = self.tasks.values().map(|task| AssignmentVersion {
            version: u64::try_from(task.desired_state).unwrap(),
            observed: task.state().into(),
            ..something(AssignmentKind::Task, &task.id)
        });
        tasks.chain(self.revisions.iter().map(|id| something(AssignmentKind::Revision, id))).collect()
    }

    /// Asks anew, of whoever leads.
    fn reconnects(&mut self, limit: usize) {
        (self.follower, self.stream) = Self::open(self.store, &self.have(), limit);
        self.generation = 0;
    }

    fn message(&mut self) -> Option<AssignmentsMessage> {
        let (view, news) = self.store.look(&mut self.follower);
        let News::Changes(changes) = news else { panic!("{news:?}") };
        changes.iter().for_each(|change| self.stream.note(change));
        let message = self.stream.next(&view)?;
        for assignment in &message.update {
            match assignment.assignment.clone().unwrap() {
                Of::Revision(revision) => {
                    assert!(self.revisions.insert(revision.id), "a revision is told once");
                }
                Of::Task(task) => {
                    let named = revision_id(&task.service_id, task.revision);
                    assert!(!revision::lacks_something(&task) || self.revisions.contains(&named), "{task:?}");
                    self.tasks.insert(task.id.clone(), task);
                }
            }
        }
        for gone in &message.remove {
            let was_there = match gone.kind() {
                AssignmentKind::Task => self.tasks.remove(&gone.id).is_some(),
                _ => self.revisions.remove(&gone.id),
            };
            assert!(was_there, "{gone:?}");
        }
        if message.generation != 0 {
            self.generation = message.generation;
            self.has_everything_of(&view);
        }
        Some(message)
    }

    fn has_everything_of(&self, view: &View) {
        let known: Vec<(&str, TaskState)> =
            self.tasks.values().map(|task| (task.id.as_str(), task.desired_state())).collect();
        let there: Vec<_> = tasks_of(view, "n").map(|task| (task.id.as_str(), task.desired_state())).collect();
        assert_eq!(known, there);
        let tasks = tasks_of(view, "n").map(|task| revision_id(&task.service_id, task.revision));
        let of_tasks: BTreeSet<String> = tasks.collect();
        assert!(self.revisions.is_subset(&of_tasks), "{:?} of {of_tasks:?}", self.revisions);
        let lacking = self.tasks.values().filter(|task| revision::lacks_something(task));
        let named: BTreeSet<String> = lacking.map(|task| revision_id(&task.service_id, task.revision)).collect();
        assert!(named.is_subset(&self.revisions), "{named:?} {:?}", self.revisions);
        assert_eq!(self.generation, view.version());
    }

    /// Takes all messages there are.
    fn catches_up(&mut self) -> Vec<AssignmentsMessage> {
        std::iter::from_fn(|| self.message()).collect()
    }
}

fn tasks(message: &AssignmentsMessage) -> Vec<&str> {
    let task = |assignment: &'_ Assignment| match &assignment.assignment {
        Some(Of::Task(task)) => Some(task.id.clone()),
        _ => None,
    };
    let ids: BTreeSet<String> = message.update.iter().filter_map(task).collect();
    let find = |id: &String| {
        message.update.iter().find_map(|it| match &it.assignment {
            Some(Of::Task(task)) if task.id == *id => Some(task.id.as_str()),
            _ => None,
        })
    };
    ids.iter().filter_map(find).collect()
}

fn removed(message: &AssignmentsMessage) -> Vec<&str> {
    message.remove.iter().map(|gone| gone.id.as_str()).collect()
}

const NO_LIMIT: usize = ASSIGNMENTS_BYTES;

#[test]
fn a_stream_tells_what_there_is_and_then_what_changes() {
    use TaskState::*;
    let store = Store::new(View::default());
    commit(&store, |_, tx| {
        tx.create(task("a", "n", Assigned, Running));
        tx.create(task("b", "n", Failed, Shutdown));
        tx.create(task("c", "n", Pending, Running));
        tx.create(task("d", "m", Running, Running));
    });
    let mut node = Node::new(&store, NO_LIMIT);
    let first = node.message().unwrap();
    assert_eq!((first.sequence, first.generation, tasks(&first)), (1, 1, vec!["a", "b"]));
    assert_eq!(node.message(), None);

    // Progress the node reported itself is no news to it.
    commit(&store, |view, tx| _ = tx.update(changed(view, "a", |a| a.status.as_mut().unwrap().set_state(Running))));
    assert_eq!(node.message(), None);

    commit(&store, |view, tx| {
        tx.update(changed(view, "a", |a| a.set_desired_state(Shutdown)));
        tx.update(changed(view, "c", |c| c.status.as_mut().unwrap().set_state(Assigned)));
        tx.remove(ObjectKind::Task, "b");
    });
    let message = node.message().unwrap();
    assert_eq!((message.sequence, message.generation), (2, 3));
    assert_eq!((tasks(&message), removed(&message)), (vec!["a", "c"], vec!["b"]));
    assert_eq!(node.message(), None);

    // What comes and goes between two messages is in neither.
    commit(&store, |_, tx| _ = tx.create(task("e", "n", Assigned, Running)));
    commit(&store, |_, tx| _ = tx.remove(ObjectKind::Task, "e"));
    assert_eq!(node.message(), None);
}

#[test]
fn a_node_that_has_everything_is_told_so_and_no_more() {
    use TaskState::*;
    let store = Store::new(View::default());
    revise(&store, 1);
    commit(&store, |_, tx| {
        tx.create(of_revision(task("a", "n", Running, Running), 1));
        tx.create(of_revision(task("b", "n", Running, Running), 1));
    });
    let mut node = Node::new(&store, NO_LIMIT);
    node.catches_up();
    node.reconnects(NO_LIMIT);
    let message = node.message().unwrap();
    assert_eq!((message.update.len(), message.remove.len(), message.generation), (0, 0, 2));
    assert_eq!(node.message(), None);

    // What changed while it was away is the difference, its revision among it.
    revise(&store, 2);
    commit(&store, |view, tx| {
        tx.remove(ObjectKind::Task, "a");
        tx.update(changed(view, "b", |b| b.set_desired_state(Shutdown)));
        tx.create(of_revision(task("c", "n", Assigned, Running), 2));
    });
    node.reconnects(NO_LIMIT);
    let message = node.message().unwrap();
    assert_eq!((tasks(&message), removed(&message)), (vec!["b", "c"], vec!["a"]));
    assert_eq!((message.update.len(), node.revisions.len()), (3, 2));
    // With the last task that names it a revision goes.
    commit(&store, |_, tx| _ = tx.remove(ObjectKind::Task, "b"));
    assert_eq!(removed(&node.message().unwrap()), ["b", "s.1"]);
}

#[test]
fn a_task_of_which_the_swarm_knows_less_than_its_node_is_told_again() {
    use TaskState::*;
    let store = Store::new(View::default());
    commit(&store, |_, tx| {
        tx.create(task("behind", "n", Assigned, Running));
        tx.create(task("ahead", "n", Running, Running));
    });
    let mut node = Node::new(&store, NO_LIMIT);
    node.catches_up();
    for (id, state) in [("behind", Running), ("ahead", Starting)] {
        node.tasks.get_mut(id).unwrap().status.as_mut().unwrap().set_state(state);
    }
    node.reconnects(NO_LIMIT);
    assert_eq!(tasks(&node.message().unwrap()), ["behind"]);
}

#[test]
fn what_is_no_version_of_anything_is_told_again_or_taken_away() {
    use TaskState::*;
    let store = Store::new(View::default());
    commit(&store, |_, tx| _ = tx.create(task("a", "n", Assigned, Running)));
    let strange = |kind: i32, id: &str, version| AssignmentVersion { kind, id: id.into(), version, observed: 99 };
    let of_tasks = i32::from(AssignmentKind::Task);
    let have = [strange(of_tasks, "a", u64::MAX), strange(of_tasks, "gone", 7), strange(1234, "other", 1)];
    let view = store.view();
    let message = Assignments::begin("n", &view, &have).next(&view).unwrap();
    assert_eq!((tasks(&message), removed(&message)), (vec!["a"], vec!["gone"]));
}

#[test]
fn no_message_is_larger_than_its_bound_or_one_task() {
    use TaskState::*;
    const LIMIT: usize = 5_000;
    let large = |n: usize, bytes| Task {
        service: Some(Annotations { name: "x".repeat(bytes), ..Annotations::default() }.into()),
        ..task(&format!("t{n:03}"), "n", Assigned, Running)
    };
    let store = Store::new(View::default());
    commit(&store, |_, tx| {
        for n in 0..100 {
            tx.create(large(n, if n == 50 { 3 * LIMIT } else { 1_000 }));
        }
    });
    let mut node = Node::new(&store, LIMIT);
    let mut messages = node.catches_up();
    let first = messages.len();
    // Half of them go, and of the others something else is wanted.
    commit(&store, |view, tx| {
        for n in 0..100 {
            let id = format!("t{n:03}");
            match n % 2 {
                0 => tx.remove(ObjectKind::Task, &id),
                _ => tx.update(changed(view, &id, |task| task.set_desired_state(Shutdown))),
            };
        }
    });
    messages.extend(node.catches_up());
    for (n, message) in messages.iter().enumerate() {
        assert_eq!(message.sequence, n as u64 + 1);
        assert_eq!(message.generation != 0, n + 1 == first || n + 1 == messages.len());
        let alone = message.update.len() == 1 && message.remove.is_empty();
        assert!(message.encoded_len() <= LIMIT + 20 || alone, "{}", message.encoded_len());
    }
    assert!((21..40).contains(&first) && messages.len() > first + 10, "{first} of {}", messages.len());
    assert_eq!(node.tasks.len(), 50);
}

#[test]
fn nothing_is_one_message() {
    let store = Store::new(View::default());
    commit(&store, |_, tx| _ = tx.create(task("d", "m", TaskState::Running, TaskState::Running)));
    let mut node = Node::new(&store, NO_LIMIT);
    let message = node.message().unwrap();
    assert_eq!((message.sequence, message.generation, message.update.len()), (1, 1, 0));
    assert_eq!(node.message(), None);
}

#[derive(Debug, Clone)]
enum Step {
    Create { id: u8, revision: u64 },
    Assign(u8),
    Desire(u8, bool),
    Remove(u8),
    Revise,
    Listen(usize),
    Reconnect,
}

fn step() -> impl Strategy<Value = Step> {
    let id = 0..12u8;
    prop_oneof![
        5 => (id.clone(), 0..4u64).prop_map(|(id, revision)| Step::Create { id, revision }),
        4 => id.clone().prop_map(Step::Assign),
        2 => (id.clone(), any::<bool>()).prop_map(|(id, stop)| Step::Desire(id, stop)),
        2 => id.prop_map(Step::Remove),
        1 => Just(Step::Revise),
        3 => (1..3usize).prop_map(Step::Listen),
        1 => Just(Step::Reconnect),
    ]
}

proptest! {
    /// Whatever changes, and whenever a node listens or comes back, it has the assignments of the state whose version a message
    /// names, and in the end those of the last.
    #[test]
    fn a_node_has_what_the_state_assigns(steps in prop::collection::vec(step(), 0..60), limit in 1..400usize) {
        use TaskState::*;
        let store = Store::new(View::default());
        revise(&store, 1);
        let mut last = 1;
        // An id is never given twice.
        let mut given = BTreeSet::new();
        let mut node = Node::new(&store, limit);
        for step in steps {
            let id = |id: u8| format!("t{id}");
            let view = store.view();
            match step {
                Step::Create { id: n, revision } if given.insert(n) => {
                    let new = task(&id(n), "", Pending, Running);
                    let new = if (1..=last).contains(&revision) { of_revision(new, revision) } else { new };
                    commit(&store, |_, tx| _ = tx.create(new));
                }
                Step::Assign(n) if view.task(&id(n)).is_some_and(|task| task.node_id.is_empty()) => {
                    commit(&store, |view, tx| {
                        tx.update(changed(view, &id(n), |task| {
                            task.node_id = if n == 5 { "m" } else { "n" }.into();
                            task.status.as_mut().unwrap().set_state(Assigned);
                        }));
                    });
                }
                Step::Desire(n, stop) if view.task(&id(n)).is_some() => {
                    let wish = if stop { Shutdown } else { Remove };
                    commit(&store, |view, tx| _ = tx.update(changed(view, &id(n), |task| task.set_desired_state(wish))));
                }
                Step::Remove(n) if view.task(&id(n)).is_some() => {
                    commit(&store, |_, tx| _ = tx.remove(ObjectKind::Task, &id(n)));
                }
                Step::Revise => {
                    last += 1;
                    revise(&store, last);
                }
                Step::Listen(messages) => _ = (0..messages).map_while(|_| node.message()).count(),
                Step::Reconnect => node.reconnects(limit),
                _ => {}
            }
        }
        node.catches_up();
        prop_assert_eq!(node.generation != 0, true);
        node.has_everything_of_now();
    }
}

impl Node<'_> {
    /// Of the present state, whose version may be a later one: not every change is one of its assignments.
    fn has_everything_of_now(&mut self) {
        let view = self.store.view();
        self.generation = view.version();
        self.has_everything_of(&view);
    }
}
