//! Parameters of Docker's API that the endpoints served here do not honour.
//!
//! One that asks for something is refused by name before its handler is asked, like a field of a body: an option this
//! version does not do is an error, never silence. One that no version of the API defines is ignored, as the engine
//! does. Written from Docker's API reference, of every version spoken and the ones after it; a table in the tests says
//! of every parameter of an endpoint whether it is honoured.
//!
//! The endpoints Docker does not have are ours alone: there a parameter nobody defined is a mistake, and refused.

use http::{Method, Uri};

use super::{error::ApiError, request::Params};

/// What a parameter holds, and so when it asks for nothing.
#[derive(Clone, Copy)]
enum Kind {
    /// True or false: nothing when false.
    Flag,
    /// Nothing when empty.
    Text,
}

type Unhonoured = (Method, &'static str, &'static [(&'static str, Kind)]);

/// By endpoint.
const UNHONOURED: &[Unhonoured] = &[
    // From before there were filters for it.
    (Method::GET, "/containers/json", &[("before", Kind::Text), ("since", Kind::Text)]),
    (
        Method::GET,
        "/images/json",
        &[("shared-size", Kind::Flag), ("manifests", Kind::Flag), ("identity", Kind::Flag), ("filter", Kind::Text)],
    ),
    (Method::GET, "/images/{name}/json", &[("manifests", Kind::Flag), ("platform", Kind::Text)]),
    (Method::POST, "/images/load", &[("platform", Kind::Text)]),
    (Method::POST, "/swarm/update", &[("rotateManagerUnlockKey", Kind::Flag)]),
];

/// Every endpoint of our own, and all its parameters.
const OWN: &[(Method, &str, &[&str])] = &[
    (Method::POST, "/services/{id}/run", &[]),
    (Method::GET, "/services/{id}/runs", &[]),
    (Method::POST, "/services/{id}/rebalance", &["dry-run"]),
    (Method::GET, "/services/{id}/revisions", &[]),
    (Method::POST, "/services/{id}/rollback", &["version", "to"]),
    (Method::GET, "/skep/services/{id}/explain", &["since", "limit"]),
    (Method::GET, "/skep/tasks/{id}/explain", &["since", "limit"]),
    (Method::GET, "/skep/nodes/{id}/explain", &["since", "limit"]),
    (Method::GET, "/skep/swarm/history", &["since", "limit"]),
    (Method::POST, "/skep/what-if", &[]),
];

/// Refuses what asks for something that is not honoured. The address is without its version, names folded.
pub(super) fn check(method: &Method, uri: &Uri) -> Result<(), ApiError> {
    if let Some((_, _, known)) = OWN.iter().find(|(served, route, _)| served == method && leads_to(route, uri.path())) {
        let unknown = Params::of(uri)?.unknown(known);
        return unknown.map_or(Ok(()), |name| Err(ApiError::bad(format!("unknown parameter: {name:.100}"))));
    }
    let of_endpoint = UNHONOURED.iter().find(|(served, route, _)| served == method && leads_to(route, uri.path()));
    let Some((_, _, unhonoured)) = of_endpoint else { return Ok(()) };
    let params = Params::of(uri)?;
    let asked = unhonoured.iter().find(|(name, kind)| match kind {
        Kind::Flag => params.flag(name),
        Kind::Text => !params.text(name).is_empty(),
    });
    asked.map_or(Ok(()), |(name, _)| Err(ApiError::bad(format!("not supported yet: {name}"))))
}

/// Whether a path is one of a route.
fn leads_to(route: &str, path: &str) -> bool {
    let (mut wanted, mut given) = (route.split('/'), path.split('/'));
    loop {
        match (wanted.next(), given.next()) {
            (None, None) => return true,
            (Some(wanted), Some(given)) if wanted == given || wanted.starts_with('{') => {}
            _ => return false,
        }
    }
}
