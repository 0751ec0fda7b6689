//! Generic resources: what a node has beside processors and memory, what a task reserves and what it was given of it.

use serde::{Deserialize, Serialize};

use super::zero;

/// So many of a kind, or one of a kind with a name: one of the two.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct GenericResource {
    /// One with a name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub named_resource_spec: Option<NamedGenericResource>,
    /// So many.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub discrete_resource_spec: Option<DiscreteGenericResource>,
}

/// One of a kind, with a name.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct NamedGenericResource {
    /// `gpu`.
    #[serde(skip_serializing_if = "zero")]
    pub kind: String,
    /// Its name.
    #[serde(skip_serializing_if = "zero")]
    pub value: String,
}

/// So many of a kind.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "PascalCase", default)]
pub struct DiscreteGenericResource {
    /// `ssd`.
    #[serde(skip_serializing_if = "zero")]
    pub kind: String,
    /// How many.
    #[serde(skip_serializing_if = "zero")]
    pub value: i64,
}
