//! `skep node ls`.

use anyhow::Result;
use skep_dockerapi::types::Node;

use super::super::{Context, filters};
use crate::{
    args::NodeListArgs,
    output::{Table, natural, text::capitalized},
};

pub(super) async fn run(context: &mut Context, args: NodeListArgs) -> Result<()> {
    let mut nodes = context.client.nodes(&filters(&args.filters)).await?;
    nodes.sort_by(|a, b| natural::compare(&a.description.hostname, &b.description.hostname).then(a.id.cmp(&b.id)));
    let shown = if args.quiet {
        nodes.iter().map(|node| format!("{}\n", node.id)).collect()
    } else {
        let own = context.client.info().await?.swarm.node_id;
        table(&nodes, &own).to_string()
    };
    Ok(context.printer.text(shown)?)
}

/// `own` is the node that was asked: it gets a star.
fn table(nodes: &[Node], own: &str) -> Table {
    let mut table = Table::new(&["ID  ", "HOSTNAME", "STATUS", "AVAILABILITY", "MANAGER STATUS", "ENGINE VERSION"]);
    for node in nodes {
        let manager = match &node.manager_status {
            Some(status) if status.leader => "leader",
            Some(status) => &status.reachability,
            None => "",
        };
        table.row([
            format!("{} {}", node.id, if node.id == own { '*' } else { ' ' }),
            node.description.hostname.clone(),
            status(node),
            capitalized(&node.spec.availability),
            capitalized(manager),
            node.description.engine.engine_version.clone(),
        ]);
    }
    table
}

/// The state, and what a node that is ready has to say all the same.
fn status(node: &Node) -> String {
    let state = capitalized(&node.status.state);
    if node.status.state == "ready" && !node.status.message.is_empty() {
        format!("{state} ({})", node.status.message)
    } else {
        state
    }
}
