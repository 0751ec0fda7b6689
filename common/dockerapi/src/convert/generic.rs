//! Generic resources.

use skep_proto::v1::{self as proto, generic_resource::Value};

use super::Invalid;
use crate::types::{DiscreteGenericResource, GenericResource, NamedGenericResource};

/// Generic resources as a client sees them.
pub fn generic_to_docker(resources: &[proto::GenericResource]) -> Vec<GenericResource> {
    let show = |resource: &proto::GenericResource| {
        let kind = resource.kind.clone();
        match resource.value.clone()? {
            Value::Named(value) => Some(GenericResource {
                named_resource_spec: Some(NamedGenericResource { kind, value }),
                discrete_resource_spec: None,
            }),
            Value::Discrete(value) => Some(GenericResource {
                named_resource_spec: None,
                discrete_resource_spec: Some(DiscreteGenericResource { kind, value }),
            }),
        }
    };
    resources.iter().filter_map(show).collect()
}

/// Generic resources as a client sends them.
///
/// # Errors
/// [`Invalid`] for one that is neither a number nor a name, or both.
pub(super) fn generic_from_docker(resources: Vec<GenericResource>) -> Result<Vec<proto::GenericResource>, Invalid> {
    let read = |resource: GenericResource| match (resource.named_resource_spec, resource.discrete_resource_spec) {
        (Some(named), None) => Ok(proto::GenericResource { kind: named.kind, value: Some(Value::Named(named.value)) }),
        (None, Some(discrete)) => {
            Ok(proto::GenericResource { kind: discrete.kind, value: Some(Value::Discrete(discrete.value)) })
        }
        _ => Err(Invalid("a generic resource is either a number of a kind or one of a kind with a name".to_owned())),
    };
    resources.into_iter().map(read).collect()
}
