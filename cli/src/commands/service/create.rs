//! `skep service create`.

use anyhow::{Result, bail};
use skep_dockerapi::types::{
    ContainerSpec, Empty, EndpointSpec, NetworkAttachmentConfig, ReplicatedJob, ReplicatedService, ServiceMode,
    ServiceSpec,
};

use super::{super::Context, changes, converge, environment, spec};
use crate::args::{Mode, ServiceCreateArgs, SpecChanges, WaitArgs};

pub(super) async fn run(context: &mut Context, args: ServiceCreateArgs) -> Result<()> {
    // A scheduled job has nothing to wait for before its first tick.
    let wait = WaitArgs { detach: args.wait.detach || args.schedule.schedule.is_some(), ..args.wait };
    let spec = to_spec(args)?;
    let created = context.client.service_create(&spec).await?;
    for warning in &created.warnings {
        context.printer.error_line(warning)?;
    }
    context.printer.line(&created.id)?;
    converge::unless_detached(context, &created.id, wait).await
}

/// The service that was asked for: everything said becomes a change to an empty one.
pub(super) fn to_spec(args: ServiceCreateArgs) -> Result<ServiceSpec> {
    let mode = mode(&args)?;
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
        mode,
        endpoint_spec: Some(EndpointSpec { mode: "vip".to_owned() }),
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
    Ok(wanted)
}

fn mode(args: &ServiceCreateArgs) -> Result<ServiceMode> {
    let by_default = if args.schedule.schedule.is_some() { Mode::ReplicatedJob } else { Mode::Replicated };
    let mode = args.mode.unwrap_or(by_default);
    let replicas = args.spec.replicas;
    if replicas.is_some() && matches!(mode, Mode::Global | Mode::GlobalJob) {
        bail!("replicas can only be used with replicated or replicated-job mode");
    }
    if args.max_concurrent.is_some() && mode != Mode::ReplicatedJob {
        bail!("max-concurrent can only be used with replicated-job mode");
    }
    let none = ServiceMode::default();
    Ok(match mode {
        Mode::Replicated => ServiceMode { replicated: Some(ReplicatedService { replicas: Some(1) }), ..none },
        Mode::Global => ServiceMode { global: Some(Empty {}), ..none },
        Mode::ReplicatedJob => {
            let total_completions = Some(replicas.unwrap_or(1));
            let max_concurrent = args.max_concurrent.or(total_completions);
            ServiceMode { replicated_job: Some(ReplicatedJob { max_concurrent, total_completions }), ..none }
        }
        Mode::GlobalJob => ServiceMode { global_job: Some(Empty {}), ..none },
    })
}
