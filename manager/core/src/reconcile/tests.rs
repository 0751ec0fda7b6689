//! When a loop looks, and at how much.

use skep_common::id::SeededIds;
use skep_proto::v1::{
    Annotations, GlobalJob, Node, NodeSpec, NodeState, NodeStatus, ReplicatedService, Service, ServiceSpec, Task,
    TaskState, TaskStatus, service_spec::Mode,
};
use skep_store::{AnyObject, TxBuilder};

use super::*;
use crate::{Concern, Extent, Scope, allocator, cron, orchestrator, policy, reaper, scheduler, update};

/// A decision that remembers what it was asked.
#[derive(Default)]
struct Witness {
    asked: Vec<Scope>,
    /// What each plan says is due.
    due: Vec<(&'static str, Timestamp)>,
}

fn concern(service: &str) -> Concern {
    Concern { service: service.into(), slot: None }
}

impl ByService for Witness {
    const NAME: &'static str = "witness";

    fn plan(&mut self, _view: &View, scope: &Scope, _now: Timestamp) -> Plan {
        self.asked.push(scope.clone());
        let ids = |id: &str| match scope {
            Scope::All => true,
            Scope::Services(services) => services.contains_key(id),
        };
        let due = self.due.iter().filter(|(id, _)| ids(id)).map(|(id, at)| (concern(id), *at)).collect();
        Plan { due, ..Plan::default() }
    }
}

/// A decision that is due again the moment it is made.
struct Impatient;

impl Reconciler for Impatient {
    const NAME: &'static str = "impatient";

    fn watches(&self) -> Selector {
        Selector::All
    }

    fn plan(&mut self, _view: &View, now: Now) -> Plan {
        Plan { due: [(Concern::default(), now.wall)].into(), ..Plan::default() }
    }
}

fn at(millis: u64) -> Now {
    let monotonic = Duration::from_millis(millis);
    Now { wall: Timestamp::from_secs(1000) + monotonic, monotonic }
}

fn changed(service: &str) -> News {
    let service = Service { id: service.into(), ..Service::default() };
    News::Changes(vec![Change::Create(service.into())])
}

fn nothing() -> News {
    News::Changes(Vec::new())
}

fn only(services: &[&str]) -> Scope {
    Scope::Services(services.iter().map(|&id| (id.to_owned(), Extent::Whole)).collect())
}

/// A state with these services.
fn with(services: &[&str]) -> View {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, Timestamp(1));
    for id in services {
        tx.create(Service { id: (*id).into(), ..Service::default() });
    }
    empty.apply(1, &tx.build()).unwrap().0
}

/// A loop that has looked at everything there is in a state, at the time zero.
fn begun_in(view: &View, due: Vec<(&'static str, Timestamp)>) -> Loop<Scoped<Witness>> {
    let mut it = Loop::new(Scoped::new(Witness { due, ..Witness::default() }));
    assert_eq!(it.patience(at(0)), Duration::ZERO);
    it.plan(view, News::Everything, at(0));
    assert_eq!(it.settled(Fate::Written), Next::Wait);
    let all: Vec<&str> = view.services().map(|service| service.id.as_str()).collect();
    assert_eq!(asked(&mut it), [only(&all)]);
    it
}

/// The same, with two services.
fn begun(due: Vec<(&'static str, Timestamp)>) -> Loop<Scoped<Witness>> {
    begun_in(&with(&["a", "b"]), due)
}

fn asked(it: &mut Loop<Scoped<Witness>>) -> Vec<Scope> {
    std::mem::take(&mut it.reconciler().planner().asked)
}

#[test]
fn however_much_happens_everything_is_looked_at_after_a_period() {
    let view = with(&["a", "s"]);
    let mut it = begun_in(&view, Vec::new());
    for second in (5..=30).step_by(5) {
        it.plan(&view, changed("s"), at(second * 1000));
        it.settled(Fate::Written);
    }
    let (one, all) = (only(&["s"]), only(&["a", "s"]));
    assert_eq!(asked(&mut it), [one.clone(), all.clone(), one.clone(), all.clone(), one, all]);
}

#[test]
fn of_much_at_once_a_part_is_planned_and_what_is_refused_holds_up_nothing_else() {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, Timestamp(1));
    for id in ["a", "b", "c"] {
        let mode = Some(Mode::Replicated(ReplicatedService { replicas: 3_000 }));
        tx.create(Service {
            id: id.into(),
            spec: Some(ServiceSpec { mode, ..ServiceSpec::default() }),
            ..Service::default()
        });
    }
    let view = empty.apply(1, &tx.build()).unwrap().0;
    let mut it = Loop::new(Scoped::new(Witness::default()));
    it.plan(&View::default(), News::Everything, at(0));
    it.settled(Fate::Written);
    asked(&mut it);
    let all = ["a", "b", "c"].into_iter().flat_map(|id| match changed(id) {
        News::Changes(changes) => changes,
        News::Everything => unreachable!(),
    });
    it.plan(&view, News::Changes(all.collect()), at(1));
    assert_eq!(asked(&mut it), [only(&["a", "b"])]);
    assert_eq!(it.settled(Fate::Refused), Next::Retry);
    assert!(it.patience(at(2)) > Duration::ZERO, "what is refused is not tried again at once");
    it.plan(&view, nothing(), at(2));
    assert_eq!(asked(&mut it), [only(&["a", "c"])]);
    assert_eq!(it.settled(Fate::Written), Next::Wait);
    assert_eq!(it.patience(at(3)), Duration::ZERO, "there is more to look at");
    it.plan(&view, nothing(), at(3));
    assert_eq!(asked(&mut it), [only(&["b"])]);
    it.settled(Fate::Written);
    assert!(it.patience(at(4)) > Duration::ZERO);
}

#[test]
fn the_first_look_at_many_is_cut_into_parts_and_waits_for_nothing_but_what_becomes_of_them() {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, Timestamp(1));
    for n in 0..5000 {
        tx.create(Service { id: format!("{n:04}"), ..Service::default() });
    }
    let view = empty.apply(1, &tx.build()).unwrap().0;
    let mut it = Loop::new(Scoped::new(Witness::default()));
    it.plan(&view, News::Everything, at(0));
    // What was planned for one part may have to be planned again; the next comes with it.
    for (fate, next) in [(Fate::Written, Next::Wait), (Fate::Refused, Next::Retry), (Fate::Written, Next::Wait)] {
        assert_eq!(it.settled(fate), next);
        it.plan(&view, nothing(), at(0));
    }
    let asked = asked(&mut it);
    let sizes = asked.iter().map(|scope| if let Scope::Services(services) = scope { services.len() } else { 0 });
    assert_eq!(sizes.collect::<Vec<_>>(), [2000, 2000, 3000, 0]);
    assert_eq!(it.patience(at(0)), PERIOD);
}

