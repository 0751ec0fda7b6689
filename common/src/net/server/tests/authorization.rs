//! Every method against every kind of caller, on real connections.

use rustls::sign::SingleCertAndKey;

use super::*;
use crate::net::{dial::lazy_channel, identity::Identity, tls::unverified_client_config};

/// How a call ends.
#[derive(Debug, PartialEq, Eq, Clone, Copy)]
enum End {
    /// With a status from the server; `Ok` means that the handler was reached.
    Status(Code),
    /// In the handshake.
    Tls,
}

const OK: End = End::Status(Code::Ok);
const DENIED: End = End::Status(Code::PermissionDenied);
const NO_CERTIFICATE: End = End::Status(Code::Unauthenticated);
const NO_STATE: End = End::Status(Code::Unavailable);

/// What a kind of caller must meet: at the CA, the dispatcher, where managers meet managers, and where only members of their
/// consensus do.
struct Expected {
    ca: End,
    dispatcher: End,
    managers: End,
    members: End,
}

impl Expected {
    const fn everywhere(end: End) -> Self {
        Self { ca: end, dispatcher: end, managers: end, members: end }
    }

    fn at(&self, path: &str) -> End {
        match path.split('/').nth(1).unwrap() {
            "skep.v1.Ca" => self.ca,
            "skep.v1.Dispatcher" => self.dispatcher,
            "skep.v1.Raft" => self.members,
            "skep.v1.Membership" | "skep.v1.Journal" | "skep.v1.Control" | "skep.v1.Peer" => self.managers,
            other => panic!("this test does not say who may call {other}"),
        }
    }
}

const WORKER: Expected = Expected { ca: OK, dispatcher: OK, managers: DENIED, members: DENIED };
const MANAGER: Expected = Expected { members: DENIED, ..Expected::everywhere(OK) };
const MEMBER: Expected = Expected::everywhere(OK);
const NOT_KNOWN: Expected = Expected { members: DENIED, ..Expected::everywhere(NO_STATE) };

#[tokio::test]
async fn every_method_lets_in_exactly_whom_the_table_names() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
    let roles = [
        ("worker", RoleAnswer::Is(NodeRole::Worker)),
        ("manager", RoleAnswer::Is(NodeRole::Manager)),
        ("demoted", RoleAnswer::Is(NodeRole::Worker)),
        ("promoted", RoleAnswer::Is(NodeRole::Manager)),
        ("member", RoleAnswer::Is(NodeRole::Manager)),
        ("unknown", RoleAnswer::NotKnown),
        ("unknown-member", RoleAnswer::NotKnown),
        ("demoted-member", RoleAnswer::Is(NodeRole::Worker)),
        ("removed", RoleAnswer::Removed),
    ];
    for (node, role) in roles {
        server.roles.set(node, role);
    }
    for member in ["member", "unknown-member", "demoted-member"] {
        server.roles.set_member(member, true);
    }
    let node = |node_id, role| dialer(&ca, node_id, role).channel(&server.addr, Expect::Manager);
    let other_root = TestCa::new("swarm").identity("manager", NodeRole::Manager);
    let expired = ca.identity_until("manager", NodeRole::Manager, -60);
    let same_root = ca.sibling("another-swarm").identity("manager", NodeRole::Manager);

    let (worker, manager) = (NodeRole::Worker, NodeRole::Manager);
    let anonymous = Expected { ca: OK, ..Expected::everywhere(NO_CERTIFICATE) };
    let cases = [
        ("anonymous", Dialer::anonymous(&server.addr, &ca.root_pem()).unwrap(), anonymous),
        ("worker", node("worker", worker), WORKER),
        ("manager", node("manager", manager), MANAGER),
        ("demoted manager, old certificate", node("demoted", manager), WORKER),
        ("promoted worker, old certificate", node("promoted", worker), MANAGER),
        ("manager, member", node("member", manager), MEMBER),
        ("worker, not known", node("unknown", worker), NOT_KNOWN),
        ("manager, not known", node("unknown", manager), NOT_KNOWN),
        ("member, not known", node("unknown-member", manager), Expected { members: OK, ..NOT_KNOWN }),
        ("on its way out of consensus", node("demoted-member", manager), Expected { members: OK, ..WORKER }),
        ("removed worker", node("removed", worker), Expected::everywhere(DENIED)),
        ("removed manager", node("removed", manager), Expected::everywhere(DENIED)),
        ("other root, same swarm name", stranger(&server.addr, other_root), Expected::everywhere(End::Tls)),
        ("same root, other swarm", stranger(&server.addr, same_root), Expected::everywhere(End::Tls)),
        ("expired", stranger(&server.addr, expired), Expected::everywhere(End::Tls)),
    ];
    for (who, channel, expected) in cases {
        for rpc in RPCS {
            let before = server.reached();
            let result = call(channel.clone(), rpc.path).await;
            let reached = server.reached() > before;
            let end = match result {
                Err(status) if is_transport_error(&status) => End::Tls,
                result => End::Status(code(result)),
            };
            assert_eq!(end, expected.at(rpc.path), "{who}: {}", rpc.path);
            assert_eq!(reached, end == OK, "{who}: {}", rpc.path);
        }
    }
    server.stop().await;
}

#[tokio::test]
async fn a_removed_node_is_told_so() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
    let channel = dialer(&ca, "gone", NodeRole::Worker).channel(&server.addr, Expect::Manager);
    let refusal = call(channel.clone(), "/skep.v1.Dispatcher/Session").await.unwrap_err();
    assert!(is_unknown_node(&refusal), "{refusal:?}");
    server.roles.set("gone", RoleAnswer::Is(NodeRole::Worker));
    let refusal = call(channel, "/skep.v1.Control/GetCluster").await.unwrap_err();
    assert!(!is_unknown_node(&refusal), "a worker is not unknown");
    server.stop().await;
}

/// A channel that shows a foreign certificate and takes any server for good: it is for the server to refuse.
fn stranger(addr: &str, identity: Identity) -> Channel {
    let key = identity.certified_key().clone();
    lazy_channel(addr, move || {
        let mut config = unverified_client_config()?;
        config.client_auth_cert_resolver = Arc::new(SingleCertAndKey::from(key.clone()));
        Ok(config)
    })
}

/// A connection that never came to be is an error with a cause; a status from the server has none.
fn is_transport_error(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}
