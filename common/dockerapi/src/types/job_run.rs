//! Runs of a scheduled job: `/services/{id}/runs`, which Docker does not have.

use serde::{Deserialize, Serialize};

use super::zero;
use crate::time::Time;

/// One time through a job.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct JobRun {
    /// The `JobIteration` its tasks have.
    pub iteration: u64,
    /// The moment of the schedule; absent when somebody asked for the run.
    #[serde(skip_serializing_if = "zero")]
    pub scheduled_at: Time,
    /// When it began.
    pub started_at: Time,
    /// When its last task ended; absent while it goes on.
    #[serde(skip_serializing_if = "zero")]
    pub finished_at: Time,
    /// `running`, `complete`, `failed` or `replaced`.
    pub outcome: String,
}
