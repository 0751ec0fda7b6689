//! Users: what people ask of the swarm, sense and nonsense, with the same functions of `skep-core` as the control service.

use skep_common::{
    clock::{Timestamp, nanos},
    id::{Ids, SeededIds},
};
use skep_core::update;
use skep_proto::v1::{
    Annotations, Availability, ContainerSpec, DrainPace, FailureAction, GlobalService, Node as StoredNode, NodeSpec,
    NodeState, ObjectKind, Placement, ReplicatedService, ResourceRequirements, Resources, RestartCondition,
    RestartPolicy, Service, ServiceSpec, TaskSpec, Transaction, UpdateConfig, UpdateOrder, service_spec::Mode,
};
use skep_store::{TxBuilder, View};

use crate::{context::Context, rng::Rng};

/// A program that ends as soon as it has begun, as long as anything may break.
pub(crate) const BROKEN: &str = "broken:1";

const GOOD: &str = "demo:1";

/// What a user does to a state, as a transaction; `None` when it makes no sense in it.
pub(crate) fn whim(context: &mut Context, view: &View, ids: &mut SeededIds) -> Option<Transaction> {
    let now = context.wall();
    let rng = &mut context.rng;
    let mut tx = TxBuilder::new(view, now);
    match rng.below(18) {
        0..4 => {
            if view.services().count() >= 6 {
                return None;
            }
            let spec = service(rng, ids);
            tx.create(update::created(ids.next_id(), spec, now));
        }
        4..7 => {
            let service = pick(rng, view.services().cloned().collect())?;
            let mut spec = service.spec.clone().unwrap_or_default();
            let Some(Mode::Replicated(_)) = &spec.mode else { return None };
            spec.mode = Some(Mode::Replicated(ReplicatedService { replicas: rng.between(0, 6) }));
            tx.update(update::updated(&service, spec, now));
        }
        7 => {
            let service = pick(rng, view.services().cloned().collect())?;
            tx.remove(ObjectKind::Service, &service.id);
        }
        8..11 => {
            let node = pick(rng, view.nodes().cloned().collect())?;
            let mut node = StoredNode::clone(&node);
            let spec = node.spec.get_or_insert_default();
            if rng.chance(300) {
                let labels = &mut spec.annotations.get_or_insert_default().labels;
                labels.insert("zone".into(), rng.pick(&["east", "west"]).map_or("", |zone| zone).into());
            } else {
                let choices = [Availability::Active, Availability::Active, Availability::Pause, Availability::Drain];
                spec.set_availability(*rng.pick(&choices)?);
                spec.set_drain_pace(*rng.pick(&[DrainPace::AtOnce, DrainPace::Gradual])?);
            }
            tx.update(node);
        }
        11 => {
            // Two nodes always stay, so that there is somewhere to go.
            let node = pick(rng, view.nodes().skip(2).cloned().collect())?;
            let down = node.status.as_ref().is_some_and(|status| status.state() == NodeState::Down);
            if !down && rng.chance(700) {
                return None;
            }
            tx.remove(ObjectKind::Node, &node.id);
        }
        12..16 => {
            let service = pick(rng, view.services().cloned().collect())?;
            let spec = changed(rng, service.spec.clone().unwrap_or_default());
            tx.update(update::updated(&service, spec, now));
        }
        _ => {
            let service = pick(rng, view.services().cloned().collect())?;
            tx.update(update::rolled_back(&service, now)?);
        }
    }
    Some(tx.build())
}

/// The record of a node that joins.
pub(crate) fn joining(id: &str) -> StoredNode {
    StoredNode { id: id.to_owned(), spec: Some(NodeSpec::default()), ..StoredNode::default() }
}

/// Three replicas of a program that runs.
pub(crate) fn newcomer(ids: &mut SeededIds, now: Timestamp) -> Service {
    let spec = named(ids, plain_task(), Mode::Replicated(ReplicatedService { replicas: 3 }));
    update::created(ids.next_id(), spec, now)
}

