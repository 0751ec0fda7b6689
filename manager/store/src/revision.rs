//! Revisions of services: lookup, and how tasks share their spec.
//!
//! Every task in the state has its spec and its service's name and labels. In memory they are shared with the revision; in
//! the log and in snapshots they are left out of the task and marked as being those of the revision. Invariant: what is left
//! out is restored unchanged; a task that differs from its revision, or has none, carries its own.

use std::sync::Arc;

use skep_common::revision::{self, revision_id};
use skep_proto::{
    Shared,
    v1::{Annotations, EndpointSpec, ObjectKind, Service, ServiceRevision, ServiceSpec, Task, TaskSpec},
};

use crate::{apply::ApplyError, kinds::AnyObject, view::View};

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

    /// Leaves out of a task that is written what is equal in its revision.
    pub(crate) fn leave_out(&self, task: &mut Shared<Task>) {
        let revision = self.revision(&task.service_id, task.revision);
        let Some(spec) = revision.and_then(|revision| revision.spec.as_ref()) else { return };
        if revision::is_of_revision(task, spec) != (false, false) {
            revision::leave_out(task, spec);
        }
    }

    /// Restores what was left out: of a task from its revision, of a revision from its service.
    ///
    /// # Errors
    /// When those do not have it.
    pub(crate) fn fill_in(&self, object: &mut AnyObject) -> Result<(), ApplyError> {
        match object {
            AnyObject::Task(task) => self.fill_in_task(task),
            AnyObject::Revision(revision) if revision.spec.is_none() => {
                let missing = || ApplyError::NotFound { kind: ObjectKind::Service, id: revision.service_id.clone() };
                let service = self.service(&revision.service_id).ok_or_else(missing)?;
                let spec = match revision.number {
                    number if number == service.revision => service.spec.clone(),
                    number if number == service.previous_revision => service.previous_spec.clone(),
                    _ => None,
                };
                Arc::make_mut(revision).spec = Some(spec.ok_or_else(missing)?);
                Ok(())
            }
            AnyObject::Revision(_) | AnyObject::Service(_) | AnyObject::Node(_) | AnyObject::Cluster(_) => Ok(()),
        }
    }

    fn fill_in_task(&self, task: &mut Arc<Task>) -> Result<(), ApplyError> {
        if !revision::lacks_something(task) {
            return Ok(());
        }
        let id = revision_id(&task.service_id, task.revision);
        let missing = || ApplyError::NotFound { kind: ObjectKind::Revision, id: id.clone() };
        let known = self.revision(&task.service_id, task.revision).and_then(|revision| revision.spec.as_ref());
        let known = known.ok_or_else(missing)?;
        revision::fill_in(Arc::make_mut(task), known).map_err(|_| missing())
    }

    /// Deduplicates specs: where an object's spec equals that of its service, revision or earlier version, it shares that
    /// message, so that it is in memory once and not per task and version.
    pub(crate) fn share(&self, object: &mut AnyObject, before: Option<&AnyObject>) {
        match (object, before) {
            (AnyObject::Task(task), Some(AnyObject::Task(before))) => {
                share_task(task, before.spec.as_ref(), before.service.as_ref(), endpoint(before));
            }
            (AnyObject::Task(task), _) => {
                let revision = self.revision(&task.service_id, task.revision);
                let of_service = || self.service(&task.service_id).and_then(|service| service.spec.as_ref());
                if let Some(spec) = revision.and_then(|revision| revision.spec.as_ref()).or_else(of_service) {
                    share_task(task, spec.task.as_ref(), spec.annotations.as_ref(), spec.endpoint.as_ref());
                }
            }
            (AnyObject::Revision(revision), _) => {
                let known = self.service(&revision.service_id).map(|service| specs(service));
                share_specs([&mut Arc::make_mut(revision).spec], known.into_iter().flatten());
            }
            (AnyObject::Service(service), before) => {
                let before = match before {
                    Some(AnyObject::Service(before)) => Some(specs(before)),
                    _ => None,
                };
                let revision = self.revision(&service.id, service.revision).map(|revision| revision.spec.as_ref());
                let known = revision.into_iter().chain(before.into_iter().flatten());
                let service = Arc::make_mut(service);
                share_specs([&mut service.spec, &mut service.previous_spec], known);
            }
            (AnyObject::Node(_) | AnyObject::Cluster(_), _) => {}
        }
    }
}

fn specs(service: &Service) -> [Option<&ServiceSpec>; 2] {
    [service.spec.as_ref(), service.previous_spec.as_ref()]
}

fn endpoint(task: &Task) -> Option<&Shared<EndpointSpec>> {
    task.endpoint.as_ref().and_then(|endpoint| endpoint.spec.as_ref())
}

fn share_task(
    task: &mut Arc<Task>,
    spec: Option<&Shared<TaskSpec>>,
    service: Option<&Shared<Annotations>>,
    of_service: Option<&Shared<EndpointSpec>>,
) {
    if let Some(spec) = other(task.spec.as_ref(), spec) {
        Arc::make_mut(task).spec = Some(spec.clone());
    }
    if let Some(service) = other(task.service.as_ref(), service) {
        Arc::make_mut(task).service = Some(service.clone());
    }
    if let Some(shared) = other(endpoint(task), of_service) {
        Arc::make_mut(task).endpoint.get_or_insert_default().spec = Some(shared.clone());
    }
}

fn share_specs<'a, const N: usize>(
    mine: [&mut Option<ServiceSpec>; N],
    known: impl Iterator<Item = Option<&'a ServiceSpec>> + Clone,
) {
    for mine in mine.into_iter().flatten() {
        for known in known.clone().flatten() {
            if let Some(task) = other(mine.task.as_ref(), known.task.as_ref()) {
                mine.task = Some(task.clone());
            }
            if let Some(endpoint) = other(mine.endpoint.as_ref(), known.endpoint.as_ref()) {
                mine.endpoint = Some(endpoint.clone());
            }
            if let Some(annotations) = other(mine.annotations.as_ref(), known.annotations.as_ref()) {
                mine.annotations = Some(annotations.clone());
            }
        }
    }
}

/// The other message, if it is equal and not shared yet.
fn other<'a, T: PartialEq>(mine: Option<&Shared<T>>, other: Option<&'a Shared<T>>) -> Option<&'a Shared<T>> {
    other.filter(|other| mine.is_some_and(|mine| !mine.is_same(other) && mine == *other))
}
