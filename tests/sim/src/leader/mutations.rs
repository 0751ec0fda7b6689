//! What the mutants do to the plans of the leader's loops.

use std::collections::BTreeMap;

use skep_common::{clock::Timestamp, limits::HEARTBEAT_PERIOD};
use skep_core::{
    Plan, liveness::Liveness, orchestrator::STOP_PATIENCE, reconcile::Now, roles, status::Report, task::TaskExt as _,
};
use skep_proto::v1::{
    JobOutcome, JobRun, Node, NodeRole, Object, ObjectKind, Service, Task, TaskCause, TaskState, Transaction,
    action::Action, object::Object as Kind,
};
use skep_store::{TxBuilder, View};

use crate::{
    Mutant,
    context::EPOCH,
    fitness::{has_room, is_allowed, is_available, zone_of},
    mutants::ActiveMutant,
};

/// The cron loop's.
pub(super) fn cron(mutant: ActiveMutant, view: &View, mut plan: Plan, _now: Timestamp) -> Plan {
    let services = plan.transactions.iter_mut().flat_map(|transaction| &mut transaction.actions);
    for action in services {
        if let Some(Action::Update(Object { object: Some(Kind::Service(service)) })) = &mut action.action {
            change_job(mutant, view.service(&service.id).and_then(|old| old.job.as_ref()), service);
        }
    }
    plan
}

fn change_job(mutant: ActiveMutant, before: Option<&skep_proto::v1::JobStatus>, service: &mut Service) {
    let Some(job) = &mut service.job else { return };
    let iteration = before.map_or(0, |before| before.iteration);
    let is_new = |run: &JobRun| run.iteration > iteration;
    if mutant.has(Mutant::DoubleTick) && job.runs.iter().any(is_new) {
        job.last_tick = before.map_or(0, |before| before.last_tick);
    }
    if mutant.has(Mutant::SwallowedTick) {
        job.runs.retain(|run| !is_new(run));
        job.iteration = iteration;
    }
    let begins = job.runs.iter().any(is_new);
    let ends_early = |run: &JobRun| begins && !is_new(run) && run.finished_at == 0;
    if mutant.has(Mutant::ForgottenRun) {
        job.runs.retain(|run| !ends_early(run));
    }
    if mutant.has(Mutant::HastyCompletion) {
        for run in job.runs.iter_mut().filter(|run| ends_early(run)) {
            run.finished_at = job.last_execution;
            run.set_outcome(JobOutcome::Complete);
        }
    }
}

/// The liveness loop's.
pub(super) fn liveness(mutant: ActiveMutant, liveness: &mut Liveness, view: &View, now: Now) -> Plan {
    if mutant.has(Mutant::SleepIsSilence) {
        // As if it had looked all the while.
        for ago in (1..20).rev() {
            let then = now.monotonic.saturating_sub(ago * HEARTBEAT_PERIOD / 2);
            liveness.plan(view, now.wall, then);
        }
    }
    if mutant.has(Mutant::WallClock) {
        let wall = now.wall.since(EPOCH);
        return liveness.plan(view, now.wall, wall);
    }
    liveness.plan(view, now.wall, now.monotonic)
}

/// The members as the leader sees them.
pub(crate) fn members_as_seen(mutant: ActiveMutant, mut members: Vec<roles::Member>) -> Vec<roles::Member> {
    if mutant.has(Mutant::BlindDemotion) {
        members.iter_mut().for_each(|member| member.reachable = true);
    }
    members
}

/// The members as the role loop sees them.
pub(super) fn members(mutant: ActiveMutant, view: &View, members: &[roles::Member]) -> Vec<roles::Member> {
    let mut members = members_as_seen(mutant, members.to_vec());
    if mutant.has(Mutant::HastyDemotion) {
        let is_wanted = |node: &Node| node.spec.as_ref().is_some_and(|spec| spec.desired_role() == NodeRole::Manager);
        members.retain(|member| member.leader || view.node(&member.node_id).is_none_or(|node| is_wanted(node)));
    }
    members
}

