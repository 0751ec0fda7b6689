//! The records of task.db: the tasks of this node, and each of their revisions once.
//!
//! Owns the records, and which of them are not on disk yet. Invariants: a task record that leaves something out always has
//! its revision beside it, in memory and on disk, where one commit writes both; a revision that no record names is deleted.

use std::collections::{BTreeMap, BTreeSet};

use skep_common::revision::{self, revision_id};
use skep_proto::{
    Message as _,
    v1::{ServiceSpec, Task},
};

use super::engine::{Batch, Fault, Found, Record};

/// Keys of revisions come before those of tasks, so they are read first.
const REVISION: &str = "revision/";
const TASK: &str = "task/";

/// The records, encoded as they are on disk.
#[derive(Default)]
pub(super) struct Records {
    all: BTreeMap<String, Record>,
    /// Keys whose record on disk is not the one in `all`.
    dirty: BTreeSet<String>,
    /// Number of the last change.
    last: u64,
    revisions: BTreeMap<String, Revision>,
    /// The revision (id) that each task (id) leaves something to.
    named: BTreeMap<String, String>,
}

struct Revision {
    /// What tasks have of it, as the first of them had it.
    spec: ServiceSpec,
    /// How many tasks leave something to it.
    tasks: usize,
}

impl Records {
    /// The records of a database, and its tasks.
    pub(super) fn restore(found: Found) -> Result<(Self, Vec<Task>), Fault> {
        let mut records = Self::default();
        let mut tasks = Vec::new();
        for (key, bytes) in found {
            let unreadable = || Fault::Damaged(format!("the record {key} cannot be read"));
            if let Some(id) = key.strip_prefix(REVISION) {
                let spec = ServiceSpec::decode(&*bytes).map_err(|_| unreadable())?;
                records.revisions.insert(id.to_owned(), Revision { spec, tasks: 0 });
            } else if let Some(id) = key.strip_prefix(TASK) {
                let mut task = Task::decode(&*bytes).ok().filter(|task| task.id == id).ok_or_else(unreadable)?;
                if revision::lacks_something(&task) {
                    let named = revision_id(&task.service_id, task.revision);
                    let known = records.revisions.get_mut(&named).ok_or_else(unreadable)?;
                    revision::fill_in(&mut task, &known.spec).map_err(|_| unreadable())?;
                    known.tasks += 1;
                    records.named.insert(task.id.clone(), named);
                }
                tasks.push(task);
            } else {
                return Err(unreadable());
            }
            records.all.insert(key, bytes.into());
        }
        let unnamed: Vec<String> =
            records.revisions.extract_if(.., |_, revision| revision.tasks == 0).map(|(id, _)| id).collect();
        unnamed.iter().for_each(|id| records.put(format!("{REVISION}{id}"), None));
        Ok((records, tasks))
    }

    /// Keeps a task's record, instead of the one before. Says which change that was.
    pub(super) fn save(&mut self, task: &Task) -> u64 {
        let mut record = task.clone();
        if task.revision != 0 {
            self.leave_to_revision(&mut record);
        }
        self.put(format!("{TASK}{}", task.id), Some(record.encode_to_vec().into()));
        self.counted()
    }

    /// Deletes a task's record. Says which change that was.
    pub(super) fn forget(&mut self, task_id: &str) -> u64 {
        self.release_revision(task_id);
        self.put(format!("{TASK}{task_id}"), None);
        self.counted()
    }

    /// What the disk has yet to learn, which counts as told from here on, and the number of the last change in it.
    pub(super) fn changes(&mut self) -> (Batch, u64) {
        let dirty = std::mem::take(&mut self.dirty);
        let batch = dirty.into_iter().map(|key| (key.clone(), self.all.get(&key).cloned())).collect();
        (batch, self.last)
    }

    /// What makes a database that holds `old` hold these records and no others, and the number of the last change in it.
    pub(super) fn whole(&mut self, old: Found) -> (Batch, u64) {
        self.dirty.clear();
        let gone = old.into_iter().map(|(key, _)| key).filter(|key| !self.all.contains_key(key));
        let gone = gone.map(|key| (key, None));
        let kept = self.all.iter().map(|(key, record)| (key.clone(), Some(record.clone())));
        (gone.chain(kept).collect(), self.last)
    }

    fn leave_to_revision(&mut self, record: &mut Task) {
        let id = revision_id(&record.service_id, record.revision);
        let known = self.revisions.entry(id.clone()).or_insert_with(|| Revision {
            spec: ServiceSpec {
                annotations: record.service.clone(),
                task: record.spec.clone(),
                ..ServiceSpec::default()
            },
            tasks: 0,
        });
        revision::leave_out(record, &known.spec);
        let is_new = revision::lacks_something(record) && self.named.insert(record.id.clone(), id.clone()).is_none();
        known.tasks += usize::from(is_new);
        match (known.tasks, is_new) {
            (0, _) => _ = self.revisions.remove(&id),
            (1, true) => {
                let bytes = known.spec.encode_to_vec();
                self.put(format!("{REVISION}{id}"), Some(bytes.into()));
            }
            _ => {}
        }
    }

