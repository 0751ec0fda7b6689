//! Handshakes, caps, rotation, and what a client insists on.

use std::time::Duration;

use rustls::{ClientConfig, RootCertStore, pki_types::ServerName, version::TLS12};
use tokio_rustls::TlsConnector;

use super::*;
use crate::net::dial::KnownManagers;

const OPEN: &str = "/skep.v1.Ca/GetRootCa";

#[tokio::test]
async fn certificates_and_roots_change_without_a_restart() {
    let (old, new) = (TestCa::new("swarm"), TestCa::new("swarm"));
    let identity = old.handle("server", NodeRole::Manager);
    let server = TestServer::start(identity.clone()).await;
    server.roles.set("m", RoleAnswer::Is(NodeRole::Manager));
    let open = old.handle("m", NodeRole::Manager);
    let open_channel = Dialer::new(open.clone()).channel(&server.addr, Expect::Manager);
    assert_eq!(code(call(open_channel.clone(), OPEN).await), Code::Ok);

    identity.replace(new.identity("server", NodeRole::Manager));
    let connect = |ca| dialer(ca, "m", NodeRole::Manager).channel(&server.addr, Expect::Manager);
    assert_eq!(code(call(connect(&new), OPEN).await), Code::Ok);
    assert!(call(connect(&old), OPEN).await.is_err(), "the old root is trusted no more");
    assert_eq!(code(call(open_channel, OPEN).await), Code::Ok, "what was open goes on");
    server.stop().await;
}

#[tokio::test]
async fn a_client_insists_on_whom_it_expects() {
    let ca = TestCa::new("swarm");
    let manager = TestServer::start(ca.handle("m", NodeRole::Manager)).await;
    let worker = TestServer::start(ca.handle("w", NodeRole::Worker)).await;
    let dialer = dialer(&ca, "client", NodeRole::Worker);
    for server in [&manager, &worker] {
        server.roles.set("client", RoleAnswer::Is(NodeRole::Worker));
    }
    let cases = [
        (&manager, Expect::Manager, true),
        (&manager, Expect::Node("m".into()), true),
        (&manager, Expect::AnyNode, true),
        (&manager, Expect::Node("w".into()), false),
        (&worker, Expect::Manager, false),
        (&worker, Expect::Node("w".into()), true),
        (&worker, Expect::AnyNode, true),
    ];
    for (server, expect, reachable) in cases {
        let result = call(dialer.channel(&server.addr, expect.clone()), OPEN).await;
        assert_eq!(result.is_ok(), reachable, "{expect:?}: {result:?}");
    }
    let (same_root, other_root) = (ca.sibling("another-swarm"), TestCa::new("swarm"));
    for other in [&same_root, &other_root] {
        let dialer = Dialer::new(other.handle("client", NodeRole::Worker));
        assert!(call(dialer.channel(&manager.addr, Expect::AnyNode), OPEN).await.is_err());
    }
    for server in [manager, worker] {
        server.stop().await;
    }
}

/// A node that was told of one manager by its id, and of one by its address.
struct Told {
    node_id: &'static str,
    addr: String,
}

impl KnownManagers for Told {
    fn may_be(&self, node_id: &str, addr: &str) -> bool {
        node_id == self.node_id || addr == self.addr
    }
}

#[tokio::test]
async fn a_client_goes_by_the_managers_it_was_told_of() {
    let ca = TestCa::new("swarm");
    let mut servers = Vec::new();
    for (node_id, role) in [("known", NodeRole::Manager), ("removed", NodeRole::Manager), ("known", NodeRole::Worker)] {
        let server = TestServer::start(ca.handle(node_id, role)).await;
        server.roles.set("client", RoleAnswer::Is(NodeRole::Worker));
        servers.push(server);
    }
    let reaches = async |told: Told, server: &TestServer, expect| {
        let dialer = dialer(&ca, "client", NodeRole::Worker).trusting(Arc::new(told));
        call(dialer.channel(&server.addr, expect), OPEN).await.is_ok()
    };
    let told = || Told { node_id: "known", addr: String::new() };
    assert!(reaches(told(), &servers[0], Expect::Manager).await);
    assert!(!reaches(told(), &servers[1], Expect::Manager).await, "its certificate alone does not make it a manager");
    assert!(!reaches(told(), &servers[2], Expect::Manager).await, "nor does the list alone");
    assert!(reaches(told(), &servers[1], Expect::Node("removed".into())).await);
    let by_addr = Told { node_id: "", addr: servers[1].addr.clone() };
    assert!(reaches(by_addr, &servers[1], Expect::Manager).await);
    for server in servers {
        server.stop().await;
    }
}

