//! `skep service ls`.

use anyhow::Result;
use skep_dockerapi::types::{Service, ServiceMode, ServiceStatus};

use super::super::{Context, filters};
use crate::{
    args::ServiceListArgs,
    output::{
        Table, natural,
        text::{image_name, short_id},
    },
};

/// What is shown of each, as `--format` names it and as the header does.
const COLUMNS: [(&str, &str); 6] = [
    ("ID", "ID"),
    ("Name", "NAME"),
    ("Mode", "MODE"),
    ("Replicas", "REPLICAS"),
    ("Image", "IMAGE"),
    ("Ports", "PORTS"),
];

pub(super) async fn run(context: &mut Context, args: ServiceListArgs) -> Result<()> {
    let mut services = context.client.services(&filters(&args.filters)).await?;
    services.sort_by(|a, b| natural::compare(&a.spec.name, &b.spec.name));
    let shown = if args.quiet {
        services.iter().map(|service| format!("{}\n", short_id(&service.id))).collect()
    } else {
        let rows = services.iter().map(row);
        match &args.format {
            Some(format) => format.rows(COLUMNS, rows)?,
            None => {
                let mut table = Table::new(&COLUMNS.map(|(_, title)| title));
                rows.for_each(|row| table.row(row));
                table.to_string()
            }
        }
    };
    Ok(context.printer.text(shown)?)
}

fn row(service: &Service) -> [String; 6] {
    let task = &service.spec.task_template;
    let counts = service.service_status.unwrap_or_default();
    let most = task.placement.as_ref().map_or(0, |placement| placement.max_replicas);
    let replicas = replicas(&service.spec.mode, &counts);
    [
        short_id(&service.id).to_owned(),
        service.spec.name.clone(),
        mode(&service.spec.mode).to_owned(),
        if most > 0 { format!("{replicas} (max {most} per node)") } else { replicas },
        task.container_spec.as_ref().map(|container| image_name(&container.image)).unwrap_or_default(),
        String::new(),
    ]
}

fn mode(mode: &ServiceMode) -> &'static str {
    match mode {
        ServiceMode { global: Some(_), .. } => "global",
        ServiceMode { replicated_job: Some(_), .. } => "replicated job",
        ServiceMode { global_job: Some(_), .. } => "global job",
        _ => "replicated",
    }
}

/// Running and wanted; of a job also how many are done, and of how many.
fn replicas(mode: &ServiceMode, counts: &ServiceStatus) -> String {
    let running = format!("{}/{}", counts.running_tasks, counts.desired_tasks);
    let total = match mode {
        ServiceMode { replicated_job: Some(job), .. } => job.total_completions.unwrap_or(1),
        // As many as there are nodes: done ones are wanted no more.
        ServiceMode { global_job: Some(_), .. } => counts.desired_tasks + counts.completed_tasks,
        _ => return running,
    };
    format!("{running} ({}/{total} completed)", counts.completed_tasks)
}
