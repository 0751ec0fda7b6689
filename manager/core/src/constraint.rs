//! Placement constraints: `key == value` and `key != value` over what a node is.

#![expect(clippy::unimplemented, reason = "the API first")]

use skep_proto::v1::Node;

/// Why a constraint is refused. Docker's words.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConstraintError {
    /// Neither `==` nor `!=`.
    #[error("constraint expected one operator from ==, !=")]
    Operator,
    /// Not a key.
    #[error("key '{0}' is invalid")]
    Key(String),
    /// Not a value.
    #[error("value '{0}' is invalid")]
    Value(String),
}

/// One parsed constraint.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Constraint {}

impl Constraint {
    /// Parses `key==value` or `key!=value`.
    pub fn parse(_text: &str) -> Result<Self, ConstraintError> {
        unimplemented!()
    }

    /// Whether the node satisfies it.
    pub fn matches(&self, _node: &Node) -> bool {
        unimplemented!()
    }
}
