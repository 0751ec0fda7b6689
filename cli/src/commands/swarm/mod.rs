//! `skep swarm`.

mod init;
mod join;
mod join_token;
mod update;

use anyhow::Result;

use super::{Context, explain};
use crate::args::{SwarmCommand, SwarmLeaveArgs};

pub(super) async fn run(context: &mut Context, command: SwarmCommand) -> Result<()> {
    match command {
        SwarmCommand::Init(args) => init::run(context, args).await,
        SwarmCommand::Join(args) => join::run(context, args).await,
        SwarmCommand::JoinToken(args) => join_token::run(context, args).await,
        SwarmCommand::Leave(args) => leave(context, args).await,
        SwarmCommand::Update(args) => update::run(context, args).await,
        SwarmCommand::History(args) => explain::swarm(context, &args).await,
    }
}

async fn leave(context: &mut Context, args: SwarmLeaveArgs) -> Result<()> {
    context.client.swarm_leave(args.force).await?;
    Ok(context.printer.line("Node left the swarm.")?)
}

#[cfg(test)]
mod tests;
