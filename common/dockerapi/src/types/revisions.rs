//! Revisions of a service: `/services/{id}/revisions`, which Docker does not have.

use serde::{Deserialize, Serialize};

use super::zero;
use crate::time::Time;

/// The revisions that are kept.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Revisions {
    /// The one tasks are made from now.
    pub current: u64,
    /// The one a rollback that names none goes back to.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub previous: Option<u64>,
    /// Newest first.
    pub revisions: Vec<Revision>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct Revision {
    /// Its number.
    pub number: u64,
    /// When it was made; absent when that is not known.
    #[serde(skip_serializing_if = "zero")]
    pub created_at: Time,
    /// What its tasks run.
    pub image: String,
    /// How many of them run.
    pub running_tasks: u64,
}
