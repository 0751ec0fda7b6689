//! `skep node`.

mod drained;
mod list;
mod update;

use anyhow::Result;
use skep_dockerapi::filters::Filters;

use super::{
    Context, Failures, explain, filters,
    names::{self, node_key},
    tasks::{self, Style},
};
use crate::{
    args::{NodeCommand, NodeInspectArgs, NodeRemoveArgs, NodeTasksArgs, SwarmRole},
    output::{json, pretty},
};

pub(super) async fn run(context: &mut Context, command: NodeCommand) -> Result<()> {
    match command {
        NodeCommand::Ls(args) => list::run(context, args).await,
        NodeCommand::Inspect(args) => inspect(context, args).await,
        NodeCommand::Explain(args) => explain::node(context, &args).await,
        NodeCommand::Update(args) => update::run(context, args).await,
        NodeCommand::Promote(args) => update::set_role(context, args.nodes, SwarmRole::Manager).await,
        NodeCommand::Demote(args) => update::set_role(context, args.nodes, SwarmRole::Worker).await,
        NodeCommand::Rm(args) => remove(context, args).await,
        NodeCommand::Ps(args) => ps(context, args).await,
    }
}

async fn inspect(context: &mut Context, args: NodeInspectArgs) -> Result<()> {
    let mut failures = Failures::default();
    let mut found = Vec::new();
    for node in &args.nodes {
        match read(context, node, args.pretty).await {
            Ok(text) => found.push(text),
            Err(error) => failures.note(error)?,
        }
    }
    let shown = if args.pretty { found.join("\n") } else { format!("{}\n", json::list(&found)) };
    context.printer.text(shown)?;
    failures.into_result()
}

async fn read(context: &Context, typed: &str, pretty: bool) -> Result<String> {
    let key = node_key(&context.client, typed).await?;
    if pretty {
        return Ok(pretty::node::show(&context.client.node(&key).await?));
    }
    Ok(String::from_utf8_lossy(&context.client.node_json(&key).await?).into_owned())
}

async fn remove(context: &mut Context, args: NodeRemoveArgs) -> Result<()> {
    let mut failures = Failures::default();
    for node in &args.nodes {
        match context.client.node_remove(node, args.force).await {
            Ok(()) => context.printer.line(node)?,
            Err(error) => failures.note(error.into())?,
        }
    }
    failures.into_result()
}

async fn ps(context: &mut Context, mut args: NodeTasksArgs) -> Result<()> {
    let mut failures = Failures::default();
    if args.nodes.is_empty() {
        args.nodes.push("self".to_owned());
    }
    names::resolve_self(&context.client, &mut args.filters).await?;
    let mut tasks = Vec::new();
    for typed in &args.nodes {
        let found = async {
            let key = node_key(&context.client, typed).await?;
            let node = context.client.node(&key).await?;
            let mut filters: Filters = filters(&args.filters);
            filters.add("node", node.id);
            Ok(context.client.tasks(&filters).await?)
        };
        match found.await {
            Ok(found) => tasks.extend(found),
            Err(error) => failures.note(error)?,
        }
    }
    if failures.is_empty() || !tasks.is_empty() {
        let style =
            Style { quiet: args.quiet, no_trunc: args.no_trunc, no_resolve: args.no_resolve, format: args.format };
        tasks::print(context, tasks, style).await?;
    }
    failures.into_result()
}

#[cfg(test)]
mod tests;
