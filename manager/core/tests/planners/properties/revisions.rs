//! What holds of revisions.

use std::collections::BTreeSet;

use skep_core::revision::KEPT;
use skep_store::View;

/// What a task is made from is kept, and says the same.
pub(super) fn tasks_are_what_their_revisions_say(view: &View) {
    for task in view.tasks() {
        let revision = view.revision(&task.service_id, task.revision);
        let spec = revision.unwrap_or_else(|| panic!("{task:?} has no revision")).spec.as_ref().unwrap();
        assert_eq!(spec.task, task.spec, "{} is not what it was made from", task.id);
    }
}

/// Kept is what is named, and the last ten while there is a service; nothing else is once the reaper was there.
pub(super) fn as_many_revisions_as_are_needed(before: &View, after: &View) {
    let numbers = |view: &View, service: &str| -> Vec<u64> {
        view.revisions_of_service(service).iter().map(|revision| revision.number).collect()
    };
    let services: BTreeSet<&str> = before.revisions().map(|revision| revision.service_id.as_str()).collect();
    for id in services {
        let had = numbers(before, id);
        let mut needed: BTreeSet<u64> = after.tasks_of_service(id).map(|task| task.revision).collect();
        if let Some(service) = after.service(id) {
            needed.extend([service.revision, service.previous_revision]);
            needed.extend(had.iter().rev().take(KEPT));
        }
        let expected: Vec<u64> = had.iter().copied().filter(|number| needed.contains(number)).collect();
        assert_eq!(numbers(after, id), expected, "of {had:?} of {id}");
    }
}
