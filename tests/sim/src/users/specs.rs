//! What users write into specs.

use std::time::Duration;

use skep_common::{
    clock::nanos,
    id::{Ids, SeededIds},
};
use skep_core::policy;
use skep_proto::v1::{
    Annotations, ContainerSpec, EndpointSpec, FailureAction, GlobalJob, GlobalService, Placement, PortConfig,
    PublishMode, ReplicatedJob, ReplicatedService, ResourceRequirements, Resources, RestartCondition, RestartPolicy,
    ServiceSpec, TaskSpec, UpdateConfig, UpdateOrder, service_spec::Mode,
};

use crate::{fitness::NOT_WEST, rng::Rng};

/// A program that ends as soon as it has begun, as long as anything may break.
pub(crate) const BROKEN: &str = "broken:1";

/// A program that does its work and ends.
pub(crate) const JOB: &str = "job:1";

const GOOD: &str = "demo:1";

/// So many replicas of a program that runs.
pub(super) fn plain(ids: &mut SeededIds, replicas: u64) -> ServiceSpec {
    named(ids, plain_task(), Mode::Replicated(ReplicatedService { replicas }))
}

/// A service of some kind.
pub(super) fn service(rng: &mut Rng, ids: &mut SeededIds, moves: bool) -> ServiceSpec {
    let conditions =
        [RestartCondition::Any, RestartCondition::Any, RestartCondition::OnFailure, RestartCondition::None];
    let is_broken = rng.chance(200);
    let limits_attempts = is_broken || rng.chance(300);
    let restart = RestartPolicy {
        condition: (*rng.pick(&conditions).unwrap_or(&RestartCondition::Any)).into(),
        delay: Some(seconds(rng.between(0, 3))),
        // Few enough to come to an end while anything may break.
        max_attempts: if limits_attempts { rng.between(1, if is_broken { 2 } else { 4 }) } else { 0 },
        window: rng.chance(300).then(|| seconds(rng.between(1, 20))),
    };
    let constraints = if rng.chance(200) { vec![NOT_WEST.to_owned()] } else { Vec::new() };
    let spread_over = if rng.chance(200) { vec!["node.labels.zone".to_owned()] } else { Vec::new() };
    let is_global = rng.chance(200);
    let memory_bytes =
        if !is_global && rng.chance(200) { i64::try_from(rng.between(1, 3)).unwrap_or(0) << 30 } else { 0 };
    let reserved = if is_global { 0 } else { i64::try_from(rng.below(3)).unwrap_or(0) * 500_000_000 };
    let mut task = TaskSpec {
        resources: Some(ResourceRequirements {
            reservations: Some(Resources { nano_cpus: reserved, memory_bytes, ..Resources::default() }),
            ..ResourceRequirements::default()
        }),
        restart: Some(restart),
        placement: Some(Placement { constraints, spread_over, ..Placement::default() }),
        ..plain_task()
    };
    if is_broken {
        BROKEN.clone_into(&mut task.container.get_or_insert_default().image);
    }
    let mode = if is_global {
        Mode::Global(GlobalService {})
    } else {
        Mode::Replicated(ReplicatedService { replicas: rng.between(0, 6) })
    };
    let mut spec = named(ids, task, mode);
    if moves && rng.chance(600) {
        label(&mut spec, "skep.rebalance", "on");
    }
    if rng.chance(150) {
        let published = u32::try_from(8000 + rng.below(2)).unwrap_or(8000);
        let port = PortConfig { target: 80, published, mode: PublishMode::Host.into(), ..PortConfig::default() };
        spec.endpoint = Some(EndpointSpec { ports: vec![port], ..EndpointSpec::default() }.into());
    }
    ServiceSpec { update: update_config(rng), rollback: update_config(rng), ..spec }
}

/// Another spec of the same service: other tasks, or another way to come to them.
pub(super) fn changed(rng: &mut Rng, mut spec: ServiceSpec) -> ServiceSpec {
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

/// A job of some kind.
pub(super) fn job(rng: &mut Rng, ids: &mut SeededIds) -> ServiceSpec {
    let conditions = [RestartCondition::OnFailure, RestartCondition::OnFailure, RestartCondition::None];
    let restart = RestartPolicy {
        condition: (*rng.pick(&conditions).unwrap_or(&RestartCondition::None)).into(),
        delay: Some(seconds(rng.between(0, 2))),
        max_attempts: rng.between(0, 3),
        window: None,
    };
    let constraints = if rng.chance(200) { vec![NOT_WEST.to_owned()] } else { Vec::new() };
    let mut task = TaskSpec {
        restart: Some(restart),
        placement: Some(Placement { constraints, ..Placement::default() }),
        ..plain_task()
    };
    JOB.clone_into(&mut task.container.get_or_insert_default().image);
    let mut spec = named(ids, task, job_mode(rng));
    if rng.chance(700) {
        schedule(rng, &mut spec);
    }
    spec
}

/// Another spec of the same job: other tasks, another number of them, or another schedule.
pub(super) fn changed_job(rng: &mut Rng, mut spec: ServiceSpec) -> ServiceSpec {
    match rng.below(3) {
        0 => spec.task.get_or_insert_default().force_update += 1,
        1 => {
            if let (Some(Mode::ReplicatedJob(old)), Mode::ReplicatedJob(new)) = (&mut spec.mode, job_mode(rng)) {
                *old = new;
            }
        }
        _ => {
            spec.annotations.get_or_insert_default().labels.clear();
            if rng.chance(800) {
                schedule(rng, &mut spec);
            }
        }
    }
    spec
}

fn job_mode(rng: &mut Rng) -> Mode {
    if rng.chance(300) {
        return Mode::GlobalJob(GlobalJob {});
    }
    Mode::ReplicatedJob(ReplicatedJob { max_concurrent: rng.between(0, 3), total_completions: rng.between(1, 5) })
}

fn schedule(rng: &mut Rng, spec: &mut ServiceSpec) {
    let period = rng.between(2, 15);
    label(spec, policy::SCHEDULE, &format!("@every {period}s"));
    let settings: [(&str, &[&str]); 4] = [
        ("skep.concurrency", &["allow", "forbid", "replace"]),
        ("skep.starting-deadline", &["1s", "3s", "1m"]),
        ("skep.history.complete", &["0", "1", "5"]),
        ("skep.history.failed", &["0", "2"]),
    ];
    for (name, values) in settings {
        if rng.chance(700)
            && let Some(value) = rng.pick(values)
        {
            label(spec, name, value);
        }
    }
}

fn label(spec: &mut ServiceSpec, name: &str, value: &str) {
    spec.annotations.get_or_insert_default().labels.insert(name.to_owned(), value.to_owned());
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
    nanos(Duration::from_secs(count))
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
