//! Which revisions of a service there are, what number each gets, and which are kept. A revision pins the image of its
//! tasks: its spec names the image by digest, as the client resolved it.
//!
//! Owns `ServiceRevision`, the object: made in the transaction of the change that begins it, removed by the reaper.
//! Invariants: a number is never used twice; the revisions of all tasks, the current one and the one before it are kept.

use std::collections::{BTreeMap, BTreeSet};

use skep_common::revision::revision_id;
use skep_proto::v1::{ObjectKind, Service, ServiceRevision, ServiceSpec, TaskState};
use skep_store::{TxBuilder, View};

use crate::task::TaskExt as _;

/// How many of the newest revisions are kept in any case: so far back a rollback can go.
pub const KEPT: usize = 10;

/// The feature level that revisions need.
const LEVEL: u32 = 1;

/// Most revisions listed. There are more only where tasks of that many old revisions still exist.
const MAX_LISTED: usize = 100;

/// A revision as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// Its number.
    pub number: u64,
    /// When it was made; 0 when that is not known.
    pub created_at: i64,
    /// What its tasks run.
    pub image: String,
    /// How many of them run.
    pub running_tasks: u64,
}

/// Whether services have revisions: every manager must know what they are.
pub(crate) fn are_kept(view: &View) -> bool {
    view.feature_level() >= LEVEL
}

/// Begins a new revision of a service. One that was created before there were revisions has a log index for a number;
/// numbers go on above it.
pub(crate) fn begin(view: &View, service: &mut Service) {
    service.revision = match service.last_revision {
        0 => service.meta.map_or(0, |meta| meta.version),
        last => last + 1,
    };
    if are_kept(view) {
        service.last_revision = service.revision;
    }
}

/// Creates the revisions that a service names and that do not exist yet. A rollback names one that exists, on condition that
/// it still does.
pub(crate) fn record(tx: &mut TxBuilder<'_>, old: Option<&Service>, new: &Service) {
    if new.last_revision == 0 || old.is_some_and(|old| old.revision == new.revision) {
        return;
    }
    for service in old.into_iter().chain([new]) {
        let id = revision_id(&service.id, service.revision);
        tx.expect(ObjectKind::Revision, &id);
        if tx.view().revision(&service.id, service.revision).is_none() {
            // The service, written just before, has this spec, as the current or the previous one.
            let (service_id, number) = (service.id.clone(), service.revision);
            tx.create(ServiceRevision { id, meta: None, service_id, number, spec: None });
        }
    }
}

/// Whether a service has more revisions than are kept if nothing names them.
pub(crate) fn has_many(view: &View, service_id: &str) -> bool {
    view.revisions_of_service(service_id).len() > KEPT
}

/// The revisions (ids) of a service to remove. `named`: the revisions of its tasks.
pub(crate) fn superseded(view: &View, service_id: &str, named: &BTreeSet<u64>) -> Vec<String> {
    let service = view.service(service_id);
    let is_named = |number| {
        named.contains(&number)
            || service.is_some_and(|service| [service.revision, service.previous_revision].contains(&number))
    };
    let revisions = view.revisions_of_service(service_id);
    let last = if service.is_some() { KEPT } else { 0 };
    let older = revisions.len().saturating_sub(last);
    let superseded = revisions[..older].iter().filter(|revision| !is_named(revision.number));
    superseded.map(|revision| revision.id.clone()).collect()
}

/// The newest revisions of a service, newest first. The current one is among them, even if it was never recorded.
pub fn listed(view: &View, service: &Service) -> Vec<Listed> {
    let kept = view.revisions_of_service(&service.id);
    let recorded = kept.iter().map(|it| (it.number, it.meta.map_or(0, |meta| meta.created_at), it.spec.as_ref()));
    let mut all: Vec<(u64, i64, Option<&ServiceSpec>)> = recorded.collect();
    if all.iter().all(|(number, ..)| *number != service.revision) {
        all.push((service.revision, 0, service.spec.as_ref()));
    }
    all.sort_by_key(|(number, ..)| std::cmp::Reverse(*number));
    all.truncate(MAX_LISTED);
    let mut running = BTreeMap::<u64, u64>::new();
    for task in view.tasks_of_service(&service.id).filter(|task| task.state() == TaskState::Running) {
        *running.entry(task.revision).or_default() += 1;
    }
    let listed = all.into_iter().map(|(number, created_at, spec)| {
        let container = spec.and_then(|spec| spec.task.as_ref()).and_then(|task| task.container.as_ref());
        let image = container.map_or_else(String::new, |container| container.image.clone());
        Listed { number, created_at, image, running_tasks: running.get(&number).copied().unwrap_or_default() }
    });
    listed.collect()
}

