//! `/_ping`: how clients find out what they talk to.

use axum::{Router, extract::State, response::IntoResponse, routing::get};
use http::header::{CACHE_CONTROL, CONTENT_TYPE, PRAGMA};

use super::{backend::LocalNodeState, state::Api};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/_ping", get(ping))
}

/// `GET`, `HEAD /_ping`.
async fn ping(State(api): State<Api>) -> impl IntoResponse {
    let swarm = match (api.backend.cluster.status().state, api.backend.cluster.manager()) {
        (LocalNodeState::Inactive, _) => "inactive",
        (LocalNodeState::Pending, _) => "pending",
        (LocalNodeState::Error, _) => "error",
        (LocalNodeState::Active, Some(_)) => "active/manager",
        (LocalNodeState::Active, None) => "active/worker",
    };
    let headers = [
        (CACHE_CONTROL.as_str(), "no-cache, no-store, must-revalidate"),
        (PRAGMA.as_str(), "no-cache"),
        (CONTENT_TYPE.as_str(), "text/plain; charset=utf-8"),
        ("swarm", swarm),
    ];
    (headers, "OK")
}
