//! `skep swarm join-token`, and the command that joins, word for word.

use anyhow::{Context as _, Result};

use super::super::Context;
use crate::{
    args::{SwarmJoinTokenArgs, SwarmRole},
    client::{Client, ClientError},
};

pub(super) async fn run(context: &mut Context, args: SwarmJoinTokenArgs) -> Result<()> {
    let role = args.role.word();
    if args.rotate {
        let swarm = context.client.swarm_draft().await?;
        let token = match args.role {
            SwarmRole::Worker => "rotateWorkerToken",
            SwarmRole::Manager => "rotateManagerToken",
        };
        context.client.swarm_update(&swarm, &[token]).await?;
        if !args.quiet {
            context.printer.line(format_args!("Successfully rotated {role} join token.\n"))?;
        }
    }
    if args.quiet {
        let token = token(&context.client, args.role).await?;
        return Ok(context.printer.line(token)?);
    }
    let command = command(&context.client, args.role).await?;
    Ok(context.printer.text(command)?)
}

/// How to add a worker.
pub(super) async fn worker_command(client: &Client) -> Result<String> {
    command(client, SwarmRole::Worker).await
}

/// How to add a node in this role, through the manager asked.
async fn command(client: &Client, role: SwarmRole) -> Result<String> {
    let token = token(client, role).await?;
    let node_id = client.info().await?.swarm.node_id;
    let manager = client.node(&node_id).await?.manager_status.context("this node does not manage the swarm")?;
    let role = role.word();
    Ok(format!(
        "To add a {role} to this swarm, run the following command:\n\n    skep swarm join --token {token} {}\n\n",
        manager.addr
    ))
}

async fn token(client: &Client, role: SwarmRole) -> Result<String, ClientError> {
    let tokens = client.swarm().await?.join_tokens.unwrap_or_default();
    Ok(match role {
        SwarmRole::Worker => tokens.worker,
        SwarmRole::Manager => tokens.manager,
    })
}
