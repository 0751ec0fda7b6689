//! Whether what a user asks for can be asked for, before anything is proposed. Docker's texts where it has one.
//!
//! Asked by the control service of every spec it is given, whoever converted it; so nothing else in core has to doubt
//! a spec it finds in the state.

use std::collections::BTreeSet;

use skep_common::{
    limits,
    template::{Context, TemplateError},
    validate::{self, ImageRef, Invalid},
};
use skep_proto::{
    Message,
    v1::{
        Annotations, Availability, ClusterSpec, ContainerSpec, DrainPace, EndpointMode, EndpointSpec, FailureAction,
        GenericResource, LogDriver, NetworkMode, NodeRole, NodeSpec, Placement, ReplicatedJob, Resources,
        RestartCondition, RestartPolicy, ServiceSpec, TaskSpec, UpdateConfig, UpdateOrder, generic_resource,
        service_spec::Mode,
    },
};

use crate::{
    constraint::{Constraint, ConstraintError},
    policy::{self, InvalidPolicy},
};

/// Least CPU share that can be reserved or set as a limit, in billionths of a CPU.
const MIN_NANO_CPUS: i64 = 1_000_000;
/// Least memory that can be reserved or set as a limit, in bytes.
const MIN_MEMORY: i64 = 4 << 20;