#[tokio::test]
async fn a_joiner_trusts_the_given_root_and_managers_only() {
    let ca = TestCa::new("swarm");
    let manager = TestServer::start(ca.handle("m", NodeRole::Manager)).await;
    let worker = TestServer::start(ca.handle("w", NodeRole::Worker)).await;
    let joined = |server: &TestServer, root: &[u8]| Dialer::anonymous(&server.addr, root).unwrap();
    assert_eq!(code(call(joined(&manager, &ca.root_pem()), OPEN).await), Code::Ok);
    assert!(call(joined(&manager, &TestCa::new("swarm").root_pem()), OPEN).await.is_err());
    assert!(call(joined(&worker, &ca.root_pem()), OPEN).await.is_err());
    assert_eq!(code(call(Dialer::anonymous_unverified(&manager.addr), OPEN).await), Code::Ok);
    assert!(Dialer::anonymous(&manager.addr, b"junk").is_err());
    for server in [manager, worker] {
        server.stop().await;
    }
}

#[tokio::test]
async fn tls_1_2_is_refused() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("m", NodeRole::Manager)).await;
    let mut roots = RootCertStore::empty();
    roots.add(rustls::pki_types::pem::PemObject::from_pem_slice(&ca.root_pem()).unwrap()).unwrap();
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let config = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS12])
        .unwrap()
        .with_root_certificates(roots)
        .with_no_client_auth();
    let stream = TcpStream::connect(&server.addr).await.unwrap();
    let name = ServerName::try_from("swarm-manager").unwrap();
    let error = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    server.stop().await;
}

#[tokio::test]
async fn who_does_not_shake_hands_is_shown_out_and_others_are_served() {
    let ca = TestCa::new("swarm");
    let limits = ServerLimits { handshake_timeout: Duration::from_millis(200), ..ServerLimits::default() };
    let server = TestServer::start_with(ca.handle("m", NodeRole::Manager), limits).await;
    let silent = TcpStream::connect(&server.addr).await.unwrap();
    let mut babbling = TcpStream::connect(&server.addr).await.unwrap();
    tokio::io::AsyncWriteExt::write_all(&mut babbling, b"GET / HTTP/1.1\r\n\r\n").await.unwrap();
    assert_eq!(code(call(Dialer::anonymous_unverified(&server.addr), OPEN).await), Code::Ok);
    babbling.set_zero_linger().unwrap();
    drop(babbling);
    closed(silent).await;
    assert_eq!(code(call(Dialer::anonymous_unverified(&server.addr), OPEN).await), Code::Ok);
    server.stop().await;
}

#[tokio::test]
async fn a_peer_that_falls_silent_fails_the_call_and_is_found_again() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("m", NodeRole::Manager)).await;
    server.roles.set("c", RoleAnswer::Is(NodeRole::Manager));
    let between = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = between.local_addr().unwrap().to_string();
    let (silence, target) = (CancellationToken::new(), server.addr.clone());
    let relay = tokio::spawn({
        let silence = silence.clone();
        async move {
            let (mut near, _) = between.accept().await.unwrap();
            let mut far = TcpStream::connect(&target).await.unwrap();
            tokio::select! {
                _ = tokio::io::copy_bidirectional(&mut near, &mut far) => {}
                () = silence.cancelled() => {}
            }
            // The connection stays open, as that of a machine without power does; the next one works.
            let (mut near_again, _) = between.accept().await.unwrap();
            let mut far_again = TcpStream::connect(&target).await.unwrap();
            let _ = tokio::io::copy_bidirectional(&mut near_again, &mut far_again).await;
        }
    });
    let channel = dialer(&ca, "c", NodeRole::Manager).channel(&addr, Expect::Manager);
    let mut stream = endless(channel.clone(), "/skep.v1.Control/Watch").await;
    silence.cancel();
    let end = tokio::time::timeout(Duration::from_secs(10), stream.message()).await.expect("silence is noticed");
    assert!(end.is_err());
    assert_eq!(code(call(channel.clone(), OPEN).await), Code::Ok);
    drop(channel);
    relay.abort();
    server.stop().await;
}

#[tokio::test]
async fn a_channel_finds_a_server_that_comes_later_and_says_who_is_missing() {
    let ca = TestCa::new("swarm");
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let addr = listener.local_addr().unwrap().to_string();
    drop(listener);
    let channel = dialer(&ca, "c", NodeRole::Worker).channel(&addr, Expect::Manager);
    let error = call(channel.clone(), OPEN).await.unwrap_err();
    let mut causes = String::new();
    let mut cause: Option<&dyn std::error::Error> = Some(&error);
    while let Some(error) = cause {
        causes += &error.to_string();
        cause = error.source();
    }
    assert!(causes.contains(&addr), "{causes}");

    let listener = TcpListener::bind(&addr).await.unwrap();
    let (roles, shutdown) = (Roles::default(), CancellationToken::new());
    roles.set("c", RoleAnswer::Is(NodeRole::Worker));
    let routes = Routes::from(Router::new().fallback(handler).with_state(Arc::default()));
    let server = RpcServer::new(listener, ca.handle("m", NodeRole::Manager), Arc::new(roles), routes);
    let serving = tokio::spawn(server.serve(shutdown.clone()));
    assert_eq!(code(call(channel, OPEN).await), Code::Ok);
    shutdown.cancel();
    serving.await.unwrap();
}
