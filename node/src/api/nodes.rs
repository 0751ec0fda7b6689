//! `/nodes`.

use axum::{
    Json, Router,
    extract::{Path, State},
    routing::{get, post},
};
use skep_common::pages;
use skep_dockerapi::{
    convert::{node_spec_from_docker, node_to_docker, tls_info, words::Word as _},
    types::{Node, NodeSpec, TlsInfo},
};
use skep_proto::v1::{
    GetClusterRequest, GetObjectRequest, ListNodesRequest, NodeRole, RemoveNodeRequest, UpdateNodeRequest,
};

use super::{
    backend::Control,
    call::call,
    error::ApiError,
    request::{Params, Spec},
    state::Api,
};

/// What is served here.
pub(super) fn routes() -> Router<Api> {
    Router::new()
        .route("/nodes", get(list))
        .route("/nodes/{id}", get(inspect).delete(remove))
        .route("/nodes/{id}/update", post(update))
}

/// `GET /nodes`.
async fn list(State(api): State<Api>, params: Params) -> Result<Json<Vec<Node>>, ApiError> {
    let mut control = api.control()?;
    let filters = params.filters(&["id", "name", "label", "node.label", "role", "membership"])?;
    // There is no pending membership: a node with a certificate is accepted.
    let membership = |word: &str| matches!(word, "accepted" | "pending").then(|| word == "accepted");
    let memberships = filters.words("membership", membership)?;
    if !memberships.is_empty() && !memberships.contains(&true) {
        return Ok(Json(Vec::new()));
    }
    let request = ListNodesRequest {
        id_prefixes: filters.list("id"),
        name_prefixes: filters.list("name"),
        labels: filters.list("label"),
        node_labels: filters.list("node.label"),
        roles: filters.words("role", NodeRole::from_word)?.into_iter().map(Into::into).collect(),
        availabilities: Vec::new(),
        after: None,
    };
    let nodes = pages::all(|after| {
        let (mut control, request) = (control.clone(), ListNodesRequest { after: Some(after), ..request.clone() });
        async move { call(control.list_nodes(request)).await }
    })
    .await?;
    let trust = trust(&mut control).await?;
    Ok(Json(nodes.iter().map(|node| node_to_docker(node, &trust)).collect()))
}

/// `GET /nodes/{id}`.
async fn inspect(State(api): State<Api>, Path(key): Path<String>) -> Result<Json<Node>, ApiError> {
    let mut control = api.control()?;
    let node = call(control.get_node(GetObjectRequest { key })).await?;
    Ok(Json(node_to_docker(&node, &trust(&mut control).await?)))
}

/// `POST /nodes/{id}/update`.
async fn update(
    State(api): State<Api>,
    Path(key): Path<String>,
    params: Params,
    Spec(spec): Spec<NodeSpec>,
) -> Result<(), ApiError> {
    let mut control = api.control()?;
    let version = params.version("node")?;
    let spec = node_spec_from_docker(spec)?;
    call(control.update_node(UpdateNodeRequest { key, version, spec: Some(spec) })).await?;
    Ok(())
}

/// `DELETE /nodes/{id}`.
async fn remove(State(api): State<Api>, Path(key): Path<String>, params: Params) -> Result<(), ApiError> {
    call(api.control()?.remove_node(RemoveNodeRequest { key, force: params.flag("force") })).await?;
    Ok(())
}

/// The swarm's root, which every node trusts.
async fn trust(control: &mut Control) -> Result<TlsInfo, ApiError> {
    let cluster = call(control.get_cluster(GetClusterRequest {})).await?;
    Ok(tls_info(cluster.root_ca.as_ref().map_or(&[][..], |root| &root.certificate_pem)))
}
