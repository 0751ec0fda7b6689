//! `skep node`.

use clap::{Args, Subcommand};

use super::{
    Filter, GoDuration, KeyValue, NodeExplainArgs,
    swarm::{Availability, SwarmRole},
};
use crate::output::Format;

/// `skep node …`.
#[derive(Debug, Subcommand)]
pub(crate) enum NodeCommand {
    /// List nodes
    #[command(visible_alias = "list")]
    Ls(NodeListArgs),
    /// Show everything about nodes
    Inspect(NodeInspectArgs),
    /// Say why a node is as it is, what it holds back, and what happened to it
    Explain(NodeExplainArgs),
    /// Change a node
    Update(NodeUpdateArgs),
    /// Make managers of nodes
    Promote(NodeRefs),
    /// Make workers of nodes
    Demote(NodeRefs),
    /// Remove nodes from the swarm
    #[command(visible_alias = "remove")]
    Rm(NodeRemoveArgs),
    /// List tasks of nodes
    Ps(NodeTasksArgs),
}

/// `skep node ls`.
#[derive(Debug, Args)]
pub(crate) struct NodeListArgs {
    /// Only what fits, repeatable
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<Filter>,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `skep node inspect`.
#[derive(Debug, Args)]
pub(crate) struct NodeInspectArgs {
    /// For people to read
    #[arg(long)]
    pub(crate) pretty: bool,
    /// Ids, names or `self`
    #[arg(value_name = "self|NODE", required = true)]
    pub(crate) nodes: Vec<String>,
}

/// Nodes to act on.
#[derive(Debug, Args)]
pub(crate) struct NodeRefs {
    /// Ids, names or `self`
    #[arg(value_name = "NODE", required = true)]
    pub(crate) nodes: Vec<String>,
}

/// `skep node update`.
#[derive(Debug, Args)]
pub(crate) struct NodeUpdateArgs {
    /// Whether the node takes tasks
    #[arg(long, value_name = "active|pause|drain", hide_possible_values = true)]
    pub(crate) availability: Option<Availability>,
    /// Add or change a label, repeatable
    #[arg(long = "label-add", value_name = "KEY[=VALUE]")]
    pub(crate) label_add: Vec<KeyValue>,
    /// Remove a label, repeatable
    #[arg(long = "label-rm", value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
    /// Make it a worker or a manager
    #[arg(long, value_name = "worker|manager", hide_possible_values = true)]
    pub(crate) role: Option<SwarmRole>,
    /// With `--availability drain`: tasks leave no faster than their services' update settings allow, and the command waits
    /// until all have left
    #[arg(long)]
    pub(crate) wait: bool,
    /// Wait no longer than this [default: for ever]
    #[arg(long, value_name = "DURATION", requires = "wait")]
    pub(crate) timeout: Option<GoDuration>,
    /// Id, name or `self`
    pub(crate) node: String,
}

/// `skep node rm`.
#[derive(Debug, Args)]
pub(crate) struct NodeRemoveArgs {
    /// Remove a node although it is not down
    #[arg(short, long)]
    pub(crate) force: bool,
    /// Ids or names
    #[arg(value_name = "NODE", required = true)]
    pub(crate) nodes: Vec<String>,
}

/// `skep node ps`.
#[derive(Debug, Args)]
pub(crate) struct NodeTasksArgs {
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
    /// Ids, names or `self` [default: self]
    #[arg(value_name = "NODE")]
    pub(crate) nodes: Vec<String>,
}
