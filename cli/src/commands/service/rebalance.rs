//! `skep service rebalance`: a line for each task that moves.

use anyhow::Result;
use skep_dockerapi::types::Move;

use super::super::Context;

pub(super) async fn run(context: &mut Context, key: &str, dry_run: bool) -> Result<()> {
    let moves = context.client.service_rebalance(key, dry_run).await?;
    for Move { slot, from_node, to_node, .. } in &moves {
        context.printer.line(format!("{key}.{slot}: {from_node} -> {to_node}"))?;
    }
    let said = match (moves.len(), dry_run) {
        (0, _) => format!("{key} is spread as evenly as it can be."),
        (count, true) => format!("{} would move.", tasks(count)),
        (count, false) => format!("{} will move, one after the other.", tasks(count)),
    };
    Ok(context.printer.line(said)?)
}

fn tasks(count: usize) -> String {
    if count == 1 { "1 task".to_owned() } else { format!("{count} tasks") }
}
