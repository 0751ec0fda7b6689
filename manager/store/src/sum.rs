//! A sum over tasks by a key they share, kept as they change: what would otherwise have to be counted.
//!
//! Invariants: a group's sum is that of what its tasks count for, in whatever order they came; a group that counts for
//! nothing has no entry.

use std::ops::{AddAssign, SubAssign};

use imbl::OrdMap;
use skep_proto::v1::{Task, TaskState};

use crate::index::IndexKey;

/// What tasks are summed up to.
pub(crate) trait Amount: Copy + Default + PartialEq + AddAssign + SubAssign {}

/// How many tasks a run of a service has; of a service that is no job the run is 0.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TaskCounts {
    /// In whatever state.
    pub all: u64,
    /// To run, or to run until they have completed, and not just to be ready to.
    pub wanted: u64,
    /// Of those the RUNNING ones.
    pub running: u64,
    /// COMPLETE ones.
    pub completed: u64,
}

/// What is reserved on a node by tasks that are to run there and may.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Billionths of a CPU.
    pub nano_cpus: i128,
    /// Bytes of memory.
    pub memory_bytes: i128,
    /// Tasks that were given generic resources.
    pub with_generic: u64,
}

impl TaskCounts {
    /// What a task counts for.
    pub(crate) fn of(task: &Task) -> Self {
        let state = task.status.as_ref().map_or(TaskState::New, |status| status.state());
        let is_wanted = match task.desired_state() {
            TaskState::Complete => state != TaskState::Complete,
            desired => desired == TaskState::Running,
        };
        Self {
            all: 1,
            wanted: is_wanted.into(),
            running: (is_wanted && state == TaskState::Running).into(),
            completed: (state == TaskState::Complete).into(),
        }
    }
}

impl Reserved {
    /// What a task counts for.
    pub(crate) fn of(task: &Task) -> Self {
        let state = task.status.as_ref().map_or(TaskState::New, |status| status.state());
        let may_run = (TaskState::Assigned..=TaskState::Running).contains(&state);
        if !may_run || task.desired_state() > TaskState::Complete {
            return Self::default();
        }
        let resources = task.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        let reserved = resources.and_then(|resources| resources.reservations.as_ref());
        Self {
            nano_cpus: reserved.map_or(0, |reserved| reserved.nano_cpus.max(0)).into(),
            memory_bytes: reserved.map_or(0, |reserved| reserved.memory_bytes.max(0)).into(),
            with_generic: u64::from(!task.generic_resources.is_empty()),
        }
    }
}

impl AddAssign for TaskCounts {
    fn add_assign(&mut self, other: Self) {
        self.all += other.all;
        self.wanted += other.wanted;
        self.running += other.running;
        self.completed += other.completed;
    }
}

impl SubAssign for TaskCounts {
    fn sub_assign(&mut self, other: Self) {
        self.all -= other.all;
        self.wanted -= other.wanted;
        self.running -= other.running;
        self.completed -= other.completed;
    }
}

impl AddAssign for Reserved {
    fn add_assign(&mut self, other: Self) {
        self.nano_cpus += other.nano_cpus;
        self.memory_bytes += other.memory_bytes;
        self.with_generic += other.with_generic;
    }
}

impl SubAssign for Reserved {
    fn sub_assign(&mut self, other: Self) {
        self.nano_cpus -= other.nano_cpus;
        self.memory_bytes -= other.memory_bytes;
        self.with_generic -= other.with_generic;
    }
}

impl Amount for TaskCounts {}
impl Amount for Reserved {}

/// Sums by `K`. Cloning shares everything.
pub(crate) struct Sum<K: IndexKey, A> {
    key: for<'a> fn(&'a Task) -> Option<K::Found<'a>>,
    amount: fn(&Task) -> A,
    sums: OrdMap<K, A>,
}

impl<K: IndexKey, A: Clone> Clone for Sum<K, A> {
    fn clone(&self) -> Self {
        Self { key: self.key, amount: self.amount, sums: self.sums.clone() }
    }
}

impl<K: IndexKey, A: Amount> Sum<K, A> {
    /// No sums of what `amount` gives for tasks by what `key` gives; a task without a key counts nowhere.
    pub(crate) fn new(key: for<'a> fn(&'a Task) -> Option<K::Found<'a>>, amount: fn(&Task) -> A) -> Self {
        Self { key, amount, sums: OrdMap::new() }
    }

    /// Follows a task from `old` to `new`; `None` is: not there.
    pub(crate) fn change(&mut self, old: Option<&Task>, new: Option<&Task>) {
        let (from, to) = (old.and_then(self.key), new.and_then(self.key));
        let (taken, given) = (old.map(self.amount).unwrap_or_default(), new.map(self.amount).unwrap_or_default());
        if from == to {
            if taken != given {
                self.add(to, |sum| {
                    *sum += given;
                    *sum -= taken;
                });
            }
        } else {
            self.add(from, |sum| *sum -= taken);
            self.add(to, |sum| *sum += given);
        }
    }

    fn add(&mut self, key: Option<K::Found<'_>>, add: impl FnOnce(&mut A)) {
        let Some(key) = key.map(K::of) else { return };
        let mut sum = self.get(&key);
        add(&mut sum);
        if sum == A::default() {
            self.sums.remove(&key);
        } else {
            self.sums.insert(key, sum);
        }
    }

    /// The sum of a group.
    pub(crate) fn get(&self, key: &K) -> A {
        self.sums.get(key).copied().unwrap_or_default()
    }

    /// The groups from a key on, and their sums.
    pub(crate) fn from(&self, first: K) -> impl Iterator<Item = (&K, &A)> {
        self.sums.range(first..)
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{ResourceRequirements, Resources, TaskSpec, TaskStatus};

    use super::*;

    fn task(state: TaskState, desired: TaskState) -> Task {
        let reserved = Resources { nano_cpus: 5, memory_bytes: -1, generic: Vec::new() };
        let resources = ResourceRequirements { reservations: Some(reserved), ..ResourceRequirements::default() };
        Task {
            desired_state: desired.into(),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            spec: Some(TaskSpec { resources: Some(resources), ..TaskSpec::default() }.into()),
            ..Task::default()
        }
    }

    #[test]
    fn what_a_task_counts_for() {
        use TaskState::{Complete, Failed, Pending, Ready, Running, Shutdown};
        for (state, desired, [wanted, running, completed], cpus) in [
            (Pending, Running, [1, 0, 0], 0),
            (Ready, Ready, [0, 0, 0], 5),
            (Running, Running, [1, 1, 0], 5),
            (Running, Complete, [1, 1, 0], 5),
            (Complete, Complete, [0, 0, 1], 0),
            (Running, Shutdown, [0, 0, 0], 0),
            (Failed, Running, [1, 0, 0], 0),
        ] {
            let task = task(state, desired);
            let expected = TaskCounts { all: 1, wanted, running, completed };
            assert_eq!(TaskCounts::of(&task), expected, "{state:?} {desired:?}");
            let expected = Reserved { nano_cpus: cpus, ..Reserved::default() };
            assert_eq!(Reserved::of(&task), expected, "{state:?} {desired:?}");
        }
    }
}
