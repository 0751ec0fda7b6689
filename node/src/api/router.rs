//! Routes, and what is the same for every answer.

use axum::{
    Router,
    body::Body,
    extract::Request,
    response::{IntoResponse as _, Response},
};
use http::{HeaderValue, header::SERVER};
use skep_dockerapi::API_VERSION;
use tower::ServiceExt as _;
use tracing::debug;

use super::{
    body::{self, Pace},
    containers, events, image_path, images, info, jobs, load, logs, networks, nodes, not_yet, parameters, ping,
    reasons, revisions, services,
    state::Api,
    swarm, tasks,
    version::{self, page_not_found},
};

/// Everything served, unversioned.
pub(super) fn router(api: Api) -> Router {
    let groups = [
        ping::routes(),
        version::routes(),
        info::routes(),
        events::routes(),
        swarm::routes(),
        nodes::routes(),
        services::routes(),
        jobs::routes(),
        tasks::routes(),
        logs::routes(),
        images::routes(),
        load::routes(),
        containers::routes(),
        networks::routes(),
        reasons::routes(),
        revisions::routes(),
        not_yet::routes(),
    ];
    let all = groups.into_iter().fold(Router::new(), Router::merge);
    all.fallback(async || page_not_found()).method_not_allowed_fallback(async || page_not_found()).with_state(api)
}

/// Answers one request: takes the version off its path, routes it, and says who answered. What nobody read of its body
/// is read before the answer goes.
pub(super) async fn answer(router: Router, request: Request) -> Response {
    let (method, path) = (request.method().clone(), request.uri().path().to_owned());
    let (parts, given) = request.into_parts();
    let (lent, rest) = body::lend_paced(given, Pace::of(&parts.uri));
    let mut response = route(router, Request::from_parts(parts, lent)).await;
    rest.drain().await;
    sign(&mut response);
    debug!(%method, path, status = response.status().as_u16(), "answered");
    response
}

async fn route(router: Router, mut request: Request) -> Response {
    let (version, uri) = match version::take(request.uri()) {
        Ok(taken) => taken,
        Err(error) => return error.into_response(),
    };
    *request.uri_mut() = image_path::fold(request.method(), &uri).unwrap_or(uri);
    if let Err(error) = parameters::check(request.method(), request.uri()) {
        return error.into_response();
    }
    request.extensions_mut().insert(version);
    router.oneshot(request).await.unwrap_or_else(|never| match never {})
}

fn sign(response: &mut Response<Body>) {
    let headers = response.headers_mut();
    headers.insert("api-version", HeaderValue::from_static(API_VERSION));
    headers.insert("docker-experimental", HeaderValue::from_static("false"));
    headers.insert("ostype", HeaderValue::from_static("linux"));
    headers.insert(SERVER, HeaderValue::from_static(concat!("skep/", env!("CARGO_PKG_VERSION"), " (linux)")));
}
