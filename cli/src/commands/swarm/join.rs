//! `skep swarm join`.

use anyhow::Result;
use skep_dockerapi::types::JoinRequest;

use super::super::Context;
use crate::args::SwarmJoinArgs;

pub(super) async fn run(context: &mut Context, args: SwarmJoinArgs) -> Result<()> {
    let request = JoinRequest {
        listen_addr: args.listen_addr,
        advertise_addr: args.advertise_addr,
        data_path_addr: String::new(),
        remote_addrs: vec![args.remote],
        join_token: args.token,
        availability: args.availability.map(|word| word.word().to_owned()).unwrap_or_default(),
    };
    context.client.swarm_join(&request).await?;
    let role = if context.client.info().await?.swarm.control_available { "manager" } else { "worker" };
    Ok(context.printer.line(format_args!("This node joined a swarm as a {role}."))?)
}
