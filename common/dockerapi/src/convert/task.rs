//! Tasks.

use std::collections::BTreeMap;

use skep_common::id::container_id_of_task;
use skep_proto::v1 as proto;

use super::{generic::generic_to_docker, service::job_iteration, spec::task_spec_to_docker, words::Word as _};
use crate::{
    time::Time,
    types::{ContainerStatus, Empty, Task, TaskStatus, Version},
};

/// A task as a client sees it.
pub fn task_to_docker(task: &proto::Task) -> Task {
    let meta = task.meta.unwrap_or_default();
    let status = task.status.clone().unwrap_or_default();
    Task {
        id: task.id.clone(),
        version: Version { index: meta.version },
        created_at: Time(meta.created_at),
        updated_at: Time(meta.updated_at),
        labels: BTreeMap::new(),
        spec: task_spec_to_docker(&task.spec.clone().unwrap_or_default()),
        service_id: task.service_id.clone(),
        slot: task.slot,
        node_id: task.node_id.clone(),
        status: TaskStatus {
            timestamp: Time(status.timestamp),
            state: status.state().word().to_owned(),
            message: status.message.clone(),
            err: status.err.clone(),
            container_status: status.container.map(|container| ContainerStatus {
                container_id: container_id(&task.id, container.container_id),
                pid: container.pid,
                exit_code: container.exit_code,
            }),
            port_status: Empty {},
        },
        desired_state: task.desired_state().word().to_owned(),
        generic_resources: generic_to_docker(&task.generic_resources),
        job_iteration: job_iteration(task.job_iteration),
    }
}

/// The swarm keeps none that follows from the task's id.
fn container_id(task: &str, kept: String) -> String {
    if kept.is_empty() { container_id_of_task(task) } else { kept }
}
