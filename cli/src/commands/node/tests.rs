//! The node commands against a daemon that answers as a real engine did.

use serde_json::{Value, json};

use crate::{
    client::testing::FakeDaemon,
    commands::testing::{prints, run},
};

fn node(id: &str, host: &str, state: &str, manager: Value) -> Value {
    json!({
        "ID": id, "Version": {"Index": 7}, "Spec": {"Role": if manager.is_null() { "worker" } else { "manager" }, "Availability": "active", "Labels": {"zone": "a"}, "Colour": 7},
        "Description": {"Hostname": host, "Engine": {"EngineVersion": "0.1.0"}}, "Status": {"State": state},
        "ManagerStatus": manager,
    })
}

fn daemon() -> FakeDaemon {
    let n1 = node("r5rwegqkg7mqp3a9dtvvhcdg1", "n1", "ready", json!({"Leader": true, "Reachability": "reachable"}));
    let n2 = node("r5rwegqkg7mqp3a9dtvvhcdg2", "n2", "ready", json!({"Reachability": "unreachable"}));
    let n10 = node("r5rwegqkg7mqp3a9dtvvhcdg3", "n10", "down", Value::Null);
    FakeDaemon::new()
        .on("GET /v1.46/nodes", json!([n10, n2, n1]))
        .on("GET /v1.46/info", json!({"Swarm": {"NodeID": "r5rwegqkg7mqp3a9dtvvhcdg2"}}))
        .on("GET /v1.46/nodes/n10", n10)
        .on("GET /v1.46/nodes/n1", n1)
        .on("GET /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg2", n2)
        .refusing("GET /v1.46/nodes/nosuch", 404, "node nosuch not found")
}

#[tokio::test]
async fn nodes_are_listed_as_docker_lists_them() {
    let expected = "\
ID                            HOSTNAME   STATUS    AVAILABILITY   MANAGER STATUS   ENGINE VERSION
r5rwegqkg7mqp3a9dtvvhcdg1     n1         Ready     Active         Leader           0.1.0
r5rwegqkg7mqp3a9dtvvhcdg2 *   n2         Ready     Active         Unreachable      0.1.0
r5rwegqkg7mqp3a9dtvvhcdg3     n10        Down      Active                          0.1.0
";
    assert_eq!(prints(&daemon(), &["node", "ls"]).await, expected);
    let ids = "r5rwegqkg7mqp3a9dtvvhcdg1\nr5rwegqkg7mqp3a9dtvvhcdg2\nr5rwegqkg7mqp3a9dtvvhcdg3\n";
    assert_eq!(prints(&daemon(), &["node", "ls", "-q"]).await, ids);
}

#[tokio::test]
async fn a_node_that_is_ready_and_has_a_problem_says_so() {
    let mut full = node("r5rwegqkg7mqp3a9dtvvhcdg1", "n1", "ready", Value::Null);
    full["Status"]["Message"] = json!("disk full");
    let daemon =
        FakeDaemon::new().on("GET /v1.46/nodes", json!([full])).on("GET /v1.46/info", json!({"Swarm": {"NodeID": ""}}));
    let printed = prints(&daemon, &["node", "ls"]).await;
    assert!(printed.contains("   Ready (disk full)   "), "{printed}");
}

#[tokio::test]
async fn what_is_found_is_inspected_and_the_rest_named() {
    let daemon = FakeDaemon::new().on_bytes("GET /v1.46/nodes/n1", r#"{"ID":"x","Alpha":[]}"#).refusing(
        "GET /v1.46/nodes/nosuch",
        404,
        "node nosuch not found",
    );
    let (captured, result) = run(&daemon, &["node", "inspect", "nosuch", "n1"]).await;
    assert_eq!(captured.out(), "[\n    {\n        \"ID\": \"x\",\n        \"Alpha\": []\n    }\n]\n");
    assert_eq!(result, Err("Error response from daemon: node nosuch not found".into()));
}

#[tokio::test]
async fn roles_change_one_node_at_a_time() {
    let update = "POST /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg3/update?version=7";
    let daemon = daemon().on_bytes(update, "");
    let (captured, result) = run(&daemon, &["node", "promote", "n1", "nosuch", "n10"]).await;
    assert_eq!(captured.out(), "Node n1 is already a manager.\nNode n10 promoted to a manager in the swarm.\n");
    assert_eq!(result, Err("Error response from daemon: node nosuch not found".into()));
    let sent = daemon.sent(update);
    assert_eq!(sent, json!({"Labels": {"zone": "a"}, "Role": "manager", "Availability": "active", "Colour": 7}));
}

#[tokio::test]
async fn a_role_is_set_on_what_somebody_else_has_just_changed() {
    let mut read = node("r5rwegqkg7mqp3a9dtvvhcdg3", "n10", "ready", Value::Null);
    let stale = "POST /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg3/update?version=7";
    let update = "POST /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg3/update?version=8";
    let daemon = FakeDaemon::new().on("GET /v1.46/nodes/n10", read.clone()).refusing(
        stale,
        500,
        "rpc error: code = Unknown desc = update out of sequence",
    );
    read["Version"]["Index"] = json!(8);
    read["Spec"]["Labels"] = json!({"zone": "b"});
    let daemon = daemon.on("GET /v1.46/nodes/n10", read).on_bytes(update, "");
    let printed = prints(&daemon, &["node", "promote", "n10"]).await;
    assert_eq!(printed, "Node n10 promoted to a manager in the swarm.\n");
    assert_eq!(daemon.sent(update)["Labels"]["zone"], "b");
}

