//! What can be typed, as types. No behaviour: [`crate::commands`] acts.

mod daemon;
mod image;
mod node;
mod reasons;
mod service;
mod swarm;
mod system;
mod values;

use clap::{ArgAction, Parser, Subcommand};

pub(crate) use self::{
    daemon::DaemonArgs,
    image::{ImageCommand, ImageListArgs, ImageLoadArgs},
    node::{NodeCommand, NodeInspectArgs, NodeListArgs, NodeRemoveArgs, NodeTasksArgs, NodeUpdateArgs},
    reasons::{DeployArgs, HistoryArgs, NodeExplainArgs, ServiceExplainArgs, TaskCommand, WhatIfCommand},
    service::*,
    swarm::{
        Availability, SwarmCommand, SwarmInitArgs, SwarmJoinArgs, SwarmJoinTokenArgs, SwarmLeaveArgs, SwarmRole,
        SwarmSettings, SwarmUpdateArgs,
    },
    system::{EventsArgs, PsArgs},
    values::{Bytes, Cpus, Filter, GenericCount, GoDuration, KeyValue, Scale, Spread, UlimitValue, Words},
};

/// Several machines become one; you say what should run, and it keeps running.
#[derive(Debug, Parser)]
#[command(name = "skep", version, disable_version_flag = true)]
pub(crate) struct Skep {
    /// Daemon to speak to [default: $SKEP_HOST, else unix:///run/skep/skep.sock]
    #[arg(short = 'H', long, value_name = "unix://PATH")]
    pub(crate) host: Option<String>,
    /// Print version
    #[arg(short, long, action = ArgAction::Version)]
    version: (),
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// The commands.
#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Manage the swarm
    #[command(subcommand)]
    Swarm(SwarmCommand),
    /// Manage the swarm's nodes
    #[command(subcommand)]
    Node(NodeCommand),
    /// Manage services
    #[command(subcommand)]
    Service(ServiceCommand),
    /// Ask about tasks
    #[command(subcommand)]
    Task(TaskCommand),
    /// Say what would happen if something changed, and change nothing
    #[command(subcommand)]
    WhatIf(WhatIfCommand),
    /// Manage this node's images
    #[command(subcommand)]
    Image(ImageCommand),
    /// List this node's containers
    Ps(PsArgs),
    /// Show what happens, as it happens
    Events(EventsArgs),
    /// Show this node and what it knows of its swarm
    Info,
    /// Show versions of client and daemon
    Version,
    /// Run a node on this machine
    Daemon(DaemonArgs),
}

#[cfg(test)]
mod tests;
