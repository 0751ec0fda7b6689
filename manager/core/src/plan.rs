//! What a planner returns to its loop: transactions to propose, and when to plan again even if nothing changes.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use skep_common::{clock::Timestamp, limits};
use skep_proto::{
    Message,
    v1::{Action, Cluster, Node, ObjectKind, Service, Task, Transaction},
};
use skep_store::{TxBuilder, View};

use crate::slot::SlotKey;

/// Transactions to propose in order. They do not depend on one another's outcome, so they may be pipelined; a conflict in
/// one, or in an action of an independent one, only means: plan again. What depends on a change of its service is left to
/// the next plan.
///
/// A planner must know the outcome of all it proposed before it plans again ([`crate::reconcile::Loop`] ensures that), and
/// a plan is proposed only in the leader's term it was made in.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Plan {
    /// Each within the bounds of one log entry.
    pub transactions: Vec<Transaction>,
    /// Deadlines: when planning a service, or a slot of it, again gives something to do even if nothing changes.
    pub due: BTreeMap<Concern, Timestamp>,
}

/// What a plan is about: a service (id), or one slot of it.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Concern {
    /// The service.
    pub service: String,
    /// The slot; `None`: the service as a whole.
    pub slot: Option<SlotKey>,
}

impl Plan {
    /// Nothing to propose now.
    pub fn is_empty(&self) -> bool {
        self.transactions.is_empty()
    }

    /// The first of these deadlines.
    pub fn wake_at(&self) -> Option<Timestamp> {
        self.due.values().min().copied()
    }
}

/// One change of one object.
pub(crate) enum Write {
    Create(Task),
    UpdateTask(Arc<Task>),
    UpdateNode(Node),
    UpdateService(Box<Service>),
    UpdateCluster(Box<Cluster>),
    RemoveTask(String),
    RemoveRevision(String),
}

/// Collects the steps of a plan into transactions of bounded size.
pub(crate) struct Planner<'a> {
    view: &'a View,
    now: Timestamp,
    /// The service, or the slot of it, being planned.
    about: Concern,
    open: TxBuilder<'a>,
    /// Whether the steps of a transaction succeed or fail one by one.
    independent: bool,
    actions: usize,
    bytes: usize,
    expected: BTreeSet<String>,
    /// Services changed in the open transaction, and in those before it.
    changing: BTreeSet<String>,
    changed: BTreeSet<String>,
    plan: Plan,
}

/// Encoding overhead of an action and its expected version in a transaction: tags and lengths.
const ACTION_OVERHEAD: usize = 32;

impl<'a> Planner<'a> {
    pub(crate) fn new(view: &'a View, now: Timestamp) -> Self {
        Self {
            view,
            now,
            about: Concern::default(),
            open: TxBuilder::new(view, now),
            independent: false,
            actions: 0,
            bytes: 0,
            expected: BTreeSet::new(),
            changing: BTreeSet::new(),
            changed: BTreeSet::new(),
            plan: Plan::default(),
        }
    }

    /// For steps of one change each that succeed or fail one by one, also where they share a transaction.
    pub(crate) fn of_independent_steps(view: &'a View, now: Timestamp) -> Self {
        let mut planner = Self { independent: true, ..Self::new(view, now) };
        planner.open.independent();
        planner
    }

    /// Changes that happen together or not at all. No object may be in two steps of one plan: the second would find it
    /// changed by the first.
    pub(crate) fn step(&mut self, writes: impl IntoIterator<Item = Write>) {
        self.guarded_step(None, writes);
    }

    /// Like [`Self::step`], on condition that the service has not changed: no task must be made for a service that was
    /// removed or scaled meanwhile.
    pub(crate) fn step_for(&mut self, service: &Service, writes: impl IntoIterator<Item = Write>) {
        self.guarded_step(Some(service), writes);
    }

    /// Like [`Self::step`], on condition that these objects have not changed.
    pub(crate) fn step_while<'o>(
        &mut self,
        seen: impl IntoIterator<Item = (ObjectKind, &'o str)>,
        writes: impl IntoIterator<Item = Write>,
    ) {
        self.close();
        for (kind, id) in seen {
            self.open.expect(kind, id);
        }
        self.step(writes);
        self.close();
    }

    /// Changes the service. What is planned for it from here on depends on the change and goes into the same transaction;
    /// what does not fit into it is left out, for the change leads to another plan anyway.
    pub(crate) fn change_service(&mut self, service: Service) {
        let id = service.id.clone();
        self.step([Write::UpdateService(Box::new(service))]);
        self.changing.insert(id);
    }

