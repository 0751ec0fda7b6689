//! Passing a call on: a follower that hands a caller's request to the leader says whose it was.
//!
//! The claim travels in three metadata keys and is believed only when the direct peer is a manager; from anyone
//! else it is stripped. A node's role is looked up again where it arrives, so only the id is ever taken on trust.

use std::net::SocketAddr;

use http::{HeaderMap, HeaderName, HeaderValue};
use skep_proto::v1::NodeRole;
use tonic::{Request, Status, metadata::MetadataMap};

use super::{
    identity::{MANAGER_UNIT, WORKER_UNIT, role_unit},
    server::Caller,
};
use crate::authz::Peer;

const ADDR: HeaderName = HeaderName::from_static("skep-forwarded-addr");
const NODE: HeaderName = HeaderName::from_static("skep-forwarded-node");
const ROLE: HeaderName = HeaderName::from_static("skep-forwarded-role");

/// Whose call a manager passes on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Claim {
    pub(crate) peer: Peer,
    pub(crate) addr: SocketAddr,
}

/// Writes into `request`, bound for the leader, that it comes from `caller`.
/// A call that was passed on once already is not passed on again: one hop reaches the leader or fails.
pub fn on_behalf_of<T>(caller: &Caller, mut request: Request<T>) -> Result<Request<T>, Status> {
    if caller.forwarded {
        return Err(Status::unavailable("the swarm's leader is changing; try again"));
    }
    let mut headers = std::mem::take(request.metadata_mut()).into_headers();
    strip(&mut headers);
    let value = |text: &str| {
        HeaderValue::try_from(text).map_err(|_| Status::internal("a caller's identity does not fit into metadata"))
    };
    headers.insert(ADDR, value(&caller.remote_addr.to_string())?);
    if let Peer::Node { node_id, role } = &caller.peer {
        headers.insert(NODE, value(node_id)?);
        headers.insert(ROLE, HeaderValue::from_static(role_unit(*role)));
    }
    *request.metadata_mut() = MetadataMap::from_headers(headers);
    Ok(request)
}

/// Takes the claim, if there is one, out of a request's headers. A malformed one is an error, never "no claim".
pub(crate) fn take(headers: &mut HeaderMap) -> Result<Option<Claim>, Status> {
    let claim = read(headers);
    strip(headers);
    claim
}

/// Removes the claim.
pub(crate) fn strip(headers: &mut HeaderMap) {
    for name in [ADDR, NODE, ROLE] {
        headers.remove(name);
    }
}

fn read(headers: &HeaderMap) -> Result<Option<Claim>, Status> {
    let malformed = || Status::invalid_argument("the forwarding metadata is malformed");
    let text = |name: HeaderName| match headers.get_all(name).iter().collect::<Vec<_>>()[..] {
        [] => Ok(None),
        [value] => value.to_str().map(Some).map_err(|_| malformed()),
        _ => Err(malformed()),
    };
    let (addr, node, role) = (text(ADDR)?, text(NODE)?, text(ROLE)?);
    let Some(addr) = addr else {
        return if node.is_none() && role.is_none() { Ok(None) } else { Err(malformed()) };
    };
    let peer = match (node, role) {
        (None, None) => Peer::Anonymous,
        (Some(id), Some(MANAGER_UNIT)) => Peer::Node { node_id: id.to_owned(), role: NodeRole::Manager },
        (Some(id), Some(WORKER_UNIT)) => Peer::Node { node_id: id.to_owned(), role: NodeRole::Worker },
        _ => return Err(malformed()),
    };
    Ok(Some(Claim { peer, addr: addr.parse().map_err(|_| malformed())? }))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn caller(peer: Peer) -> Caller {
        Caller::direct(peer, "192.0.2.7:4000".parse().unwrap())
    }

    fn node(role: NodeRole) -> Peer {
        Peer::Node { node_id: "abc".into(), role }
    }

    #[test]
    fn what_is_written_is_read_and_taken_away() {
        for peer in [Peer::Anonymous, node(NodeRole::Worker), node(NodeRole::Manager)] {
            let request = on_behalf_of(&caller(peer.clone()), Request::new(())).unwrap();
            let mut headers = request.into_parts().0.into_headers();
            let claim = take(&mut headers).unwrap().unwrap();
            assert_eq!(claim, Claim { peer, addr: "192.0.2.7:4000".parse().unwrap() });
            assert!(headers.is_empty());
        }
    }

    #[test]
    fn a_claim_already_in_the_request_is_replaced() {
        let request = on_behalf_of(&caller(node(NodeRole::Manager)), Request::new(())).unwrap();
        let request = on_behalf_of(&caller(Peer::Anonymous), request).unwrap();
        let claim = take(&mut request.into_parts().0.into_headers()).unwrap().unwrap();
        assert_eq!(claim.peer, Peer::Anonymous);
    }

    #[test]
    fn a_forwarded_call_goes_no_further() {
        let mut caller = caller(Peer::Anonymous);
        caller.forwarded = true;
        assert_eq!(on_behalf_of(&caller, Request::new(())).unwrap_err().code(), tonic::Code::Unavailable);
    }

    #[test]
    fn malformed_claims_are_errors() {
        let cases: [&[(HeaderName, &str)]; 6] = [
            &[(NODE, "abc")],
            &[(ROLE, WORKER_UNIT)],
            &[(ADDR, "192.0.2.7:1"), (NODE, "abc")],
            &[(ADDR, "192.0.2.7:1"), (NODE, "abc"), (ROLE, "root")],
            &[(ADDR, "nowhere")],
            &[(ADDR, "192.0.2.7:1"), (ADDR, "192.0.2.8:1")],
        ];
        for case in cases {
            let mut headers = HeaderMap::new();
            for (name, value) in case {
                headers.append(name, value.parse().unwrap());
            }
            assert!(take(&mut headers).is_err(), "{case:?}");
            assert!(headers.is_empty());
        }
        assert_eq!(take(&mut HeaderMap::new()).unwrap(), None);
    }
}
