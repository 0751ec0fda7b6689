//! What is meant by what was left out.

#![expect(clippy::unimplemented, reason = "the API first")]

use std::time::Duration;

use skep_proto::v1::{ClusterSpec, ServiceSpec};
use skep_store::View;

/// The spec of a new cluster that asks for nothing particular.
pub fn cluster_spec() -> ClusterSpec {
    unimplemented!()
}

/// Fills what is unset in a service's spec with its default, for display (`insertDefaults=true`).
pub fn fill_service(_spec: &mut ServiceSpec) {
    unimplemented!()
}

/// The heartbeat period in force.
pub fn heartbeat_period(_view: &View) -> Duration {
    unimplemented!()
}

/// Finished tasks kept per slot.
pub fn task_history_limit(_view: &View) -> usize {
    unimplemented!()
}
