//! Faults and users: what is done to the swarm while it may be.

use skep_common::id::{Ids, SeededIds};
use skep_proto::v1::{
    Annotations, Availability, ContainerSpec, GlobalService, Node as StoredNode, NodeSpec, NodeState, ObjectKind,
    Placement, ReplicatedService, ResourceRequirements, Resources, RestartCondition, RestartPolicy, Service,
    ServiceSpec, TaskSpec, service_spec::Mode,
};
use skep_store::{TxBuilder, View};

use crate::{context::Context, rng::Rng};

/// A fault.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Fault {
    /// The leader loses its leadership; it may be killed with that.
    Depose { kill: bool },
    /// A daemon is killed. Its disk may be lost, and the machine may go down with it, containers and all.
    KillAgent { node: String, lose_disk: bool, reboot: bool },
    /// A link is cut for a while.
    Cut { node: String },
}

/// What kind of trouble a run is in: no two runs have the same.
#[derive(Debug, Clone)]
pub(crate) struct Temper {
    /// How often something happens at all: at most so many milliseconds apart.
    pub(crate) pace: u64,
    /// How often it is a user, in a thousand.
    pub(crate) users: u64,
    /// Of the faults, how many in a thousand hit the leader…
    leaders: u64,
    /// …and how many of the others cut a link.
    cuts: u64,
    /// How many messages in a thousand are lost.
    pub(crate) loss: u64,
    /// How many containers in a thousand end by themselves.
    pub(crate) exits: u64,
}

impl Temper {
    pub(crate) fn draw(rng: &mut Rng) -> Self {
        let mut any_of = |choices: &[u64]| rng.pick(choices).copied().unwrap_or_default();
        Self {
            pace: any_of(&[300, 700, 2000]),
            users: any_of(&[200, 500, 800]),
            leaders: any_of(&[50, 200, 500]),
            cuts: any_of(&[100, 300, 600]),
            loss: any_of(&[0, 5, 20, 80]),
            exits: any_of(&[0, 200, 600]),
        }
    }
}

/// A fault for a swarm of these nodes.
pub(crate) fn fault(rng: &mut Rng, temper: &Temper, nodes: &[String]) -> Option<Fault> {
    let node = rng.pick(nodes)?.clone();
    Some(if rng.chance(temper.leaders) {
        Fault::Depose { kill: rng.chance(300) }
    } else if rng.chance(temper.cuts) {
        Fault::Cut { node }
    } else {
        Fault::KillAgent { node, lose_disk: rng.chance(300), reboot: rng.chance(200) }
    })
}

/// What a user does to a state, as a transaction; `None` when it makes no sense in it.
pub(crate) fn whim(context: &mut Context, view: &View, ids: &mut SeededIds) -> Option<skep_proto::v1::Transaction> {
    let rng = &mut context.rng;
    let mut tx = TxBuilder::new(view, skep_common::clock::Timestamp(0));
    match rng.below(12) {
        0..4 => {
            if view.services().count() >= 6 {
                return None;
            }
            tx.create(service(rng, ids));
        }
        4..7 => {
            let service = pick(rng, view.services().cloned().collect())?;
            let mut service = Service::clone(&service);
            let spec = service.spec.get_or_insert_default();
            let Some(Mode::Replicated(_)) = &spec.mode else { return None };
            spec.mode = Some(Mode::Replicated(ReplicatedService { replicas: rng.between(0, 6) }));
            tx.update(service);
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
            }
            tx.update(node);
        }
        _ => {
            // Two nodes always stay, so that there is somewhere to go.
            let node = pick(rng, view.nodes().skip(2).cloned().collect())?;
            let down = node.status.as_ref().is_some_and(|status| status.state() == NodeState::Down);
            if !down && rng.chance(700) {
                return None;
            }
            tx.remove(ObjectKind::Node, &node.id);
        }
    }
    let mut tx = tx.build();
    tx.now = context.wall().as_nanos();
    Some(tx)
}

/// The record of a node that joins.
pub(crate) fn joining(id: &str) -> StoredNode {
    StoredNode { id: id.to_owned(), spec: Some(NodeSpec::default()), ..StoredNode::default() }
}

fn pick<T>(rng: &mut Rng, mut from: Vec<T>) -> Option<T> {
    if from.is_empty() { None } else { Some(from.swap_remove(rng.below(from.len()))) }
}

/// A service of some kind.
fn service(rng: &mut Rng, ids: &mut SeededIds) -> Service {
    let conditions =
        [RestartCondition::Any, RestartCondition::Any, RestartCondition::OnFailure, RestartCondition::None];
    let seconds = |count: u64| i64::try_from(count * 1_000_000_000).unwrap_or(0);
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
    named(ids.next_id(), task, mode)
}

/// Three replicas of a program that runs.
pub(crate) fn newcomer(ids: &mut SeededIds) -> Service {
    named(ids.next_id(), plain_task(), Mode::Replicated(ReplicatedService { replicas: 3 }))
}

fn plain_task() -> TaskSpec {
    let container =
        ContainerSpec { image: "demo:1".into(), stop_grace_period: Some(1_000_000_000), ..ContainerSpec::default() };
    TaskSpec { container: Some(container), ..TaskSpec::default() }
}

fn named(id: String, task: TaskSpec, mode: Mode) -> Service {
    let annotations = Annotations { name: format!("s-{id}"), ..Annotations::default() };
    let spec =
        ServiceSpec { annotations: Some(annotations), task: Some(task), mode: Some(mode), ..ServiceSpec::default() };
    Service { id, spec: Some(spec), ..Service::default() }
}
