//! Calls that are open while the right to them is lost.

use std::time::Duration;

use super::*;

/// The bound that a removed or demoted node's streams must keep.
const BOUND: Duration = Duration::from_secs(5);

/// How the open `stream` ends.
async fn end_of(mut stream: Streaming<()>) -> Status {
    tokio::time::timeout(BOUND, stream.message()).await.expect("the stream ends in time").unwrap_err()
}

#[tokio::test]
async fn streams_of_demoted_and_removed_nodes_end() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
    for (node, role) in [("m1", NodeRole::Manager), ("m2", NodeRole::Manager), ("w1", NodeRole::Worker)] {
        server.roles.set(node, RoleAnswer::Is(role));
    }
    let open =
        async |node, role, path| endless(dialer(&ca, node, role).channel(&server.addr, Expect::Manager), path).await;
    let demoted = open("m1", NodeRole::Manager, "/skep.v1.Control/Watch").await;
    let removed = open("w1", NodeRole::Worker, "/skep.v1.Dispatcher/Session").await;
    let session = open("m1", NodeRole::Manager, "/skep.v1.Dispatcher/Session").await;
    let untouched = open("m2", NodeRole::Manager, "/skep.v1.Control/Watch").await;

    server.roles.set("m1", RoleAnswer::Is(NodeRole::Worker));
    server.roles.set("w1", RoleAnswer::Removed);
    assert_eq!(end_of(demoted).await.code(), Code::PermissionDenied);
    let end = end_of(removed).await;
    assert!(is_unknown_node(&end), "{end:?}");

    // By now every stream has been looked at: what a worker may have, and what is another's, is still open.
    for mut stream in [session, untouched] {
        assert!(futures::poll!(std::pin::pin!(stream.message())).is_pending());
    }
    server.stop().await;
}

#[tokio::test]
async fn a_call_without_an_answer_ends_too() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
    server.roles.set_member("m", true);
    let channel = dialer(&ca, "m", NodeRole::Manager).channel(&server.addr, Expect::Manager);
    let mut request = Request::new(());
    request.metadata_mut().insert(HANGING, "yes".parse().unwrap());
    let upload = tokio::spawn(async move { call_with(channel, "/skep.v1.Raft/InstallSnapshot", request).await });
    while server.reached() == 0 {
        tokio::task::yield_now().await;
    }
    server.roles.set_member("m", false);
    let end = tokio::time::timeout(BOUND, upload).await.expect("the call ends in time").unwrap();
    assert_eq!(code(end), Code::PermissionDenied);
    server.stop().await;
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
    server.roles.set("m", RoleAnswer::Is(NodeRole::Manager));
    let identity = IdentityHandle::new(ca.identity_until("m", NodeRole::Manager, 2));
    let channel = Dialer::new(identity.clone()).channel(&server.addr, Expect::Manager);
    let mut stream = endless(channel.clone(), "/skep.v1.Control/Watch").await;
    let end = tokio::time::timeout(BOUND + GRACE, stream.message()).await.expect("the connection ends in time");
    assert!(end.is_err(), "{end:?}");

    // The same channel comes back by itself with the renewed certificate.
    identity.replace(ca.identity("m", NodeRole::Manager));
    let mut result = call(channel.clone(), "/skep.v1.Control/GetCluster").await;
    while result.is_err() {
        result = call(channel.clone(), "/skep.v1.Control/GetCluster").await;
    }
    server.stop().await;
}

#[tokio::test]
async fn stopping_does_not_wait_for_endless_streams() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
    server.roles.set("m", RoleAnswer::Is(NodeRole::Manager));
    let channel = dialer(&ca, "m", NodeRole::Manager).channel(&server.addr, Expect::Manager);
    let mut stream = endless(channel, "/skep.v1.Control/Watch").await;
    server.stop().await;
    assert!(stream.message().await.is_err());
}

#[tokio::test]
async fn streams_that_nobody_reads_hold_up_no_call() {
    let ca = TestCa::new("swarm");
    let server = TestServer::start(ca.handle("server", NodeRole::Manager)).await;
    server.roles.set("m", RoleAnswer::Is(NodeRole::Manager));
    let channel = dialer(&ca, "m", NodeRole::Manager).channel(&server.addr, Expect::Manager);
    let mut unread = Vec::new();
    for _ in 0..50 {
        let stream = stream_of(FLOODING, channel.clone(), "/skep.v1.Control/Watch");
        unread.push(tokio::time::timeout(BOUND, stream).await.expect("another stream begins"));
    }
    for _ in 0..200 {
        let answer = tokio::time::timeout(BOUND, call(channel.clone(), "/skep.v1.Control/GetCluster")).await;
        answer.expect("the call is answered").unwrap();
    }
    server.stop().await;
}
