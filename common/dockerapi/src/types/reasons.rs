//! What skep says beyond Docker: `/skep/…`. Why something waits, what happened to it, and what would happen if.

use serde::{Deserialize, Serialize};

use super::{ServiceSpec, zero};
use crate::time::Time;

/// Why a service or a task waits.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Explanation {
    /// One paragraph.
    pub text: String,
    /// How each node stands for one more task: the best first, those that cannot take it last.
    pub nodes: Vec<NodeVerdict>,
    /// What happened, newest first.
    pub history: Vec<HistoryEntry>,
}

/// How a node stands for one more task of a service.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NodeVerdict {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name.
    pub hostname: String,
    /// Whether it can take the task.
    pub fits: bool,
    /// Why it cannot.
    #[serde(skip_serializing_if = "zero")]
    pub reason: String,
    /// Failures of the service there lately.
    pub recent_failures: u64,
    /// Tasks of the service there.
    pub tasks_of_service: u64,
    /// Tasks there in all.
    pub tasks: u64,
    /// Its value of each placement preference.
    pub preferences: Vec<String>,
}

/// One thing that happened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct HistoryEntry {
    /// When.
    pub time: Time,
    /// Version of the change.
    pub version: u64,
    /// Who did it; empty when that was not seen.
    pub by: String,
    /// The service concerned.
    #[serde(rename = "ServiceID", skip_serializing_if = "zero")]
    pub service_id: String,
    /// The task concerned.
    #[serde(rename = "TaskID", skip_serializing_if = "zero")]
    pub task_id: String,
    /// The node concerned.
    #[serde(rename = "NodeID", skip_serializing_if = "zero")]
    pub node_id: String,
    /// The task's slot.
    #[serde(skip_serializing_if = "zero")]
    pub slot: u64,
    /// What.
    pub text: String,
}

/// What is to be imagined: exactly one of these.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct WhatIf {
    /// This node drained.
    #[serde(skip_serializing_if = "zero")]
    pub drain: String,
    /// These nodes lost.
    #[serde(skip_serializing_if = "zero")]
    pub lose: Vec<String>,
    /// Every node with this label, `key=value`, lost.
    #[serde(skip_serializing_if = "zero")]
    pub lose_label: String,
    /// This service created, or the one of its name updated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub deploy: Option<Box<ServiceSpec>>,
}

/// What would happen.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Forecast {
    /// What would become of each task concerned.
    pub effects: Vec<Effect>,
    /// One sentence.
    pub summary: String,
}

/// A task that would run better elsewhere: `/services/{id}/rebalance` lists them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Move {
    /// Its slot.
    pub slot: u64,
    /// Its id.
    #[serde(rename = "TaskID")]
    pub task_id: String,
    /// Name of the node it is on.
    pub from_node: String,
    /// Name of the node it would go to.
    pub to_node: String,
}

/// What would become of one task.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Effect {
    /// Name of its service.
    pub service: String,
    /// Its slot; 0 for a global service's task.
    #[serde(skip_serializing_if = "zero")]
    pub slot: u64,
    /// Name of the node it is on; empty when it is on none.
    pub from: String,
    /// Name of the node it would be on; empty when on none.
    pub to: String,
    /// Why on none.
    #[serde(skip_serializing_if = "zero")]
    pub reason: String,
}
