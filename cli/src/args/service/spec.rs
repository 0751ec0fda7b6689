//! What can be said of a service in the same words when it is created and when it is changed. What is not said stays.

use clap::{Args, ValueEnum};

use super::super::{Bytes, Cpus, GoDuration, KeyValue, Words};

/// Single settings of a service and its tasks.
#[derive(Debug, Default, PartialEq, Args)]
pub(crate) struct SpecArgs {
    /// Number of tasks, of a job: that are to complete
    #[arg(long, value_name = "N")]
    pub(crate) replicas: Option<u64>,
    /// Tasks of a job that run at a time; 0 = all [default: the number of tasks]
    #[arg(long, value_name = "N")]
    pub(crate) max_concurrent: Option<u64>,
    /// Most tasks on one node; 0 = any number
    #[arg(long, value_name = "N")]
    pub(crate) replicas_max_per_node: Option<u64>,
    /// Program instead of the image's entrypoint
    #[arg(long, value_name = "COMMAND")]
    pub(crate) entrypoint: Option<Words>,
    /// Host name of the containers
    #[arg(long)]
    pub(crate) hostname: Option<String>,
    /// Working directory
    #[arg(short, long, value_name = "DIR")]
    pub(crate) workdir: Option<String>,
    /// User the program runs as
    #[arg(short, long, value_name = "NAME|UID[:GROUP|GID]")]
    pub(crate) user: Option<String>,
    /// A terminal
    #[arg(short, long, value_name = "BOOL", hide_possible_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) tty: Option<bool>,
    /// Root file system read-only
    #[arg(long, value_name = "BOOL", hide_possible_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) read_only: Option<bool>,
    /// A first process that reaps and passes signals on
    #[arg(long, value_name = "BOOL", hide_possible_values = true, num_args = 0..=1, require_equals = true, default_missing_value = "true")]
    pub(crate) init: Option<bool>,
    /// Signal that asks a container to stop
    #[arg(long, value_name = "SIGNAL")]
    pub(crate) stop_signal: Option<String>,
    /// Time from that signal to the kill [default: 10s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) stop_grace_period: Option<GoDuration>,
    /// Whom the kernel kills first when memory runs out, -1000 to 1000
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) oom_score_adj: Option<i64>,
    #[command(flatten)]
    pub(crate) resources: ResourceArgs,
    #[command(flatten)]
    pub(crate) restart: RestartArgs,
    #[command(flatten)]
    pub(crate) update: UpdateArgs,
    #[command(flatten)]
    pub(crate) rollback: RollbackArgs,
    #[command(flatten)]
    pub(crate) log_driver: LogDriverArgs,
    #[command(flatten)]
    pub(crate) endpoint: EndpointArgs,
}

/// What a task may use and must find.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct ResourceArgs {
    /// CPUs at most
    #[arg(long, value_name = "CPUS")]
    pub(crate) limit_cpu: Option<Cpus>,
    /// Memory at most
    #[arg(long, value_name = "BYTES")]
    pub(crate) limit_memory: Option<Bytes>,
    /// Processes at most; 0 = any number
    #[arg(long, value_name = "N")]
    pub(crate) limit_pids: Option<i64>,
    /// CPUs a node must have left
    #[arg(long, value_name = "CPUS")]
    pub(crate) reserve_cpu: Option<Cpus>,
    /// Memory a node must have left
    #[arg(long, value_name = "BYTES")]
    pub(crate) reserve_memory: Option<Bytes>,
}

/// When a task is replaced.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct RestartArgs {
    /// After which end a task is replaced [default: any]
    #[arg(long, value_name = "none|on-failure|any", hide_possible_values = true)]
    pub(crate) restart_condition: Option<RestartCondition>,
    /// Time before [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) restart_delay: Option<GoDuration>,
    /// At most so often; 0 = any number
    #[arg(long, value_name = "N")]
    pub(crate) restart_max_attempts: Option<u64>,
    /// Time in which attempts count; 0 = always
    #[arg(long, value_name = "DURATION")]
    pub(crate) restart_window: Option<GoDuration>,
}

/// After which end a task is replaced.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RestartCondition {
    /// After none.
    None,
    /// After a failure.
    OnFailure,
    /// After any.
    Any,
}

