//! `skep swarm update`.

use anyhow::Result;
use skep_dockerapi::types::SwarmSpec;

use super::super::Context;
use crate::args::{SwarmSettings, SwarmUpdateArgs};

pub(super) async fn run(context: &mut Context, args: SwarmUpdateArgs) -> Result<()> {
    let mut swarm = context.client.swarm_draft().await?;
    apply(&args.settings, &mut swarm.spec);
    context.client.swarm_update(&swarm, &[]).await?;
    Ok(context.printer.line("Swarm updated.")?)
}

/// Writes what was said into a spec.
pub(super) fn apply(settings: &SwarmSettings, spec: &mut SwarmSpec) {
    if let Some(expiry) = settings.cert_expiry {
        spec.ca_config.node_cert_expiry = expiry.0;
    }
    if let Some(period) = settings.dispatcher_heartbeat {
        spec.dispatcher.heartbeat_period = period.0;
    }
    if let Some(interval) = settings.snapshot_interval {
        spec.raft.snapshot_interval = interval;
    }
    if settings.task_history_limit.is_some() {
        spec.orchestration.task_history_retention_limit = settings.task_history_limit;
    }
}
