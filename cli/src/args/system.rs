//! `skep ps` and `skep events`.

use clap::Args;

use super::Filter;

/// `skep ps`.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Show all containers, not only running ones
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Only what fits, repeatable
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<Filter>,
    /// Do not shorten anything
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `skep events`.
#[derive(Debug, Args)]
pub(crate) struct EventsArgs {
    /// Only what fits, repeatable
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<Filter>,
    /// Begin here: a time, or how long ago (`10m`)
    #[arg(long, value_name = "TIME")]
    pub(crate) since: Option<String>,
    /// End here: a time, or how long ago
    #[arg(long, value_name = "TIME")]
    pub(crate) until: Option<String>,
}
