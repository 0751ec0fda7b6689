//! The containers of one node. They belong to the node, not to its agent: they live on when it is killed.
//!
//! Keeps the one fact nobody may be wrong about: how often each task's container was started.

use std::collections::BTreeMap;

use skep_common::clock::Timestamp;
use skep_worker::task_machine::{Exit, Found};

/// What a container is doing.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Container {
    Created,
    Running { pid: i32 },
    Exited(Exit),
}

impl Container {
    pub(crate) fn found(&self) -> Found {
        match self {
            Self::Created => Found::Created,
            Self::Running { pid } => Found::Running { pid: *pid },
            Self::Exited(exit) => Found::Exited(exit.clone()),
        }
    }
}

/// A node's containers, by task.
#[derive(Debug, Clone, Default)]
pub(crate) struct Runtime {
    containers: BTreeMap<String, Container>,
    next_pid: i32,
}

impl Runtime {
    pub(crate) fn prepare(&mut self, task: &str) {
        self.containers.entry(task.to_owned()).or_insert(Container::Created);
    }

    /// The pid of the started container; `None` when there is none to start.
    pub(crate) fn start(&mut self, task: &str) -> Option<i32> {
        let container = self.containers.get_mut(task).filter(|container| **container == Container::Created)?;
        self.next_pid += 1;
        *container = Container::Running { pid: self.next_pid };
        Some(self.next_pid)
    }

    /// Whether this was the end of it.
    pub(crate) fn end(&mut self, task: &str, code: i32, at: Timestamp) -> bool {
        match self.containers.get_mut(task) {
            Some(container @ Container::Running { .. }) => {
                *container = Container::Exited(Exit { code, oom: false, at, error: None });
                true
            }
            _ => false,
        }
    }

    pub(crate) fn remove(&mut self, task: &str) {
        self.containers.remove(task);
    }

    pub(crate) fn get(&self, task: &str) -> Option<&Container> {
        self.containers.get(task)
    }

    pub(crate) fn is_running(&self, task: &str) -> bool {
        matches!(self.get(task), Some(Container::Running { .. }))
    }

    pub(crate) fn all(&self) -> impl Iterator<Item = (&String, &Container)> {
        self.containers.iter()
    }

    pub(crate) fn running(&self) -> Vec<String> {
        self.all()
            .filter(|(_, container)| matches!(container, Container::Running { .. }))
            .map(|(task, _)| task.clone())
            .collect()
    }
}
