//! What a container is to be, and what became of it.
//!
//! Owns the mapping from a task to its container: id, name and the labels Docker puts on it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

use sha2::{Digest as _, Sha256};
use skep_common::clock::Timestamp;
use skep_proto::v1::{
    ContainerSpec, GenericResource, LogDriver, NetworkMode, ResourceRequirements, Task, generic_resource::Value,
};

use crate::Details;

/// The label that names a container's task.
pub(crate) const TASK_LABEL: &str = "com.docker.swarm.task.id";

/// All a runtime needs to know to run one container.
#[derive(Debug, Clone, PartialEq)]
pub struct ContainerSpecification {
    /// 64 hexadecimal digits, like Docker's.
    pub id: String,
    /// Unique among people, not checked: `web.1.<task id>`.
    pub name: String,
    /// Labels of the container. For a task's, the `com.docker.swarm.*` ones are among them.
    pub labels: BTreeMap<String, String>,
    /// Image, command, environment, user and the rest of what runs inside.
    pub container: ContainerSpec,
    /// Limits for its cgroup. Reservations are the scheduler's.
    pub resources: ResourceRequirements,
    /// Its network namespace.
    pub network: NetworkMode,
    /// Where its output goes: `json-file` or an empty name, with `max-size` and `max-file`.
    pub log_driver: LogDriver,
}

impl ContainerSpecification {
    /// The container of a task. Equal tasks give equal containers: the id comes from the task's.
    #[must_use]
    pub fn for_task(task: &Task) -> Self {
        let spec = task.spec.clone().unwrap_or_default().into_inner();
        let network = spec.network();
        let mut container = spec.container.unwrap_or_default();
        container.env.extend(resource_env(&task.generic_resources));
        let service = task.service.as_ref();
        let service_name = service.map_or("", |service| service.name.as_str());
        let slot = if task.slot == 0 { task.node_id.clone() } else { task.slot.to_string() };
        let name = format!("{service_name}.{slot}.{}", task.id);

        let mut labels = container.labels.clone();
        let swarm = [
            ("com.docker.swarm.node.id", task.node_id.as_str()),
            ("com.docker.swarm.service.id", task.service_id.as_str()),
            ("com.docker.swarm.service.name", service_name),
            ("com.docker.swarm.task", ""),
            (TASK_LABEL, task.id.as_str()),
            ("com.docker.swarm.task.name", name.as_str()),
        ];
        labels.extend(swarm.map(|(key, value)| (key.to_owned(), value.to_owned())));

        Self {
            id: container_id_of_task(&task.id),
            labels,
            network,
            container,
            resources: spec.resources.unwrap_or_default(),
            log_driver: spec.log_driver.unwrap_or_default(),
            name,
        }
    }
}

/// What tells a container which generic resources are its own: how many of each kind, or their names.
fn resource_env(given: &[GenericResource]) -> impl Iterator<Item = String> {
    let mut kinds: BTreeMap<&str, Vec<String>> = BTreeMap::new();
    for resource in given {
        let value = match &resource.value {
            Some(Value::Named(name)) => name.clone(),
            Some(Value::Discrete(count)) => count.to_string(),
            None => continue,
        };
        kinds.entry(&resource.kind).or_default().push(value);
    }
    kinds.into_iter().map(|(kind, values)| format!("DOCKER_RESOURCE_{}={}", kind.to_uppercase(), values.join(",")))
}

/// The id of a task's one container. Because it follows from the task's id, no crash between making the container
/// and writing that down can give the task a second one.
#[must_use]
pub fn container_id_of_task(task_id: &str) -> String {
    hex::encode(Sha256::digest(format!("skep container of task {task_id}")))
}

/// A container as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContainerState {
    /// Its id.
    pub id: String,
    /// Its name.
    pub name: String,
    /// The image as the specification names it.
    pub image: String,
    /// The image's ID, `sha256:…`.
    pub image_id: String,
    /// What it runs: entrypoint and arguments, as resolved from specification and image.
    pub command: Vec<String>,
    /// Its labels.
    pub labels: BTreeMap<String, String>,
    /// When it was prepared.
    pub created: Timestamp,
    /// What else it was made from.
    pub details: Arc<Details>,
    /// The directory of its bundle, with its log and what it wrote.
    pub directory: PathBuf,
    /// Its log; `None` when it keeps none.
    pub log: Option<PathBuf>,
    /// The layers of its root file system, lowest first.
    pub layers: Vec<PathBuf>,
    /// Where it is in its life.
    pub status: Status,
}

impl ContainerState {
    /// The task this container belongs to, if any.
    #[must_use]
    pub fn task_id(&self) -> Option<&str> {
        self.labels.get(TASK_LABEL).map(String::as_str)
    }
}

/// Where a container is in its one-way life.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Status {
    /// Prepared, never started.
    Created,
    /// Started and not ended.
    Running {
        /// Its first process; 0 while its start is still under way.
        pid: u32,
        /// When it was started.
        started: Timestamp,
    },
    /// Ended, or its start failed.
    Exited(Exit),
}

/// How a container ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Exit {
    /// Exit code of its first process; 128 + n when signal n ended it; 127 or 126 when it could not be executed;
    /// 255 when nobody saw it end.
    pub code: i32,
    /// Whether the kernel killed a process of it for want of memory.
    pub oom: bool,
    /// When it ended.
    pub at: Timestamp,
    /// Why, when it was not by itself: the start failed, or its shim was killed.
    pub error: Option<String>,
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::{Annotations, TaskSpec};

    use super::*;

    fn task(slot: u64) -> Task {
        Task {
            id: "t1".into(),
            service_id: "s1".into(),
            node_id: "n1".into(),
            slot,
            service: Some(Annotations { name: "web".into(), ..Annotations::default() }.into()),
            spec: Some(
                TaskSpec {
                    container: Some(ContainerSpec {
                        image: "nginx".into(),
                        labels: [("tier".to_owned(), "front".to_owned())].into(),
                        ..ContainerSpec::default()
                    }),
                    ..TaskSpec::default()
                }
                .into(),
            ),
            ..Task::default()
        }
    }

    #[test]
    fn a_replica_is_named_by_slot_and_a_global_task_by_node() {
        assert_eq!(ContainerSpecification::for_task(&task(3)).name, "web.3.t1");
        assert_eq!(ContainerSpecification::for_task(&task(0)).name, "web.n1.t1");
    }

    #[test]
    fn the_task_can_be_read_back_from_the_labels() {
        let made = ContainerSpecification::for_task(&task(1));
        assert_eq!(made.labels["com.docker.swarm.task.id"], "t1");
        assert_eq!(made.labels["com.docker.swarm.service.name"], "web");
        assert_eq!(made.labels["tier"], "front");
    }

    #[test]
    fn a_container_is_told_its_generic_resources() {
        let of = |kind: &str, value| GenericResource { kind: kind.into(), value: Some(value) };
        let mut task = task(1);
        task.generic_resources = vec![
            of("gpu", Value::Named("UUID2".into())),
            of("ssd", Value::Discrete(3)),
            of("gpu", Value::Named("UUID1".into())),
        ];
        let made = ContainerSpecification::for_task(&task);
        assert_eq!(made.container.env, ["DOCKER_RESOURCE_GPU=UUID2,UUID1", "DOCKER_RESOURCE_SSD=3"]);
    }

    #[test]
    fn the_id_is_docker_shaped_and_follows_the_task() {
        let id = container_id_of_task("t1");
        assert_eq!(id.len(), 64);
        assert_eq!(id, container_id_of_task("t1"));
        assert_ne!(id, container_id_of_task("t2"));
    }
}