impl RestartCondition {
    /// Docker's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::OnFailure => "on-failure",
            Self::Any => "any",
        }
    }
}

/// What comes first when a task is replaced by a newer one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Order {
    /// The old one stops.
    StopFirst,
    /// The new one starts.
    StartFirst,
}

impl Order {
    /// Docker's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::StopFirst => "stop-first",
            Self::StartFirst => "start-first",
        }
    }
}

/// What happens when an update fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum FailureAction {
    /// It stops where it is.
    Pause,
    /// It goes on.
    Continue,
    /// It is undone.
    Rollback,
}

impl FailureAction {
    /// Docker's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Pause => "pause",
            Self::Continue => "continue",
            Self::Rollback => "rollback",
        }
    }
}

/// What happens when a rollback fails: it cannot be rolled back itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum RollbackFailureAction {
    /// It stops where it is.
    Pause,
    /// It goes on.
    Continue,
}

impl From<RollbackFailureAction> for FailureAction {
    fn from(action: RollbackFailureAction) -> Self {
        match action {
            RollbackFailureAction::Pause => Self::Pause,
            RollbackFailureAction::Continue => Self::Continue,
        }
    }
}

/// What a service's name stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum EndpointMode {
    /// One address.
    Vip,
    /// Those of all tasks.
    Dnsrr,
}

impl EndpointMode {
    /// Docker's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Vip => "vip",
            Self::Dnsrr => "dnsrr",
        }
    }
}

/// How updates go.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct UpdateArgs {
    /// Tasks updated at a time; 0 = all [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) update_parallelism: Option<u64>,
    /// Time between batches [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) update_delay: Option<GoDuration>,
    /// Time an updated task is watched for failure [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) update_monitor: Option<GoDuration>,
    /// What a failure does [default: pause]
    #[arg(long, value_name = "pause|continue|rollback", hide_possible_values = true)]
    pub(crate) update_failure_action: Option<FailureAction>,
    /// Share of tasks that may fail, 0 to 1 [default: 0]
    #[arg(long, value_name = "RATIO")]
    pub(crate) update_max_failure_ratio: Option<f32>,
    /// Which comes first [default: stop-first]
    #[arg(long, value_name = "stop-first|start-first", hide_possible_values = true)]
    pub(crate) update_order: Option<Order>,
}

/// How rollbacks go.
#[derive(Debug, Clone, Default, PartialEq, Args)]
pub(crate) struct RollbackArgs {
    /// Tasks rolled back at a time; 0 = all [default: 1]
    #[arg(long, value_name = "N")]
    pub(crate) rollback_parallelism: Option<u64>,
    /// Time between batches [default: 0s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) rollback_delay: Option<GoDuration>,
    /// Time a task is watched for failure [default: 5s]
    #[arg(long, value_name = "DURATION")]
    pub(crate) rollback_monitor: Option<GoDuration>,
    /// What a failure does [default: pause]
    #[arg(long, value_name = "pause|continue", hide_possible_values = true)]
    pub(crate) rollback_failure_action: Option<RollbackFailureAction>,
    /// Share of tasks that may fail, 0 to 1 [default: 0]
    #[arg(long, value_name = "RATIO")]
    pub(crate) rollback_max_failure_ratio: Option<f32>,
    /// Which comes first [default: stop-first]
    #[arg(long, value_name = "stop-first|start-first", hide_possible_values = true)]
    pub(crate) rollback_order: Option<Order>,
}

/// Where output goes.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct LogDriverArgs {
    /// Log driver
    #[arg(long, value_name = "NAME")]
    pub(crate) log_driver: Option<String>,
    /// Option of the log driver, repeatable
    #[arg(long = "log-opt", value_name = "KEY=VALUE", requires = "log_driver")]
    pub(crate) log_opts: Vec<KeyValue>,
}

/// How a service is reached.
#[derive(Debug, Clone, Default, PartialEq, Eq, Args)]
pub(crate) struct EndpointArgs {
    /// What its name stands for: one address, or those of all tasks [default: vip]
    #[arg(long, value_name = "vip|dnsrr", hide_possible_values = true)]
    pub(crate) endpoint_mode: Option<EndpointMode>,
}
