//! `/networks`: the CLI looks a network up before it uses it, and there is one to find: the host's.

use axum::{Json, Router, extract::Path, routing::get};
use skep_dockerapi::{HOST_NETWORK, types::Network};

use super::{error::ApiError, request::Params, state::Api};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/networks", get(list)).route("/networks/{id}", get(inspect))
}

/// `GET /networks`.
async fn list(params: Params) -> Result<Json<Vec<Network>>, ApiError> {
    let filters = params.filters(&["id", "name", "driver", "scope", "type", "label", "dangling"])?;
    filters.parsed("type", |kind| matches!(kind, "builtin" | "custom").then_some(()))?;
    let host = host();
    let fits = |filter: &str, value: &str| !filters.has(filter) || filters.values(filter).any(|asked| asked == value);
    let shown = fits("id", &host.id)
        && fits("name", &host.name)
        && fits("driver", &host.driver)
        && fits("scope", &host.scope)
        && fits("type", "builtin")
        && filters.labels_match("label", &host.labels)
        && filters.flag("dangling")? != Some(true);
    Ok(Json(if shown { vec![host] } else { Vec::new() }))
}

/// `GET /networks/{id}`. `verbose` asks for the tasks of a swarm's own networks: the host's has none to tell of.
async fn inspect(Path(key): Path<String>, params: Params) -> Result<Json<Network>, ApiError> {
    let host = host();
    let scope = params.text("scope");
    if key == host.id && (scope.is_empty() || scope == host.scope) {
        return Ok(Json(host));
    }
    Err(ApiError::not_found(format!("network {key} not found")))
}

/// Every node's own network, and so in the scope of the swarm.
fn host() -> Network {
    Network {
        name: HOST_NETWORK.to_owned(),
        id: HOST_NETWORK.to_owned(),
        scope: "swarm".to_owned(),
        driver: HOST_NETWORK.to_owned(),
        ..Network::default()
    }
}
