//! Between Docker's JSON types and the proto vocabulary. Pure; the only place where Docker's words become enums.
//!
//! To proto: what has a wrong form is [`Invalid`], in Docker's text where Docker has one. Whether a well-formed spec
//! is acceptable (limits, names, constraints) is for the manager to say.
//! From proto: total.

mod cluster;
mod event;
mod generic;
mod job_run;
mod log;
mod node;
mod reasons;
mod revisions;
mod service;
mod spec;
mod task;
mod tls;
pub mod words;

pub use self::{
    cluster::{
        DATA_PATH_PORT, SUBNET_SIZE, cluster_info, cluster_spec_from_docker, cluster_spec_to_docker,
        initial_cluster_spec,
    },
    event::{EVENT_FILTERS, event_from_watch, event_matches, kinds_with_events},
    generic::generic_to_docker,
    job_run::job_runs_to_docker,
    log::{LogFormat, MULTIPLEXED_STREAM, RAW_STREAM},
    node::{node_spec_from_docker, node_to_docker},
    reasons::{omit_defaults, what_if_from_json},
    service::{insert_defaults, service_spec_from_docker, service_spec_to_docker, service_to_docker},
    spec::{task_spec_from_docker, task_spec_to_docker},
    task::task_to_docker,
    tls::tls_info,
};

/// Input of the wrong form. `Display` is one sentence for its sender.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(pub String);

impl Invalid {
    fn unsupported(what: &str) -> Self {
        Self(format!("not supported yet: {what}"))
    }
}
