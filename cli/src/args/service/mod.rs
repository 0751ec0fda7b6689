//! `skep service`.

mod schedule;
mod spec;
mod update;

use clap::{Args, Subcommand};

pub(crate) use self::{
    schedule::ScheduleArgs,
    spec::{FailureAction, LogDriverArgs, Order, ResourceArgs, RestartArgs, SpecArgs},
    update::{ServiceUpdateArgs, SpecChanges},
};
use super::{Filter, GenericCount, KeyValue, Scale, ServiceExplainArgs, Spread, UlimitValue};
use crate::output::Format;

/// `skep service …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ServiceCommand {
    /// Create a service
    Create(Box<ServiceCreateArgs>),
    /// List services
    #[command(visible_alias = "list")]
    Ls(ServiceListArgs),
    /// List tasks of services
    Ps(ServiceTasksArgs),
    /// Show everything about services
    Inspect(ServiceInspectArgs),
    /// Say why a service waits, how each node stands for it, and what happened to it
    Explain(ServiceExplainArgs),
    /// Change a service
    Update(Box<ServiceUpdateArgs>),
    /// Change how many tasks services have
    Scale(ServiceScaleArgs),
    /// Go back to what a service was before its last update, or to one of its revisions
    Rollback(ServiceRollbackArgs),
    /// List what a service was at each change of its tasks, as far back as it can go
    Revisions(ServiceRevisionsArgs),
    /// Move tasks, one after the other, to where they would be placed now
    Rebalance(ServiceRebalanceArgs),
    /// Begin a run of a job, now
    Run(ServiceRunArgs),
    /// List the runs of a scheduled job
    Runs(ServiceRunArgs),
    /// Remove services and stop their tasks
    #[command(visible_alias = "remove")]
    Rm(ServiceRemoveArgs),
    /// Show what a service's tasks, or one task, write
    Logs(ServiceLogsArgs),
}

/// Whether to wait until a service is as it should be.
#[derive(Debug, Clone, Copy, Default, Args)]
pub(crate) struct WaitArgs {
    /// Do not wait until the service has converged
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Wait, but show no progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// How many tasks a service has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// A number.
    Replicated,
    /// One on every node.
    Global,
    /// A number, each to run to completion.
    ReplicatedJob,
    /// One on every node, each to run to completion.
    GlobalJob,
}

/// `skep service create`.
#[derive(Debug, Args)]
#[command(override_usage = "skep service create [OPTIONS] IMAGE [COMMAND] [ARG...]")]
pub(crate) struct ServiceCreateArgs {
    /// Name [default: a made-up one]
    #[arg(long, default_value = "", hide_default_value = true)]
    pub(crate) name: String,
    /// How many tasks: so many, or one on every node; those of a job run to completion
    /// [default: replicated, with a schedule replicated-job]
    #[arg(long, value_name = "replicated|global|replicated-job|global-job", hide_possible_values = true)]
    pub(crate) mode: Option<Mode>,
    /// Label of the service, repeatable
    #[arg(short, long = "label", value_name = "KEY[=VALUE]")]
    pub(crate) labels: Vec<KeyValue>,
    /// Label of its containers, repeatable
    #[arg(long = "container-label", value_name = "KEY[=VALUE]")]
    pub(crate) container_labels: Vec<KeyValue>,
    /// Environment variable; without a value, that of this environment. Repeatable
    #[arg(short, long, value_name = "NAME[=VALUE]")]
    pub(crate) env: Vec<String>,
    /// File of environment variables, one a line, repeatable
    #[arg(long = "env-file", value_name = "FILE")]
    pub(crate) env_files: Vec<std::path::PathBuf>,
    /// Where tasks may run, repeatable: all must hold
    #[arg(long = "constraint", value_name = "EXPRESSION")]
    pub(crate) constraints: Vec<String>,
    /// Where tasks are spread, repeatable: outermost first
    #[arg(long = "placement-pref", value_name = "spread=ATTRIBUTE")]
    pub(crate) placement_prefs: Vec<Spread>,
    /// Resource a node must have left, of a kind nodes were given, repeatable
    #[arg(long = "generic-resource", value_name = "KIND=N")]
    pub(crate) generic_resources: Vec<GenericCount>,
    /// Network; `host` is the one there is
    #[arg(long = "network", value_name = "NAME")]
    pub(crate) networks: Vec<String>,
    /// Supplementary group, repeatable
    #[arg(long = "group", value_name = "GROUP")]
    pub(crate) groups: Vec<String>,
    /// Line of /etc/hosts, repeatable
    #[arg(long = "host", value_name = "NAME:IP")]
    pub(crate) hosts: Vec<String>,
    /// Capability to add, repeatable
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Capability to drop, repeatable
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Kernel setting, repeatable
    #[arg(long = "sysctl", value_name = "KEY=VALUE")]
    pub(crate) sysctls: Vec<KeyValue>,
    /// Limit of processes, repeatable
    #[arg(long = "ulimit", value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimits: Vec<UlimitValue>,
    /// Do not record the image's digest: each node runs what it has under the name
    #[arg(long)]
    pub(crate) no_resolve_image: bool,
    #[command(flatten)]
    pub(crate) schedule: ScheduleArgs,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// What to run: all behind the image is its command
    #[arg(value_name = "IMAGE", trailing_var_arg = true, required = true)]
    pub(crate) image_and_args: Vec<String>,
}

