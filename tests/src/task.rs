//! A task as `docker inspect` shows it.

use anyhow::{Context as _, Result};
use serde_json::Value;

/// The fields the tests look at.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Task {
    /// Task id.
    pub id: String,
    /// Slot, 0 for a global service's task.
    pub slot: u64,
    /// Node id; empty while unassigned.
    pub node: String,
    /// `Status.State`.
    pub state: String,
    /// `DesiredState`.
    pub desired: String,
    /// `Status.Err`.
    pub error: String,
    /// Pid of the container's first process, 0 when there is none.
    pub pid: i64,
    /// Exit code, 0 when there is none.
    pub exit_code: i64,
}

impl Task {
    /// Reads one element of `/tasks`.
    pub fn parse(json: &Value) -> Result<Self> {
        let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
        let container = &json["Status"]["ContainerStatus"];
        Ok(Self {
            id: json["ID"].as_str().context("a task without an ID")?.to_owned(),
            slot: json["Slot"].as_u64().unwrap_or_default(),
            node: text(&json["NodeID"]),
            state: text(&json["Status"]["State"]),
            desired: text(&json["DesiredState"]),
            error: text(&json["Status"]["Err"]),
            pid: container["PID"].as_i64().unwrap_or_default(),
            exit_code: container["ExitCode"].as_i64().unwrap_or_default(),
        })
    }

    /// Running and meant to.
    pub fn is_running(&self) -> bool {
        self.state == "running" && self.desired == "running"
    }
}