#[test]
fn events_do_not_push_the_full_look_away() {
    let mut it = begun(Vec::new());
    assert_eq!(it.patience(at(0)), PERIOD);
    it.plan(&View::default(), changed("s"), at(9_000));
    it.settled(Fate::Written);
    assert_eq!(it.patience(at(9_000)), Duration::from_secs(1));
    assert_eq!(it.patience(at(12_000)), Duration::ZERO);
}

#[test]
fn who_is_due_is_looked_at_and_nobody_else() {
    let mut it = begun(vec![("a", at(2_000).wall), ("b", at(3_000).wall)]);
    assert_eq!(it.patience(at(0)), Duration::from_secs(2));
    // What is planned for others in between says nothing of them.
    it.plan(&View::default(), changed("c"), at(1_000));
    it.settled(Fate::Written);
    assert_eq!(it.patience(at(1_000)), Duration::from_secs(1));
    it.reconciler().planner().due.clear();
    it.plan(&View::default(), nothing(), at(2_000));
    it.settled(Fate::Written);
    assert_eq!(it.patience(at(2_000)), Duration::from_secs(1));
    it.plan(&View::default(), nothing(), at(3_000));
    it.settled(Fate::Written);
    assert_eq!(asked(&mut it), [only(&["c"]), only(&["a"]), only(&["b"])]);
    assert_eq!(it.patience(at(3_000)), Duration::from_secs(7));
}

#[test]
fn what_says_that_it_is_due_already_does_not_keep_the_loop_busy() {
    let mut it = begun(vec![("a", at(0).wall)]);
    assert_eq!(it.patience(at(0)), PERIOD);
    it.plan(&View::default(), nothing(), at(10));
    assert_eq!(asked(&mut it), [only(&[])]);

    let mut it = Loop::new(Impatient);
    it.plan(&View::default(), News::Everything, at(0));
    assert_eq!(it.patience(at(0)), PERIOD);
}

#[test]
fn a_clock_that_jumps_delays_nothing_by_more_than_a_period() {
    let mut it = begun(vec![("a", at(3_600_000).wall)]);
    let back = Now { wall: Timestamp::from_secs(1), ..at(5_000) };
    it.plan(&View::default(), nothing(), back);
    assert_eq!(it.patience(back), Duration::from_secs(5));
    let forth = Now { wall: at(7_200_000).wall, ..at(6_000) };
    it.plan(&View::default(), nothing(), forth);
    assert_eq!(asked(&mut it), [only(&[]), only(&["a"])]);
}

#[test]
fn what_was_refused_stays_in_scope_until_it_is_written() {
    let mut it = begun(Vec::new());
    it.plan(&View::default(), changed("a"), at(1));
    assert_eq!(it.settled(Fate::Refused), Next::Retry);
    it.plan(&View::default(), changed("b"), at(2));
    assert_eq!(it.settled(Fate::Written), Next::Wait);
    it.plan(&View::default(), nothing(), at(3));
    assert_eq!(asked(&mut it), [only(&["a"]), only(&["a", "b"]), only(&[])]);
}