#[tokio::test]
async fn a_node_that_changes_all_the_time_is_given_up() {
    let refusal = "rpc error: code = Unknown desc = update out of sequence";
    let update = "POST /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg3/update?version=7";
    let daemon = daemon().refusing(update, 500, refusal);
    let (_, result) = run(&daemon, &["node", "promote", "n10"]).await;
    assert_eq!(result, Err(format!("Error response from daemon: {refusal}")));
}

#[tokio::test]
async fn demotion_is_said() {
    let daemon = daemon().on_bytes("POST /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg2/update?version=7", "");
    let printed = prints(&daemon, &["node", "demote", "self", "n10"]).await;
    assert_eq!(printed, "Manager self demoted in the swarm.\nNode n10 is already a worker.\n");
}

#[tokio::test]
async fn labels_and_availability() {
    let update = "POST /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg3/update?version=7";
    let daemon = daemon().on_bytes(update, "");
    let line = [
        "node",
        "update",
        "--availability",
        "drain",
        "--label-add",
        "a=b",
        "--label-add",
        "c",
        "--label-rm",
        "zone",
        "n10",
    ];
    assert_eq!(prints(&daemon, &line).await, "n10\n");
    let sent = daemon.sent(update);
    assert_eq!(sent, json!({"Labels": {"a": "b", "c": ""}, "Role": "worker", "Availability": "drain", "Colour": 7}));
    let (_, result) = run(&daemon, &["node", "update", "--label-rm", "nosuch", "n10"]).await;
    assert_eq!(result, Err("key nosuch doesn't exist in node's labels".into()));
}

const DRAIN: &str = "POST /v1.46/nodes/r5rwegqkg7mqp3a9dtvvhcdg3/update?version=7";
const TASKS_LEFT: &str = "GET /v1.46/tasks?filters=%7B%22node%22%3A%7B%22r5rwegqkg7mqp3a9dtvvhcdg3%22%3Atrue%7D%7D";

fn left(state: &str, desired: &str) -> Value {
    json!({"ID": "t1", "ServiceID": "s1", "Slot": 2, "DesiredState": desired, "Status": {"State": state}})
}

#[tokio::test]
async fn a_drain_is_waited_for_at_the_pace_of_the_services() {
    let daemon = daemon()
        .on_bytes(DRAIN, "")
        .on(TASKS_LEFT, json!([left("running", "running"), left("running", "shutdown")]))
        .on(TASKS_LEFT, json!([left("shutdown", "shutdown"), left("running", "shutdown")]))
        .on(TASKS_LEFT, json!([left("shutdown", "shutdown"), left("failed", "running")]));
    let printed = prints(&daemon, &["node", "update", "--availability", "drain", "--wait", "n10"]).await;
    assert_eq!(printed, "n10\ntasks left: 2\ntasks left: 1\ntasks left: 0\n");
    assert_eq!(daemon.sent(DRAIN)["DrainPace"], "gradual");
}

#[tokio::test]
async fn a_drain_that_takes_too_long_names_what_is_left() {
    let daemon = daemon()
        .on_bytes(DRAIN, "")
        .on(TASKS_LEFT, json!([left("running", "running")]))
        .on("GET /v1.46/services/s1", json!({"ID": "s1", "Spec": {"Name": "web"}}));
    let line = ["node", "update", "--availability", "drain", "--wait", "--timeout", "0s", "n10"];
    let (_, result) = run(&daemon, &line).await;
    assert_eq!(result, Err("not drained in time, these tasks are left: web.2".into()));
    let (_, result) = run(&daemon, &["node", "update", "--availability", "active", "--wait", "n10"]).await;
    assert_eq!(result, Err("--wait goes with --availability drain".into()));
}

#[tokio::test]
async fn removal_goes_on_after_a_refusal() {
    let daemon = FakeDaemon::new()
        .refusing("DELETE /v1.46/nodes/n1?force=true", 400, "rpc error: node n1 is a cluster manager")
        .on_bytes("DELETE /v1.46/nodes/n2?force=true", "");
    let (captured, result) = run(&daemon, &["node", "rm", "-f", "n1", "n2"]).await;
    assert_eq!(captured.out(), "n2\n");
    assert_eq!(result, Err("Error response from daemon: rpc error: node n1 is a cluster manager".into()));
}

#[tokio::test]
async fn tasks_of_this_node() {
    let filters = "%7B%22node%22%3A%7B%22r5rwegqkg7mqp3a9dtvvhcdg2%22%3Atrue%7D%7D";
    let daemon = daemon()
        .on(
            &format!("GET /v1.46/tasks?filters={filters}"),
            json!([{"ID": "t1", "ServiceID": "s1", "Slot": 2, "NodeID": "r5rwegqkg7mqp3a9dtvvhcdg2"}]),
        )
        .refusing("GET /v1.46/services/s1", 404, "service s1 not found");
    assert_eq!(prints(&daemon, &["node", "ps", "-q"]).await, "t1\n");
    let printed = prints(&daemon, &["node", "ps"]).await;
    assert!(printed.lines().nth(1).is_some_and(|line| line.starts_with("t1        s1.2      ")), "{printed}");
}
