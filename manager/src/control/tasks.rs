//! Tasks: list and inspect. Read-only.

use std::sync::Arc;

use skep_proto::v1::{GetObjectRequest, ListTasksReply, ListTasksRequest, Task};
use skep_store::View;
use tonic::Status;

use super::{filters::Tasks, page::page};
use crate::{answer, swarm_state::SwarmState};

pub(super) async fn get(swarm: &SwarmState, request: GetObjectRequest) -> Result<Task, Status> {
    let view = swarm.read().await?;
    let task = view.find_task(&request.key).map_err(|error| answer::not_found(&error))?;
    Ok(Task::clone(task))
}

pub(super) async fn list(swarm: &SwarmState, request: ListTasksRequest) -> Result<ListTasksReply, Status> {
    let view = swarm.read().await?;
    let wanted = Tasks::new(&request, &view).map_err(|error| answer::not_found(&error))?;
    let found = candidates(&view, &wanted).filter(|task| wanted.match_task(task, &view));
    let (tasks, more) = page(found, request.after.as_deref(), |task| &task.id)?;
    Ok(ListTasksReply { tasks: tasks.into_iter().map(|task| Task::clone(task)).collect(), more })
}

/// The tasks among which to look: an index instead of everything where there is one.
fn candidates<'a>(view: &'a View, wanted: &'a Tasks<'_>) -> Box<dyn Iterator<Item = &'a Arc<Task>> + 'a> {
    match (wanted.services(), wanted.nodes()) {
        (Some(services), _) => Box::new(services.iter().flat_map(|id| view.tasks_of_service(id))),
        (None, Some(nodes)) => Box::new(nodes.iter().flat_map(|id| view.tasks_of_node(id))),
        (None, None) => Box::new(view.tasks()),
    }
}
