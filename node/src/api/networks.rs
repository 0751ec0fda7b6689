//! `/networks`: the CLI looks a network up before it uses it. Two are there, on every node: the host's, which a service
//! may ask for, and `none`, which is what a container has that asked for nothing.

use axum::{Json, Router, extract::Path, routing::get};
use skep_dockerapi::{
    HOST_NETWORK,
    filters::Filters,
    types::{Ipam, Network},
};

use super::{error::ApiError, request::Params, state::Api};

const LOCAL: &str = "local";
const SWARM: &str = "swarm";

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new().route("/networks", get(list)).route("/networks/{id}", get(inspect))
}

/// `GET /networks`.
async fn list(params: Params) -> Result<Json<Vec<Network>>, ApiError> {
    let filters = params.filters(&["id", "name", "driver", "scope", "type", "label", "dangling"])?;
    let kind = |kind: &str| matches!(kind, "builtin" | "custom").then_some(());
    filters.parsed_or("type", kind, |kind| format!("invalid filter: 'type'='{kind}'"))?;
    let dangling = filters.parsed_or("dangling", bool_of, |_| {
        "invalid value for filter 'dangling', must be \"true\" (or \"1\"), or \"false\" (or \"0\")".to_owned()
    })?;
    if dangling.contains(&true) {
        return Ok(Json(Vec::new()));
    }
    Ok(Json(predefined().into_iter().filter(|network| is_asked_for(network, &filters)).collect()))
}

fn bool_of(flag: &str) -> Option<bool> {
    match flag {
        "1" | "true" | "True" | "TRUE" => Some(true),
        "0" | "false" | "False" | "FALSE" => Some(false),
        _ => None,
    }
}

fn is_asked_for(network: &Network, filters: &Filters) -> bool {
    let fits = |filter: &str, value: &str| !filters.has(filter) || filters.values(filter).any(|asked| asked == value);
    let contains =
        |filter: &str, value: &str| !filters.has(filter) || filters.values(filter).any(|asked| value.contains(asked));
    contains("id", &network.id)
        && contains("name", &network.name)
        && fits("driver", &network.driver)
        && fits("scope", &network.scope)
        && fits("type", "builtin")
        && filters.labels_match("label", &network.labels)
}

/// `GET /networks/{id}`. `verbose` asks for the tasks of a swarm's own networks: these have none to tell of. The host's
/// is there for services too, and then in the scope of the swarm.
async fn inspect(Path(key): Path<String>, params: Params) -> Result<Json<Network>, ApiError> {
    let network = predefined().into_iter().find(|network| network.id == key);
    match (network, params.text("scope")) {
        (Some(network), "" | LOCAL) => Ok(Json(network)),
        (Some(network), SWARM) if key == HOST_NETWORK => Ok(Json(Network { scope: SWARM.to_owned(), ..network })),
        _ => Err(ApiError::not_found(format!("network {key} not found"))),
    }
}

fn predefined() -> [Network; 2] {
    [("none", "null"), (HOST_NETWORK, HOST_NETWORK)].map(|(name, driver)| Network {
        name: name.to_owned(),
        id: name.to_owned(),
        scope: LOCAL.to_owned(),
        driver: driver.to_owned(),
        ipam: Ipam { driver: "default".to_owned(), ..Ipam::default() },
        ..Network::default()
    })
}
