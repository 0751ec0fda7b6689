//! Runs of jobs: what Docker's API has no words for.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use skep_dockerapi::{
    convert::{job_runs_to_docker, service_to_docker},
    types::{JobRun, Service},
};
use skep_proto::v1::GetObjectRequest;

use super::{call::call, error::ApiError, state::Api};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/services/{id}/run", post(run)).route("/services/{id}/runs", get(runs))
}

/// `POST /services/{id}/run`: begins a run and shows the service.
async fn run(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<Service>, ApiError> {
    let service = call(api.control()?.run_job(GetObjectRequest { key })).await?;
    Ok(Json(service_to_docker(&service)))
}

/// `GET /services/{id}/runs`: the runs of a scheduled job, oldest first.
async fn runs(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<Vec<JobRun>>, ApiError> {
    let service = call(api.control()?.get_service(GetObjectRequest { key })).await?;
    Ok(Json(job_runs_to_docker(&service)))
}