    fn guarded_step(&mut self, service: Option<&Service>, writes: impl IntoIterator<Item = Write>) {
        let writes: Vec<Action> = writes.into_iter().map(|write| self.action(write)).collect();
        let (actions, bytes) = (writes.len(), writes.iter().map(Action::encoded_len).sum());
        debug_assert!(actions <= 1 || !self.independent, "a step of several changes would be torn apart");
        self.make_room(actions, bytes);
        if service.is_some_and(|service| self.changed.contains(&service.id)) {
            return;
        }
        self.take_up(actions, bytes);
        if let Some(service) = service
            && self.expected.insert(service.id.clone())
        {
            self.open.expect(ObjectKind::Service, &service.id);
        }
        for write in writes {
            self.open.push(write);
        }
    }

    /// A step of one change.
    pub(crate) fn step_one(&mut self, write: Write) {
        let write = self.action(write);
        let bytes = write.encoded_len();
        self.make_room(1, bytes);
        self.take_up(1, bytes);
        self.open.push(write);
    }

    /// Begins another transaction when the open one has not enough space left.
    fn make_room(&mut self, actions: usize, bytes: usize) {
        let bytes = bytes + (actions + 1) * ACTION_OVERHEAD;
        if self.actions + actions > limits::MAX_TRANSACTION_ACTIONS
            || self.bytes + bytes > limits::MAX_TRANSACTION_BYTES
        {
            self.close();
        }
    }

    fn take_up(&mut self, actions: usize, bytes: usize) {
        self.actions += actions;
        self.bytes += bytes + (actions + 1) * ACTION_OVERHEAD;
    }

    /// All transactions of a plan are made of the same view, so the action fits in any.
    fn action(&self, write: Write) -> Action {
        match write {
            Write::Create(task) => self.open.creating(task),
            Write::UpdateTask(task) => self.open.updating(task),
            Write::UpdateNode(node) => self.open.updating(node),
            Write::UpdateService(service) => self.open.updating(*service),
            Write::UpdateCluster(cluster) => self.open.updating(*cluster),
            Write::RemoveTask(id) => self.open.removing(ObjectKind::Task, &id),
            Write::RemoveRevision(id) => self.open.removing(ObjectKind::Revision, &id),
        }
    }

    /// The service planned from here on.
    pub(crate) fn about(&mut self, service_id: &str) {
        service_id.clone_into(&mut self.about.service);
        self.about.slot = None;
    }

    /// The slot of that service planned from here on.
    pub(crate) fn about_slot(&mut self, slot: impl Into<SlotKey>) {
        self.about.slot = Some(slot.into());
    }

    /// Plan that again at `at`.
    pub(crate) fn wake_at(&mut self, at: Timestamp) {
        let due = self.plan.due.entry(self.about.clone()).or_insert(at);
        *due = at.min(*due);
    }

    pub(crate) fn finish(mut self) -> Plan {
        self.close();
        self.plan
    }

