//! `skep service create`.

use anyhow::{Result, bail};
use skep_dockerapi::types::{
    ContainerSpec, Empty, EndpointSpec, NetworkAttachmentConfig, ReplicatedService, ServiceMode, ServiceSpec,
};

use super::{super::Context, changes, converge, environment, spec};
use crate::args::{Mode, ServiceCreateArgs, SpecChanges};

pub(super) async fn run(context: &mut Context, args: ServiceCreateArgs) -> Result<()> {
    let wait = args.wait;
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
    let mut words = args.image_and_args.into_iter();
    let container = ContainerSpec {
        image: words.next().unwrap_or_default(),
        args: words.collect(),
        env: environment::collect(&args.env_files, &args.env)?,
        ..ContainerSpec::default()
    };
    let mut wanted = ServiceSpec {
        name: args.name,
        mode: match args.mode {
            Mode::Replicated => {
                ServiceMode { replicated: Some(ReplicatedService { replicas: Some(1) }), ..ServiceMode::default() }
            }
            Mode::Global if args.spec.replicas.is_some() => bail!("replicas can only be used with replicated mode"),
            Mode::Global => ServiceMode { global: Some(Empty {}), ..ServiceMode::default() },
        },
        endpoint_spec: Some(EndpointSpec { mode: "vip".to_owned() }),
        ..ServiceSpec::default()
    };
    wanted.task_template.container_spec = Some(container);
    wanted.task_template.networks =
        args.networks.into_iter().map(|target| NetworkAttachmentConfig { target }).collect();
    let lists = SpecChanges {
        label_add: args.labels,
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
