//! Runs of jobs: what Docker's API has no words for.

use axum::{
    Json,
    extract::{Path, State},
};
use skep_dockerapi::{
    convert::{job_runs_to_docker, service_to_docker},
    types::{JobRun, Service},
};
use skep_proto::v1::GetObjectRequest;

use super::{call::call, error::ApiError, state::Api};

/// `POST /services/{id}/run`: begins a run and shows the service.
pub(super) async fn run(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<Service>, ApiError> {
    let service = call(api.control()?.run_job(GetObjectRequest { key })).await?;
    Ok(Json(service_to_docker(&service)))
}

/// `GET /services/{id}/runs`: the runs of a scheduled job, oldest first.
pub(super) async fn runs(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<Vec<JobRun>>, ApiError> {
    let service = call(api.control()?.get_service(GetObjectRequest { key })).await?;
    Ok(Json(job_runs_to_docker(&service)))
}
