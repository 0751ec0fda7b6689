//! `/skep/…`: why something is as it is, what happened to it, and what would happen if something changed. Not in Docker.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use skep_common::limits::MAX_HISTORY;
use skep_dockerapi::{
    convert::{omit_defaults, service_to_docker, what_if_from_json},
    types::{Explanation, Forecast, Move, WhatIf},
};
use skep_proto::v1::{
    ExplainRequest, ListServicesRequest, RebalanceServiceRequest,
    explain_request::{self, What},
};

use super::{
    call::call,
    error::ApiError,
    request::{Params, Spec},
    state::Api,
};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/services/{id}/rebalance", post(rebalance))
        .route("/skep/services/{id}/explain", get(service))
        .route("/skep/tasks/{id}/explain", get(task))
        .route("/skep/nodes/{id}/explain", get(node))
        .route("/skep/swarm/history", get(swarm))
        .route("/skep/what-if", post(what_if))
}

type Explained = Result<Json<Explanation>, ApiError>;

/// `GET /skep/services/{id}/explain`, like all of these with `since` and `limit` for the history.
async fn service(State(api): State<Api>, Path(key): Path<String>, params: Params) -> Explained {
    explain(&api, What::Service(key), &params).await
}

/// `GET /skep/tasks/{id}/explain`.
async fn task(State(api): State<Api>, Path(key): Path<String>, params: Params) -> Explained {
    explain(&api, What::Task(key), &params).await
}

/// `GET /skep/nodes/{id}/explain`.
async fn node(State(api): State<Api>, Path(key): Path<String>, params: Params) -> Explained {
    explain(&api, What::Node(key), &params).await
}

/// `GET /skep/swarm/history`.
async fn swarm(State(api): State<Api>, params: Params) -> Explained {
    explain(&api, What::Swarm(explain_request::Swarm {}), &params).await
}

/// `POST /services/{id}/rebalance`: has tasks moved to where they would be placed now, and says which. `dry-run` only says.
async fn rebalance(
    State(api): State<Api>,
    Path(key): Path<String>,
    params: Params,
) -> Result<Json<Vec<Move>>, ApiError> {
    let request = RebalanceServiceRequest { key, dry_run: params.flag("dry-run") };
    let reply = call(api.control()?.rebalance_service(request)).await?;
    Ok(Json(reply.moves.into_iter().map(Move::from).collect()))
}

async fn explain(api: &Api, what: What, params: &Params) -> Explained {
    let request = ExplainRequest { what: Some(what), since: params.time("since")?.0, limit: limit(params)? };
    let reply = call(api.control()?.explain(request)).await?;
    Ok(Json(reply.into()))
}

/// How many entries of history are asked for; 0 when that is left open.
fn limit(params: &Params) -> Result<u32, ApiError> {
    let typed = params.text("limit");
    if typed.is_empty() {
        return Ok(0);
    }
    let limit = typed.parse().ok().filter(|limit| (1..=MAX_HISTORY).contains(limit));
    let limit = limit.and_then(|limit| u32::try_from(limit).ok());
    limit.ok_or_else(|| ApiError::bad(format!("invalid limit {typed:?}: a number from 1 to {MAX_HISTORY} is expected")))
}

/// `POST /skep/what-if`. A spec to deploy may be what `inspect` shows, with the defaults written out: where the service
/// leaves them open, they are no change.
async fn what_if(State(api): State<Api>, Spec(mut asked): Spec<WhatIf>) -> Result<Json<Forecast>, ApiError> {
    let mut control = api.control()?;
    if let Some(spec) = &mut asked.deploy {
        let like = ListServicesRequest { name_prefixes: vec![spec.name.clone()], ..ListServicesRequest::default() };
        let found = call(control.list_services(like)).await?.services;
        let mut present = found.iter().filter_map(|entry| Some(service_to_docker(entry.service.as_ref()?).spec));
        if let Some(present) = present.find(|present| present.name == spec.name) {
            omit_defaults(spec, &present);
        }
    }
    let request = what_if_from_json(asked)?;
    let reply = call(Box::pin(control.what_if(request))).await?;
    Ok(Json(reply.into()))
}
