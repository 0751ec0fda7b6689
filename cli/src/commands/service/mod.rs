//! `skep service`.

mod changes;
mod converge;
mod create;
mod environment;
mod image;
mod list;
mod logs;
mod rebalance;
mod revisions;
mod runs;
mod scale;
mod spec;
mod update;

use anyhow::{Result, anyhow};

use super::{
    Context, Failures, explain, filters, names,
    tasks::{self, Style},
};
use crate::{
    args::{ServiceCommand, ServiceInspectArgs, ServiceRemoveArgs, ServiceTasksArgs},
    output::{json, pretty, units::now},
};

pub(super) async fn run(context: &mut Context, command: ServiceCommand) -> Result<()> {
    match command {
        ServiceCommand::Create(args) => create::run(context, *args).await,
        ServiceCommand::Ls(args) => list::run(context, args).await,
        ServiceCommand::Ps(args) => ps(context, args).await,
        ServiceCommand::Inspect(args) => inspect(context, args).await,
        ServiceCommand::Explain(args) => explain::service(context, &args).await,
        ServiceCommand::Update(args) => update::run(context, *args).await,
        ServiceCommand::Scale(args) => scale::run(context, args).await,
        ServiceCommand::Rollback(args) => update::roll_back(context, &args.service, args.to, args.wait).await,
        ServiceCommand::Revisions(args) => revisions::list(context, &args.service).await,
        ServiceCommand::Rebalance(args) => rebalance::run(context, &args.service, args.dry_run).await,
        ServiceCommand::Run(args) => runs::begin(context, &args.service).await,
        ServiceCommand::Runs(args) => runs::list(context, &args.service).await,
        ServiceCommand::Rm(args) => remove(context, args).await,
        ServiceCommand::Logs(args) => logs::run(context, args).await,
    }
}

async fn inspect(context: &mut Context, args: ServiceInspectArgs) -> Result<()> {
    let mut failures = Failures::default();
    let mut found = Vec::new();
    for key in &args.services {
        match read(context, key, args.pretty).await {
            Ok(text) => found.push(text),
            Err(error) => failures.note(error)?,
        }
    }
    let shown = match &args.format {
        Some(format) => {
            let each = found.iter().map(|json| format.one(&serde_json::from_str(json)?));
            each.collect::<Result<String>>()?
        }
        None if args.pretty => found.concat(),
        None => format!("{}\n", json::list(&found)),
    };
    context.printer.text(shown)?;
    failures.into_result()
}

async fn read(context: &Context, key: &str, pretty: bool) -> Result<String> {
    let found = if pretty {
        context.client.service_with_defaults(key).await.map(|service| pretty::service::show(&service, now()))
    } else {
        context.client.service_json(key).await.map(|json| String::from_utf8_lossy(&json).into_owned())
    };
    found.map_err(|error| if error.is_not_found() { anyhow!("Error: no such service: {key}") } else { error.into() })
}

async fn ps(context: &mut Context, mut args: ServiceTasksArgs) -> Result<()> {
    let mut failures = Failures::default();
    names::resolve_self(&context.client, &mut args.filters).await?;
    let mut filters = filters(&args.filters);
    let mut found = false;
    for key in &args.services {
        match context.client.service(key).await {
            Ok(service) => {
                filters.add("service", service.id);
                found = true;
            }
            Err(error) if error.is_not_found() => failures.note(anyhow!("no such service: {key}"))?,
            Err(error) => return Err(error.into()),
        }
    }
    if found {
        let tasks = context.client.tasks(&filters).await?;
        let style =
            Style { quiet: args.quiet, no_trunc: args.no_trunc, no_resolve: args.no_resolve, format: args.format };
        tasks::print(context, tasks, style).await?;
    }
    failures.into_result()
}

async fn remove(context: &mut Context, args: ServiceRemoveArgs) -> Result<()> {
    let mut failures = Failures::default();
    for key in &args.services {
        match context.client.service_remove(key).await {
            Ok(()) => context.printer.line(key)?,
            Err(error) => failures.note(error.into())?,
        }
    }
    failures.into_result()
}

#[cfg(test)]
mod tests;
