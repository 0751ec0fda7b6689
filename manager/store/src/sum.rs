//! A sum over tasks by a key they share, kept as they change: what would otherwise have to be counted.
//!
//! Invariants: a group's sum is that of what its tasks count for, in whatever order they came; a group that counts for
//! nothing has no entry.

use std::ops::{AddAssign, SubAssign};

use imbl::OrdMap;
use skep_proto::v1::{PublishMode, Task, TaskState};

use crate::{index::IndexKey, lifecycle};

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

/// What a node has to bear.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct NodeLoad {
    /// Wanted tasks.
    pub wanted: u64,
    /// Reserved by tasks that may run, in billionths of a CPU.
    pub nano_cpus: i128,
    /// Reserved by tasks that may run, in bytes of memory.
    pub memory_bytes: i128,
    /// Tasks that may run and hold what no other may have: generic resources, or ports of the node itself.
    pub exclusive: u64,
}

impl TaskCounts {
    /// What a task counts for.
    pub(crate) fn of(task: &Task) -> Self {
        let state = lifecycle::state(task);
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

impl NodeLoad {
    /// What a task counts for.
    pub(crate) fn of(task: &Task) -> Self {
        let mut load = Self { wanted: lifecycle::is_wanted(task).into(), ..Self::default() };
        if lifecycle::may_run(task) {
            let resources = task.spec.as_ref().and_then(|spec| spec.resources.as_ref());
            if let Some(reserved) = resources.and_then(|resources| resources.reservations.as_ref()) {
                load.nano_cpus = reserved.nano_cpus.max(0).into();
                load.memory_bytes = reserved.memory_bytes.max(0).into();
            }
            let endpoint = task.endpoint.as_ref().and_then(|endpoint| endpoint.spec.as_ref());
            let has_port = endpoint.is_some_and(|spec| spec.ports.iter().any(|port| port.mode() == PublishMode::Host));
            load.exclusive = (has_port || !task.generic_resources.is_empty()).into();
        }
        load
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

impl AddAssign for NodeLoad {
    fn add_assign(&mut self, other: Self) {
        self.wanted += other.wanted;
        self.nano_cpus += other.nano_cpus;
        self.memory_bytes += other.memory_bytes;
        self.exclusive += other.exclusive;
    }
}

impl SubAssign for NodeLoad {
    fn sub_assign(&mut self, other: Self) {
        self.wanted -= other.wanted;
        self.nano_cpus -= other.nano_cpus;
        self.memory_bytes -= other.memory_bytes;
        self.exclusive -= other.exclusive;
    }
}

impl Amount for TaskCounts {}
impl Amount for NodeLoad {}

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
    use skep_proto::v1::{GenericResource, ResourceRequirements, Resources, TaskSpec, TaskStatus};

    use super::*;

    fn task(state: TaskState, desired: TaskState) -> Task {
        let reserved = Resources { nano_cpus: 5, memory_bytes: -1, generic: Vec::new() };
        let resources = ResourceRequirements { reservations: Some(reserved), ..ResourceRequirements::default() };
        Task {
            desired_state: desired.into(),
            status: Some(TaskStatus { state: state.into(), ..TaskStatus::default() }),
            spec: Some(TaskSpec { resources: Some(resources), ..TaskSpec::default() }.into()),
            generic_resources: vec![GenericResource::default()],
            ..Task::default()
        }
    }

    #[test]
    fn what_a_task_counts_for() {
        use TaskState::{Complete, Failed, Pending, Ready, Running, Shutdown};
        for (state, desired, [wanted, running, completed], [on_node, cpus]) in [
            (Pending, Running, [1, 0, 0], [1, 0]),
            (Ready, Ready, [0, 0, 0], [1, 5]),
            (Running, Running, [1, 1, 0], [1, 5]),
            (Running, Complete, [1, 1, 0], [1, 5]),
            (Complete, Complete, [0, 0, 1], [0, 0]),
            (Running, Shutdown, [0, 0, 0], [0, 5]),
            (Failed, Running, [1, 0, 0], [1, 0]),
        ] {
            let task = task(state, desired);
            let expected = TaskCounts { all: 1, wanted, running, completed };
            assert_eq!(TaskCounts::of(&task), expected, "{state:?} {desired:?}");
            let expected =
                NodeLoad { wanted: on_node, nano_cpus: cpus.into(), memory_bytes: 0, exclusive: u64::from(cpus > 0) };
            assert_eq!(NodeLoad::of(&task), expected, "{state:?} {desired:?}");
        }
    }
}
