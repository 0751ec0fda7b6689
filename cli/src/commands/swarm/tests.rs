//! The swarm commands against a daemon that answers as a real engine did.

use serde_json::json;

use crate::{
    client::testing::FakeDaemon,
    commands::testing::{prints, run},
};

fn manager() -> FakeDaemon {
    FakeDaemon::new()
        .on(
            "GET /v1.46/swarm",
            json!({
                "ID": "c1", "Version": {"Index": 10}, "Spec": {"Name": "default", "Colour": 7, "Orchestration": {"TaskHistoryRetentionLimit": 5}},
                "JoinTokens": {"Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m"},
            }),
        )
        .on("GET /v1.46/info", json!({"Swarm": {"NodeID": "n1", "ControlAvailable": true}}))
        .on("GET /v1.46/nodes/n1", json!({"ID": "n1", "ManagerStatus": {"Addr": "10.0.0.1:2377"}}))
}

#[tokio::test]
async fn init_prints_how_to_go_on() {
    let daemon = manager().on("POST /v1.46/swarm/init", json!("n1"));
    let expected = "Swarm initialized: current node (n1) is now a manager.

To add a worker to this swarm, run the following command:

    skep swarm join --token SWMTKN-1-w 10.0.0.1:2377

To add a manager to this swarm, run 'skep swarm join-token manager' and follow the instructions.

";
    let line =
        ["swarm", "init", "--advertise-addr", "10.0.0.1", "--task-history-limit", "3", "--availability", "drain"];
    assert_eq!(prints(&daemon, &line).await, expected);
    let sent = daemon.sent("POST /v1.46/swarm/init");
    assert_eq!(sent["AdvertiseAddr"], "10.0.0.1");
    assert_eq!(sent["ListenAddr"], "0.0.0.0:2377");
    assert_eq!(sent["Availability"], "drain");
    assert_eq!(sent["Spec"]["Orchestration"]["TaskHistoryRetentionLimit"], 3);
}

#[tokio::test]
async fn join_says_in_which_role() {
    let daemon = manager().on_bytes("POST /v1.46/swarm/join", "");
    let line = ["swarm", "join", "--token", "T", "--advertise-addr", "10.0.0.2", "10.0.0.1:2377"];
    assert_eq!(prints(&daemon, &line).await, "This node joined a swarm as a manager.\n");
    let sent = daemon.sent("POST /v1.46/swarm/join");
    assert_eq!(sent["RemoteAddrs"], json!(["10.0.0.1:2377"]));
    assert_eq!(sent["JoinToken"], "T");

    let daemon = FakeDaemon::new()
        .on_bytes("POST /v1.46/swarm/join", "")
        .on("GET /v1.46/info", json!({"Swarm": {"NodeID": "n2", "ControlAvailable": false}}));
    assert_eq!(prints(&daemon, &line).await, "This node joined a swarm as a worker.\n");
}

#[tokio::test]
async fn tokens_are_shown_and_replaced() {
    let daemon = manager().on_bytes("POST /v1.46/swarm/update?version=10&rotateManagerToken=true", "");
    assert_eq!(prints(&daemon, &["swarm", "join-token", "-q", "worker"]).await, "SWMTKN-1-w\n");
    let expected = "Successfully rotated manager join token.

To add a manager to this swarm, run the following command:

    skep swarm join --token SWMTKN-1-m 10.0.0.1:2377

";
    assert_eq!(prints(&daemon, &["swarm", "join-token", "--rotate", "manager"]).await, expected);
}

#[tokio::test]
async fn leave_and_update() {
    let daemon = manager()
        .refusing("POST /v1.46/swarm/leave", 503, "You are attempting to leave")
        .on_bytes("POST /v1.46/swarm/leave?force=true", "")
        .on_bytes("POST /v1.46/swarm/update?version=10", "");
    let (_, result) = run(&daemon, &["swarm", "leave"]).await;
    assert_eq!(result, Err("Error response from daemon: You are attempting to leave".into()));
    assert_eq!(prints(&daemon, &["swarm", "leave", "--force"]).await, "Node left the swarm.\n");
    let line = ["swarm", "update", "--cert-expiry", "48h", "--dispatcher-heartbeat", "2s"];
    assert_eq!(prints(&daemon, &line).await, "Swarm updated.\n");
    let sent = daemon.sent("POST /v1.46/swarm/update?version=10");
    assert_eq!(sent["CAConfig"]["NodeCertExpiry"], 172_800_000_000_000_i64);
    assert_eq!(sent["Dispatcher"]["HeartbeatPeriod"], 2_000_000_000);
    assert_eq!(sent["Orchestration"]["TaskHistoryRetentionLimit"], 5);
    assert_eq!(sent["Colour"], 7, "what this client does not know is sent back");
}
