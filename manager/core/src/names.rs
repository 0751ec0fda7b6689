//! What people call things: for sentences, never for decisions.

use skep_proto::v1::{Node, Service, Task};
use skep_store::{StoreObject as _, View};

/// Characters of an id shown, as in Docker's tables.
const SHORT_ID: usize = 12;

/// A node's name, or its hostname, or its id.
pub fn node(node: &Node) -> &str {
    node.names().next().unwrap_or(&node.id)
}

/// The same of a node that may be gone.
pub(crate) fn node_by_id<'a>(view: &'a View, id: &'a str) -> &'a str {
    view.node(id).map_or(id, |known| node(known))
}

/// A service's name.
pub(crate) fn service(service: &Service) -> &str {
    service.names().next().unwrap_or(&service.id)
}

/// A task's name: its service's and its slot's, or for a global service its node's.
pub(crate) fn task(view: &View, task: &Task) -> String {
    let service = task.service.as_ref().map_or(task.service_id.as_str(), |service| service.name.as_str());
    match task.slot {
        0 => format!("{service}.{}", node_by_id(view, &task.node_id)),
        slot => format!("{service}.{slot}"),
    }
}

/// The beginning of an id.
pub(crate) fn short(id: &str) -> &str {
    id.get(..SHORT_ID).unwrap_or(id)
}

/// `1 task`, `2 tasks`.
pub(crate) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}
