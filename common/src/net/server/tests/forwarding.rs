//! Whose call it is when a manager passes one on, and who is not believed.

use super::*;
use crate::{authz::Peer, net::forward::on_behalf_of};

const JOINER: &str = "198.51.100.9:1234";

fn node(node_id: &str, role: NodeRole) -> Peer {
    Peer::Node { node_id: node_id.into(), role }
}

/// A request that says it is `peer`'s.
fn claiming(peer: Peer) -> Request<()> {
    on_behalf_of(&Caller::direct(peer, JOINER.parse().unwrap()), Request::new(())).unwrap()
}

struct Fixture {
    ca: TestCa,
    server: TestServer,
}

impl Fixture {
    async fn new() -> Self {
        let ca = TestCa::new("swarm");
        let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
        for (id, role) in [("m", NodeRole::Manager), ("m2", NodeRole::Manager), ("w", NodeRole::Worker)] {
            server.roles.set(id, RoleAnswer::Is(role));
        }
        Self { ca, server }
    }

    async fn call(&self, node_id: &str, role: NodeRole, path: &str, request: Request<()>) -> Result<String, Status> {
        let channel = dialer(&self.ca, node_id, role).channel(&self.server.addr, Expect::Manager);
        let response = call_with(channel, path, request).await?;
        Ok(response.metadata().get(CALLER).unwrap().to_str().unwrap().to_owned())
    }

    async fn by_manager(&self, path: &str, request: Request<()>) -> Result<String, Status> {
        self.call("m", NodeRole::Manager, path, request).await
    }
}

const ISSUE: &str = "/skep.v1.Ca/IssueCertificate";
const SERVICES: &str = "/skep.v1.Control/ListServices";

#[tokio::test]
async fn a_manager_is_believed() {
    let fixture = Fixture::new().await;
    for (claimed, shown) in [
        (Peer::Anonymous, "original: Anonymous, ".to_owned()),
        (node("w", NodeRole::Worker), format!("original: {:?}, ", node("w", NodeRole::Worker))),
        // The role is the store's, whatever the certificate said.
        (node("w", NodeRole::Manager), format!("original: {:?}, ", node("w", NodeRole::Worker))),
    ] {
        let caller = fixture.by_manager(ISSUE, claiming(claimed)).await.unwrap();
        assert!(caller.contains(&shown), "{caller}");
        assert!(caller.contains(&format!("original_addr: {JOINER}, forwarded: true")), "{caller}");
        assert!(caller.contains(&format!("peer: {:?}, ", node("m", NodeRole::Manager))), "{caller}");
    }
    fixture.server.stop().await;
}

#[tokio::test]
async fn who_could_not_call_directly_cannot_through_a_manager() {
    let fixture = Fixture::new().await;
    let cases = [
        (Peer::Anonymous, Code::Unauthenticated),
        (node("w", NodeRole::Worker), Code::PermissionDenied),
        (node("w", NodeRole::Manager), Code::PermissionDenied),
        (node("gone", NodeRole::Manager), Code::PermissionDenied),
        (node("m2", NodeRole::Manager), Code::Ok),
    ];
    for (claimed, expected) in cases {
        let result = fixture.by_manager(SERVICES, claiming(claimed.clone())).await;
        assert_eq!(code(result), expected, "{claimed:?}");
    }
    assert_eq!(fixture.server.reached(), 1);
    fixture.server.stop().await;
}

#[tokio::test]
async fn nobody_else_is() {
    let fixture = Fixture::new().await;
    let manager = || claiming(node("m", NodeRole::Manager));
    let refused = fixture.call("w", NodeRole::Worker, SERVICES, manager()).await;
    assert_eq!(code(refused), Code::PermissionDenied);
    // Nor is an old manager's certificate.
    fixture.server.roles.set("m2", RoleAnswer::Is(NodeRole::Worker));
    let refused = fixture.call("m2", NodeRole::Manager, SERVICES, manager()).await;
    assert_eq!(code(refused), Code::PermissionDenied);

    let caller = fixture.call("w", NodeRole::Worker, ISSUE, manager()).await.unwrap();
    assert!(caller.contains(&format!("original: {:?}", node("w", NodeRole::Worker))), "{caller}");
    assert!(caller.ends_with("forwarded: false }"), "{caller}");

    let anonymous = Dialer::anonymous(&fixture.server.addr, &fixture.ca.root_pem()).unwrap();
    let response = call_with(anonymous, ISSUE, manager()).await.unwrap();
    let caller = response.metadata().get(CALLER).unwrap().to_str().unwrap();
    assert!(caller.contains("original: Anonymous") && caller.ends_with("forwarded: false }"), "{caller}");
    fixture.server.stop().await;
}

#[tokio::test]
async fn a_malformed_claim_is_refused() {
    let fixture = Fixture::new().await;
    let mut request = Request::new(());
    request.metadata_mut().insert("skep-forwarded-node", "w".parse().unwrap());
    assert_eq!(code(fixture.by_manager(ISSUE, request).await), Code::InvalidArgument);
    fixture.server.stop().await;
}
