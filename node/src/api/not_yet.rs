//! Endpoints of Docker's API that this version does not have: each answers 501 and names its group, so that a missing
//! feature is not taken for a wrong path.

use axum::{
    Router,
    routing::{MethodFilter, on},
};
use http::StatusCode;

use super::{error::ApiError, state::Api};

const GET: MethodFilter = MethodFilter::GET;
const POST: MethodFilter = MethodFilter::POST;
const PUT: MethodFilter = MethodFilter::PUT;
const HEAD: MethodFilter = MethodFilter::HEAD;
const DELETE: MethodFilter = MethodFilter::DELETE;

/// A group, as the subject of the sentence, and its endpoints.
type Group = (&'static str, &'static [(MethodFilter, &'static str)]);

/// Every endpoint of Docker's API up to the newest version spoken that has no handler.
const GROUPS: &[Group] = &[
    (
        "containers outside services",
        &[
            (POST, "/containers/create"),
            (POST, "/containers/{id}/start"),
            (POST, "/containers/{id}/stop"),
            (POST, "/containers/{id}/restart"),
            (POST, "/containers/{id}/kill"),
            (POST, "/containers/{id}/update"),
            (POST, "/containers/{id}/rename"),
            (POST, "/containers/{id}/pause"),
            (POST, "/containers/{id}/unpause"),
            (POST, "/containers/{id}/wait"),
            (DELETE, "/containers/{id}"),
            (POST, "/containers/prune"),
        ],
    ),
    (
        "attached terminals",
        &[(POST, "/containers/{id}/attach"), (GET, "/containers/{id}/attach/ws"), (POST, "/containers/{id}/resize")],
    ),
    (
        "commands in running containers (exec)",
        &[
            (POST, "/containers/{id}/exec"),
            (POST, "/exec/{id}/start"),
            (POST, "/exec/{id}/resize"),
            (GET, "/exec/{id}/json"),
        ],
    ),
    ("container statistics", &[(GET, "/containers/{id}/stats")]),
    ("lists of a container's processes (top)", &[(GET, "/containers/{id}/top")]),
    (
        "copies out of and into containers",
        &[
            (HEAD, "/containers/{id}/archive"),
            (GET, "/containers/{id}/archive"),
            (PUT, "/containers/{id}/archive"),
            (POST, "/containers/{id}/copy"),
            (GET, "/containers/{id}/export"),
            (GET, "/containers/{id}/changes"),
            (POST, "/commit"),
        ],
    ),
    (
        "checkpoints",
        &[
            (GET, "/containers/{id}/checkpoints"),
            (POST, "/containers/{id}/checkpoints"),
            (DELETE, "/containers/{id}/checkpoints/{checkpoint}"),
        ],
    ),
    (
        "registries",
        &[(POST, "/images/create"), (POST, "/images/{name}/push"), (GET, "/images/search"), (POST, "/auth")],
    ),
    (
        "builds",
        &[(POST, "/build"), (POST, "/build/prune"), (POST, "/build/cancel"), (POST, "/session"), (POST, "/grpc")],
    ),
    (
        "changes of images and their export",
        &[
            (POST, "/images/{name}/tag"),
            (DELETE, "/images/{name}"),
            (POST, "/images/prune"),
            (GET, "/images/{name}/history"),
            (GET, "/images/{name}/get"),
            (GET, "/images/get"),
        ],
    ),
    (
        "networks other than the host's",
        &[
            (POST, "/networks/create"),
            (POST, "/networks/{id}/connect"),
            (POST, "/networks/{id}/disconnect"),
            (DELETE, "/networks/{id}"),
            (POST, "/networks/prune"),
        ],
    ),
    (
        "volumes",
        &[
            (GET, "/volumes"),
            (POST, "/volumes/create"),
            (POST, "/volumes/prune"),
            (GET, "/volumes/{name}"),
            (PUT, "/volumes/{name}"),
            (DELETE, "/volumes/{name}"),
        ],
    ),
    (
        "secrets",
        &[
            (GET, "/secrets"),
            (POST, "/secrets/create"),
            (GET, "/secrets/{id}"),
            (DELETE, "/secrets/{id}"),
            (POST, "/secrets/{id}/update"),
        ],
    ),
    (
        "configs",
        &[
            (GET, "/configs"),
            (POST, "/configs/create"),
            (GET, "/configs/{id}"),
            (DELETE, "/configs/{id}"),
            (POST, "/configs/{id}/update"),
        ],
    ),
    (
        "plugins",
        &[
            (GET, "/plugins"),
            (GET, "/plugins/privileges"),
            (POST, "/plugins/pull"),
            (POST, "/plugins/create"),
            (GET, "/plugins/{name}/json"),
            (POST, "/plugins/{name}/enable"),
            (POST, "/plugins/{name}/disable"),
            (POST, "/plugins/{name}/push"),
            (POST, "/plugins/{name}/upgrade"),
            (POST, "/plugins/{name}/set"),
            (DELETE, "/plugins/{name}"),
        ],
    ),
    ("locked managers", &[(GET, "/swarm/unlockkey"), (POST, "/swarm/unlock")]),
    ("reports of disk usage", &[(GET, "/system/df")]),
];

/// Docker's endpoints without a handler.
pub(super) fn routes() -> Router<Api> {
    let endpoints = GROUPS.iter().flat_map(|(group, endpoints)| endpoints.iter().map(move |at| (*group, *at)));
    endpoints.fold(Router::new(), |router, (group, (method, path))| {
        router.route(path, on(method, async move || not_yet(group)))
    })
}

fn not_yet(group: &str) -> ApiError {
    ApiError::new(StatusCode::NOT_IMPLEMENTED, format!("{group} are not supported yet"))
}
