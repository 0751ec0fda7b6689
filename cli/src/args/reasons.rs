//! `skep service explain`, `skep node explain`, `skep swarm history`, `skep task` and `skep what-if`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use crate::output::Format;

/// What is to be shown of what happened.
#[derive(Debug, Args)]
pub(crate) struct HistoryArgs {
    /// Nothing older than this: a time, or how long ago (`10m`)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// So many entries at most [default: 50]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u32).range(1..=1000))]
    pub(crate) limit: Option<u32>,
    /// `json`, or a template of `{{.Field}}`s
    #[arg(long, value_name = "FORMAT")]
    pub(crate) format: Option<Format>,
}

/// `skep node explain`.
#[derive(Debug, Args)]
pub(crate) struct NodeExplainArgs {
    #[command(flatten)]
    pub(crate) history: HistoryArgs,
    /// Id, name or `self`
    #[arg(value_name = "self|NODE")]
    pub(crate) node: String,
}

/// `skep service explain`.
#[derive(Debug, Args)]
pub(crate) struct ServiceExplainArgs {
    #[command(flatten)]
    pub(crate) history: HistoryArgs,
    /// Id or name
    pub(crate) service: String,
}

/// `skep task …`.
#[derive(Debug, Subcommand)]
pub(crate) enum TaskCommand {
    /// Say why a task waits, how each node stands for it, and what happened in its place
    Explain(TaskExplainArgs),
}

/// `skep task explain`.
#[derive(Debug, Args)]
pub(crate) struct TaskExplainArgs {
    #[command(flatten)]
    pub(crate) history: HistoryArgs,
    /// Id, or the beginning of one
    pub(crate) task: String,
}

/// `skep what-if …`.
#[derive(Debug, Subcommand)]
pub(crate) enum WhatIfCommand {
    /// What would move if a node were drained
    Drain(DrainArgs),
    /// What would move if nodes were lost together
    Lose(LoseArgs),
    /// Where the tasks of a service would go
    Deploy(DeployArgs),
}

/// `skep what-if drain`.
#[derive(Debug, Args)]
pub(crate) struct DrainArgs {
    /// Id, name or `self`
    pub(crate) node: String,
}

/// `skep what-if lose`.
#[derive(Debug, Args)]
pub(crate) struct LoseArgs {
    /// Ids, names or `self`; or a label, that is, every node that has it
    #[arg(value_name = "NODE|LABEL=VALUE", required = true)]
    pub(crate) nodes: Vec<String>,
}

/// `skep what-if deploy`.
#[derive(Debug, Args)]
pub(crate) struct DeployArgs {
    /// File with the JSON of a service spec, or what `service inspect` prints
    #[arg(value_name = "FILE", required_unless_present = "spec", conflicts_with = "spec")]
    pub(crate) file: Option<PathBuf>,
    /// The same JSON
    #[arg(long, value_name = "JSON")]
    pub(crate) spec: Option<String>,
}
