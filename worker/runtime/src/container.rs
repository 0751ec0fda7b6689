//! Specification and state of a container.
//!
//! Owns the mapping from a task to its container: id, name and the labels Docker puts on it.

use std::{collections::BTreeMap, path::PathBuf, sync::Arc};

pub use skep_common::id::container_id_of_task;
use skep_common::{
    clock::Timestamp,
    feature_level::FEATURE_LEVEL,
    template::{Context, TemplateError},
};
use skep_proto::v1::{
    ContainerSpec, GenericResource, LogDriver, NetworkMode, NodeDescription, ResourceRequirements, Task,
    generic_resource::Value,
};

use crate::{Details, RuntimeError};

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
    /// The container of a task on `node`. Equal tasks give equal containers: the id comes from the task's.
    ///
    /// # Errors
    /// [`RuntimeError::InvalidSpecification`]: a template in it cannot be evaluated, or this release does not know all of it.
    pub fn for_task(task: &Task, node: &NodeDescription) -> Result<Self, RuntimeError> {
        if task.feature_level > FEATURE_LEVEL {
            return Err(RuntimeError::InvalidSpecification(format!(
                "the task needs a release of skep that knows feature level {}, and this node's knows {FEATURE_LEVEL}: upgrade it",
                task.feature_level
            )));
        }
        let spec = task.spec.clone().unwrap_or_default().into_inner();
        let network = spec.network();
        let mut container = spec.container.unwrap_or_default();
        let service = task.service.as_ref();
        let service_name = service.map_or("", |service| service.name.as_str());
        let slot = if task.slot == 0 { task.node_id.clone() } else { task.slot.to_string() };
        let name = format!("{service_name}.{slot}.{}", task.id);

        expand(&mut container, &context(task, node, &name))?;
        container.env.extend(resource_env(&task.generic_resources));

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

        Ok(Self {
            id: container_id_of_task(&task.id),
            labels,
            network,
            container,
            resources: spec.resources.unwrap_or_default(),
            log_driver: spec.log_driver.unwrap_or_default(),
            name,
        })
    }
}

/// What the templates of a task's spec may name.
fn context(task: &Task, node: &NodeDescription, name: &str) -> Context {
    let service = task.service.as_ref();
    let platform = node.platform.clone().unwrap_or_default();
    Context {
        service_id: task.service_id.clone(),
        service_name: service.map(|service| service.name.clone()).unwrap_or_default(),
        service_labels: service.map(|service| service.labels.clone()).unwrap_or_default(),
        node_id: task.node_id.clone(),
        node_hostname: node.hostname.clone(),
        node_os: platform.os,
        node_architecture: platform.architecture,
        task_id: task.id.clone(),
        task_name: name.to_owned(),
        task_slot: if task.slot == 0 { task.node_id.clone() } else { task.slot.to_string() },
    }
}

/// Replaces the templates where Docker does: in the values of variables and in the host name.
fn expand(container: &mut ContainerSpec, context: &Context) -> Result<(), RuntimeError> {
    let refuse = |error: TemplateError| RuntimeError::InvalidSpecification(error.to_string());
    for variable in &mut container.env {
        *variable = context.expand_variable(variable).map_err(refuse)?;
    }
    container.hostname = context.expand(&container.hostname).map_err(refuse)?;
    Ok(())
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
    /// 255 when its end was not observed.
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

    fn made_of(task: &Task) -> ContainerSpecification {
        let node = NodeDescription { hostname: "dk1".into(), ..NodeDescription::default() };
        ContainerSpecification::for_task(task, &node).unwrap()
    }

    #[test]
    fn a_task_with_fields_from_a_later_release_is_not_run_without_them() {
        let node = NodeDescription::default();
        let of_level = |feature_level| ContainerSpecification::for_task(&Task { feature_level, ..task(1) }, &node);
        assert!(of_level(FEATURE_LEVEL).is_ok());
        let error = of_level(FEATURE_LEVEL + 1).unwrap_err();
        assert!(error.is_permanent() && error.to_string().contains("upgrade it"), "{error}");
    }

    #[test]
    fn templates_are_replaced_where_docker_replaces_them() {
        let mut task = task(3);
        let spec = task.spec.as_mut().unwrap();
        let container = spec.container.as_mut().unwrap();
        container.hostname = "{{.Service.Name}}-{{.Task.Slot}}".into();
        container.env = vec!["A={{.Node.Hostname}} {{.Task.Name}}".into(), "{{.Node.ID}}".into()];
        container.args = vec!["{{.Node.ID}}".into()];
        let container = made_of(&task).container;
        assert_eq!((container.hostname.as_str(), &container.args[0][..]), ("web-3", "{{.Node.ID}}"));
        assert_eq!(container.env, ["A=dk1 web.3.t1", "{{.Node.ID}}"]);
        task.spec.as_mut().unwrap().container.as_mut().unwrap().hostname = "{{.Bogus}}".into();
        let refused = ContainerSpecification::for_task(&task, &NodeDescription::default()).unwrap_err();
        assert!(refused.is_permanent() && refused.to_string().contains("can't evaluate field Bogus"), "{refused}");
    }

    #[test]
    fn a_replica_is_named_by_slot_and_a_global_task_by_node() {
        assert_eq!(made_of(&task(3)).name, "web.3.t1");
        assert_eq!(made_of(&task(0)).name, "web.n1.t1");
    }

    #[test]
    fn the_task_can_be_read_back_from_the_labels() {
        let made = made_of(&task(1));
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
        let made = made_of(&task);
        assert_eq!(made.container.env, ["DOCKER_RESOURCE_GPU=UUID2,UUID1", "DOCKER_RESOURCE_SSD=3"]);
    }
}
