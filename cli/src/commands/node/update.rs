//! `skep node update`, `promote` and `demote`: a node's spec is read, changed and written back under its version, with retries on
//! conflict: only the given fields change.

use std::time::Duration;

use anyhow::{Result, bail};
use skep_common::net::backoff::Backoff;
use skep_dockerapi::types::NodeSpec;

use super::{
    super::{Context, Failures, names::node_key},
    drained,
};
use crate::args::{Availability, NodeUpdateArgs, SwarmRole};

/// Attempts on conflict.
const ATTEMPTS: u32 = 8;

/// How tasks leave a node that is waited for.
const GRADUAL: &str = "gradual";

pub(super) async fn run(context: &mut Context, args: NodeUpdateArgs) -> Result<()> {
    if args.wait && args.availability != Some(Availability::Drain) {
        bail!("--wait goes with --availability drain");
    }
    let (node, _) = change(context, &args.node, |spec| apply(&args, spec).map(|()| true)).await?;
    context.printer.line(&args.node)?;
    if args.wait { drained::wait(context, &node, args.timeout).await } else { Ok(()) }
}

/// Changes a node's spec; `edit` says whether there is anything to write. The node's id, and whether it was written.
async fn change(
    context: &Context,
    typed: &str,
    edit: impl Fn(&mut NodeSpec) -> Result<bool>,
) -> Result<(String, bool)> {
    let key = node_key(&context.client, typed).await?;
    let mut backoff = Backoff::new(Duration::from_millis(20), Duration::from_millis(500));
    let mut attempts = 1;
    loop {
        let mut node = context.client.node_draft(&key).await?;
        if !edit(&mut node.spec)? {
            return Ok((node.id, false));
        }
        match context.client.node_update(&node).await {
            Err(error) if error.is_out_of_sequence() && attempts < ATTEMPTS => backoff.wait().await,
            written => return Ok(written.map(|()| (node.id, true))?),
        }
        attempts += 1;
    }
}

fn apply(args: &NodeUpdateArgs, spec: &mut NodeSpec) -> Result<()> {
    if let Some(role) = args.role {
        role.word().clone_into(&mut spec.role);
    }
    if let Some(availability) = args.availability {
        availability.word().clone_into(&mut spec.availability);
        // How an earlier drain went says nothing of this one.
        spec.drain_pace = if args.wait { GRADUAL.to_owned() } else { String::new() };
    }
    for key in &args.label_rm {
        if spec.labels.remove(key).is_none() {
            bail!("key {key} doesn't exist in node's labels");
        }
    }
    for label in &args.label_add {
        spec.labels.insert(label.key.clone(), label.value.clone());
    }
    Ok(())
}

/// Sets the role of nodes and prints the result for each.
pub(super) async fn set_role(context: &mut Context, nodes: Vec<String>, role: SwarmRole) -> Result<()> {
    let mut failures = Failures::default();
    for node in &nodes {
        if let Err(error) = set_role_of(context, node, role).await {
            failures.note(error)?;
        }
    }
    failures.into_result()
}

async fn set_role_of(context: &mut Context, typed: &str, role: SwarmRole) -> Result<()> {
    let change = change(context, typed, |spec| {
        let is_news = spec.role != role.word();
        role.word().clone_into(&mut spec.role);
        Ok(is_news)
    });
    let said = match (change.await?, role) {
        ((_, false), _) => format!("Node {typed} is already a {}.", role.word()),
        (_, SwarmRole::Manager) => format!("Node {typed} promoted to a manager in the swarm."),
        (_, SwarmRole::Worker) => format!("Manager {typed} demoted in the swarm."),
    };
    Ok(context.printer.line(said)?)
}
