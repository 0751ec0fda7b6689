//! What a task shares with its service's revision: left out where the task is written or sent next to the revision, and
//! restored by the reader.
//!
//! Invariant: what is left out is restored unchanged; what differs from the revision stays in the task.

use skep_proto::v1::{ServiceSpec, Task};

/// A task was written next to another revision than the one it is read with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the revision lacks what was left out of the task")]
pub struct NotOfRevision;

/// The id of a service's revision.
pub fn revision_id(service_id: &str, number: u64) -> String {
    format!("{service_id}.{number}")
}

/// Whether a task's spec, and its service's name and labels, are those of its revision.
pub fn is_of_revision(task: &Task, revision: &ServiceSpec) -> (bool, bool) {
    (task.spec.is_some() && task.spec == revision.task, task.service.is_some() && task.service == revision.annotations)
}

/// Leaves out of a task what is equal in its revision.
pub fn leave_out(task: &mut Task, revision: &ServiceSpec) {
    let (spec, service) = is_of_revision(task, revision);
    task.spec.take_if(|_| spec);
    task.service.take_if(|_| service);
    (task.spec_of_revision, task.service_of_revision) = (spec, service);
}

/// Whether something was left out of a task.
pub fn lacks_something(task: &Task) -> bool {
    task.spec_of_revision || task.service_of_revision
}

/// Restores what was left out of a task; task and revision then share one message in memory.
///
/// # Errors
/// When the revision does not have it. The task is unchanged.
pub fn fill_in(task: &mut Task, revision: &ServiceSpec) -> Result<(), NotOfRevision> {
    let spec = revision.task.as_ref().filter(|_| task.spec_of_revision).cloned();
    let service = revision.annotations.as_ref().filter(|_| task.service_of_revision).cloned();
    if (spec.is_some(), service.is_some()) != (task.spec_of_revision, task.service_of_revision) {
        return Err(NotOfRevision);
    }
    (task.spec_of_revision, task.service_of_revision) = (false, false);
    task.spec = spec.or(task.spec.take());
    task.service = service.or(task.service.take());
    Ok(())
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, TaskSpec};

    use super::*;

    fn revision() -> ServiceSpec {
        let annotations = Annotations { name: "web".into(), ..Annotations::default() };
        let task = TaskSpec { force_update: 3, ..TaskSpec::default() };
        ServiceSpec { annotations: Some(annotations.into()), task: Some(task.into()), ..ServiceSpec::default() }
    }

    #[test]
    fn what_is_left_out_comes_back_the_same_and_what_differs_stays() {
        let revision = revision();
        let other = TaskSpec { force_update: 4, ..TaskSpec::default() };
        for spec in [revision.task.clone(), Some(other.into()), None] {
            for service in [revision.annotations.clone(), Some(Annotations::default().into()), None] {
                let task = Task { id: "t".into(), spec: spec.clone(), service: service.clone(), ..Task::default() };
                let mut sent = task.clone();
                leave_out(&mut sent, &revision);
                assert_eq!(sent.spec.is_some(), spec.is_some() && spec != revision.task);
                assert_eq!(sent.service.is_some(), service.is_some() && service != revision.annotations);
                assert_eq!(lacks_something(&sent), sent != task);
                fill_in(&mut sent, &revision).unwrap();
                assert_eq!(sent, task);
            }
        }
    }

    #[test]
    fn another_revision_is_not_taken_for_it() {
        let mut task = Task { spec_of_revision: true, service_of_revision: true, ..Task::default() };
        let known = task.clone();
        for lacking in [
            ServiceSpec::default(),
            ServiceSpec { task: None, ..revision() },
            ServiceSpec { annotations: None, ..revision() },
        ] {
            assert_eq!(fill_in(&mut task, &lacking), Err(NotOfRevision));
            assert_eq!(task, known);
        }
    }
}
