//! Whether what a user asks for can be asked for. Docker's texts.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_proto::v1::{ClusterSpec, NodeSpec, ServiceSpec};

/// Why a spec is refused: one sentence for the user.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct InvalidSpec(pub(crate) String);

/// A new service's spec.
pub fn service(_spec: &ServiceSpec) -> Result<(), InvalidSpec> {
    unimplemented!()
}

/// The spec that replaces `old`.
pub fn service_update(_old: &ServiceSpec, _new: &ServiceSpec) -> Result<(), InvalidSpec> {
    unimplemented!()
}

/// A node's spec.
pub fn node(_spec: &NodeSpec) -> Result<(), InvalidSpec> {
    unimplemented!()
}

/// The cluster's spec.
pub fn cluster(_spec: &ClusterSpec) -> Result<(), InvalidSpec> {
    unimplemented!()
}
