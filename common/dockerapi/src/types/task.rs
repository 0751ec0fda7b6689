//! Tasks: `/tasks`.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::{Empty, GenericResource, TaskSpec, Version, zero};
use crate::time::Time;

/// A task.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Task {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Of the object.
    pub version: Version,
    /// When it was made.
    pub created_at: Time,
    /// When it last changed.
    pub updated_at: Time,
    /// Always empty in Docker as well.
    pub labels: BTreeMap<String, String>,
    /// What it is to be.
    pub spec: TaskSpec,
    /// Its service.
    #[serde(rename = "ServiceID", skip_serializing_if = "zero")]
    pub service_id: String,
    /// From 1; 0 for a global service's task.
    #[serde(skip_serializing_if = "zero")]
    pub slot: u64,
    /// Where it runs.
    #[serde(rename = "NodeID", skip_serializing_if = "zero")]
    pub node_id: String,
    /// How it is.
    pub status: TaskStatus,
    /// How it should be.
    #[serde(skip_serializing_if = "zero")]
    pub desired_state: String,
    /// What it was given of what it reserves.
    #[serde(skip_serializing_if = "zero")]
    pub generic_resources: Vec<GenericResource>,
    /// Of a job's task: the run it belongs to; the first is 0.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub job_iteration: Option<Version>,
}

/// How a task is.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct TaskStatus {
    /// When the state was entered.
    pub timestamp: Time,
    /// The state.
    #[serde(skip_serializing_if = "zero")]
    pub state: String,
    /// What goes on.
    #[serde(skip_serializing_if = "zero")]
    pub message: String,
    /// What went wrong, or what it waits for.
    #[serde(skip_serializing_if = "zero")]
    pub err: String,
    /// Its container.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_status: Option<ContainerStatus>,
    /// Empty while nothing is published.
    pub port_status: Empty,
}

/// The container of a task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct ContainerStatus {
    /// Its id.
    #[serde(rename = "ContainerID")]
    pub container_id: String,
    /// Its first process; 0 when it has none.
    #[serde(rename = "PID")]
    pub pid: i32,
    /// How it ended.
    #[serde(rename = "ExitCode")]
    pub exit_code: i32,
}
