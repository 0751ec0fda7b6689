//! Revisions of services: how they are found.

use std::sync::Arc;

use skep_proto::v1::ServiceRevision;

use crate::view::View;

/// The id of a service's revision.
pub fn revision_id(service_id: &str, number: u64) -> String {
    format!("{service_id}.{number}")
}

impl View {
    /// A revision of a service, if it is kept.
    pub fn revision(&self, service_id: &str, number: u64) -> Option<&Arc<ServiceRevision>> {
        self.tables().revisions.get(&revision_id(service_id, number))
    }

    /// All revisions, by id.
    pub fn revisions(&self) -> impl Iterator<Item = &Arc<ServiceRevision>> {
        self.tables().revisions.iter()
    }

    /// The revisions of a service that are kept, by number.
    pub fn revisions_of_service(&self, service_id: &str) -> Vec<&Arc<ServiceRevision>> {
        let mut revisions: Vec<_> = self.tables().revisions.with_prefix(&format!("{service_id}.")).collect();
        revisions.sort_by_key(|revision| revision.number);
        revisions
    }
}
