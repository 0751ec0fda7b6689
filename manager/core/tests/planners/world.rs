//! A swarm without a network: one state, the planners, and nodes that obey.

use std::{
    cell::RefCell,
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use skep_common::{
    clock::Timestamp,
    feature_level::FEATURE_LEVEL,
    id::{Ids, SeededIds},
};
use skep_core::{
    Concern, Plan, Scope, allocator, cron, orchestrator,
    policy::{self, Rebalance},
    reaper,
    reconcile::{self, ByService, Now, Reconciler as _},
    scheduler, status,
    status::Report,
    task::TaskExt,
    update,
};
use skep_proto::v1::{
    Availability, Cluster, Node, NodeDescription, NodeSpec, NodeState, NodeStatus, ObjectKind, Platform,
    ReplicatedService, Resources, Service, ServiceSpec, Task, TaskCause, TaskState, TaskStatus, TaskStatusUpdate,
    Transaction, service_spec::Mode,
};
use skep_store::{AnyObject, Change, TxBuilder, View};

/// What the program of a service does when it is started.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Program {
    #[default]
    Runs,
    Crashes,
    Finishes,
    /// The node cannot even prepare it.
    IsRejected,
}

/// The planners that have a loop of their own.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Planner {
    Cron,
    Orchestrator,
    Allocator,
    Scheduler,
    Reaper,
}

impl Planner {
    pub(crate) const ALL: [Self; 5] = [Self::Cron, Self::Orchestrator, Self::Allocator, Self::Scheduler, Self::Reaper];
}

/// What became of the task an update made for a slot.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Turn {
    task: String,
    made: Timestamp,
    pub(crate) version: u64,
    /// When it ran, or came to nothing.
    pub(crate) settled: Option<Timestamp>,
}

/// The loop of a planner that goes service by service. It never looks at everything.
struct Narrow<R> {
    reconciler: R,
    /// What has changed since it planned last.
    news: Vec<Change>,
}

impl<P: ByService> Narrow<reconcile::Scoped<P>> {
    fn new(planner: P) -> Self {
        Self { reconciler: reconcile::Scoped::new(planner), news: Vec::new() }
    }

    /// Plans what the planner plans that looks at everything, and is woken in time. Only of the services that are to be spread
    /// anew it is told without having heard of them: whether that helps depends on everything there is, and is found out when
    /// their turn comes.
    fn agrees(&mut self, view: &View, now: Timestamp, full: &Plan) {
        for service in view.services().filter(|service| is_rebalanced(service)) {
            let same = AnyObject::from(service.clone());
            self.reconciler.note(&Change::Update { old: same.clone(), new: same }, view);
        }
        for change in self.news.drain(..) {
            self.reconciler.note(&change, view);
        }
        let plan = self.reconciler.plan(view, Now { wall: now, monotonic: Duration::ZERO });
        assert_eq!(plan.transactions, full.transactions, "{} overlooks something", P::NAME);
        let wake_at = full.wake_at().filter(|at| *at > now);
        let is_woken = wake_at.is_none_or(|at| plan.wake_at().is_some_and(|woken| woken <= at));
        assert!(is_woken, "{} is woken at {:?} and not at {wake_at:?}", P::NAME, plan.wake_at());
    }
}

fn is_rebalanced(service: &Service) -> bool {
    let Rebalance(is_on) = policy::of(service.spec.as_ref().and_then(policy::labels));
    is_on || service.rebalance_requested_at != 0
}

/// Ids that several draw from.
#[derive(Clone)]
struct SharedIds(Rc<RefCell<SeededIds>>);

impl Ids for SharedIds {
    fn next_id(&mut self) -> String {
        self.0.borrow_mut().next_id()
    }
}

