//! Failures: the codes and texts of a real engine.

use http::Method;
use serde_json::{Value, json};

use super::super::{
    router,
    testing::{Bench, NODE, SwarmRole},
};

fn golden(name: &str) -> Value {
    let path = format!("{}/../common/dockerapi/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{path}: {e}"))).unwrap()
}

/// Sends what was sent to the real engine and expects its answer.
async fn replay(bench: &Bench, name: &str) {
    let golden = golden(name);
    let (method, path) = golden["request"].as_str().unwrap().split_once(' ').unwrap();
    let method: Method = method.parse().unwrap();
    // curl's leniency with quotes in a query is not hyper's.
    let path = path.replace('"', "%22").replace('{', "%7B").replace('}', "%7D");
    let sent = match &golden["sent"] {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        // The recorded swarm's id of the host network; skep's is its name.
        body => body.to_string().replace("id10000000000000000000000", "host"),
    };
    let (status, body) = bench.ask(method, &path, sent).await;
    assert_eq!((json!(status), &body), (golden["status"].clone(), &golden["body"]), "{name}");
}

#[tokio::test]
async fn outside_a_swarm() {
    let bench = Bench::new(SwarmRole::Outside);
    for name in [
        "outside-swarm-inspect",
        "outside-swarm-leave",
        "outside-swarm-update",
        "outside-node-list",
        "outside-node-inspect",
        "outside-service-list",
        "outside-service-create",
        "outside-service-logs",
        "outside-task-list",
        "outside-join-no-remote",
        "no-such-page",
        "no-such-method",
        "network-unknown",
        "container-unknown",
        "container-logs-no-stream",
    ] {
        replay(&bench, name).await;
    }
}

/// Who starts a manager again and asks too early is not told to ask another node.
#[tokio::test]
async fn on_a_manager_that_is_starting() {
    let (status, body) = Bench::new(SwarmRole::Starting).get("/services").await;
    let prepared =
        "This node is not a swarm manager. Manager is being prepared or has trouble connecting to the cluster.";
    assert_eq!((status, &body["message"]), (503, &json!(prepared)));
}

#[tokio::test]
async fn on_a_worker() {
    let bench = Bench::new(SwarmRole::Worker);
    for name in [
        "worker-swarm-inspect",
        "worker-swarm-update",
        "worker-swarm-init",
        "worker-swarm-join",
        "worker-node-list",
        "worker-node-inspect",
        "worker-node-update",
        "worker-node-remove",
        "worker-service-list",
        "worker-service-create",
        "worker-service-logs",
        "worker-task-list",
    ] {
        replay(&bench, name).await;
    }
}

#[tokio::test]
async fn on_a_manager() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 1).await;
    for name in [
        "swarm-leave-last",
        "swarm-init-again",
        "swarm-join-again",
        "swarm-update-no-version",
        "node-unknown",
        "node-update-unknown",
        "node-remove-unknown",
        "service-unknown",
        "service-create-conflict",
        "service-create-bad-two-modes",
        "service-create-bad-no-container",
        "service-create-bad-runtime",
        "service-create-bad-restart",
        "service-create-bad-failure-action",
        "service-create-bad-order",
        "service-create-bad-endpoint-mode",
        "service-update-unknown",
        "service-update-no-version",
        "service-logs-unknown",
        "task-unknown",
        "task-logs-unknown",
    ] {
        replay(&bench, name).await;
    }
}

