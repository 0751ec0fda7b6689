//! Lookup of an object by what a user gives: its full id, else its exact name, else an unambiguous id prefix.

use std::sync::Arc;

use skep_proto::v1::{Node, ObjectKind, Service, Task};

use crate::{kinds::kind_name, object::StoreObject, table::Table, view::View};

/// Why a key names no object. Texts are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// Nothing fits.
    #[error("{} {key} not found", kind_name(*kind))]
    NotFound {
        /// Which kind was looked for.
        kind: ObjectKind,
        /// What the user said.
        key: String,
    },
    /// More than one fits.
    #[error("{} {key} is ambiguous ({matches} matches found)", kind_name(*kind))]
    Ambiguous {
        /// Which kind was looked for.
        kind: ObjectKind,
        /// What the user said.
        key: String,
        /// How many fit.
        matches: usize,
    },
}

impl View {
    /// The node that `key` names.
    ///
    /// # Errors
    /// When it names none, or several.
    pub fn find_node(&self, key: &str) -> Result<&Arc<Node>, LookupError> {
        find(&self.tables().nodes, key)
    }

    /// The service that `key` names.
    ///
    /// # Errors
    /// When it names none, or several.
    pub fn find_service(&self, key: &str) -> Result<&Arc<Service>, LookupError> {
        find(&self.tables().services, key)
    }

    /// The task that `key` names.
    ///
    /// # Errors
    /// When it names none, or several.
    pub fn find_task(&self, key: &str) -> Result<&Arc<Task>, LookupError> {
        find(&self.tables().tasks, key)
    }
}

fn find<'a, T: StoreObject>(table: &'a Table<T>, key: &str) -> Result<&'a Arc<T>, LookupError> {
    if key.is_empty() {
        return Err(LookupError::NotFound { kind: T::KIND, key: String::new() });
    }
    if let Some(object) = table.get(key) {
        return Ok(object);
    }
    let mut found: Vec<_> = table.named(key).collect();
    if found.is_empty() {
        found = table.with_prefix(key).collect();
    }
    match *found {
        [object] => Ok(object),
        [] => Err(LookupError::NotFound { kind: T::KIND, key: key.to_owned() }),
        [..] => Err(LookupError::Ambiguous { kind: T::KIND, key: key.to_owned(), matches: found.len() }),
    }
}