#[cfg(test)]
mod tests {
    use skep_common::clock::Timestamp;
    use skep_proto::v1::{Cluster, ReplicatedService, Task, TaskSpec, TaskStatus, service_spec::Mode};

    use super::*;
    use crate::update;

    const NOW: Timestamp = Timestamp(7);

    /// A cluster that knows revisions.
    fn empty() -> View {
        let empty = View::default();
        let mut tx = TxBuilder::new(&empty, NOW);
        tx.create(Cluster { id: "c".into(), feature_level: LEVEL, ..Cluster::default() });
        empty.apply(1, &tx.build()).unwrap().0
    }

    /// So many replicas of what differs by a number.
    fn spec(what: u64, replicas: u64) -> ServiceSpec {
        let task = TaskSpec { force_update: what, ..TaskSpec::default() };
        let mode = Some(Mode::Replicated(ReplicatedService { replicas }));
        ServiceSpec { task: Some(task.into()), mode, ..ServiceSpec::default() }
    }

    fn write(view: &View, service: Service) -> View {
        let mut tx = TxBuilder::new(view, NOW);
        update::write(&mut tx, service);
        view.apply(view.version() + 1, &tx.build()).unwrap().0
    }

    fn change(view: &View, spec: ServiceSpec) -> View {
        write(view, update::updated(view, view.service("s").unwrap(), spec, NOW))
    }

    fn numbers(view: &View) -> Vec<u64> {
        view.revisions_of_service("s").iter().map(|revision| revision.number).collect()
    }

    #[test]
    fn numbers_count_what_concerns_tasks() {
        let empty = empty();
        let mut view = write(&empty, update::created(&empty, "s".into(), spec(0, 1), NOW));
        let at = |view: &View| {
            let service = view.service("s").unwrap();
            (service.revision, service.previous_revision, service.last_revision, numbers(view))
        };
        assert_eq!(at(&view), (1, 0, 1, vec![1]));
        view = change(&view, spec(0, 4));
        assert_eq!(at(&view), (1, 1, 1, vec![1]), "who only scales has the same tasks");
        view = change(&view, spec(1, 4));
        assert_eq!(at(&view), (2, 1, 2, vec![1, 2]));
        let back = update::rolled_back(view.service("s").unwrap(), NOW).unwrap();
        view = write(&view, back);
        assert_eq!(at(&view), (1, 2, 2, vec![1, 2]));
        view = change(&view, spec(2, 4));
        assert_eq!(at(&view), (3, 1, 3, vec![1, 2, 3]), "the number of what was left is not given again");
        assert_eq!(view.revision("s", 3).unwrap().spec, Some(spec(2, 4)));
    }

    #[test]
    fn a_service_from_before_there_were_revisions_gets_them_with_its_next_update() {
        let empty = empty();
        let old = Service { id: "s".into(), spec: Some(spec(0, 1)), revision: 4, ..Service::default() };
        let mut tx = TxBuilder::new(&empty, NOW);
        tx.create(old);
        let mut view = empty.apply(9, &tx.build()).unwrap().0;
        let shown = |view: &View| -> Vec<(u64, bool)> {
            let listed = listed(view, view.service("s").unwrap());
            listed.iter().map(|it| (it.number, it.created_at != 0)).collect()
        };
        assert_eq!(shown(&view), [(4, false)]);
        view = change(&view, spec(0, 2));
        assert!(numbers(&view).is_empty(), "scaling concerns no task");
        let before = view.version();
        view = change(&view, spec(1, 2));
        assert_eq!((numbers(&view), view.service("s").unwrap().last_revision), (vec![4, before], before));
        assert_eq!(view.revision("s", 4).unwrap().spec, Some(spec(0, 2)));
        assert_eq!(shown(&view), [(before, true), (4, true)]);
        view = change(&view, spec(2, 2));
        assert_eq!(numbers(&view), [4, before, before + 1]);
    }

