//! What a node has left, what a task asks of it, and what a task is given.
//!
//! CPU and memory are amounts. A generic resource is an amount too, or a set of names of which a task is given the
//! smallest free ones. Invariants: nothing is given that is not there, and no name is given twice.

use std::collections::{BTreeMap, BTreeSet};

use skep_proto::v1::{GenericResource, Resources, Task, generic_resource::Value};
use skep_store::NodeLoad;

/// What a task reserves.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Wanted {
    nano_cpus: i64,
    memory_bytes: i64,
    /// How many of each kind.
    generic: BTreeMap<String, u64>,
}

impl Wanted {
    pub(super) fn of(task: &Task) -> Self {
        let resources = task.spec.as_ref().and_then(|spec| spec.resources.as_ref());
        let Some(reserved) = resources.and_then(|resources| resources.reservations.as_ref()) else {
            return Self::default();
        };
        let mut generic: BTreeMap<String, u64> = BTreeMap::new();
        for resource in &reserved.generic {
            let count = generic.entry(resource.kind.clone()).or_default();
            *count = count.saturating_add(amount(resource));
        }
        Self { nano_cpus: reserved.nano_cpus.max(0), memory_bytes: reserved.memory_bytes.max(0), generic }
    }
}

/// How many a generic resource stands for: a name is one.
fn amount(resource: &GenericResource) -> u64 {
    match &resource.value {
        Some(Value::Discrete(count)) => u64::try_from(*count).unwrap_or(0),
        Some(Value::Named(_)) => 1,
        None => 0,
    }
}

/// What a node has left.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Free {
    nano_cpus: i64,
    memory_bytes: i64,
    generic: BTreeMap<String, Stock>,
}

/// What is left of one kind of generic resource.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Stock {
    names: BTreeSet<String>,
    count: u64,
}

impl Free {
    /// All that a node has.
    pub(crate) fn all(resources: Option<&Resources>) -> Self {
        let Some(resources) = resources else { return Self::default() };
        let mut free =
            Self { nano_cpus: resources.nano_cpus, memory_bytes: resources.memory_bytes, generic: BTreeMap::new() };
        for resource in &resources.generic {
            let stock = free.generic.entry(resource.kind.clone()).or_default();
            match &resource.value {
                Some(Value::Named(name)) => drop(stock.names.insert(name.clone())),
                _ => stock.count = stock.count.saturating_add(amount(resource)),
            }
        }
        free
    }

    /// Whether there is enough for one more.
    pub(super) fn covers(&self, wanted: &Wanted) -> bool {
        let enough = |(kind, count): (&String, &u64)| {
            let have = self.generic.get(kind).map_or(0, |stock| stock.count.saturating_add(stock.names.len() as u64));
            have >= *count
        };
        wanted.nano_cpus <= self.nano_cpus.max(0)
            && wanted.memory_bytes <= self.memory_bytes.max(0)
            && wanted.generic.iter().all(enough)
    }