/// Where skep's answer is its own: the sender's faults are 400 although this engine says 500, words are today's
/// (this engine writes "Invalid filter"), and Go's talk of its types is left out.
#[tokio::test]
async fn answers_of_our_own() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 1).await;
    let filter = |path: &str, json: &str| {
        format!(
            "{path}?filters={}",
            json.replace('"', "%22").replace(' ', "%20").replace('{', "%7B").replace('}', "%7D")
        )
    };
    for (path, message) in [
        (filter("/nodes", r#"{"x":["y"]}"#), "invalid filter 'x'"),
        (filter("/services", r#"{"x":["y"]}"#), "invalid filter 'x'"),
        (filter("/tasks", r#"{"x":["y"]}"#), "invalid filter 'x'"),
        (filter("/containers/json", r#"{"x":["y"]}"#), "invalid filter 'x'"),
        (filter("/images/json", r#"{"x":["y"]}"#), "invalid filter 'x'"),
        (filter("/networks", r#"{"x":["y"]}"#), "invalid filter 'x'"),
        (filter("/events", r#"{"x":["y"]}"#), "invalid filter 'x'"),
        (filter("/nodes", r#"{"role":["king"]}"#), "invalid role filter: 'king'"),
        (filter("/tasks", r#"{"desired-state":["y"]}"#), "invalid desired-state filter: 'y'"),
        (filter("/nodes", "nonsense"), "invalid filters: expected JSON like {\"name\":[\"value\"]}"),
        ("/services/web/logs".to_owned(), "Bad parameters: you must choose at least one stream"),
        ("/services/web/logs?stdout=1&tail=x".to_owned(), "tail value must be a positive integer or \"all\""),
        (
            "/services/web/logs?stdout=1&since=x".to_owned(),
            "\"x\" is not a time: seconds since 1970, with or without a fraction, or RFC 3339",
        ),
    ] {
        assert_eq!(bench.get(&path).await, (400, json!({ "message": message })), "{path}");
    }
    for (version, text) in [
        ("1.23", "too old. Minimum supported API version is 1.24, please upgrade your client to a newer version"),
        ("1.99", "too new. Maximum supported API version is 1.46"),
    ] {
        let message = format!("client version {version} is {text}");
        assert_eq!(bench.get(&format!("/v{version}/info")).await, (400, json!({ "message": message })));
    }
}

/// Every route of Docker's own routers (moby `api/server/router`), as of the newest version spoken.
const ENDPOINTS: &str = "
    GET /_ping
    GET /version
    GET /info
    GET /events
    GET /system/df
    POST /auth
    HEAD /containers/x/archive
    GET /containers/json
    GET /containers/x/export
    GET /containers/x/changes
    GET /containers/x/json
    GET /containers/x/top
    GET /containers/x/logs?stdout=1
    GET /containers/x/stats
    GET /containers/x/attach/ws
    GET /containers/x/archive
    GET /exec/x/json
    POST /containers/create
    POST /containers/x/kill
    POST /containers/x/pause
    POST /containers/x/unpause
    POST /containers/x/restart
    POST /containers/x/start
    POST /containers/x/stop
    POST /containers/x/wait
    POST /containers/x/resize
    POST /containers/x/attach
    POST /containers/x/exec
    POST /exec/x/start
    POST /exec/x/resize
    POST /containers/x/rename
    POST /containers/x/update
    POST /containers/prune
    POST /commit
    PUT /containers/x/archive
    DELETE /containers/x
    GET /containers/x/checkpoints
    POST /containers/x/checkpoints
    DELETE /containers/x/checkpoints/y
    GET /images/json
    GET /images/search
    GET /images/get
    GET /images/a/x/get
    GET /images/a/x/history
    GET /images/a/x/json
    POST /images/load
    POST /images/create
    POST /images/a/x/push
    POST /images/a/x/tag
    POST /images/prune
    DELETE /images/a/x
    GET /distribution/a/x/json
    POST /build
    POST /build/prune
    POST /build/cancel
    POST /session
    POST /grpc
    GET /networks
    GET /networks/x
    POST /networks/create
    POST /networks/x/connect
    POST /networks/x/disconnect
    POST /networks/prune
    DELETE /networks/x
    GET /volumes
    GET /volumes/x
    POST /volumes/create
    POST /volumes/prune
    PUT /volumes/x
    DELETE /volumes/x
    GET /plugins
    GET /plugins/a/x/json
    GET /plugins/privileges
    DELETE /plugins/a/x
    POST /plugins/a/x/enable
    POST /plugins/a/x/disable
    POST /plugins/pull
    POST /plugins/a/x/push
    POST /plugins/a/x/upgrade
    POST /plugins/a/x/set
    POST /plugins/create
    POST /swarm/init
    POST /swarm/join
    POST /swarm/leave
    GET /swarm
    GET /swarm/unlockkey
    POST /swarm/update
    POST /swarm/unlock
    GET /services
    GET /services/x
    POST /services/create
    POST /services/x/update
    DELETE /services/x
    GET /services/x/logs
    GET /nodes
    GET /nodes/x
    DELETE /nodes/x
    POST /nodes/x/update
    GET /tasks
    GET /tasks/x
    GET /tasks/x/logs
    GET /secrets
    POST /secrets/create
    DELETE /secrets/x
    GET /secrets/x
    POST /secrets/x/update
    GET /configs
    POST /configs/create
    DELETE /configs/x
    GET /configs/x
    POST /configs/x/update";

#[tokio::test]
async fn an_endpoint_of_dockers_is_there_or_named_as_not_yet_there() {
    let bench = Bench::new(SwarmRole::Outside);
    for endpoint in ENDPOINTS.lines().map(str::trim).filter(|line| !line.is_empty()) {
        let (method, path) = endpoint.split_once(' ').unwrap();
        for path in [path.to_owned(), format!("/v1.41{path}")] {
            // The one without an end: it need only be found.
            let path = path.replace("/events", "/events?until=1");
            let (status, body) = bench.ask(method.parse().unwrap(), &path, "{}").await;
            let message = body["message"].as_str().unwrap_or_default();
            assert_ne!(message, "page not found", "{endpoint}");
            // The answer to HEAD has no body.
            let named = method == "HEAD" || message.ends_with(" are not supported yet");
            assert_eq!(status == 501, named, "{endpoint}: {status} {body}");
        }
    }
    let secrets = json!({ "message": "secrets are not supported yet" });
    assert_eq!(bench.get("/secrets").await, (501, secrets));
}

#[tokio::test]
async fn a_stale_or_wrong_update_changes_nothing() {
    let bench = Bench::new(SwarmRole::Manager);
    let id = bench.service("web", 1).await;
    let (_, before) = bench.get("/services/web").await;
    let version = before["Version"]["Index"].as_u64().unwrap();
    let stale = json!({ "message": "rpc error: code = Unknown desc = update out of sequence" });
    let spec = &before["Spec"];
    assert_eq!(bench.post("/services/web/update?version=999", spec).await, (500, stale.clone()));
    let rollback = format!("rpc error: code = FailedPrecondition desc = service {id} does not have a previous spec");
    let answer = bench.post(&format!("/services/web/update?version={version}&rollback=previous"), spec).await;
    assert_eq!(answer, (400, json!({ "message": rollback })));
    let answer = bench.post(&format!("/services/web/update?version={version}&rollback=nonsense"), spec).await;
    assert_eq!(answer, (400, json!({ "message": "unrecognized rollback option nonsense" })));
    assert_eq!(bench.get("/services/web").await.1, before);

    let (_, node) = bench.get("/nodes/dk1").await;
    assert_eq!(bench.post("/nodes/dk1/update?version=999", &node["Spec"]).await, (500, stale.clone()));
    let (_, swarm) = bench.get("/swarm").await;
    assert_eq!(bench.post("/swarm/update?version=999", &swarm["Spec"]).await, (500, stale));
    let (status, body) = bench.ask(Method::DELETE, "/nodes/dk1", String::new()).await;
    assert_eq!(status, 400);
    assert!(
        body["message"]
            .as_str()
            .unwrap()
            .starts_with(&format!("rpc error: code = FailedPrecondition desc = node {NODE} is a cluster manager"))
    );
}

#[tokio::test]
async fn bodies_that_cannot_be_used() {
    let bench = Bench::new(SwarmRole::Manager);
    let huge = format!(r#"{{"Name":"{}"}}"#, "x".repeat(2 << 20));
    for (body, code, text) in [
        ("", 400, "got EOF while reading request body"),
        ("{", 400, "invalid JSON: "),
        (r#"{"Name":1}"#, 400, "invalid JSON: Name: invalid type: integer `1`, expected a string"),
        (huge.as_str(), 413, "the request is too large: at most 1048576 bytes are allowed"),
        (
            r#"{"TaskTemplate":{"ContainerSpec":{"Image":"x","Mounts":[{"Type":"volume"}]}},"Networks":[{}]}"#,
            400,
            "not supported yet: Networks, TaskTemplate.ContainerSpec.Mounts",
        ),
    ] {
        let (status, answer) = bench.ask(Method::POST, "/services/create", body.to_owned()).await;
        let message = answer["message"].as_str().unwrap_or_default();
        assert!(status == code && message.starts_with(text), "{status} {message}");
    }
    assert!(bench.swarm.state.lock().services.is_empty());
}

#[tokio::test]
async fn what_a_swarm_cannot_start_with() {
    let bench = Bench::new(SwarmRole::Outside);
    for (request, message) in [
        (json!({"ForceNewCluster": true}), "not supported yet: ForceNewCluster"),
        (json!({"AutoLockManagers": true}), "not supported yet: AutoLockManagers"),
        (
            json!({"Spec": {"EncryptionConfig": {"AutoLockManagers": true}}}),
            "not supported yet: EncryptionConfig.AutoLockManagers",
        ),
        (json!({"DefaultAddrPool": ["10.1.0.0/16"]}), "not supported yet: DefaultAddrPool"),
        (json!({"SubnetSize": 20}), "not supported yet: SubnetSize"),
        (json!({"DataPathPort": 7777}), "not supported yet: DataPathPort"),
        (json!({"DataPathAddr": "10.0.0.9"}), "not supported yet: DataPathAddr"),
        (json!({"Availability": "never"}), "invalid Availability: \"never\""),
    ] {
        assert_eq!(bench.post("/swarm/init", &request).await, (400, json!({ "message": message })));
    }
    let refused = bench.post("/swarm/join", &json!({"RemoteAddrs": ["a:b:c"], "JoinToken": "x"})).await;
    assert_eq!(refused, (400, json!({ "message": "invalid address 'a:b:c': it must be HOST:PORT" })));
    let refused = bench.post("/swarm/join", &json!({"RemoteAddrs": ["10.0.0.1"], "JoinToken": "nonsense"})).await;
    assert_eq!(refused, (400, json!({ "message": "invalid join token" })));
    let (status, late) = bench.post("/swarm/join", &json!({"RemoteAddrs": ["10.255.0.1"], "JoinToken": "x"})).await;
    assert_eq!(status, 503);
    assert!(late["message"].as_str().unwrap().starts_with("Timeout was reached before node joined."));
    assert!(bench.swarm.started.lock().unwrap().is_none() && bench.swarm.joined.lock().unwrap().is_none());
}

#[tokio::test]
async fn credentials_that_cannot_be_used_are_refused() {
    let bench = Bench::new(SwarmRole::Manager);
    let send = async |auth: &'static str| {
        let spec =
            json!({ "Name": "web", "TaskTemplate": { "ContainerSpec": { "Image": "a" } }, "Mode": { "Global": {} } });
        let request = http::Request::post("/services/create").header("X-Registry-Auth", auth);
        let request = request.body(axum::body::Body::from(spec.to_string())).unwrap();
        router::answer(router::router(bench.api.clone()), request).await.status().as_u16()
    };
    assert_eq!(send("eyJ1c2VybmFtZSI6ImEiLCJwYXNzd29yZCI6ImIifQ==").await, 400);
    assert_eq!(bench.get("/services").await.1, json!([]));
    // {"auth":"YTpi"}, unpadded; {"IdentityToken":"x"}, as Go reads names.
    for credentials in ["eyJhdXRoIjoiWVRwaSJ9", "eyJJZGVudGl0eVRva2VuIjoieCJ9"] {
        assert_eq!(send(credentials).await, 400, "{credentials}");
    }
    assert_eq!(send("e30=").await, 201);
    // null; {"username":"","password":""}; {"Name":"x"}; nothing an engine can read.
    for nothing in ["bnVsbA==", "eyJ1c2VybmFtZSI6IiIsInBhc3N3b3JkIjoiIn0=", "eyJOYW1lIjoieCJ9", "?"] {
        assert_ne!(send(nothing).await, 400, "{nothing}");
    }
}
