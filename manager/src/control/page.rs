//! Lists in pages: no answer is larger than a client takes, however large the objects are.
//!
//! Invariant: pages go by id. An object created or removed between two pages may be missing or shown; every other one is
//! listed exactly once.

use std::sync::Arc;

use skep_common::limits::{LIST_PAGE_BYTES, MAX_LIST, MAX_REPLY_BYTES};
use skep_proto::Message;
use tonic::Status;

/// What of the objects found goes into an answer, by id, and whether there are more. With an `after` that is a page of
/// what follows it; a client that knows of no pages gets everything, or the refusal of what it could not take.
pub(super) fn page<'a, T: Message>(
    found: impl Iterator<Item = &'a Arc<T>>,
    after: Option<&str>,
    id: impl Fn(&T) -> &str,
) -> Result<(Vec<&'a Arc<T>>, bool), Status> {
    let mut found: Vec<_> = found.take(MAX_LIST + 1).collect();
    if found.len() > MAX_LIST {
        return Err(too_many(format!("more than {MAX_LIST} objects fit")));
    }
    found.sort_unstable_by(|a, b| id(a).cmp(id(b)));
    found.retain(|object| id(object) > after.unwrap_or_default());
    let most = if after.is_some() { LIST_PAGE_BYTES } else { MAX_REPLY_BYTES };
    let mut bytes = 0_usize;
    let fitting = found.iter().take_while(|object| {
        // What surrounds an object in an answer is a few bytes.
        bytes += object.encoded_len() + 64;
        bytes <= most
    });
    let fitting = fitting.count();
    match after {
        None if fitting < found.len() => Err(too_many(format!("objects of more than {most} bytes fit"))),
        _ => {
            let fitting = fitting.max(1).min(found.len());
            let more = fitting < found.len();
            found.truncate(fitting);
            Ok((found, more))
        }
    }
}

fn too_many(what: String) -> Status {
    Status::resource_exhausted(format!("{what}: ask for fewer with a filter"))
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{ContainerSpec, Task, TaskSpec};

    use super::*;

    fn tasks(count: usize, bytes: usize) -> Vec<Arc<Task>> {
        let container = ContainerSpec { image: "x".repeat(bytes), ..ContainerSpec::default() };
        let spec = TaskSpec { container: Some(container), ..TaskSpec::default() };
        // Backwards: a list comes from several indexes.
        let task = |n| Arc::new(Task { id: format!("{n:05}"), spec: Some(spec.clone().into()), ..Task::default() });
        (0..count).rev().map(task).collect()
    }

    #[test]
    fn pages_are_small_and_together_they_are_everything() {
        for (count, bytes) in [(0, 1), (1, 1), (50, 100 << 10), (7, 1 << 20), (3, 3 << 20), (3000, 1000)] {
            let all = tasks(count, bytes);
            let (mut after, mut seen) = (String::new(), Vec::new());
            loop {
                let (shown, more) = page(all.iter(), Some(&after), |task| &task.id).unwrap();
                let size: usize = shown.iter().map(|task| task.encoded_len()).sum();
                assert!(size <= LIST_PAGE_BYTES || shown.len() == 1, "{size}");
                seen.extend(shown.iter().map(|task| task.id.clone()));
                if !more {
                    break;
                }
                after = seen.last().unwrap().clone();
            }
            assert!(seen.len() == count && seen.is_sorted(), "{count} of {bytes}: {seen:?}");
        }
    }

    #[test]
    fn who_knows_of_no_pages_gets_everything_or_a_refusal() {
        assert_eq!(page(tasks(50, 100 << 10).iter(), None, |task| &task.id).unwrap().0.len(), 50);
        let refused = page(tasks(100, 1 << 20).iter(), None, |task| &task.id).unwrap_err();
        assert!(refused.message().contains("ask for fewer with a filter"), "{refused}");
        assert!(page(tasks(MAX_LIST + 1, 0).iter(), Some(""), |task| &task.id).is_err());
    }
}