    /// Takes what is wanted, and says what of the generic resources that is: of names the smallest.
    pub(super) fn take(&mut self, wanted: &Wanted) -> Vec<GenericResource> {
        self.nano_cpus = self.nano_cpus.saturating_sub(wanted.nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(wanted.memory_bytes);
        let mut given = Vec::new();
        for (kind, count) in &wanted.generic {
            let Some(stock) = self.generic.get_mut(kind) else { continue };
            let mut left = *count;
            while left > 0
                && let Some(name) = stock.names.pop_first()
            {
                given.push(GenericResource { kind: kind.clone(), value: Some(Value::Named(name)) });
                left -= 1;
            }
            let counted = left.min(stock.count);
            if counted > 0 {
                stock.count -= counted;
                let value = Value::Discrete(i64::try_from(counted).unwrap_or(i64::MAX));
                given.push(GenericResource { kind: kind.clone(), value: Some(value) });
            }
        }
        given
    }

    /// Takes what a task on the node has, if all of that is there. Says whether it was.
    pub(crate) fn keep(&mut self, task: &Task) -> bool {
        let wanted = Wanted { generic: BTreeMap::new(), ..Wanted::of(task) };
        let is_there = |given: &GenericResource| match (&given.value, self.generic.get(&given.kind)) {
            (Some(Value::Named(name)), stock) => stock.is_some_and(|stock| stock.names.contains(name)),
            (_, stock) => stock.map_or(0, |stock| stock.count) >= amount(given),
        };
        let is_kept = self.covers(&wanted) && task.generic_resources.iter().all(is_there);
        if is_kept {
            self.hold(task);
        }
        is_kept
    }

    /// What is left of all that a node has, beside what its tasks reserve. Their generic resources are still to be
    /// [held](Self::hold_generic).
    pub(super) fn beside(load: &NodeLoad, resources: Option<&Resources>) -> Self {
        let mut free = Self::all(resources);
        let left = |has: i64, reserved: i128| i64::try_from(i128::from(has) - reserved).unwrap_or(i64::MIN);
        free.nano_cpus = left(free.nano_cpus, load.nano_cpus);
        free.memory_bytes = left(free.memory_bytes, load.memory_bytes);
        free
    }

    /// Takes what a task on the node has.
    fn hold(&mut self, task: &Task) {
        let wanted = Wanted::of(task);
        self.nano_cpus = self.nano_cpus.saturating_sub(wanted.nano_cpus);
        self.memory_bytes = self.memory_bytes.saturating_sub(wanted.memory_bytes);
        self.hold_generic(task);
    }

    /// Takes the generic resources that a task on the node has.
    pub(super) fn hold_generic(&mut self, task: &Task) {
        for given in &task.generic_resources {
            let Some(stock) = self.generic.get_mut(&given.kind) else { continue };
            match &given.value {
                Some(Value::Named(name)) => drop(stock.names.remove(name)),
                _ => stock.count = stock.count.saturating_sub(amount(given)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{ResourceRequirements, TaskSpec};

    use super::*;

    fn named(kind: &str, name: &str) -> GenericResource {
        GenericResource { kind: kind.into(), value: Some(Value::Named(name.into())) }
    }

    fn count(kind: &str, count: i64) -> GenericResource {
        GenericResource { kind: kind.into(), value: Some(Value::Discrete(count)) }
    }

    fn wanting(generic: Vec<GenericResource>) -> Task {
        let reservations = Some(Resources { generic, ..Resources::default() });
        let resources = Some(ResourceRequirements { reservations, ..ResourceRequirements::default() });
        Task { spec: Some(TaskSpec { resources, ..TaskSpec::default() }.into()), ..Task::default() }
    }

    #[test]
    fn a_task_keeps_what_it_was_given_while_that_is_there() {
        let node = Resources { generic: vec![named("gpu", "a"), count("ssd", 3)], ..Resources::default() };
        let holding = |asked, given: Vec<GenericResource>| Task { generic_resources: given, ..wanting(asked) };
        let kept = |tasks: &[Task]| {
            let mut free = Free::all(Some(&node));
            tasks.iter().map(|task| free.keep(task)).collect::<Vec<_>>()
        };
        let two = holding(vec![count("ssd", 2)], vec![count("ssd", 2)]);
        let one = holding(vec![count("ssd", 1)], vec![count("ssd", 1)]);
        assert_eq!(kept(&[two.clone(), two.clone(), one.clone()]), [true, false, true]);
        let gpu = |name| holding(vec![count("gpu", 1)], vec![named("gpu", name)]);
        assert_eq!(kept(&[gpu("b"), gpu("a"), gpu("a")]), [false, true, false]);
        // It was given less than it asks for now.
        assert_eq!(kept(&[holding(vec![count("ssd", 9)], one.generic_resources)]), [true]);
    }

    #[test]
    fn names_are_given_smallest_first_and_come_back() {
        let generic = vec![named("gpu", "c"), named("gpu", "a"), named("gpu", "b"), count("ssd", 5)];
        let node = Resources { generic, ..Resources::default() };
        let mut free = Free::all(Some(&node));
        let mut two = wanting(vec![count("gpu", 2), count("ssd", 2)]);
        let wanted = Wanted::of(&two);
        assert!(free.covers(&wanted));
        two.generic_resources = free.take(&wanted);
        assert_eq!(two.generic_resources, [named("gpu", "a"), named("gpu", "b"), count("ssd", 2)]);
        assert!(!free.covers(&wanted));
        assert!(free.covers(&Wanted::of(&wanting(vec![count("gpu", 1), count("ssd", 1)]))));
        assert!(!free.covers(&Wanted::of(&wanting(vec![count("fpga", 1)]))));

        let mut seen_again = Free::all(Some(&node));
        seen_again.hold(&two);
        assert_eq!(seen_again, free);
    }
}