/// Why a spec is refused: one sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidSpec {
    /// A name, label, image or variable.
    #[error(transparent)]
    Value(#[from] Invalid),
    /// A placement constraint.
    #[error(transparent)]
    Constraint(#[from] ConstraintError),
    /// A label that is a setting.
    #[error(transparent)]
    Policy(#[from] InvalidPolicy),
    /// There is no container in it.
    #[error("ContainerSpec: missing in service spec")]
    NoContainer,
    /// There is no image in it.
    #[error("ContainerSpec: image reference must be provided")]
    NoImage,
    /// The image's name is none.
    #[error("ContainerSpec: \"{0}\" is not a valid repository/tag")]
    Image(String),
    /// No mode.
    #[error("Unrecognized service mode")]
    NoMode,
    /// Too little CPU.
    #[error("invalid cpu value {0}: Must be at least 0.001")]
    Cpu(String),
    /// Too little memory.
    #[error("invalid memory value {0}: Must be at least 4MiB")]
    Memory(i64),
    /// A duration or a number below zero; the field as Docker names it.
    #[error("{0} cannot be negative")]
    Negative(&'static str),
    /// A share of failures that is none.
    #[error("TaskSpec: {0}-maxfailureratio cannot be less than 0 or bigger than 1")]
    Ratio(&'static str),
    /// A template in a variable.
    #[error("expanding env failed: expanding env {0:?}: {1}")]
    EnvTemplate(String, TemplateError),
    /// A template in the host name.
    #[error("expanding hostname failed: {0}")]
    HostnameTemplate(TemplateError),
    /// A working directory that is none.
    #[error("the working directory '{0}' is invalid, it needs to be an absolute path")]
    Dir(String),
    /// A NUL byte in the named field.
    #[error("ContainerSpec: {0} cannot contain NUL")]
    Nul(&'static str),
    /// A number that stands for nothing in the named field.
    #[error("{0}: unknown value")]
    Unknown(&'static str),
    /// Too many.
    #[error("the number of replicas cannot be more than {max}", max = limits::MAX_REPLICAS)]
    Replicas,
    /// More runs at a time than there are numbers.
    #[error("Maximum concurrent jobs must not be negative")]
    NegativeConcurrency,
    /// The same of completions.
    #[error("Total completed jobs must not be negative")]
    NegativeCompletions,
    /// Too many: each keeps its task.
    #[error("the number of completions cannot be more than {max}", max = limits::MAX_REPLICAS)]
    Completions,
    /// A limit per node where there is one per node anyway.
    #[error("replicas-max-per-node can only be used with replicated or replicated-job mode")]
    MaxReplicasMode,
    /// A job begins anew, it is not updated task by task.
    #[error("Jobs may not have an update config")]
    JobUpdate,
    /// Nothing is left to go back to.
    #[error("RollbackConfig: failure action rollback is for updates; a rollback that fails is paused or continues")]
    RollbackAction,
    /// A reservation counts; which ones a task is given is the scheduler's choice.
    #[error("Named Generic Resources is not supported for service create or update")]
    NamedGeneric,
    /// Less than nothing of the named kind.
    #[error("cannot ask for negative resource {0}")]
    NegativeGeneric(String),
    /// A generic resource without a kind, or of the same kind as another.
    #[error("Resources: every generic resource needs a kind of its own")]
    GenericKind,
    /// What later versions will do.
    #[error("{0} not supported by this version")]
    Unsupported(&'static str),
    /// The name identifies the service.
    #[error("renaming services is not supported")]
    Rename,
    /// Replicated stays replicated.
    #[error("service mode change is not allowed")]
    ModeChange,
    /// The cluster's name is fixed.
    #[error("modification of cluster name is not allowed")]
    ClusterName,
    /// Certificates must live long enough to be renewed.
    #[error("minimum certificate expiry time is: 1h0m0s")]
    CertExpiry,
    /// Too fast a heart.
    #[error("the heartbeat period must be at least 100 ms")]
    HeartbeatPeriod,
}

/// A new service's spec.
///
/// # Errors
/// When it cannot be asked for.
pub fn service(spec: &ServiceSpec) -> Result<(), InvalidSpec> {
    validate::check_spec_size(spec.encoded_len())?;
    let annotations = spec.annotations.as_deref();
    validate::check_service_name(annotations.map_or("", |annotations| &annotations.name))?;
    labels(annotations)?;
    policy::check(spec)?;
    task(spec.task.as_ref().ok_or(InvalidSpec::NoContainer)?)?;
    mode(spec)?;
    update_config(spec.update.as_ref(), "update")?;
    update_config(spec.rollback.as_ref(), "rollback")?;
    if spec.rollback.is_some_and(|config| config.failure_action() == FailureAction::Rollback) {
        return Err(InvalidSpec::RollbackAction);
    }
    spec.endpoint.as_ref().map_or(Ok(()), endpoint)
}

/// The mode, and what else of a spec goes with some modes only.
fn mode(spec: &ServiceSpec) -> Result<(), InvalidSpec> {
    let placement = spec.task.as_ref().and_then(|task| task.placement.as_ref());
    let max_per_node = placement.map_or(0, |placement| placement.max_replicas);
    match spec.mode.as_ref().ok_or(InvalidSpec::NoMode)? {
        Mode::Replicated(mode) if mode.replicas > limits::MAX_REPLICAS => Err(InvalidSpec::Replicas),
        Mode::Global(_) | Mode::GlobalJob(_) if max_per_node > 0 => Err(InvalidSpec::MaxReplicasMode),
        Mode::ReplicatedJob(_) | Mode::GlobalJob(_) if spec.update.is_some() => Err(InvalidSpec::JobUpdate),
        Mode::ReplicatedJob(job) => replicated_job(*job),
        _ => Ok(()),
    }
}

fn replicated_job(mode: ReplicatedJob) -> Result<(), InvalidSpec> {
    // A number below zero, cast by whoever sent it.
    if i64::try_from(mode.max_concurrent).is_err() {
        return Err(InvalidSpec::NegativeConcurrency);
    }
    if i64::try_from(mode.total_completions).is_err() {
        return Err(InvalidSpec::NegativeCompletions);
    }
    if mode.total_completions > limits::MAX_REPLICAS { Err(InvalidSpec::Completions) } else { Ok(()) }
}

/// The spec that replaces `old`.
///
/// # Errors
/// When it cannot be asked for, or the service cannot be changed to it.
pub fn service_update(old: &ServiceSpec, new: &ServiceSpec) -> Result<(), InvalidSpec> {
    fn name(spec: &ServiceSpec) -> &str {
        spec.annotations.as_ref().map_or("", |annotations| &annotations.name)
    }
    service(new)?;
    if name(old) != name(new) {
        return Err(InvalidSpec::Rename);
    }
    if old.mode.as_ref().map(std::mem::discriminant) != new.mode.as_ref().map(std::mem::discriminant) {
        return Err(InvalidSpec::ModeChange);
    }
    Ok(())
}

/// A node's spec.
///
/// # Errors
/// When it cannot be asked for.
pub fn node(spec: &NodeSpec) -> Result<(), InvalidSpec> {
    validate::check_spec_size(spec.encoded_len())?;
    labels(spec.annotations.as_ref())?;
    known::<NodeRole>(spec.desired_role, "NodeSpec: role")?;
    known::<Availability>(spec.availability, "NodeSpec: availability")?;
    known::<DrainPace>(spec.drain_pace, "NodeSpec: drain pace")
}

/// The cluster's spec.
///
/// # Errors
/// When it cannot be asked for.
pub fn cluster(spec: &ClusterSpec) -> Result<(), InvalidSpec> {
    validate::check_spec_size(spec.encoded_len())?;
    if spec.annotations.as_ref().is_none_or(|annotations| annotations.name != "default") {
        return Err(InvalidSpec::ClusterName);
    }
    labels(spec.annotations.as_ref())?;
    if spec.node_cert_expiry < skep_common::clock::nanos(limits::MIN_CERTIFICATE_LIFETIME) {
        return Err(InvalidSpec::CertExpiry);
    }
    log_driver(spec.task_log_driver.as_ref())?;
    not_negative(spec.heartbeat_period, "heartbeat time period")?;
    if spec.heartbeat_period < skep_common::clock::nanos(limits::MIN_HEARTBEAT_PERIOD) {
        return Err(InvalidSpec::HeartbeatPeriod);
    }
    Ok(())
}

fn task(spec: &TaskSpec) -> Result<(), InvalidSpec> {
    let resources = spec.resources.as_ref();
    for resources in resources.into_iter().flat_map(|resources| [&resources.limits, &resources.reservations]) {
        self::resources(resources.as_ref())?;
    }
    not_negative(resources.map_or(0, |resources| resources.pids_limit), "TaskSpec: pids-limit")?;
    restart(spec.restart.as_ref())?;
    placement(spec.placement.as_ref())?;
    known::<NetworkMode>(spec.network, "TaskSpec: network")?;
    log_driver(spec.log_driver.as_ref())?;
    container(spec.container.as_ref().ok_or(InvalidSpec::NoContainer)?)
}

fn resources(resources: Option<&Resources>) -> Result<(), InvalidSpec> {
    let Some(Resources { nano_cpus, memory_bytes, generic }) = resources else { return Ok(()) };
    let (nano_cpus, memory_bytes) = (*nano_cpus, *memory_bytes);
    generic_resources(generic)?;
    if nano_cpus != 0 && nano_cpus < MIN_NANO_CPUS {
        #[expect(clippy::cast_precision_loss, reason = "for display; such a small number loses nothing")]
        return Err(InvalidSpec::Cpu(go_float(nano_cpus as f64 / 1e9)));
    }
    if memory_bytes != 0 && memory_bytes < MIN_MEMORY {
        return Err(InvalidSpec::Memory(memory_bytes));
    }
    Ok(())
}

/// A small number as Go writes it: `0.0005`, and from there down `5e-05`.
fn go_float(value: f64) -> String {
    if value == 0.0 || value.abs() >= 1e-4 {
        return value.to_string();
    }
    let text = format!("{value:e}");
    text.split_once("e-").map_or_else(|| text.clone(), |(digits, exponent)| format!("{digits}e-{exponent:0>2}"))
}

/// Reservations: so many of each kind, each kind once.
fn generic_resources(generic: &[GenericResource]) -> Result<(), InvalidSpec> {
    let mut kinds = BTreeSet::new();
    for resource in generic {
        match resource.value {
            Some(generic_resource::Value::Discrete(0..)) => {}
            Some(generic_resource::Value::Discrete(_)) => {
                return Err(InvalidSpec::NegativeGeneric(resource.kind.escape_debug().to_string()));
            }
            Some(generic_resource::Value::Named(_)) | None => return Err(InvalidSpec::NamedGeneric),
        }
        if resource.kind.is_empty() || resource.kind.contains('\0') || !kinds.insert(&resource.kind) {
            return Err(InvalidSpec::GenericKind);
        }
    }
    Ok(())
}

fn restart(policy: Option<&RestartPolicy>) -> Result<(), InvalidSpec> {
    let Some(policy) = policy else { return Ok(()) };
    not_negative(policy.delay.unwrap_or(0), "TaskSpec: restart-delay")?;
    not_negative(policy.window(), "TaskSpec: restart-window")?;
    known::<RestartCondition>(policy.condition, "TaskSpec: restart-condition")
}

fn placement(placement: Option<&Placement>) -> Result<(), InvalidSpec> {
    let Some(placement) = placement else { return Ok(()) };
    placement.constraints.iter().try_for_each(|constraint| Ok(Constraint::parse(constraint).map(|_| ())?))
}

fn endpoint(spec: &EndpointSpec) -> Result<(), InvalidSpec> {
    known::<EndpointMode>(spec.mode, "EndpointSpec: mode")?;
    if spec.ports.is_empty() { Ok(()) } else { Err(InvalidSpec::Unsupported("published ports are")) }
}

fn container(spec: &ContainerSpec) -> Result<(), InvalidSpec> {
    if spec.image.is_empty() {
        return Err(InvalidSpec::NoImage);
    }
    if ImageRef::parse(&spec.image).is_err() {
        return Err(InvalidSpec::Image(spec.image.escape_debug().to_string()));
    }
    for (key, value) in &spec.labels {
        validate::check_label(key, value)?;
    }
    for entry in &spec.env {
        validate::check_env(entry)?;
    }
    let texts: [(&'static str, &[String]); 7] = [
        ("command", &spec.command),
        ("args", &spec.args),
        ("hostname", std::slice::from_ref(&spec.hostname)),
        ("dir", std::slice::from_ref(&spec.dir)),
        ("user", std::slice::from_ref(&spec.user)),
        ("stop-signal", std::slice::from_ref(&spec.stop_signal)),
        ("hosts", &spec.hosts),
    ];
    if let Some((field, _)) = texts.iter().find(|(_, texts)| texts.iter().any(|text| text.contains('\0'))) {
        return Err(InvalidSpec::Nul(field));
    }
    not_negative(spec.stop_grace_period.unwrap_or(0), "ContainerSpec: stop-grace-period")?;
    what_a_node_would_refuse(spec)
}

/// What stands in a spec for something only a node does, and would make every task fail there.
fn what_a_node_would_refuse(spec: &ContainerSpec) -> Result<(), InvalidSpec> {
    // Stands for every task: labels of the service are what a template may ask for and need not find.
    let context = Context::default();
    for variable in &spec.env {
        let expanded = context.expand_variable(variable);
        expanded.map_err(|error| InvalidSpec::EnvTemplate(variable.clone(), error))?;
    }
    context.expand(&spec.hostname).map_err(InvalidSpec::HostnameTemplate)?;
    if !spec.dir.is_empty() && !spec.dir.starts_with('/') {
        return Err(InvalidSpec::Dir(spec.dir.escape_debug().to_string()));
    }
    if !spec.stop_signal.is_empty() {
        validate::parse_signal(&spec.stop_signal)?;
    }
    for capability in spec.capability_add.iter().chain(&spec.capability_drop) {
        validate::parse_capability(capability)?;
    }
    spec.ulimits.iter().try_for_each(|limit| Ok(validate::check_ulimit(&limit.name, limit.soft, limit.hard)?))
}

fn log_driver(driver: Option<&LogDriver>) -> Result<(), InvalidSpec> {
    let Some(driver) = driver else { return Ok(()) };
    Ok(validate::check_log_driver(&driver.name, &driver.options)?)
}

fn update_config(config: Option<&UpdateConfig>, which: &'static str) -> Result<(), InvalidSpec> {
    let Some(config) = config else { return Ok(()) };
    let fields = match which {
        "update" => ("TaskSpec: update-delay", "TaskSpec: update-monitor"),
        _ => ("TaskSpec: rollback-delay", "TaskSpec: rollback-monitor"),
    };
    not_negative(config.delay, fields.0)?;
    not_negative(config.monitor, fields.1)?;
    if !(0.0..=1.0).contains(&config.max_failure_ratio) {
        return Err(InvalidSpec::Ratio(which));
    }
    known::<FailureAction>(config.failure_action, "UpdateConfig: failure action")?;
    known::<UpdateOrder>(config.order, "UpdateConfig: order")
}

fn labels(annotations: Option<&Annotations>) -> Result<(), InvalidSpec> {
    for (key, value) in annotations.iter().flat_map(|annotations| &annotations.labels) {
        validate::check_label(key, value)?;
    }
    Ok(())
}

fn not_negative(value: i64, field: &'static str) -> Result<(), InvalidSpec> {
    if value < 0 { Err(InvalidSpec::Negative(field)) } else { Ok(()) }
}

fn known<E: TryFrom<i32>>(value: i32, field: &'static str) -> Result<(), InvalidSpec> {
    E::try_from(value).map(|_| ()).map_err(|_| InvalidSpec::Unknown(field))
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{
        GlobalJob, GlobalService, PortConfig, ReplicatedJob, ReplicatedService, ResourceRequirements,
        generic_resource::Value,
    };

    use super::*;

    fn good() -> ServiceSpec {
        ServiceSpec {
            annotations: Some(Annotations { name: "web".into(), ..Annotations::default() }.into()),
            task: Some(
                TaskSpec {
                    container: Some(ContainerSpec { image: "skep/demo:1".into(), ..ContainerSpec::default() }),
                    ..TaskSpec::default()
                }
                .into(),
            ),
            mode: Some(Mode::Replicated(ReplicatedService { replicas: 3 })),
            ..ServiceSpec::default()
        }
    }

    fn refusal(edit: impl FnOnce(&mut ServiceSpec)) -> String {
        let mut spec = good();
        edit(&mut spec);
        service(&spec).map_or_else(|error| error.to_string(), |()| "accepted".into())
    }

    fn task_of(spec: &mut ServiceSpec) -> &mut TaskSpec {
        spec.task.as_mut().unwrap()
    }

    fn container_of(spec: &mut ServiceSpec) -> &mut ContainerSpec {
        task_of(spec).container.as_mut().unwrap()
    }

    type Edit = (fn(&mut ContainerSpec), &'static str);

    #[test]
    fn each_kind_of_bad_service_has_its_sentence() {
        assert_eq!(refusal(|_| {}), "accepted");
        assert_eq!(refusal(|s| s.annotations = None), "name must be provided");
        assert_eq!(
            refusal(|s| s.annotations.as_mut().unwrap().name = "../etc".into()),
            "name must be valid as a DNS name component"
        );
        assert_eq!(refusal(|s| s.mode = None), "Unrecognized service mode");
        assert_eq!(refusal(|s| s.task = None), "ContainerSpec: missing in service spec");
        assert_eq!(refusal(|s| container_of(s).image.clear()), "ContainerSpec: image reference must be provided");
        assert_eq!(
            refusal(|s| container_of(s).image = "Web:1".into()),
            "ContainerSpec: \"Web:1\" is not a valid repository/tag"
        );
        assert_eq!(refusal(|s| container_of(s).args.push("a\0b".into())), "ContainerSpec: args cannot contain NUL");
        assert_eq!(
            refusal(|s| container_of(s).args.push("x".repeat(limits::MAX_SPEC_BYTES))).split(':').next(),
            Some("the spec is too large")
        );
        let reserve = |nano_cpus, memory_bytes| {
            move |s: &mut ServiceSpec| {
                let reservations = Some(Resources { nano_cpus, memory_bytes, ..Default::default() });
                task_of(s).resources = Some(ResourceRequirements { reservations, ..ResourceRequirements::default() });
            }
        };
        assert_eq!(refusal(reserve(100_000, 0)), "invalid cpu value 0.0001: Must be at least 0.001");
        assert_eq!(refusal(reserve(0, -1)), "invalid memory value -1: Must be at least 4MiB");
        assert_eq!(refusal(reserve(1_000_000, 4 << 20)), "accepted");
        assert_eq!(
            refusal(|s| task_of(s).restart = Some(RestartPolicy { delay: Some(-1), ..RestartPolicy::default() })),
            "TaskSpec: restart-delay cannot be negative"
        );
        let edits: [Edit; 7] = [
            (
                |c| c.env = vec!["A={{.Bogus}}".into()],
                "expanding env failed: expanding env \"A={{.Bogus}}\": template: expansion:1:2: executing \"expansion\" at \
                 <.Bogus>: can't evaluate field Bogus in type *template.Context",
            ),
            (|c| c.hostname = "{{".into(), "expanding hostname failed: template: expansion:1: unclosed action"),
            (|c| c.dir = "work".into(), "the working directory 'work' is invalid, it needs to be an absolute path"),
            (|c| c.stop_signal = "SIGFOO".into(), "Invalid signal: SIGFOO"),
            (|c| c.capability_add = vec!["CAP_FOO".into()], "unknown capability: \"CAP_FOO\""),
            (|c| c.capability_drop = vec!["x".into()], "unknown capability: \"x\""),
            (
                |c| c.ulimits = vec![skep_proto::v1::Ulimit { name: "x".into(), soft: 1, hard: 1 }],
                "invalid ulimit type: x",
            ),
        ];
        for (edit, sentence) in edits {
            assert_eq!(refusal(|s| edit(container_of(s))), sentence);
        }
        let driver = LogDriver { name: String::new(), options: [("x".to_owned(), "1".to_owned())].into() };
        assert_eq!(refusal(|s| task_of(s).log_driver = Some(driver)), "unknown log opt 'x' for json-file log driver");
        assert_eq!(
            refusal(|s| task_of(s).restart = Some(RestartPolicy { condition: 9, ..RestartPolicy::default() })),
            "TaskSpec: restart-condition: unknown value"
        );
        let constrain = |text: &str| Some(Placement { constraints: vec![text.into()], ..Placement::default() });
        assert_eq!(
            refusal(|s| task_of(s).placement = constrain("node.id=x")),
            "constraint expected one operator from ==, !="
        );
        assert_eq!(refusal(|s| task_of(s).placement = constrain("node.id==x")), "accepted");
        assert_eq!(
            refusal(|s| s.mode = Some(Mode::Replicated(ReplicatedService { replicas: u64::MAX }))),
            "the number of replicas cannot be more than 100000"
        );
        assert_eq!(
            refusal(|s| {
                s.mode = Some(Mode::Global(GlobalService {}));
                task_of(s).placement = Some(Placement { max_replicas: 1, ..Placement::default() });
            }),
            "replicas-max-per-node can only be used with replicated or replicated-job mode"
        );
        assert_eq!(
            refusal(|s| s.update = Some(UpdateConfig { max_failure_ratio: f32::NAN, ..UpdateConfig::default() })),
            "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"
        );
        assert_eq!(
            refusal(|s| s.rollback = Some(UpdateConfig { delay: -1, ..UpdateConfig::default() })),
            "TaskSpec: rollback-delay cannot be negative"
        );
        let action = FailureAction::Rollback.into();
        assert_eq!(
            refusal(|s| s.rollback = Some(UpdateConfig { failure_action: action, ..UpdateConfig::default() })),
            "RollbackConfig: failure action rollback is for updates; a rollback that fails is paused or continues"
        );
        assert_eq!(
            refusal(|s| s.update = Some(UpdateConfig { failure_action: action, ..UpdateConfig::default() })),
            "accepted"
        );
        let ports = vec![PortConfig { target: 80, ..PortConfig::default() }];
        assert_eq!(
            refusal(|s| s.endpoint = Some(EndpointSpec { ports, ..EndpointSpec::default() })),
            "published ports are not supported by this version"
        );
    }

    #[test]
    fn generic_resources_are_counted_and_each_kind_is_named_once() {
        let of = |kind: &str, value: Value| GenericResource { kind: kind.into(), value: Some(value) };
        let reserving = |generic: &[GenericResource]| {
            let reservations = Some(Resources { generic: generic.to_vec(), ..Resources::default() });
            refusal(|s| task_of(s).resources = Some(ResourceRequirements { reservations, ..Default::default() }))
        };
        assert_eq!(reserving(&[of("gpu", Value::Discrete(2)), of("ssd", Value::Discrete(0))]), "accepted");
        assert_eq!(reserving(&[of("gpu", Value::Discrete(-1))]), "cannot ask for negative resource gpu");
        let named = "Named Generic Resources is not supported for service create or update";
        assert_eq!(reserving(&[of("gpu", Value::Named("one".into()))]), named);
        let kinds = "Resources: every generic resource needs a kind of its own";
        assert_eq!(reserving(&[of("", Value::Discrete(1))]), kinds);
        assert_eq!(reserving(&[of("gpu", Value::Discrete(1)), of("gpu", Value::Discrete(1))]), kinds);
    }

    #[test]
    fn jobs_are_asked_for_like_services_but_for_their_updates() {
        let job = |max_concurrent, total_completions| {
            move |s: &mut ServiceSpec| {
                s.mode = Some(Mode::ReplicatedJob(ReplicatedJob { max_concurrent, total_completions }));
                s.rollback = Some(UpdateConfig::default());
                task_of(s).restart = Some(RestartPolicy::default());
            }
        };
        assert_eq!(refusal(job(0, 0)), "accepted");
        assert_eq!(refusal(job(5, 2)), "accepted");
        assert_eq!(refusal(job(u64::MAX, 2)), "Maximum concurrent jobs must not be negative");
        assert_eq!(refusal(job(1, u64::MAX)), "Total completed jobs must not be negative");
        assert_eq!(refusal(job(1, 100_001)), "the number of completions cannot be more than 100000");
        let updated = |s: &mut ServiceSpec| {
            job(1, 1)(s);
            s.update = Some(UpdateConfig::default());
        };
        assert_eq!(refusal(updated), "Jobs may not have an update config");
        let one_per_node = |s: &mut ServiceSpec| {
            s.mode = Some(Mode::GlobalJob(GlobalJob {}));
            task_of(s).placement = Some(Placement { max_replicas: 1, ..Placement::default() });
        };
        assert_eq!(
            refusal(one_per_node),
            "replicas-max-per-node can only be used with replicated or replicated-job mode"
        );
        let label = |s: &mut ServiceSpec| {
            s.annotations.as_mut().unwrap().labels.insert("skep.schedule".into(), "@daily".into());
        };
        assert_eq!(refusal(label), "label skep.schedule=\"@daily\" is for replicated jobs and global jobs only");
    }

    #[test]
    fn what_a_service_may_become() {
        let update = |edit: &dyn Fn(&mut ServiceSpec)| {
            let mut new = good();
            edit(&mut new);
            service_update(&good(), &new).map_or_else(|error| error.to_string(), |()| "accepted".into())
        };
        assert_eq!(update(&|s| s.mode = Some(Mode::Replicated(ReplicatedService { replicas: 9 }))), "accepted");
        assert_eq!(
            update(&|s| s.annotations.as_mut().unwrap().name = "other".into()),
            "renaming services is not supported"
        );
        assert_eq!(update(&|s| s.mode = Some(Mode::Global(GlobalService {}))), "service mode change is not allowed");
        assert_eq!(update(&|s| container_of(s).args.push("x".into())), "accepted");
        assert_eq!(update(&|s| container_of(s).image.clear()), "ContainerSpec: image reference must be provided");
    }

    #[test]
    fn nodes_and_the_cluster() {
        assert_eq!(node(&NodeSpec::default()), Ok(()));
        assert!(node(&NodeSpec { availability: 7, ..NodeSpec::default() }).is_err());
        let good = crate::defaults::cluster_spec();
        assert_eq!(cluster(&good), Ok(()));
        let short = ClusterSpec { node_cert_expiry: 1, ..good.clone() };
        assert_eq!(cluster(&short).unwrap_err().to_string(), "minimum certificate expiry time is: 1h0m0s");
        assert_eq!(cluster(&ClusterSpec { annotations: None, ..good.clone() }), Err(InvalidSpec::ClusterName));
        let hectic = ClusterSpec { heartbeat_period: 1, ..good };
        assert_eq!(cluster(&hectic), Err(InvalidSpec::HeartbeatPeriod));
    }
}
