//! Routes, and what is the same for every answer.

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
    routing::{delete, get, post},
};
use http::{HeaderValue, header::SERVER};
use skep_dockerapi::API_VERSION;
use tower::ServiceExt as _;
use tracing::debug;

use super::{
    containers, events, images, info, jobs, load, logs, networks, nodes, ping, reasons, services,
    state::Api,
    swarm, tasks,
    version::{self, page_not_found},
};

/// Everything served, unversioned.
pub(super) fn router(api: Api) -> Router {
    Router::new()
        .route("/_ping", get(ping::ping))
        .route("/version", get(version::show))
        .route("/info", get(info::show))
        .route("/events", get(events::stream))
        .route("/swarm", get(swarm::inspect))
        .route("/swarm/init", post(swarm::init))
        .route("/swarm/join", post(swarm::join))
        .route("/swarm/leave", post(swarm::leave))
        .route("/swarm/update", post(swarm::update))
        .route("/nodes", get(nodes::list))
        .route("/nodes/{id}", get(nodes::inspect).merge(delete(nodes::remove)))
        .route("/nodes/{id}/update", post(nodes::update))
        .route("/services", get(services::list))
        .route("/services/create", post(services::create))
        .route("/services/{id}", get(services::inspect).merge(delete(services::remove)))
        .route("/services/{id}/update", post(services::update))
        .route("/services/{id}/rebalance", post(reasons::rebalance))
        .route("/services/{id}/run", post(jobs::run))
        .route("/services/{id}/runs", get(jobs::runs))
        .route("/services/{id}/logs", get(logs::of_service))
        .route("/tasks", get(tasks::list))
        .route("/tasks/{id}", get(tasks::inspect))
        .route("/tasks/{id}/logs", get(logs::of_task))
        .route("/images/json", get(images::list))
        .route("/images/load", post(load::load))
        .route("/images/{*name}", get(images::inspect))
        .route("/distribution/{*name}", get(images::resolve))
        .route("/containers/json", get(containers::list))
        .route("/containers/{id}/json", get(containers::inspect))
        .route("/containers/{id}/logs", get(logs::of_container))
        .route("/networks", get(networks::list))
        .route("/networks/{id}", get(networks::inspect))
        .route("/skep/services/{id}/explain", get(reasons::service))
        .route("/skep/tasks/{id}/explain", get(reasons::task))
        .route("/skep/nodes/{id}/explain", get(reasons::node))
        .route("/skep/swarm/history", get(reasons::swarm))
        .route("/skep/what-if", post(reasons::what_if))
        .fallback(async || page_not_found())
        .method_not_allowed_fallback(async || page_not_found())
        .with_state(api)
}

/// Answers one request: takes the version off its path, routes it, and says who answered.
pub(super) async fn answer(router: Router, mut request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let mut response = match version::take(request.uri()) {
        Ok((version, uri)) => {
            *request.uri_mut() = uri;
            request.extensions_mut().insert(version);
            router.oneshot(request).await.unwrap_or_else(|never| match never {})
        }
        Err(error) => error.into_response(),
    };
    sign(&mut response);
    debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}

fn sign(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert("api-version", HeaderValue::from_static(API_VERSION));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert(SERVER, HeaderValue::from_static(concat!("skep/", env!("CARGO_PKG_VERSION"), " (linux)")));
}