    fn release_revision(&mut self, task_id: &str) {
        let Some(id) = self.named.remove(task_id) else { return };
        let Some(known) = self.revisions.get_mut(&id) else { return };
        known.tasks -= 1;
        if known.tasks == 0 {
            self.revisions.remove(&id);
            self.put(format!("{REVISION}{id}"), None);
        }
    }

    fn put(&mut self, key: String, record: Option<Record>) {
        match record {
            Some(record) => _ = self.all.insert(key.clone(), record),
            None => _ = self.all.remove(&key),
        }
        self.dirty.insert(key);
    }

    fn counted(&mut self) -> u64 {
        self.last += 1;
        self.last
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, TaskSpec, TaskState, TaskStatus};

    use super::*;

    fn task(id: &str, revision: u64, label: &str) -> Task {
        let spec = TaskSpec { force_update: revision, ..TaskSpec::default() };
        let service = Annotations { name: label.repeat(1000), ..Annotations::default() };
        Task {
            id: id.into(),
            service_id: "s".into(),
            revision,
            spec: Some(spec.into()),
            service: Some(service.into()),
            ..Task::default()
        }
    }

    fn reopened(disk: &BTreeMap<String, Vec<u8>>) -> Vec<Task> {
        let found = disk.iter().map(|(key, bytes)| (key.clone(), bytes.clone())).collect();
        let (records, tasks) = Records::restore(found).unwrap();
        assert_eq!(records.all.keys().collect::<Vec<_>>(), disk.keys().collect::<Vec<_>>());
        tasks
    }

    fn write(disk: &mut BTreeMap<String, Vec<u8>>, batch: Batch) {
        for (key, record) in batch {
            match record {
                Some(record) => _ = disk.insert(key, record.to_vec()),
                None => _ = disk.remove(&key),
            }
        }
    }

    #[test]
    fn a_revision_is_kept_once_and_as_long_as_a_task_needs_it() {
        let mut records = Records::default();
        let mut disk = BTreeMap::new();
        // The last of them has another name of its service than the first.
        let tasks = [task("a", 1, "x"), task("b", 1, "x"), task("c", 2, "x"), task("d", 0, "x"), task("e", 1, "y")];
        for task in &tasks {
            records.save(task);
            write(&mut disk, records.changes().0);
        }
        assert_eq!(reopened(&disk), tasks);
        let keys: Vec<&str> = disk.keys().map(String::as_str).collect();
        assert_eq!(keys, ["revision/s.1", "revision/s.2", "task/a", "task/b", "task/c", "task/d", "task/e"]);
        assert!(disk["task/a"].len() < 100 && disk["task/d"].len() > 1000 && disk["task/e"].len() > 1000);

        // Progress writes the task's record and nothing else.
        let status = TaskStatus { state: TaskState::Running.into(), ..TaskStatus::default() };
        records.save(&Task { status: Some(status), ..tasks[0].clone() });
        let (batch, _) = records.changes();
        assert_eq!(batch.iter().map(|(key, _)| key.as_str()).collect::<Vec<_>>(), ["task/a"]);
        write(&mut disk, batch);
        // The last but one leaves its spec to the revision all the same.
        let both = vec!["revision/s.1", "revision/s.2"];
        for (gone, left) in [("a", both.clone()), ("b", both), ("e", vec!["revision/s.2"]), ("c", vec![])] {
            records.forget(gone);
            write(&mut disk, records.changes().0);
            let kept: Vec<&str> = disk.keys().map(String::as_str).filter(|key| key.starts_with(REVISION)).collect();
            assert_eq!(kept, left);
            reopened(&disk);
        }
    }

    #[test]
    fn whatever_is_on_disk_a_database_can_be_made_to_hold_the_records() {
        let mut records = Records::default();
        records.save(&task("a", 1, "x"));
        let old = vec![("task/old".to_owned(), vec![1]), ("strange".to_owned(), vec![2])];
        let mut disk: BTreeMap<String, Vec<u8>> = old.iter().cloned().collect();
        write(&mut disk, records.whole(old).0);
        assert_eq!(reopened(&disk), [task("a", 1, "x")]);
        assert!(records.changes().0.is_empty());
    }

    #[test]
    fn what_cannot_be_put_together_is_damaged_and_what_nothing_names_goes() {
        let mut records = Records::default();
        records.save(&task("a", 1, "x"));
        let (batch, _) = records.changes();
        let mut disk = BTreeMap::new();
        write(&mut disk, batch);
        let without = |key: &str| -> Found {
            disk.iter().filter(|(known, _)| *known != key).map(|(key, bytes)| (key.clone(), bytes.clone())).collect()
        };
        assert!(Records::restore(without("revision/s.1")).is_err());
        assert!(Records::restore(vec![("noise".into(), vec![])]).is_err());
        assert!(Records::restore(vec![("task/b".into(), disk["task/a"].clone())]).is_err());
        let (mut rest, tasks) = Records::restore(without("task/a")).unwrap();
        assert_eq!((tasks, rest.changes().0), (vec![], vec![("revision/s.1".to_owned(), None)]));
    }
}
