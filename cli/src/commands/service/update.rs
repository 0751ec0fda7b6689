//! `skep service update` and `rollback`: the spec is read, changed and written back under its version.

use anyhow::{Result, bail};
use skep_dockerapi::types::{ContainerSpec, ServiceSpec};

use super::{super::Context, changes, converge, image, spec};
use crate::args::{ServiceUpdateArgs, SpecArgs, SpecChanges, WaitArgs};

pub(super) async fn run(context: &mut Context, args: ServiceUpdateArgs) -> Result<()> {
    if args.rollback {
        if says_more(&args) {
            bail!("other flags may not be combined with --rollback");
        }
        return roll_back(context, &args.service, None, args.wait).await;
    }
    let mut service = context.client.service_draft(&args.service).await?;
    apply(&args, &mut service.spec)?;
    if args.image.is_some() && !args.no_resolve_image {
        image::pin(context, &mut service.spec.task_template).await?;
    }
    let updated = context.client.service_update(&service, false).await?;
    finish(context, &args.service, updated.warnings, args.wait).await
}

/// Back to a revision, or to what the service was before its last update.
pub(super) async fn roll_back(context: &mut Context, key: &str, to: Option<u64>, wait: WaitArgs) -> Result<()> {
    let service = context.client.service_draft(key).await?;
    let updated = match to {
        Some(number) => context.client.service_rollback_to(&service, number).await?,
        None => context.client.service_update(&service, true).await?,
    };
    finish(context, key, updated.warnings, wait).await
}

async fn finish(context: &mut Context, key: &str, warnings: Option<Vec<String>>, wait: WaitArgs) -> Result<()> {
    for warning in warnings.unwrap_or_default() {
        context.printer.error_line(warning)?;
    }
    context.printer.line(key)?;
    converge::unless_detached(context, key, wait).await
}

/// Writes what was said into the spec.
pub(super) fn apply(args: &ServiceUpdateArgs, wanted: &mut ServiceSpec) -> Result<()> {
    changes::apply(&args.changes, wanted)?;
    spec::apply(&args.spec, wanted)?;
    let task = &mut wanted.task_template;
    if args.force {
        task.force_update += 1;
    }
    let container = task.container_spec.get_or_insert_with(ContainerSpec::default);
    if let Some(image) = &args.image {
        container.image.clone_from(image);
    }
    if let Some(words) = &args.args {
        container.args.clone_from(&words.0);
    }
    Ok(())
}

/// Whether anything but how to wait was said.
fn says_more(args: &ServiceUpdateArgs) -> bool {
    args.force
        || args.image.is_some()
        || args.no_resolve_image
        || args.args.is_some()
        || args.spec != SpecArgs::default()
        || args.changes != SpecChanges::default()
}