/// A plan whose updates are of whole objects, to be changed as one likes.
fn spelled_out(view: &View, mut plan: Plan) -> Plan {
    plan.transactions.iter_mut().for_each(|transaction| view.spell_out(transaction));
    plan
}

/// The orchestrator's.
pub(super) fn orchestrator(mutant: ActiveMutant, view: &View, mut plan: Plan, now: Timestamp) -> Plan {
    if mutant.has(Mutant::EarlySlotReuse) {
        start_at_once(&mut plan);
    }
    if mutant.has(Mutant::ImpatientReplacement) {
        plan = spelled_out(view, plan);
        start_after_a_while(view, &mut plan, now);
    }
    if mutant.has(Mutant::HastyUpdate) {
        plan = spelled_out(view, plan);
        stop_nothing_updated(&mut plan);
    }
    if mutant.has(Mutant::HastyMove) {
        stop_what_moves(view, &mut plan, now);
    }
    if mutant.has(Mutant::ForgottenAttempts) {
        forget_attempts(&mut plan);
    }
    plan
}

/// [`Mutant::HastyMove`].
fn stop_what_moves(view: &View, plan: &mut Plan, now: Timestamp) {
    for transaction in &mut plan.transactions {
        let moved: Vec<String> = created(transaction)
            .filter(|task| task.cause() == TaskCause::Rebalance)
            .map(|task| task.replaces.clone())
            .collect();
        let mut tx = TxBuilder::new(view, now);
        for task in moved.iter().filter_map(|id| view.task(id)) {
            tx.update(Task { desired_state: TaskState::Shutdown.into(), ..Task::clone(task) });
        }
        transaction.actions.extend(tx.build().actions);
    }
}

fn created(transaction: &Transaction) -> impl Iterator<Item = &Task> {
    transaction.actions.iter().filter_map(|action| match &action.action {
        Some(Action::Create(Object { object: Some(Kind::Task(task)) })) => Some(&**task),
        _ => None,
    })
}

fn created_mut(plan: &mut Plan) -> impl Iterator<Item = &mut Task> {
    let actions = plan.transactions.iter_mut().flat_map(|transaction| &mut transaction.actions);
    actions.filter_map(|action| match &mut action.action {
        Some(Action::Create(Object { object: Some(Kind::Task(task)) })) => Some(&mut **task),
        _ => None,
    })
}

/// [`Mutant::EarlySlotReuse`].
fn start_at_once(plan: &mut Plan) {
    for task in created_mut(plan) {
        task.set_desired_state(TaskState::Running);
    }
}

/// [`Mutant::ForgottenAttempts`].
fn forget_attempts(plan: &mut Plan) {
    for restart in created_mut(plan).filter_map(|task| task.restart.as_mut()) {
        restart.attempts = 0;
        restart.restarts.clear();
    }
}

/// [`Mutant::ImpatientReplacement`].
fn start_after_a_while(view: &View, plan: &mut Plan, now: Timestamp) {
    let waits = |task: &&std::sync::Arc<Task>| {
        task.desired_state() == TaskState::Ready && task.not_before().max(task.created_at()) + STOP_PATIENCE / 8 < now
    };
    let mut tx = TxBuilder::new(view, now);
    let planned: Vec<String> = plan
        .transactions
        .iter()
        .flat_map(|transaction| &transaction.actions)
        .filter_map(|action| match &action.action {
            Some(Action::Update(Object { object: Some(Kind::Task(task)) })) => Some(task.id.clone()),
            Some(Action::Remove(remove)) => Some(remove.id.clone()),
            _ => None,
        })
        .collect();
    for task in view.tasks().filter(waits).filter(|task| !planned.contains(&task.id)) {
        tx.update(Task { desired_state: TaskState::Running.into(), ..Task::clone(task) });
    }
    if !tx.is_empty() {
        plan.transactions.push(tx.build());
    }
}

