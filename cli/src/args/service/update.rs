//! `skep service update`: the single settings of [`SpecArgs`], and changes to lists.

use clap::Args;

use super::{
    super::{GenericCount, KeyValue, Spread, UlimitValue, Words},
    WaitArgs,
    spec::SpecArgs,
};

/// `skep service update`.
#[derive(Debug, Args)]
pub(crate) struct ServiceUpdateArgs {
    /// Image to run
    #[arg(long)]
    pub(crate) image: Option<String>,
    /// Do not record the image's digest: each node runs what it has under the name
    #[arg(long)]
    pub(crate) no_resolve_image: bool,
    /// Arguments, as one shell word
    #[arg(long, value_name = "COMMAND")]
    pub(crate) args: Option<Words>,
    /// Replace all tasks although nothing asks for it
    #[arg(long)]
    pub(crate) force: bool,
    /// Go back to what the service was before its last update
    #[arg(long)]
    pub(crate) rollback: bool,
    #[command(flatten)]
    pub(crate) changes: SpecChanges,
    #[command(flatten)]
    pub(crate) spec: SpecArgs,
    #[command(flatten)]
    pub(crate) wait: WaitArgs,
    /// Id or name
    pub(crate) service: String,
}

/// Changes to lists. What is added replaces what has the same key; removals come first.
#[derive(Debug, Default, PartialEq, Eq, Args)]
pub(crate) struct SpecChanges {
    /// Add or change a label, repeatable
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) label_add: Vec<KeyValue>,
    /// Remove a label, repeatable
    #[arg(long, value_name = "KEY")]
    pub(crate) label_rm: Vec<String>,
    /// Add or change a label of the containers, repeatable
    #[arg(long, value_name = "KEY[=VALUE]")]
    pub(crate) container_label_add: Vec<KeyValue>,
    /// Remove a label of the containers, repeatable
    #[arg(long, value_name = "KEY")]
    pub(crate) container_label_rm: Vec<String>,
    /// Add or change an environment variable, repeatable
    #[arg(long, value_name = "NAME[=VALUE]")]
    pub(crate) env_add: Vec<String>,
    /// Remove an environment variable, repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) env_rm: Vec<String>,
    /// Add a placement constraint, repeatable
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) constraint_add: Vec<String>,
    /// Remove a placement constraint, repeatable
    #[arg(long, value_name = "EXPRESSION")]
    pub(crate) constraint_rm: Vec<String>,
    /// Add a placement preference, repeatable
    #[arg(long, value_name = "spread=ATTRIBUTE")]
    pub(crate) placement_pref_add: Vec<Spread>,
    /// Remove a placement preference, repeatable
    #[arg(long, value_name = "spread=ATTRIBUTE")]
    pub(crate) placement_pref_rm: Vec<Spread>,
    /// Add or change a reservation of a generic resource, repeatable
    #[arg(long, value_name = "KIND=N")]
    pub(crate) generic_resource_add: Vec<GenericCount>,
    /// Remove a reservation of a generic resource, repeatable
    #[arg(long, value_name = "KIND")]
    pub(crate) generic_resource_rm: Vec<String>,
    /// Add a network
    #[arg(long, value_name = "NAME")]
    pub(crate) network_add: Vec<String>,
    /// Remove a network
    #[arg(long, value_name = "NAME")]
    pub(crate) network_rm: Vec<String>,
    /// Add a supplementary group, repeatable
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_add: Vec<String>,
    /// Remove a supplementary group, repeatable
    #[arg(long, value_name = "GROUP")]
    pub(crate) group_rm: Vec<String>,
    /// Add a line of /etc/hosts, repeatable
    #[arg(long, value_name = "NAME:IP")]
    pub(crate) host_add: Vec<String>,
    /// Remove a line of /etc/hosts, repeatable
    #[arg(long, value_name = "NAME:IP")]
    pub(crate) host_rm: Vec<String>,
    /// Add a capability, repeatable
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_add: Vec<String>,
    /// Drop a capability, repeatable
    #[arg(long, value_name = "CAPABILITY")]
    pub(crate) cap_drop: Vec<String>,
    /// Add or change a kernel setting, repeatable
    #[arg(long, value_name = "KEY=VALUE")]
    pub(crate) sysctl_add: Vec<KeyValue>,
    /// Remove a kernel setting, repeatable
    #[arg(long, value_name = "KEY")]
    pub(crate) sysctl_rm: Vec<String>,
    /// Add or change a limit of processes, repeatable
    #[arg(long, value_name = "NAME=SOFT[:HARD]")]
    pub(crate) ulimit_add: Vec<UlimitValue>,
    /// Remove a limit of processes, repeatable
    #[arg(long, value_name = "NAME")]
    pub(crate) ulimit_rm: Vec<String>,
}