/// The swarm.
pub(crate) struct World {
    pub(crate) view: View,
    pub(crate) now: Timestamp,
    /// By service id.
    pub(crate) programs: BTreeMap<String, Program>,
    /// By image; an image that is not here has the program of its service.
    pub(crate) images: BTreeMap<String, Program>,
    /// Slots in which whatever a service is updated to crashes.
    pub(crate) cursed: BTreeSet<u64>,
    /// By service: the places updates were made in, and how that went.
    pub(crate) turns: BTreeMap<String, BTreeMap<(u64, String), Turn>>,
    /// Asked after every plan that was carried out, with the state it was made on.
    pub(crate) check: fn(&World, Planner, &View),
    ids: SharedIds,
    orchestrator: Narrow<reconcile::Scoped<reconcile::Orchestrator<SharedIds>>>,
    reaper: Narrow<reconcile::Scoped<reconcile::Reaper>>,
    cron: Narrow<reconcile::Scoped<reconcile::Cron>>,
    wake_at: Option<Timestamp>,
    /// The highest number of a revision, by service id.
    numbers: BTreeMap<String, u64>,
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        let now = Timestamp::from_secs(1_000_000);
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, now);
        tx.create(Cluster { id: "cluster".into(), feature_level: FEATURE_LEVEL, ..Cluster::default() });
        let ids = SharedIds(Rc::new(RefCell::new(SeededIds::new(seed))));
        Self {
            view: empty.apply(1, &tx.build()).expect("nothing is there yet").0,
            now,
            programs: BTreeMap::new(),
            images: BTreeMap::new(),
            cursed: BTreeSet::new(),
            turns: BTreeMap::new(),
            check: |_, _, _| {},
            orchestrator: Narrow::new(reconcile::Orchestrator(ids.clone())),
            reaper: Narrow::new(reconcile::Reaper),
            cron: Narrow::new(reconcile::Cron),
            ids,
            wake_at: None,
            numbers: BTreeMap::new(),
        }
    }

    // ---- users ---------------------------------------------------------------------------------

    /// A node with 4 CPUs and 8 GiB, ready and active, unless `edit` says otherwise.
    pub(crate) fn add_node(&mut self, id: &str, edit: impl FnOnce(&mut Node)) {
        let mut node = Node {
            id: id.into(),
            spec: Some(NodeSpec::default()),
            description: Some(NodeDescription {
                hostname: id.into(),
                platform: Some(Platform { architecture: "x86_64".into(), os: "linux".into() }),
                resources: Some(Resources { nano_cpus: 4_000_000_000, memory_bytes: 8 << 30, ..Default::default() }),
                ..NodeDescription::default()
            }),
            ..Node::default()
        };
        node.status = Some(NodeStatus { state: NodeState::Ready.into(), since: self.now.0, ..NodeStatus::default() });
        edit(&mut node);
        self.write(|tx| tx.create(node));
    }

    pub(crate) fn edit_node(&mut self, id: &str, edit: impl FnOnce(&mut Node)) {
        let Some(node) = self.view.node(id) else { return };
        let mut node = Node::clone(node);
        edit(&mut node);
        self.write(|tx| tx.update(node));
    }

    pub(crate) fn set_node_state(&mut self, id: &str, state: NodeState) {
        let since = self.now.0;
        self.edit_node(id, |node| {
            let status = node.status.get_or_insert_default();
            if status.state() != state {
                status.since = since;
            }
            status.set_state(state);
        });
    }

    pub(crate) fn set_availability(&mut self, id: &str, availability: Availability) {
        self.edit_node(id, |node| node.spec.get_or_insert_default().set_availability(availability));
    }

    pub(crate) fn remove_node(&mut self, id: &str) {
        if self.view.node(id).is_some() {
            self.write(|tx| tx.remove(ObjectKind::Node, id));
        }
    }

    /// The id is the name; from a name's second use on, with a number, for ids are never used again.
    pub(crate) fn add_service(&mut self, name: &str, program: Program, mut spec: ServiceSpec) {
        spec.annotations.get_or_insert_default().name = name.into();
        let id = (1..)
            .map(|use_number| if use_number == 1 { name.to_owned() } else { format!("{name}-{use_number}") })
            .find(|id| !self.programs.contains_key(id))
            .expect("there is always another number");
        self.programs.insert(id.clone(), program);
        self.write_service(update::created(&self.view, id, spec, self.now));
    }

    pub(crate) fn update_service(&mut self, name: &str, edit: impl FnOnce(&mut ServiceSpec)) {
        let Some(service) = self.view.service_by_name(name) else { return };
        let mut spec = service.spec.clone().unwrap_or_default();
        edit(&mut spec);
        self.write_service(update::updated(&self.view, service, spec, self.now));
    }

    pub(crate) fn roll_back(&mut self, name: &str) {
        let service = self.view.service_by_name(name).and_then(|service| update::rolled_back(service, self.now));
        if let Some(service) = service {
            self.write_service(service);
        }
    }

    /// Back to a revision, if that is kept.
    pub(crate) fn roll_back_to(&mut self, name: &str, number: u64) {
        let Some(service) = self.view.service_by_name(name) else { return };
        if let Ok(service) = update::rolled_back_to(&self.view, service, number, self.now) {
            self.write_service(service);
        }
    }

    fn write_service(&mut self, service: Service) {
        self.write(|tx| update::write(tx, service));
    }

    pub(crate) fn request_rebalance(&mut self, name: &str) {
        let Some(service) = self.view.service_by_name(name) else { return };
        let service = Service { rebalance_requested_at: self.now.as_nanos(), ..Service::clone(service) };
        self.write(|tx| tx.update(service));
    }

    pub(crate) fn scale(&mut self, name: &str, replicas: u64) {
        self.update_service(name, |spec| spec.mode = Some(Mode::Replicated(ReplicatedService { replicas })));
    }

    pub(crate) fn remove_service(&mut self, name: &str) {
        if let Some(id) = self.view.service_by_name(name).map(|service| service.id.clone()) {
            self.write(|tx| tx.remove(ObjectKind::Service, &id));
        }
    }

    // ---- time ----------------------------------------------------------------------------------

    /// Lets planners and nodes act until nobody has anything left to do now.
    pub(crate) fn converge(&mut self) {
        for _ in 0..100 {
            let before = self.view.version();
            self.wake_at = None;
            for planner in Planner::ALL {
                self.run(planner);
            }
            self.nodes_act();
            if self.view.version() == before {
                return;
            }
        }
        panic!("the swarm does not come to rest");
    }

    /// Lets time pass, stopping wherever a planner asked to be woken.
    pub(crate) fn tick(&mut self, span: Duration) {
        let end = self.now + span;
        loop {
            self.converge();
            match self.wake_at.filter(|at| *at > self.now && *at < end) {
                Some(at) => self.wait_until(at),
                None if self.now < end => self.wait_until(end),
                None => return,
            }
        }
    }

    /// Nobody has anything to do before; whoever were to have would have asked to be woken.
    fn wait_until(&mut self, at: Timestamp) {
        self.now = at - Duration::from_nanos(1);
        for planner in Planner::ALL {
            let plan = self.plan(planner);
            assert!(plan.is_empty(), "nobody would have woken {planner:?}: {plan:?}");
        }
        self.now = at;
    }

    // ---- planners ------------------------------------------------------------------------------

    /// The plan of one who looks at everything. Who looks at what it heard of plans the same.
    pub(crate) fn plan(&mut self, planner: Planner) -> Plan {
        let (view, now) = (&self.view, self.now);
        match planner {
            Planner::Cron => {
                let plan = cron::plan(view, &Scope::All, now);
                self.cron.agrees(view, now, &plan);
                plan
            }
            Planner::Orchestrator => {
                let ids = self.ids.0.borrow().clone();
                let plan = orchestrator::plan(view, &Scope::All, now, &mut self.ids);
                self.ids.0.replace(ids);
                self.orchestrator.agrees(view, now, &plan);
                plan
            }
            Planner::Allocator => allocator::plan(view, now),
            Planner::Scheduler => scheduler::plan(view, now),
            Planner::Reaper => {
                let plan = reaper::plan(view, &Scope::All, now);
                self.reaper.agrees(view, now, &plan);
                plan
            }
        }
    }

    /// All that a planner has planned is written.
    fn done(&mut self, planner: Planner) {
        match planner {
            Planner::Cron => self.cron.reconciler.done(),
            Planner::Orchestrator => self.orchestrator.reconciler.done(),
            Planner::Reaper => self.reaper.reconciler.done(),
            Planner::Allocator | Planner::Scheduler => {}
        }
    }

    /// Plans and commits; planning again must give nothing.
    pub(crate) fn run(&mut self, planner: Planner) {
        let plan = self.plan(planner);
        let before = self.view.clone();
        for transaction in &plan.transactions {
            self.commit(transaction);
        }
        self.done(planner);
        (self.check)(self, planner, &before);
        if !plan.is_empty() {
            let again = self.plan(planner);
            assert!(again.is_empty(), "{planner:?} is not done with what it did: {again:?}");
        }
        let settled = self.plan(planner);
        assert!(
            !settled.due.contains_key(&Concern::default()),
            "{planner:?} does not say for whom it wants to be woken"
        );
        if let Some(at) = settled.wake_at() {
            self.wake_at = Some(self.wake_at.map_or(at, |other| other.min(at)));
        }
    }

    // ---- nodes ---------------------------------------------------------------------------------

    /// Every node that is up does what it is told, at once.
    pub(crate) fn nodes_act(&mut self) {
        let up = |task: &Task| {
            let node = self.view.node(&task.node_id);
            node.is_some_and(|node| node.status.as_ref().is_some_and(|status| status.state() == NodeState::Ready))
        };
        let reports: Vec<Report> = self
            .view
            .tasks()
            .filter(|task| task.may_run() && up(task))
            .filter_map(|task| self.obey(task).map(|state| report(task, state)))
            .collect();
        self.take_in(&reports);
    }

    /// The node of a task says that it is in this state.
    pub(crate) fn report(&mut self, task_id: &str, state: TaskState) {
        if let Some(task) = self.view.task(task_id) {
            let report = report(task, state);
            self.take_in(&[report]);
        }
    }

    fn take_in(&mut self, reports: &[Report]) {
        for transaction in status::plan(&self.view, reports, self.now).transactions {
            self.commit(&transaction);
        }
    }

    /// What a task does when it is started.
    pub(crate) fn program(&self, task: &Task) -> Program {
        let image = task.spec.as_ref().and_then(|spec| spec.container.as_ref()).map(|container| &container.image);
        let of_image = image.and_then(|image| self.images.get(image));
        let program = of_image.or_else(|| self.programs.get(&task.service_id)).copied().unwrap_or_default();
        let is_cursed = task.revision > 1 && self.cursed.contains(&task.slot);
        if is_cursed { Program::Crashes } else { program }
    }

    /// The next state of a task on a node that obeys.
    fn obey(&self, task: &Task) -> Option<TaskState> {
        let program = self.program(task);
        match (task.desired_state(), task.state()) {
            (TaskState::Shutdown | TaskState::Remove, _) => Some(TaskState::Shutdown),
            (_, TaskState::Assigned) if program == Program::IsRejected => Some(TaskState::Rejected),
            (_, TaskState::Assigned) => Some(TaskState::Ready),
            (TaskState::Running | TaskState::Complete, TaskState::Ready) => Some(TaskState::Running),
            (TaskState::Running | TaskState::Complete, TaskState::Running) => match program {
                Program::Crashes => Some(TaskState::Failed),
                Program::Finishes => Some(TaskState::Complete),
                Program::Runs | Program::IsRejected => None,
            },
            _ => None,
        }
    }

    // ---- the state -----------------------------------------------------------------------------

    fn write(&mut self, edit: impl for<'a, 'b> FnOnce(&'b mut TxBuilder<'a>) -> &'b mut TxBuilder<'a>) {
        let view = self.view.clone();
        let mut tx = TxBuilder::new(&view, self.now);
        edit(&mut tx);
        self.commit(&tx.build());
    }

    /// A revision's number is above all that its service ever had.
    fn never_given_twice(&mut self, change: &Change) {
        let Change::Create(AnyObject::Revision(new)) = change else { return };
        let highest = self.numbers.entry(new.service_id.clone()).or_default();
        assert!(new.number > *highest, "{new:?} comes after {highest}");
        *highest = new.number;
    }

    /// Keeps account of updates apart from what tasks carry.
    fn note_turn(&mut self, change: &Change) {
        let AnyObject::Task(task) = change.object() else { return };
        let turns = self.turns.entry(task.service_id.clone()).or_default();
        let node = if task.slot == 0 { task.node_id.clone() } else { String::new() };
        let slot = (task.slot, node);
        if matches!(change, Change::Create(_)) {
            match task.cause() {
                TaskCause::Update | TaskCause::Rollback => {
                    let turn = Turn { task: task.id.clone(), made: self.now, version: task.revision, settled: None };
                    turns.insert(slot, turn);
                }
                TaskCause::Replica => drop(turns.remove(&slot)),
                _ => {}
            }
            return;
        }
        let Some(turn) = turns.get_mut(&slot).filter(|turn| turn.task == task.id && turn.settled.is_none()) else {
            return;
        };
        let came_to_nothing = matches!(change, Change::Remove(_)) || !task.is_wanted();
        turn.settled = match task.state() {
            TaskState::Running | TaskState::Complete | TaskState::Failed | TaskState::Rejected => Some(self.now),
            _ => came_to_nothing.then_some(turn.made),
        };
    }

    pub(crate) fn commit(&mut self, transaction: &Transaction) {
        let (next, changes) = self.view.apply(self.view.version() + 1, transaction).expect("nobody else writes");
        for change in &changes.changes {
            never_back(change);
            self.never_given_twice(change);
            self.note_turn(change);
        }
        for news in [&mut self.orchestrator.news, &mut self.reaper.news, &mut self.cron.news] {
            news.extend(changes.changes.iter().cloned());
        }
        self.view = next;
    }
}

/// What no change may ever do to a task.
fn never_back(change: &Change) {
    let Change::Update { old: AnyObject::Task(old), new: AnyObject::Task(new) } = change else { return };
    assert!(new.state() >= old.state(), "the observed state went back: {old:?} -> {new:?}");
    assert!(new.desired_state() >= old.desired_state(), "the desired state went back: {old:?} -> {new:?}");
    assert!(old.node_id.is_empty() || old.node_id == new.node_id, "a task moved: {old:?} -> {new:?}");
    assert!((old.slot, &old.spec) == (new.slot, &new.spec), "a task changed: {old:?} -> {new:?}");
}

fn report(task: &Task, state: TaskState) -> Report {
    let status = TaskStatus { state: state.into(), ..TaskStatus::default() };
    Report {
        node_id: task.node_id.clone(),
        update: TaskStatusUpdate { task_id: task.id.clone(), status: Some(status) },
    }
}
