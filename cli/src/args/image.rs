//! `skep image`.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::Filter;

/// `skep image …`.
#[derive(Debug, Subcommand)]
pub(crate) enum ImageCommand {
    /// Load images from an archive
    Load(ImageLoadArgs),
    /// List images
    #[command(visible_alias = "list")]
    Ls(ImageListArgs),
}

/// `skep image load`.
#[derive(Debug, Args)]
pub(crate) struct ImageLoadArgs {
    /// Archive to read instead of stdin: an OCI layout or a `docker save`
    #[arg(short, long, value_name = "FILE")]
    pub(crate) input: Option<PathBuf>,
    /// No progress
    #[arg(short, long)]
    pub(crate) quiet: bool,
}

/// `skep image ls`.
#[derive(Debug, Args)]
pub(crate) struct ImageListArgs {
    /// Show all images
    #[arg(short, long)]
    pub(crate) all: bool,
    /// Show digests
    #[arg(long)]
    pub(crate) digests: bool,
    /// Only what fits, repeatable
    #[arg(short, long = "filter", value_name = "NAME=VALUE")]
    pub(crate) filters: Vec<Filter>,
    /// Do not shorten anything
    #[arg(long)]
    pub(crate) no_trunc: bool,
    /// Only ids
    #[arg(short, long)]
    pub(crate) quiet: bool,
    /// Only images of this name
    #[arg(value_name = "REPOSITORY[:TAG]")]
    pub(crate) reference: Option<String>,
}
