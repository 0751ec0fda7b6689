//! `skep swarm init`.

use anyhow::Result;
use skep_dockerapi::types::{InitRequest, SwarmSpec};

use super::{super::Context, join_token, update};
use crate::args::SwarmInitArgs;

pub(super) async fn run(context: &mut Context, args: SwarmInitArgs) -> Result<()> {
    let mut spec = SwarmSpec::default();
    update::apply(&args.settings, &mut spec);
    let request = InitRequest {
        listen_addr: args.listen_addr,
        advertise_addr: args.advertise_addr,
        availability: args.availability.map(|word| word.word().to_owned()).unwrap_or_default(),
        spec,
        ..InitRequest::default()
    };
    let node_id = context.client.swarm_init(&request).await?;
    context.printer.line(format_args!("Swarm initialized: current node ({node_id}) is now a manager.\n"))?;
    let command = join_token::worker_command(&context.client).await?;
    context.printer.text(command)?;
    Ok(context
        .printer
        .line("To add a manager to this swarm, run 'skep swarm join-token manager' and follow the instructions.\n")?)
}