fn pick<T>(rng: &mut Rng, mut from: Vec<T>) -> Option<T> {
    if from.is_empty() { None } else { Some(from.swap_remove(rng.below(from.len()))) }
}

/// A service of some kind.
fn service(rng: &mut Rng, ids: &mut SeededIds) -> ServiceSpec {
    let conditions =
        [RestartCondition::Any, RestartCondition::Any, RestartCondition::OnFailure, RestartCondition::None];
    let restart = RestartPolicy {
        condition: (*rng.pick(&conditions).unwrap_or(&RestartCondition::Any)).into(),
        delay: Some(seconds(rng.between(0, 3))),
        max_attempts: if rng.chance(300) { rng.between(1, 4) } else { 0 },
        window: if rng.chance(300) { seconds(rng.between(1, 20)) } else { 0 },
    };
    let constraints = if rng.chance(200) { vec!["node.labels.zone!=west".to_owned()] } else { Vec::new() };
    let is_global = rng.chance(200);
    let reserved = if is_global { 0 } else { i64::try_from(rng.below(3)).unwrap_or(0) * 500_000_000 };
    let task = TaskSpec {
        resources: Some(ResourceRequirements {
            reservations: Some(Resources { nano_cpus: reserved, ..Resources::default() }),
            ..ResourceRequirements::default()
        }),
        restart: Some(restart),
        placement: Some(Placement { constraints, ..Placement::default() }),
        ..plain_task()
    };
    let mode = if is_global {
        Mode::Global(GlobalService {})
    } else {
        Mode::Replicated(ReplicatedService { replicas: rng.between(0, 6) })
    };
    let spec = named(ids, task, mode);
    ServiceSpec { update: update_config(rng), rollback: update_config(rng), ..spec }
}

/// Another spec of the same service: other tasks, or another way to come to them.
fn changed(rng: &mut Rng, mut spec: ServiceSpec) -> ServiceSpec {
    if rng.chance(300) {
        spec.update = update_config(rng);
        spec.rollback = update_config(rng);
    }
    if rng.chance(800) {
        let task = spec.task.get_or_insert_default();
        task.force_update += 1;
        let image = if rng.chance(250) { BROKEN } else { GOOD };
        image.clone_into(&mut task.container.get_or_insert_default().image);
    }
    spec
}

fn update_config(rng: &mut Rng) -> Option<UpdateConfig> {
    let actions = [FailureAction::Pause, FailureAction::Continue, FailureAction::Rollback];
    let orders = [UpdateOrder::StopFirst, UpdateOrder::StartFirst];
    rng.chance(800).then(|| UpdateConfig {
        parallelism: rng.between(0, 3),
        delay: seconds(rng.between(0, 2)),
        failure_action: (*rng.pick(&actions).unwrap_or(&FailureAction::Pause)).into(),
        monitor: seconds(rng.between(0, 3)),
        max_failure_ratio: if rng.chance(300) { 0.4 } else { 0.0 },
        order: (*rng.pick(&orders).unwrap_or(&UpdateOrder::StopFirst)).into(),
    })
}

fn seconds(count: u64) -> i64 {
    nanos(std::time::Duration::from_secs(count))
}

fn plain_task() -> TaskSpec {
    let container =
        ContainerSpec { image: GOOD.into(), stop_grace_period: Some(seconds(1)), ..ContainerSpec::default() };
    TaskSpec { container: Some(container), ..TaskSpec::default() }
}

fn named(ids: &mut SeededIds, task: TaskSpec, mode: Mode) -> ServiceSpec {
    let annotations = Annotations { name: format!("s-{}", ids.next_id()), ..Annotations::default() };
    ServiceSpec {
        annotations: Some(annotations.into()),
        task: Some(task.into()),
        mode: Some(mode),
        ..ServiceSpec::default()
    }
}
