//! `skep swarm`.

use clap::{Args, Subcommand, ValueEnum};

use super::{GoDuration, HistoryArgs};

/// `skep swarm …`.
#[derive(Debug, Subcommand)]
pub(crate) enum SwarmCommand {
    /// Make a swarm of this node
    Init(SwarmInitArgs),
    /// Join a swarm, or come back to it as the same node when the node's certificate has run out
    Join(SwarmJoinArgs),
    /// Show or replace the tokens nodes join with
    JoinToken(SwarmJoinTokenArgs),
    /// Leave the swarm
    Leave(SwarmLeaveArgs),
    /// Change the swarm's settings
    Update(SwarmUpdateArgs),
    /// Show who changed the swarm's settings, its nodes and its services
    History(HistoryArgs),
}

/// Whether a node takes tasks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Availability {
    /// New tasks may come.
    Active,
    /// Nothing new; what runs stays.
    Pause,
    /// Nothing stays.
    Drain,
}

impl Availability {
    /// Docker's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Pause => "pause",
            Self::Drain => "drain",
        }
    }
}

/// Settings of a swarm, as `init` and `update` take them.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct SwarmSettings {
    /// Life of node certificates [default: 2160h]
    #[arg(long, value_name = "DURATION")]
    pub(crate) cert_expiry: Option<GoDuration>,
    /// Time between a node's signs of life; Docker's default, 5s, stands for skep's own [default: 750ms]
    #[arg(long, value_name = "DURATION")]
    pub(crate) dispatcher_heartbeat: Option<GoDuration>,
    /// Log entries between snapshots [default: 10000]
    #[arg(long, value_name = "N")]
    pub(crate) snapshot_interval: Option<u64>,
    /// Finished tasks kept per slot [default: 5]
    #[arg(long, value_name = "N", allow_negative_numbers = true)]
    pub(crate) task_history_limit: Option<i64>,
}

/// `skep swarm init`.
#[derive(Debug, Args)]
pub(crate) struct SwarmInitArgs {
    /// Address others reach this node under
    #[arg(long, value_name = "IP|INTERFACE[:PORT]", default_value = "", hide_default_value = true)]
    pub(crate) advertise_addr: String,
    /// Address to listen on
    #[arg(long, value_name = "IP|INTERFACE[:PORT]", default_value = "0.0.0.0:2377")]
    pub(crate) listen_addr: String,
    /// Whether this node takes tasks [default: active]
    #[arg(long, value_name = "active|pause|drain", hide_possible_values = true)]
    pub(crate) availability: Option<Availability>,
    #[command(flatten)]
    pub(crate) settings: SwarmSettings,
}

/// `skep swarm join`.
#[derive(Debug, Args)]
pub(crate) struct SwarmJoinArgs {
    /// Token of the role to join in
    #[arg(long)]
    pub(crate) token: String,
    /// Address others reach this node under
    #[arg(long, value_name = "IP|INTERFACE[:PORT]", default_value = "", hide_default_value = true)]
    pub(crate) advertise_addr: String,
    /// Address to listen on
    #[arg(long, value_name = "IP|INTERFACE[:PORT]", default_value = "0.0.0.0:2377")]
    pub(crate) listen_addr: String,
    /// Whether this node takes tasks [default: active]
    #[arg(long, value_name = "active|pause|drain", hide_possible_values = true)]
    pub(crate) availability: Option<Availability>,
    /// A manager of the swarm
    #[arg(value_name = "HOST:PORT")]
    pub(crate) remote: String,
}

/// A role to join in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum SwarmRole {
    /// Runs tasks.
    Worker,
    /// Also keeps the state.
    Manager,
}

impl SwarmRole {
    /// Docker's word.
    pub(crate) const fn word(self) -> &'static str {
        match self {
            Self::Worker => "worker",
            Self::Manager => "manager",
        }
    }
}

/// `skep swarm join-token`.
#[derive(Debug, Args)]
pub(crate) struct SwarmJoinTokenArgs {
    /// Only the token
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Replace the token first: the old one is worth nothing any more
    #[arg(long)]
    pub(crate) rotate: bool,
    /// Whose token
    #[arg(value_name = "worker|manager", hide_possible_values = true)]
    pub(crate) role: SwarmRole,
}

/// `skep swarm leave`.
#[derive(Debug, Args)]
pub(crate) struct SwarmLeaveArgs {
    /// Leave although this node is a manager
    #[arg(short, long)]
    pub(crate) force: bool,
}

/// `skep swarm update`.
#[derive(Debug, Args)]
#[command(arg_required_else_help = true)]
pub(crate) struct SwarmUpdateArgs {
    #[command(flatten)]
    pub(crate) settings: SwarmSettings,
}