/// [`Mutant::HastyUpdate`].
fn stop_nothing_updated(plan: &mut Plan) {
    for transaction in &mut plan.transactions {
        let replaced: Vec<String> = created(transaction)
            .filter(|task| task.cause() == TaskCause::Update)
            .map(|task| task.replaces.clone())
            .collect();
        transaction.actions.retain(|action| match &action.action {
            Some(Action::Update(Object { object: Some(Kind::Task(task)) })) => !replaced.contains(&task.id),
            _ => true,
        });
    }
}

/// The reaper's.
pub(super) fn reaper(mutant: ActiveMutant, view: &View, plan: Plan, now: Timestamp) -> Plan {
    if mutant.has(Mutant::EndlessHistory) {
        return Plan::default();
    }
    if mutant.has(Mutant::HastyReaper) { forget_unwanted(view, now) } else { plan }
}

/// [`Mutant::HastyReaper`].
fn forget_unwanted(view: &View, now: Timestamp) -> Plan {
    let mut tx = TxBuilder::new(view, now);
    for task in view.tasks().filter(|task| !task.is_wanted()) {
        tx.remove(ObjectKind::Task, &task.id);
    }
    let transactions = if tx.is_empty() { Vec::new() } else { vec![tx.build()] };
    Plan { transactions, ..Plan::default() }
}

/// [`Mutant::BackwardStatus`].
pub(super) fn take_all(view: &View, reports: &[Report], now: Timestamp) -> Plan {
    let mut tx = TxBuilder::new(view, now);
    let latest: BTreeMap<&str, &Report> =
        reports.iter().map(|report| (report.update.task_id.as_str(), report)).collect();
    for (id, report) in latest {
        if let Some(task) = view.task(id).filter(|task| task.status != report.update.status) {
            tx.update(Task { status: report.update.status.clone(), ..Task::clone(task) });
        }
    }
    let transactions = if tx.is_empty() { Vec::new() } else { vec![tx.build()] };
    Plan { transactions, ..Plan::default() }
}

/// [`Mutant::UnevenSpread`], for what is placed alone.
fn crowd(view: &View, plan: &mut Plan) {
    let mut actions: Vec<_> = plan.transactions.iter_mut().flat_map(|transaction| &mut transaction.actions).collect();
    let [action] = actions.as_mut_slice() else { return };
    let Some(Action::Update(Object { object: Some(Kind::Task(task)) })) = &mut action.action else { return };
    let Some(known) = view.task(&task.id).filter(|known| known.node_id.is_empty() && !task.node_id.is_empty()) else {
        return;
    };
    let placement = known.spec.as_ref().and_then(|spec| spec.placement.as_ref());
    let is_fit =
        |node: &&std::sync::Arc<Node>| is_available(node) && is_allowed(node, placement) && has_room(view, node, known);
    let in_zone = |node: &&std::sync::Arc<Node>| {
        let others = view.tasks_of_service(&known.service_id).filter(|other| other.is_wanted());
        others.filter(|other| view.node(&other.node_id).is_some_and(|it| zone_of(it) == zone_of(node))).count()
    };
    if let Some(node) = view.nodes().filter(is_fit).max_by_key(in_zone) {
        task.node_id.clone_from(&node.id);
    }
}

/// The scheduler's.
pub(super) fn scheduler(mutant: ActiveMutant, view: &View, mut plan: Plan) -> Plan {
    if mutant.has(Mutant::UnevenSpread) || mutant.has(Mutant::BlindScheduler) {
        plan = spelled_out(view, plan);
    }
    if mutant.has(Mutant::UnevenSpread) {
        crowd(view, &mut plan);
    }
    let first = view.nodes().next().filter(|_| mutant.has(Mutant::BlindScheduler));
    let Some(first) = first else { return plan };
    for action in plan.transactions.iter_mut().flat_map(|transaction| &mut transaction.actions) {
        if let Some(Action::Update(Object { object: Some(Kind::Task(task)) })) = &mut action.action
            && view.task(&task.id).is_some_and(|known| known.node_id.is_empty())
            && !task.node_id.is_empty()
        {
            task.node_id.clone_from(&first.id);
        }
    }
    plan
}
