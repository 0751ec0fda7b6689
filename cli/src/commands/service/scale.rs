//! `skep service scale`.

use anyhow::{Context as _, Result, bail};
use skep_dockerapi::types::ServiceMode;

use super::{
    super::{Context, Failures},
    converge,
};
use crate::args::{Scale, ServiceScaleArgs, WaitArgs};

pub(super) async fn run(context: &mut Context, args: ServiceScaleArgs) -> Result<()> {
    let mut failures = Failures::default();
    let mut scaled = Vec::new();
    for scale in &args.scales {
        match set(context, scale).await {
            Ok(()) => {
                context.printer.line(format_args!("{} scaled to {}", scale.service, scale.replicas))?;
                scaled.push(&scale.service);
            }
            Err(error) => failures.note(error.context(scale.service.clone()))?,
        }
    }
    for service in scaled {
        let wait = WaitArgs { detach: args.detach, quiet: false };
        if let Err(error) = converge::unless_detached(context, service, wait).await {
            failures.note(error.context(service.clone()))?;
        }
    }
    failures.into_result()
}

async fn set(context: &mut Context, scale: &Scale) -> Result<()> {
    let mut service = context.client.service_draft(&scale.service).await?;
    match &mut service.spec.mode {
        ServiceMode { replicated: Some(replicated), .. } => replicated.replicas = Some(scale.replicas),
        ServiceMode { replicated_job: Some(job), .. } => job.total_completions = Some(scale.replicas),
        _ => bail!("scale can only be used with replicated or replicated-job mode"),
    }
    let updated = context.client.service_update(&service, false).await?;
    for warning in updated.warnings.unwrap_or_default() {
        context.printer.error_line(warning).context("a warning")?;
    }
    Ok(())
}
