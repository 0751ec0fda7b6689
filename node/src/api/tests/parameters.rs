//! Every parameter that Docker's API defines for an endpoint served here: honoured, or refused by its name.

use http::Method;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use skep_proto::v1::ContainerSpec;
use skep_runtime::{ContainerSpecification, Runtime as _, container_id_of_task};

use super::super::testing::{Bench, NODE, SwarmRole};

/// A true flag.
const YES: &str = "1";
/// What the stock clients write where they ask for nothing.
const NOTHING: [&str; 5] = ["", "0", "false", "no", "none"];

/// Method, path, the parameters that are honoured and the values that ask for nothing of those that are not.
type Line =
    (Method, &'static str, &'static [&'static str], &'static [(&'static str, &'static str, &'static [&'static str])]);

const TABLE: &[Line] = &[
    (Method::GET, "/_ping", &[], &[]),
    (Method::GET, "/version", &[], &[]),
    (Method::GET, "/info", &[], &[]),
    (Method::GET, "/events", &["since", "until", "filters"], &[]),
    (
        Method::GET,
        "/containers/json",
        &["all", "limit", "size", "filters"],
        &[("before", "web.1.t1", &[""]), ("since", "web.1.t1", &[""])],
    ),
    (Method::GET, "/containers/web.1.t1/json", &["size"], &[]),
    (
        Method::GET,
        "/containers/web.1.t1/logs",
        &["follow", "stdout", "stderr", "since", "until", "timestamps", "tail", "details"],
        &[],
    ),
    (
        Method::GET,
        "/images/json",
        // Intermediate images there are none, and digests are always shown.
        &["all", "digests", "filters"],
        &[
            ("shared-size", YES, &NOTHING),
            ("manifests", YES, &NOTHING),
            ("identity", YES, &NOTHING),
            ("filter", "busybox", &[""]),
        ],
    ),
    (
        Method::GET,
        "/images/busybox:1.35/json",
        &[],
        &[("manifests", YES, &NOTHING), ("platform", "{\"os\":\"linux\"}", &[""])],
    ),
    (Method::POST, "/images/load", &["quiet"], &[("platform", "{\"os\":\"linux\"}", &[""])]),
    (Method::GET, "/distribution/busybox:1.35/json", &[], &[]),
    (Method::GET, "/networks", &["filters"], &[]),
    (Method::GET, "/networks/host", &["verbose", "scope"], &[]),
    (Method::GET, "/swarm", &[], &[]),
    (
        Method::POST,
        "/swarm/update",
        &["version", "rotateWorkerToken", "rotateManagerToken"],
        &[("rotateManagerUnlockKey", YES, &NOTHING)],
    ),
    (Method::POST, "/swarm/leave", &["force"], &[]),
    (Method::GET, "/nodes", &["filters"], &[]),
    (Method::GET, "/nodes/dk1", &[], &[]),
    (Method::POST, "/nodes/dk1/update", &["version"], &[]),
    (Method::DELETE, "/nodes/dk1", &["force"], &[]),
    (Method::GET, "/services", &["filters", "status"], &[]),
    (Method::POST, "/services/create", &[], &[]),
    (Method::GET, "/services/web", &["insertDefaults"], &[]),
    (Method::POST, "/services/web/update", &["version", "registryAuthFrom", "rollback"], &[]),
    (Method::GET, "/services/web/logs", &["details", "follow", "stdout", "stderr", "since", "timestamps", "tail"], &[]),
    (Method::GET, "/tasks/web.1/logs", &["details", "follow", "stdout", "stderr", "since", "timestamps", "tail"], &[]),
    (Method::GET, "/tasks", &["filters"], &[]),
];

/// The answer's message, if that is a refusal of a parameter. Other answers are not read: some never end.
async fn refusal(bench: &Bench, method: &Method, path: &str, name: &str, value: &str) -> Option<String> {
    let value = value.replace('{', "%7B").replace('}', "%7D").replace('"', "%22");
    let response = bench.exchange(method.clone(), &format!("/v1.46{path}?{name}={value}"), String::new()).await;
    if response.status() != 400 {
        return None;
    }
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    let message = body["message"].as_str().unwrap_or_default();
    message.starts_with("not supported yet").then(|| message.to_owned())
}

