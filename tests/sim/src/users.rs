//! Users: what people ask of the swarm, sense and nonsense, with the same functions of `skep-core` as the control service.

mod specs;

use std::sync::Arc;

use skep_common::{
    clock::Timestamp,
    id::{Ids, SeededIds},
    limits::MAX_TRANSACTION_ACTIONS,
};
use skep_core::{job, mode, rebalance, roles, update, validate_spec};
use skep_proto::v1::{
    Availability, Cluster, DrainPace, ManagerStatus, Node as StoredNode, NodeRole, NodeSpec, ObjectKind,
    ReplicatedService, Service, ServiceSpec, Transaction, service_spec::Mode,
};
use skep_store::{TxBuilder, View};

pub(crate) use self::specs::{BROKEN, JOB};
use crate::{context::Context, rng::Rng, tally::Kind};

/// Most services there are, and most jobs.
const SERVICES: usize = 6;
const JOBS: usize = 3;

/// Most managers users ask for.
const MANAGERS: usize = 5;

/// Of the very big services, how many in a thousand are huge.
const HUGE: u64 = 40;

/// What a user does to a state, as a transaction; `None` when it makes no sense in it.
pub(crate) fn whim(
    context: &mut Context,
    view: &View,
    members: &[roles::Member],
    is_thin: bool,
    ids: &mut SeededIds,
) -> Option<Transaction> {
    // To lose another manager when one cannot be reached already is what must not be let happen.
    if context.temper.roles && is_thin && context.rng.chance(400) {
        return change_role(context, view, members, Some(NodeRole::Manager));
    }
    if context.temper.big && context.rng.chance(300) {
        return big(context, view, ids);
    }
    if context.temper.jobs && context.rng.chance(400) {
        return jobs(context, view, ids);
    }
    if context.temper.moves && context.rng.chance(150) {
        return spread(context, view);
    }
    if context.temper.roles && context.rng.chance(200) {
        return change_role(context, view, members, None);
    }
    match context.rng.below(18) {
        8..12 => nodes(context, view, members),
        12 => settings(context, view),
        _ => services(context, view, ids),
    }
}

fn services(context: &mut Context, view: &View, ids: &mut SeededIds) -> Option<Transaction> {
    let now = context.wall();
    let mut tx = TxBuilder::new(view, now);
    match context.rng.below(14) {
        0..4 => {
            if services_of(view, false).len() >= SERVICES {
                return None;
            }
            let spec = specs::service(&mut context.rng, ids, context.temper.moves);
            update::write(&mut tx, update::created(view, ids.next_id(), admitted(None, spec)?, now));
        }
        4..7 => {
            let service = pick(&mut context.rng, services_of(view, false))?;
            let mut spec = service.spec.clone().unwrap_or_default();
            let Some(Mode::Replicated(_)) = &spec.mode else { return None };
            spec.mode = Some(Mode::Replicated(ReplicatedService { replicas: context.rng.between(0, 6) }));
            update::write(&mut tx, update::updated(view, &service, admitted(Some(&service), spec)?, now));
        }
        7 => {
            let service = pick(&mut context.rng, services_of(view, false))?;
            tx.remove(ObjectKind::Service, &service.id);
        }
        8..12 => {
            let service = pick(&mut context.rng, services_of(view, false))?;
            let spec = specs::changed(&mut context.rng, service.spec.clone().unwrap_or_default());
            update::write(&mut tx, update::updated(view, &service, admitted(Some(&service), spec)?, now));
        }
        _ => {
            let service = pick(&mut context.rng, services_of(view, false))?;
            update::write(&mut tx, update::rolled_back(&service, now)?);
        }
    }
    Some(tx.build())
}

/// Makes a service whose plans are cut into several entries, scales it, or removes it.
fn big(context: &mut Context, view: &View, ids: &mut SeededIds) -> Option<Transaction> {
    let now = context.wall();
    let mut tx = TxBuilder::new(view, now);
    // Now and then more than are on their way at a time.
    let is_huge = context.temper.big && context.rng.chance(HUGE);
    let entries = if is_huge { 4 } else { 1 };
    let replicas = entries * (MAX_TRANSACTION_ACTIONS as u64) + context.rng.between(1, 100);
    let is_big = |service: &&Arc<Service>| matches!(service.spec.as_ref().and_then(|spec| spec.mode.as_ref()), Some(Mode::Replicated(it)) if it.replicas > 100);
    match view.services().find(is_big) {
        None if context.tally.of(Kind::BigPlan) > 2 || context.tally.of(Kind::HugePlan) > 0 => return None,
        None => {
            context.tally.count(if is_huge { Kind::HugePlan } else { Kind::BigPlan });
            update::write(&mut tx, update::created(view, ids.next_id(), specs::plain(ids, replicas), now));
        }
        Some(service) if context.rng.chance(300) => _ = tx.remove(ObjectKind::Service, &service.id),
        Some(service) => {
            let mut spec = service.spec.clone().unwrap_or_default();
            spec.mode = Some(Mode::Replicated(ReplicatedService { replicas: context.rng.between(1, 4) }));
            update::write(&mut tx, update::updated(view, service, admitted(Some(service), spec)?, now));
        }
    }
    Some(tx.build())
}

