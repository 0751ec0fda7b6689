//! `/tasks`.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::get,
};
use skep_common::pages;
use skep_dockerapi::{
    convert::{task_to_docker, words::Word as _},
    types::Task,
};
use skep_proto::v1::{GetObjectRequest, ListTasksRequest, TaskState};

use super::{call::call, error::ApiError, request::Params, state::Api};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/tasks", get(list)).route("/tasks/{id}", get(inspect))
}

/// `GET /tasks`. The filter `_up-to-date` is undocumented; the CLI's progress display lives on it.
async fn list(State(api): State<Api>, params: Params) -> Result<Json<Vec<Task>>, ApiError> {
    let control = api.control()?;
    let known = ["id", "name", "label", "service", "node", "desired-state", "_up-to-date", "runtime"];
    let filters = params.filters(&known)?;
    if filters.has("runtime") && !filters.values("runtime").any(|value| value == "container") {
        return Ok(Json(Vec::new()));
    }
    let request = ListTasksRequest {
        id_prefixes: filters.list("id"),
        name_prefixes: filters.list("name"),
        services: filters.list("service"),
        nodes: filters.list("node"),
        labels: filters.list("label"),
        desired_states: filters.words("desired-state", TaskState::from_word)?.into_iter().map(Into::into).collect(),
        up_to_date_only: filters.flag("_up-to-date")?.unwrap_or(false),
        after: None,
    };
    let tasks = pages::all(|after| {
        let (mut control, request) = (control.clone(), ListTasksRequest { after: Some(after), ..request.clone() });
        async move { call(control.list_tasks(request)).await }
    })
    .await?;
    Ok(Json(tasks.iter().map(task_to_docker).collect()))
}

/// `GET /tasks/{id}`.
async fn inspect(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<Task>, ApiError> {
    let task = call(api.control()?.get_task(GetObjectRequest { key })).await?;
    Ok(Json(task_to_docker(&task)))
}
