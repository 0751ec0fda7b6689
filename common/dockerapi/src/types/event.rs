//! Events: `/events`, one JSON object after the other.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::zero;

/// Something that happened.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Event {
    /// `service`, `node`.
    #[serde(rename = "Type")]
    pub kind: String,
    /// `create`, `update`, `remove`.
    #[serde(rename = "Action")]
    pub action: String,
    /// To what.
    #[serde(rename = "Actor")]
    pub actor: Actor,
    /// `swarm`.
    #[serde(skip_serializing_if = "zero")]
    pub scope: String,
    /// Unix seconds.
    #[serde(skip_serializing_if = "zero")]
    pub time: i64,
    /// Unix nanoseconds.
    #[serde(rename = "timeNano", skip_serializing_if = "zero")]
    pub time_nano: i64,
}

/// What something happened to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default)]
pub struct Actor {
    /// Its id.
    #[serde(rename = "ID")]
    pub id: String,
    /// Its name, and what changed.
    #[serde(rename = "Attributes")]
    pub attributes: BTreeMap<String, String>,
}