fn nodes(context: &mut Context, view: &View, members: &[roles::Member]) -> Option<Transaction> {
    let now = context.wall();
    let rng = &mut context.rng;
    if rng.chance(250) {
        // Two nodes always stay, so that there is somewhere to go.
        let node = pick(rng, view.nodes().skip(2).cloned().collect())?;
        return roles::remove_node(view, members, &node.id, rng.chance(300), now).ok();
    }
    let mut node = StoredNode::clone(&*pick(rng, view.nodes().cloned().collect())?);
    let spec = node.spec.get_or_insert_default();
    if rng.chance(300) {
        let labels = &mut spec.annotations.get_or_insert_default().labels;
        labels.insert("zone".into(), rng.pick(&["east", "west"]).map_or("", |zone| zone).into());
    } else {
        let choices = [Availability::Active, Availability::Active, Availability::Pause, Availability::Drain];
        spec.set_availability(*rng.pick(&choices)?);
        spec.set_drain_pace(*rng.pick(&[DrainPace::AtOnce, DrainPace::Gradual])?);
        if spec.availability() == Availability::Drain {
            context.tally.count(Kind::Drain);
        }
    }
    let mut tx = TxBuilder::new(view, now);
    tx.update(node);
    Some(tx.build())
}

/// Changes the settings of the swarm.
fn settings(context: &mut Context, view: &View) -> Option<Transaction> {
    let mut cluster = Cluster::clone(view.cluster()?);
    cluster.spec.get_or_insert_default().task_history_limit = context.rng.between(0, 4);
    context.tally.count(Kind::Settings);
    let mut tx = TxBuilder::new(view, context.wall());
    tx.update(cluster);
    Some(tx.build())
}

/// Makes a worker a manager, or a manager a worker; one that was this before.
fn change_role(
    context: &mut Context,
    view: &View,
    members: &[roles::Member],
    before: Option<NodeRole>,
) -> Option<Transaction> {
    let is_it = |node: &&Arc<StoredNode>| {
        before.is_none_or(|before| node.spec.as_ref().is_some_and(|spec| spec.desired_role() == before))
    };
    let mut node = StoredNode::clone(&*pick(&mut context.rng, view.nodes().filter(is_it).cloned().collect())?);
    let spec = node.spec.get_or_insert_default();
    let role = match spec.desired_role() {
        NodeRole::Worker if members.len() >= MANAGERS => return None,
        NodeRole::Worker => NodeRole::Manager,
        NodeRole::Manager => NodeRole::Worker,
    };
    spec.set_desired_role(role);
    if roles::check_spec(view, members, &node.id, spec).is_err() {
        context.tally.count(Kind::RoleRefused);
        return None;
    }
    let mut tx = TxBuilder::new(view, context.wall());
    tx.update(node);
    Some(tx.build())
}

fn jobs(context: &mut Context, view: &View, ids: &mut SeededIds) -> Option<Transaction> {
    let now = context.wall();
    let rng = &mut context.rng;
    let mut tx = TxBuilder::new(view, now);
    match rng.below(10) {
        0..5 => {
            if services_of(view, true).len() >= JOBS {
                return None;
            }
            let spec = specs::job(rng, ids);
            update::write(&mut tx, update::created(view, ids.next_id(), admitted(None, spec)?, now));
        }
        5..7 => {
            let service = pick(rng, services_of(view, true))?;
            let spec = specs::changed_job(rng, service.spec.clone().unwrap_or_default());
            update::write(&mut tx, update::updated(view, &service, admitted(Some(&service), spec)?, now));
        }
        7..9 => {
            let mut service = Service::clone(&*pick(rng, services_of(view, true))?);
            job::run_now(&mut service, now).ok()?;
            tx.update(service);
        }
        _ if rng.chance(500) => {
            let service = pick(rng, services_of(view, true))?;
            update::write(&mut tx, update::rolled_back(&service, now)?);
        }
        _ => {
            let service = pick(rng, services_of(view, true))?;
            tx.remove(ObjectKind::Service, &service.id);
        }
    }
    Some(tx.build())
}

/// Asks for a service to be spread anew, as the control service does.
fn spread(context: &mut Context, view: &View) -> Option<Transaction> {
    let now = context.wall();
    let service = pick(&mut context.rng, services_of(view, false))?;
    if rebalance::moves(view, &service, now).is_empty() {
        return None;
    }
    let mut tx = TxBuilder::new(view, now);
    tx.update(Service { rebalance_requested_at: now.as_nanos(), ..Service::clone(&service) });
    Some(tx.build())
}

/// The record of a node that joins: as a manager with this Raft id, or as a worker.
pub(crate) fn joining(id: &str, raft_id: Option<u64>) -> StoredNode {
    let role = if raft_id.is_some() { NodeRole::Manager } else { NodeRole::Worker }.into();
    StoredNode {
        id: id.to_owned(),
        spec: Some(NodeSpec { desired_role: role, ..NodeSpec::default() }),
        role,
        manager: raft_id.map(|raft_id| ManagerStatus {
            raft_id,
            addr: "10.0.0.1:2377".into(),
            ..ManagerStatus::default()
        }),
        ..StoredNode::default()
    }
}

/// Three replicas of a program that runs.
pub(crate) fn newcomer(tx: &mut TxBuilder<'_>, ids: &mut SeededIds, now: Timestamp) {
    let service = update::created(tx.view(), ids.next_id(), specs::plain(ids, 3), now);
    update::write(tx, service);
}

/// A spec, if the control service would take it.
fn admitted(old: Option<&Service>, new: ServiceSpec) -> Option<ServiceSpec> {
    let verdict = match old {
        None => validate_spec::service(&new),
        Some(old) => validate_spec::service_update(&old.spec.clone().unwrap_or_default(), &new),
    };
    verdict.is_ok().then_some(new)
}

fn services_of(view: &View, jobs: bool) -> Vec<Arc<Service>> {
    view.services().filter(|service| service.spec.as_ref().is_some_and(mode::is_job) == jobs).cloned().collect()
}

fn pick<T>(rng: &mut Rng, mut from: Vec<T>) -> Option<T> {
    if from.is_empty() { None } else { Some(from.swap_remove(rng.below(from.len()))) }
}