    #[test]
    fn the_last_ten_are_kept_and_what_is_named() {
        let empty = empty();
        let mut view = write(&empty, update::created(&empty, "s".into(), spec(0, 1), NOW));
        for what in 1..15 {
            view = change(&view, spec(what, 1));
        }
        assert_eq!(numbers(&view), (1..=15).collect::<Vec<u64>>());
        let named = |numbers: &[u64]| superseded(&view, "s", &numbers.iter().copied().collect());
        assert_eq!(named(&[]), ["s.1", "s.2", "s.3", "s.4", "s.5"]);
        assert_eq!(named(&[2, 4, 15]), ["s.1", "s.3", "s.5"]);
        let old = update::rolled_back_to(&view, view.service("s").unwrap(), 3, NOW).unwrap();
        let back = write(&view, old);
        assert_eq!(superseded(&back, "s", &BTreeSet::new()), ["s.1", "s.2", "s.4", "s.5"]);

        let mut tx = TxBuilder::new(&view, NOW);
        tx.remove(ObjectKind::Service, "s");
        let gone = view.apply(99, &tx.build()).unwrap().0;
        assert_eq!(superseded(&gone, "s", &[7].into()).len(), 14, "nobody goes back to what is gone");
    }

    #[test]
    fn a_revision_is_listed_with_the_tasks_that_run_it() {
        let empty = empty();
        let mut view = write(&empty, update::created(&empty, "s".into(), spec(0, 1), NOW));
        view = change(&view, spec(1, 1));
        let mut tx = TxBuilder::new(&view, NOW);
        for (id, revision, state) in
            [("a", 1, TaskState::Running), ("b", 1, TaskState::Failed), ("c", 2, TaskState::Running)]
        {
            let status = Some(TaskStatus { state: state.into(), ..TaskStatus::default() });
            tx.create(Task { id: id.into(), service_id: "s".into(), revision, status, ..Task::default() });
        }
        view = view.apply(view.version() + 1, &tx.build()).unwrap().0;
        let counts: Vec<(u64, u64)> =
            listed(&view, view.service("s").unwrap()).iter().map(|it| (it.number, it.running_tasks)).collect();
        assert_eq!(counts, [(2, 1), (1, 1)]);
    }

    #[test]
    fn a_revision_never_changes() {
        let empty = empty();
        let view = write(&empty, update::created(&empty, "s".into(), spec(0, 1), NOW));
        let mut tx = TxBuilder::new(&view, NOW);
        tx.update(view.revision("s", 1).unwrap().clone());
        assert!(view.apply(9, &tx.build()).is_err());
        let mut tx = TxBuilder::new(&view, NOW);
        tx.create(ServiceRevision {
            id: "s.2".into(),
            service_id: "s".into(),
            number: 3,
            ..ServiceRevision::default()
        });
        assert!(view.apply(9, &tx.build()).is_err(), "that is the id of another");
    }

    #[test]
    fn below_the_level_versions_are_what_they_were() {
        let empty = View::default();
        let mut view = write(&empty, update::created(&empty, "s".into(), spec(0, 1), NOW));
        view = view.skip(5);
        view = change(&view, spec(1, 1));
        view = view.skip(9);
        let before = view.version();
        let at = |view: &View| view.service("s").map(|it| (it.revision, it.previous_revision, it.last_revision));
        assert_eq!((at(&view), before), (Some((1, 0, 0)), 9));
        view = change(&view, spec(2, 1));
        assert_eq!((at(&view), numbers(&view)), (Some((6, 1, 0)), Vec::new()), "the version it had");
    }
}
