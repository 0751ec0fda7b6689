//! What a service's tasks are to be, but for the container: resources, restarts, placement.

use std::collections::BTreeSet;

use skep_proto::v1::{
    GenericResource, NetworkMode, Placement, Resources, RestartCondition, RestartPolicy, TaskSpec, generic_resource,
};

use super::{InvalidSpec, container::container, known, log_driver, not_negative};
use crate::constraint::Constraint;

/// Least CPU share that can be reserved or set as a limit, in billionths of a CPU.
const MIN_NANO_CPUS: i64 = 1_000_000;
/// Least memory that can be reserved or set as a limit, in bytes.
const MIN_MEMORY: i64 = 4 << 20;

pub(super) fn task(spec: &TaskSpec) -> Result<(), InvalidSpec> {
    let resources = spec.resources.as_ref();
    for resources in resources.into_iter().flat_map(|resources| [&resources.limits, &resources.reservations]) {
        self::resources(resources.as_ref())?;
    }
    not_negative(resources.map_or(0, |resources| resources.pids_limit), "TaskSpec: pids-limit")?;
    restart(spec.restart.as_ref())?;
    placement(spec.placement.as_ref())?;
    known::<NetworkMode>(spec.network, "TaskSpec: network")?;
    log_driver(spec.log_driver.as_ref())?;
    container(spec.container.as_ref().ok_or(InvalidSpec::NoContainer)?, spec.network() == NetworkMode::Isolated)
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