#[test]
fn after_an_unknown_fate_nothing_is_planned_before_a_barrier_and_then_the_same_again() {
    let mut it = begun(Vec::new());
    it.plan(&View::default(), changed("a"), at(1));
    assert_eq!(it.settled(Fate::Refused.max(Fate::Unknown)), Next::Barrier);
    it.plan(&View::default(), changed("b"), at(2));
    assert_eq!(asked(&mut it), [only(&["a"]), only(&["a", "b"])]);
    assert_eq!(it.settled(Fate::Unknown.max(Fate::Unled)), Next::End);
}

#[test]
fn a_state_that_was_replaced_is_looked_at_whole() {
    let mut it = begun(Vec::new());
    it.plan(&with(&["c"]), News::Everything, at(1));
    assert_eq!(asked(&mut it), [only(&["c"])]);
    assert_eq!(it.patience(at(1)), PERIOD);
}

#[test]
fn each_component_plans_what_its_decision_is() {
    let task = |id: &str, state: TaskState, desired: TaskState| Task {
        id: id.into(),
        service_id: "s".into(),
        status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
        desired_state: desired.into(),
        ..Task::default()
    };
    let labels = [(policy::SCHEDULE.to_owned(), "@every 10m".to_owned())].into();
    let job = ServiceSpec {
        annotations: Some(Annotations { name: "job".into(), labels }.into()),
        mode: Some(Mode::GlobalJob(GlobalJob {})),
        ..ServiceSpec::default()
    };
    let spec =
        ServiceSpec { mode: Some(Mode::Replicated(ReplicatedService { replicas: 3 })), ..ServiceSpec::default() };
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, Timestamp(1));
    tx.create(Service { id: "s".into(), spec: Some(spec), ..Service::default() });
    tx.create(update::created(&View::default(), "job".into(), job, Timestamp(1)));
    tx.create(task("new", TaskState::New, TaskState::Running));
    tx.create(task("pending", TaskState::Pending, TaskState::Running));
    tx.create(task("over", TaskState::Failed, TaskState::Remove));
    let view = empty.apply(1, &tx.build()).unwrap().0;
    let now = at(0);
    let check = |planned: Plan, expected: Plan| {
        assert!(!expected.is_empty());
        assert_eq!(planned, expected);
    };
    let all = Scope::All;
    check(Allocator.plan(&view, now), allocator::plan(&view, now.wall));
    let orchestrated = orchestrator::plan(&view, &all, now.wall, &mut SeededIds::new(1));
    check(Orchestrator(SeededIds::new(1)).plan(&view, &all, now.wall), orchestrated);
    check(Cron.plan(&view, &all, now.wall), cron::plan(&view, &all, now.wall));
    check(Reaper.plan(&view, &all, now.wall), reaper::plan(&view, &all, now.wall));

    let mut scheduler = Scheduler::default();
    check(Reconciler::plan(&mut scheduler, &view, now), scheduler::plan(&view, now.wall));
    // A node that is heard of, and one that comes while nobody listens.
    let node = |id: &str| Node {
        id: id.into(),
        spec: Some(NodeSpec::default()),
        status: Some(NodeStatus { state: NodeState::Ready.into(), ..NodeStatus::default() }),
        ..Node::default()
    };
    let and = |view: &View, node: Node| {
        let mut tx = TxBuilder::new(view, Timestamp(2));
        tx.create(node);
        view.apply(view.version() + 1, &tx.build()).unwrap()
    };
    let (heard, changes) = and(&view, node("b"));
    changes.changes.iter().for_each(|change| scheduler.note(change, &heard));
    check(Reconciler::plan(&mut scheduler, &heard, now), scheduler::plan(&heard, now.wall));
    let missed = and(&heard, node("a")).0;
    scheduler.reset();
    check(Reconciler::plan(&mut scheduler, &missed, now), scheduler::plan(&missed, now.wall));
}

#[test]
fn a_change_is_noted_in_the_state_it_led_to() {
    let empty = View::default();
    let mut tx = TxBuilder::new(&empty, Timestamp(1));
    tx.create(Node { id: "n".into(), ..Node::default() });
    tx.create(Task { id: "t".into(), node_id: "n".into(), service_id: "s".into(), ..Task::default() });
    let (view, changes) = empty.apply(1, &tx.build()).unwrap();
    let node: Vec<Change> =
        changes.changes.into_iter().filter(|change| matches!(change.object(), AnyObject::Node(_))).collect();
    let mut it = begun(Vec::new());
    it.plan(&view, News::Changes(node), at(1));
    assert_eq!(asked(&mut it), [only(&["s"])]);
}