/// `skep service ls`.
#[derive(Debug, Args)]
pub(crate) struct ServiceListArgs {
    /// Only what fits, repeatable
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<Filter>,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// `json`, or a template of `{{.Field}}`s; behind `table `, columns
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
}

/// `skep service ps`.
#[derive(Debug, Args)]
pub(crate) struct ServiceTasksArgs {
    /// Only what fits, repeatable
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<Filter>,
    /// Show ids instead of names
    #[arg(long)]
    pub(crate) no_resolve: bool,
    /// Do not shorten anything
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// `json`, or a template of `{{.Field}}`s; behind `table `, columns
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
    /// Ids or names
    #[arg(value_name = "SERVICE", required = true)]
    pub(crate) services: Vec<String>,
}

/// `skep service inspect`.
#[derive(Debug, Args)]
pub(crate) struct ServiceInspectArgs {
    /// For people to read
    #[arg(long)]
    pub(crate) pretty: bool,
    /// `json`, or a template of `{{.Field}}`s and `{{json .Field}}`s
    #[arg(long, value_name = "FORMAT", conflicts_with = "pretty")]
    pub(crate) format: Option<Format>,
    /// Ids or names
    #[arg(value_name = "SERVICE", required = true)]
    pub(crate) services: Vec<String>,
}

/// `skep service scale`.
#[derive(Debug, Args)]
pub(crate) struct ServiceScaleArgs {
    /// Do not wait until the services have converged
    #[arg(short, long)]
    pub(crate) detach: bool,
    /// Services and how many tasks each is to have
    #[arg(value_name = "SERVICE=REPLICAS", required = true)]
    pub(crate) scales: Vec<Scale>,
}

/// `skep service rollback`.
#[derive(Debug, Args)]
pub(crate) struct ServiceRollbackArgs {
    /// Number of a revision [default: the one before the last update]
    #[arg(long, value_name = "REVISION")]
    pub(crate) to: Option<u64>,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Id or name
    pub(crate) service: String,
}

/// `skep service revisions`.
#[derive(Debug, Args)]
pub(crate) struct ServiceRevisionsArgs {
    /// Id or name
    pub(crate) service: String,
}

/// `skep service rebalance`.
#[derive(Debug, Args)]
pub(crate) struct ServiceRebalanceArgs {
    /// Only say which tasks would move
    #[arg(long)]
    pub(crate) dry_run: bool,
    /// Id or name
    pub(crate) service: String,
}

/// `skep service run` and `skep service runs`.
#[derive(Debug, Args)]
pub(crate) struct ServiceRunArgs {
    /// Id or name
    pub(crate) service: String,
}

/// `skep service rm`.
#[derive(Debug, Args)]
pub(crate) struct ServiceRemoveArgs {
    /// Ids or names
    #[arg(value_name = "SERVICE", required = true)]
    pub(crate) services: Vec<String>,
}

/// `skep service logs`.
#[derive(Debug, Default, Args)]
#[expect(clippy::struct_excessive_bools, reason = "each is a flag of its own")]
pub(crate) struct ServiceLogsArgs {
    /// Attributes of each line
    #[arg(long)]
    pub(crate) details: bool,
    /// Stay, and show what comes
    #[arg(short, long)]
    pub(crate) follow: bool,
    /// Show ids instead of names
    #[arg(long)]
    pub(crate) no_resolve: bool,
    /// No task ids
    #[arg(long)]
    pub(crate) no_task_ids: bool,
    /// Do not shorten ids
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only what the tasks wrote
    #[arg(long)]
    pub(crate) raw: bool,
    /// Begin here: a time, or how long ago (`10m`)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// So many lines from the end, or all
    #[arg(short = 'n', long, default_value = "all")]
    pub(crate) tail: String,
    /// Time of each line
    #[arg(short, long)]
    pub(crate) timestamps: bool,
    /// Id or name
    #[arg(value_name = "SERVICE|TASK")]
    pub(crate) target: String,
}
