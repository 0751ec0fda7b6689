//! Revisions of services: what Docker's API has no words for.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use skep_dockerapi::types::{Revisions, Updated};
use skep_proto::v1::{GetObjectRequest, RollBackServiceRequest};

use super::{call::call, error::ApiError, request::Params, state::Api};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/services/{id}/revisions", get(list)).route("/services/{id}/rollback", post(roll_back))
}

/// `GET /services/{id}/revisions`: those that are kept, newest first.
async fn list(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<Revisions>, ApiError> {
    let reply = call(api.control()?.list_revisions(GetObjectRequest { key })).await?;
    Ok(Json(reply.into()))
}

/// `POST /services/{id}/rollback`: back to the revision `to`, which the service is warned of being at already.
async fn roll_back(State(api): State<Api>, Path(key): Path<String>, params: Params) -> Result<Json<Updated>, ApiError> {
    let mut control = api.control()?;
    let version = params.version("service")?;
    let to = params.text("to").parse().map_err(|_| ApiError::bad("the revision to go back to must be a number"))?;
    let service = call(control.roll_back_service(RollBackServiceRequest { key, version, to })).await?;
    let stays = service.meta.is_some_and(|meta| meta.version == version);
    let warnings = stays.then(|| vec![format!("the service is at revision {to} already")]);
    Ok(Json(Updated { warnings }))
}
