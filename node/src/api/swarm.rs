//! `/swarm`: this node's membership, and the swarm's own spec and tokens.

use axum::{
    Json, Router,
    extract::State,
    routing::{get, post},
};
use skep_common::{limits::MANAGER_PORT, validate::HostPort};
use skep_dockerapi::{
    convert::{
        DATA_PATH_PORT, SUBNET_SIZE, cluster_info, cluster_spec_from_docker, initial_cluster_spec, words::Word as _,
    },
    types::{InitRequest, JoinRequest, Swarm, SwarmSpec},
};
use skep_proto::v1::{Availability, GetClusterRequest, UpdateClusterRequest};

use super::{
    backend::{InitOptions, JoinOptions},
    call::call,
    error::ApiError,
    request::{Params, Spec},
    state::Api,
};

const DEFAULT_LISTEN_ADDR: &str = "0.0.0.0:2377";

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/swarm", get(inspect))
        .route("/swarm/init", post(init))
        .route("/swarm/join", post(join))
        .route("/swarm/leave", post(leave))
        .route("/swarm/update", post(update))
}

/// `GET /swarm`.
async fn inspect(State(api): State<Api>) -> Result<Json<Swarm>, ApiError> {
    let cluster = call(api.control()?.get_cluster(GetClusterRequest {})).await?;
    Ok(Json(cluster_info(&cluster, true)))
}

/// `POST /swarm/init`: answers the node's id.
async fn init(State(api): State<Api>, Spec(request): Spec<InitRequest>) -> Result<Json<String>, ApiError> {
    for (field, asked) in [
        ("ForceNewCluster", request.force_new_cluster),
        ("AutoLockManagers", request.auto_lock_managers),
        ("DataPathPort", !matches!(request.data_path_port, 0 | DATA_PATH_PORT)),
        ("SubnetSize", !matches!(request.subnet_size, 0 | SUBNET_SIZE)),
    ] {
        if asked {
            return Err(unsupported(field));
        }
    }
    data_path(&request.data_path_addr, &request.advertise_addr)?;
    let options = InitOptions {
        listen_addr: listen_addr(request.listen_addr),
        advertise_addr: Some(request.advertise_addr).filter(|addr| !addr.is_empty()),
        spec: cluster_spec_from_docker(request.spec, &initial_cluster_spec())?,
        availability: availability(&request.availability)?,
    };
    Ok(Json(api.backend.cluster.init(options).await?))
}

/// `POST /swarm/join`.
async fn join(State(api): State<Api>, Spec(request): Spec<JoinRequest>) -> Result<(), ApiError> {
    data_path(&request.data_path_addr, &request.advertise_addr)?;
    if request.remote_addrs.is_empty() {
        return Err(ApiError::bad("at least 1 RemoteAddr is required to join"));
    }
    let remote = |addr: &String| HostPort::parse(addr, MANAGER_PORT).map(|addr| addr.to_string());
    let options = JoinOptions {
        listen_addr: listen_addr(request.listen_addr),
        advertise_addr: Some(request.advertise_addr).filter(|addr| !addr.is_empty()),
        remote_addrs: request.remote_addrs.iter().map(remote).collect::<Result<_, _>>()?,
        token: request.join_token,
        availability: availability(&request.availability)?,
    };
    Ok(api.backend.cluster.join(options).await?)
}

/// `POST /swarm/leave`.
async fn leave(State(api): State<Api>, params: Params) -> Result<(), ApiError> {
    Ok(api.backend.cluster.leave(params.flag("force")).await?)
}

/// `POST /swarm/update`: the spec, and new tokens when asked for.
async fn update(State(api): State<Api>, params: Params, Spec(spec): Spec<SwarmSpec>) -> Result<(), ApiError> {
    let mut control = api.control()?;
    let version = params.version("swarm")?;
    let current = call(control.get_cluster(GetClusterRequest {})).await?;
    let request = UpdateClusterRequest {
        version,
        spec: Some(cluster_spec_from_docker(spec, &current.spec.unwrap_or_default())?),
        rotate_worker_token: params.flag("rotateWorkerToken"),
        rotate_manager_token: params.flag("rotateManagerToken"),
    };
    call(control.update_cluster(request)).await?;
    Ok(())
}

fn listen_addr(given: String) -> String {
    if given.is_empty() { DEFAULT_LISTEN_ADDR.to_owned() } else { given }
}

/// Traffic between containers goes where all other goes.
fn data_path(addr: &str, advertise_addr: &str) -> Result<(), ApiError> {
    if addr.is_empty() || addr == advertise_addr { Ok(()) } else { Err(unsupported("DataPathAddr")) }
}

fn availability(word: &str) -> Result<Availability, ApiError> {
    match word {
        "" => Ok(Availability::Active),
        word => Availability::from_word(word).ok_or_else(|| ApiError::bad(format!("invalid Availability: {word:?}"))),
    }
}

fn unsupported(field: &str) -> ApiError {
    ApiError::bad(format!("not supported yet: {field}"))
}