#[tokio::test]
async fn a_parameter_is_honoured_or_refused_by_its_name() {
    for (method, path, honoured, refused) in TABLE {
        for name in honoured.iter().chain(&["nobody-defined-this"]) {
            let bench = Bench::new(SwarmRole::Manager);
            assert_eq!(refusal(&bench, method, path, name, YES).await, None, "{method} {path}?{name}");
        }
        for (name, value, nothing) in *refused {
            let bench = Bench::new(SwarmRole::Manager);
            let expected = Some(format!("not supported yet: {name}"));
            assert_eq!(refusal(&bench, method, path, name, value).await, expected, "{method} {path}?{name}");
            for nothing in *nothing {
                assert_eq!(
                    refusal(&bench, method, path, name, nothing).await,
                    None,
                    "{method} {path}?{name}={nothing}"
                );
            }
        }
    }
}

#[tokio::test]
async fn endpoints_of_our_own_know_all_their_parameters() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 1).await;
    for (method, path, known) in [
        (Method::POST, "/services/web/run", &[][..]),
        (Method::GET, "/services/web/runs", &[]),
        (Method::POST, "/services/web/rebalance", &["dry-run"]),
        (Method::GET, "/services/web/revisions", &[]),
        (Method::POST, "/services/web/rollback", &["version", "to"]),
        (Method::GET, "/skep/services/web/explain", &["since", "limit"]),
        (Method::GET, "/skep/tasks/web.1/explain", &["since", "limit"]),
        (Method::GET, "/skep/nodes/dk1/explain", &["since", "limit"]),
        (Method::GET, "/skep/swarm/history", &["since", "limit"]),
        (Method::POST, "/skep/what-if", &[]),
    ] {
        for name in known {
            let (_, answer) = bench.ask(method.clone(), &format!("{path}?{name}=1"), String::new()).await;
            assert!(!answer.to_string().contains("unknown parameter"), "{path}?{name}: {answer}");
        }
        let refused = bench.ask(method.clone(), &format!("/v1.46{path}?limlt=1"), String::new()).await;
        assert_eq!(refused, (400, json!({ "message": "unknown parameter: limlt" })), "{path}");
    }
}

#[tokio::test]
async fn a_network_is_found_in_its_scope() {
    let bench = Bench::new(SwarmRole::Manager);
    for (query, status) in
        [("", 200), ("?scope=", 200), ("?scope=swarm&verbose=true", 200), ("?scope=local", 200), ("?scope=global", 404)]
    {
        assert_eq!(bench.get(&format!("/networks/host{query}")).await.0, status, "{query}");
    }
}

#[tokio::test]
async fn sizes_are_shown_when_they_are_asked_for() {
    let bench = Bench::new(SwarmRole::Manager);
    let id = container_id_of_task("t1");
    let specification = ContainerSpecification {
        id: id.clone(),
        name: "web.1.t1".into(),
        labels: [("com.docker.swarm.node.id".to_owned(), NODE.to_owned())].into(),
        container: ContainerSpec { image: "busybox".into(), ..ContainerSpec::default() },
        resources: Default::default(),
        network: Default::default(),
        log_driver: Default::default(),
    };
    bench.runtime.prepare(&specification).await.unwrap();
    bench.runtime.start(&id).await.unwrap();
    let show = async |query: &str| bench.get(&format!("/containers/web.1.t1/json{query}")).await.1;
    for without in ["", "?size=0", "?size=false"] {
        assert_eq!(show(without).await.get("SizeRw"), None, "{without}");
    }
    let with = show("?size=1").await;
    assert_eq!((&with["SizeRw"], with["SizeRootFs"].is_u64()), (&json!(0), true), "{with}");
    let (status, list) = bench.get("/containers/json?size=1").await;
    assert_eq!((status, &list[0]["Id"]), (200, &json!(id)));
}
