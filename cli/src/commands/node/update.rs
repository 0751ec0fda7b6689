//! `skep node update`, `promote` and `demote`: a node's spec is read, changed and written back under its version.

use anyhow::{Result, bail};
use skep_dockerapi::types::NodeSpec;

use super::{
    super::{Context, Failures, names::node_key},
    drained,
};
use crate::args::{Availability, NodeUpdateArgs, SwarmRole};

/// How tasks leave a node that is waited for.
const GRADUAL: &str = "gradual";

pub(super) async fn run(context: &mut Context, args: NodeUpdateArgs) -> Result<()> {
    if args.wait && args.availability != Some(Availability::Drain) {
        bail!("--wait goes with --availability drain");
    }
    let mut node = context.client.node_draft(&node_key(&context.client, &args.node).await?).await?;
    apply(&args, &mut node.spec)?;
    context.client.node_update(&node).await?;
    context.printer.line(&args.node)?;
    if args.wait { drained::wait(context, &node.id, args.timeout).await } else { Ok(()) }
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

/// Gives nodes a role and says of each what became of it.
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
    let mut node = context.client.node_draft(&node_key(&context.client, typed).await?).await?;
    let said = if node.spec.role == role.word() {
        format!("Node {typed} is already a {}.", role.word())
    } else {
        role.word().clone_into(&mut node.spec.role);
        context.client.node_update(&node).await?;
        match role {
            SwarmRole::Manager => format!("Node {typed} promoted to a manager in the swarm."),
            SwarmRole::Worker => format!("Manager {typed} demoted in the swarm."),
        }
    };
    Ok(context.printer.line(said)?)
}