    fn close(&mut self) {
        let mut next = TxBuilder::new(self.view, self.now);
        if self.independent {
            next.independent();
        }
        let open = std::mem::replace(&mut self.open, next);
        if self.actions > 0 {
            self.plan.transactions.push(open.build());
        }
        self.actions = 0;
        self.bytes = 0;
        self.expected.clear();
        self.changed.append(&mut self.changing);
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{ContainerSpec, TaskSpec};

    use super::*;

    fn task(id: usize, image: &str) -> Task {
        let container = ContainerSpec { image: image.into(), ..ContainerSpec::default() };
        let spec = TaskSpec { container: Some(container), ..TaskSpec::default() };
        Task { id: format!("t{id:05}"), spec: Some(spec.into()), ..Task::default() }
    }

    fn plan_of(view: &View, steps: impl IntoIterator<Item = Vec<Task>>) -> Vec<Transaction> {
        let mut planner = Planner::new(view, Timestamp(1));
        for step in steps {
            planner.step(step.into_iter().map(Write::Create));
        }
        planner.finish().transactions
    }

    #[test]
    fn a_plan_is_cut_into_entries_and_no_step_is_cut() {
        let view = View::default();
        let pairs = (0..400).map(|n| vec![task(2 * n, "a"), task(2 * n + 1, "a")]);
        let cut = plan_of(&view, pairs);
        let sizes: Vec<usize> = cut.iter().map(|transaction| transaction.actions.len()).collect();
        assert_eq!(sizes, [limits::MAX_TRANSACTION_ACTIONS, 800 - limits::MAX_TRANSACTION_ACTIONS]);

        let big = "x".repeat(limits::MAX_SPEC_BYTES - 100);
        let cut = plan_of(&view, (0..7).map(|n| vec![task(n, &big)]));
        assert_eq!(cut.iter().map(|transaction| transaction.actions.len()).sum::<usize>(), 7);
        assert!(cut.iter().all(|transaction| transaction.encoded_len() <= limits::MAX_TRANSACTION_BYTES));
        assert_eq!(plan_of(&view, []), []);
    }

    #[test]
    fn a_transaction_takes_what_it_has_room_for_and_no_more() {
        let view = View::default();
        // Steps that cost so many bytes each, of one task or of two.
        let sizes = |bytes: usize, tasks: usize| -> Vec<usize> {
            let room = bytes - (tasks + 1) * ACTION_OVERHEAD;
            let cost = |task: &Task| TxBuilder::new(&view, Timestamp(1)).creating(task.clone()).encoded_len();
            let of_length = |id: usize, length: usize| {
                let image = "x".repeat(length - 100);
                let missing = length - cost(&task(id, &image));
                let task = task(id, &"x".repeat(length - 100 + missing));
                assert_eq!(cost(&task), length);
                task
            };
            let step = |n: usize| match tasks {
                1 => vec![of_length(n, room)],
                _ => vec![of_length(2 * n, room / 2), of_length(2 * n + 1, room - room / 2)],
            };
            plan_of(&view, (0..9).map(step)).iter().map(|transaction| transaction.actions.len()).collect()
        };
        let quarter = limits::MAX_TRANSACTION_BYTES / 4;
        assert_eq!((sizes(quarter, 1), sizes(quarter, 2)), (vec![4, 4, 1], vec![8, 8, 2]));
        assert_eq!((sizes(quarter + 1, 1), sizes(quarter + 1, 2)), (vec![3, 3, 3], vec![6, 6, 6]));
    }

    #[test]
    fn a_plan_that_only_waits_is_empty() {
        let view = View::default();
        let mut planner = Planner::new(&view, Timestamp(1));
        planner.about("s");
        planner.wake_at(Timestamp(3));
        planner.wake_at(Timestamp(2));
        let plan = planner.finish();
        assert!(plan.is_empty());
        assert_eq!(plan.due, [(Concern { service: "s".into(), slot: None }, Timestamp(2))].into());
        let mut planner = Planner::new(&view, Timestamp(1));
        planner.step([Write::Create(task(0, "a"))]);
        assert!(!planner.finish().is_empty());
    }

    #[test]
    fn what_is_made_for_a_service_holds_only_while_the_service_does() {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(Service { id: "s".into(), ..Service::default() });
        let tx = tx.build();
        let view = empty.apply(1, &tx).unwrap().0;
        let service = view.service("s").unwrap();
        let mut planner = Planner::new(&view, Timestamp(1));
        for n in 0..2 {
            planner.step_for(service, [Write::Create(task(n, "a"))]);
        }
        let transactions = planner.finish().transactions;
        assert_eq!((transactions.len(), transactions[0].expect.len()), (1, 1));
        assert!(view.apply(2, &transactions[0]).is_ok());

        let mut tx = TxBuilder::new(&view, Timestamp(1));
        tx.remove(ObjectKind::Service, "s");
        let tx = tx.build();
        assert!(view.apply(2, &tx).unwrap().0.apply(3, &transactions[0]).is_err());
    }

    #[test]
    fn what_is_planned_for_a_changed_service_goes_with_the_change_or_waits() {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, Timestamp(1));
        tx.create(Service { id: "s".into(), ..Service::default() });
        let tx = tx.build();
        let view = empty.apply(1, &tx).unwrap().0;
        let service = view.service("s").unwrap();
        let mut planner = Planner::new(&view, Timestamp(1));
        planner.change_service(Service { revision: 7, ..Service::clone(service) });
        for n in 0..limits::MAX_TRANSACTION_ACTIONS {
            planner.step_for(service, [Write::Create(task(n, "a"))]);
        }
        let transactions = planner.finish().transactions;
        assert_eq!((transactions.len(), transactions[0].actions.len()), (1, limits::MAX_TRANSACTION_ACTIONS));
        assert!(view.apply(2, &transactions[0]).is_ok());
    }
}
