//! What a change of a service's spec means for its tasks.

use skep_proto::v1::ServiceSpec;

/// Whether tasks made from `old` are not what `new` asks for.
pub fn task_changed(old: &ServiceSpec, new: &ServiceSpec) -> bool {
    old.task != new.task
}
