//! `skep service create`.

use anyhow::{Result, bail};
use skep_dockerapi::types::{
    ContainerSpec, Empty, EndpointSpec, NetworkAttachmentConfig, ReplicatedJob, ReplicatedService, ServiceMode,
    ServiceSpec,
};

use super::{super::Context, changes, converge, environment, image, spec};
use crate::args::{Mode, ServiceCreateArgs, SpecChanges, WaitArgs};

pub(super) async fn run(context: &mut Context, args: ServiceCreateArgs) -> Result<()> {
    // A scheduled job has nothing to wait for before its first tick.
    let wait = WaitArgs { detach: args.wait.detach || args.schedule.schedule.is_some(), ..args.wait };
    let resolve = !args.no_resolve_image;
    let mut spec = to_spec(args)?;
    if resolve {
        image::pin(context, &mut spec.task_template).await?;
    }
    let created = context.client.service_create(&spec).await?;
    for warning in &created.warnings {
        context.printer.error_line(warning)?;
    }
    context.printer.line(&created.id)?;
    converge::unless_detached(context, &created.id, wait).await
}

/// The service that was asked for: everything said becomes a change to an empty one.
pub(super) fn to_spec(args: ServiceCreateArgs) -> Result<ServiceSpec> {
    let by_default = if args.schedule.schedule.is_some() { Mode::ReplicatedJob } else { Mode::Replicated };
    let mut labels = args.labels;
    labels.extend(args.schedule.labels());
    let mut words = args.image_and_args.into_iter();
    let container = ContainerSpec {
        image: words.next().unwrap_or_default(),
        args: words.collect(),
        env: environment::collect(&args.env_files, &args.env)?,
        ..ContainerSpec::default()
    };
    let mut wanted = ServiceSpec {
        name: args.name,
        mode: empty_mode(args.mode.unwrap_or(by_default)),
        endpoint_spec: Some(EndpointSpec { mode: "vip".to_owned(), ..EndpointSpec::default() }),
        ..ServiceSpec::default()
    };
    wanted.task_template.container_spec = Some(container);
    wanted.task_template.networks =
        args.networks.into_iter().map(|target| NetworkAttachmentConfig { target }).collect();
    let lists = SpecChanges {
        label_add: labels,
        container_label_add: args.container_labels,
        constraint_add: args.constraints,
        placement_pref_add: args.placement_prefs,
        generic_resource_add: args.generic_resources,
        group_add: args.groups,
        host_add: args.hosts,
        cap_add: args.cap_add,
        cap_drop: args.cap_drop,
        sysctl_add: args.sysctls,
        ulimit_add: args.ulimits,
        ..SpecChanges::default()
    };
    changes::apply(&lists, &mut wanted)?;
    spec::apply(&args.spec, &mut wanted)?;
    let job = wanted.mode.replicated_job.is_some() || wanted.mode.global_job.is_some();
    if job && (wanted.update_config.is_some() || wanted.rollback_config.is_some()) {
        bail!("update and rollback configuration is not supported for jobs");
    }
    Ok(wanted)
}

/// The mode with what it has when nothing is said. A job's numbers follow from each other.
fn empty_mode(mode: Mode) -> ServiceMode {
    let none = ServiceMode::default();
    match mode {
        Mode::Replicated => ServiceMode { replicated: Some(ReplicatedService { replicas: Some(1) }), ..none },
        Mode::Global => ServiceMode { global: Some(Empty {}), ..none },
        Mode::ReplicatedJob => ServiceMode { replicated_job: Some(ReplicatedJob::default()), ..none },
        Mode::GlobalJob => ServiceMode { global_job: Some(Empty {}), ..none },
    }
}
