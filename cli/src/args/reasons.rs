//! `skep service explain`, `skep task` and `skep what-if`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

/// `skep service explain`.
#[derive(Debug, Args)]
pub(crate) struct ServiceExplainArgs {
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
