//! Answers of every route.

use http::Method;
use serde_json::{Value, json};
use skep_proto::v1::{Availability, ContainerSpec};
use skep_runtime::{ContainerSpecification, Runtime as _, container_id_of_task};

use super::super::testing::{Bench, NODE, SwarmRole};

#[tokio::test]
async fn ping_names_the_version_and_the_place() {
    for (role, swarm) in [
        (SwarmRole::Outside, "inactive"),
        (SwarmRole::Worker, "active/worker"),
        (SwarmRole::Starting, "active/worker"),
        (SwarmRole::Manager, "active/manager"),
    ] {
        for (method, body) in [(Method::GET, "OK"), (Method::HEAD, "")] {
            let bench = Bench::new(role);
            let response = bench.exchange(method.clone(), "/_ping", String::new()).await;
            let header = |name: &str| response.headers()[name].to_str().unwrap().to_owned();
            assert_eq!(response.status(), 200);
            assert_eq!((header("api-version"), header("docker-experimental")), ("1.46".to_owned(), "false".to_owned()));
            assert_eq!((header("ostype"), header("swarm")), ("linux".to_owned(), swarm.to_owned()));
            assert_eq!(header("cache-control"), "no-cache, no-store, must-revalidate");
            assert!(header("server").starts_with("skep/"));
            let (_, text) = bench.ask(method, "/v1.30/_ping", String::new()).await;
            assert_eq!(text, json!(body));
        }
    }
}

#[tokio::test]
async fn version_and_info() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 2).await;
    let (status, version) = bench.get("/v1.24/version").await;
    assert_eq!((status, &version["ApiVersion"], &version["MinAPIVersion"]), (200, &json!("1.46"), &json!("1.24")));
    assert_eq!(version["Components"][0]["Details"]["Os"], json!("linux"));
    assert!(!version["KernelVersion"].as_str().unwrap().is_empty());

    let (status, info) = bench.get("/info").await;
    assert_eq!((status, &info["Name"], &info["NCPU"], &info["ID"]), (200, &json!("dk1"), &json!(2), &json!("engine1")));
    let swarm = &info["Swarm"];
    assert_eq!((&swarm["NodeID"], &swarm["LocalNodeState"]), (&json!(NODE), &json!("active")));
    assert_eq!((&swarm["ControlAvailable"], &swarm["Nodes"], &swarm["Managers"]), (&json!(true), &json!(1), &json!(1)));
    assert_eq!(swarm["RemoteManagers"], json!([{ "NodeID": NODE, "Addr": "10.0.0.1:2377" }]));
    assert_eq!(swarm["Cluster"]["ID"], json!("cluster1aaaaaaaaaaaaaaaaa"));
    let text = info.to_string();
    assert!(!text.contains("SWMTKN") && !text.contains("canary"));

    let (_, info) = Bench::new(SwarmRole::Outside).get("/info").await;
    assert_eq!(info["Swarm"]["LocalNodeState"], json!("inactive"));
    assert_eq!(info["Swarm"].get("Cluster"), None);
}

/// On the manager that has them only, also when the swarm cannot be asked.
#[tokio::test]
async fn troubles_of_a_manager_are_warned_of() {
    let bench = Bench::new(SwarmRole::Manager);
    let warned = async || bench.get("/info").await.1["Warnings"].to_string();
    assert!(!warned().await.contains("no snapshot"));
    bench.swarm.troubles.lock().unwrap().push("no snapshot".into());
    assert!(warned().await.contains(r#""WARNING: no snapshot""#), "{}", warned().await);
}

#[tokio::test]
async fn a_swarm_starts_is_shown_is_changed_and_left() {
    let bench = Bench::new(SwarmRole::Outside);
    let init = json!({
        "ListenAddr": "", "AdvertiseAddr": "10.0.0.1", "DataPathAddr": "10.0.0.1", "Availability": "drain", "SubnetSize": 24,
        "Spec": { "Orchestration": { "TaskHistoryRetentionLimit": 3 } },
    });
    assert_eq!(bench.post("/v1.41/swarm/init", &init).await, (200, json!(NODE)));
    let started = bench.swarm.started.lock().unwrap().clone().unwrap();
    assert_eq!((started.listen_addr.as_str(), started.advertise_addr.as_deref()), ("0.0.0.0:2377", Some("10.0.0.1")));
    assert_eq!((started.availability, started.spec.task_history_limit), (Availability::Drain, 3));

    let (_, swarm) = bench.get("/swarm").await;
    assert_eq!(swarm["JoinTokens"], json!({ "Worker": "SWMTKN-1-w", "Manager": "SWMTKN-1-m" }));
    assert!(!swarm.to_string().contains("canary"));
    let mut spec = swarm["Spec"].clone();
    spec["Orchestration"]["TaskHistoryRetentionLimit"] = json!(9);
    let path = format!("/swarm/update?version={}&rotateWorkerToken=true", swarm["Version"]["Index"]);
    assert_eq!(bench.post(&path, &spec).await, (200, json!("")));
    let (_, swarm) = bench.get("/swarm").await;
    assert_eq!(swarm["Spec"], spec);
    assert_eq!(swarm["JoinTokens"], json!({ "Worker": "SWMTKN-1-w2", "Manager": "SWMTKN-1-m" }));

    assert_eq!(bench.ask(Method::POST, "/swarm/leave?force=1", String::new()).await, (200, json!("")));
    let join = json!({ "RemoteAddrs": ["10.0.0.2", "[::1]:99"], "JoinToken": "SWMTKN-1-w" });
    assert_eq!(bench.post("/swarm/join", &join).await, (200, json!("")));
    let joined = bench.swarm.joined.lock().unwrap().clone().unwrap();
    assert_eq!(joined.remote_addrs, ["10.0.0.2:2377", "[::1]:99"]);
    assert_eq!(joined.token, "SWMTKN-1-w");
}

#[tokio::test]
async fn a_service_is_made_shown_changed_and_removed() {
    let bench = Bench::new(SwarmRole::Manager);
    let id = bench.service("web", 2).await;
    bench.service("api", 1).await;

    let (_, list) = bench.get("/services").await;
    assert_eq!(list.as_array().unwrap().len(), 2);
    assert_eq!(list[0].get("ServiceStatus"), None);
    let (_, list) = bench.get("/services?status=true&filters=%7B%22name%22%3A%7B%22web%22%3Atrue%7D%7D").await;
    assert_eq!(list.as_array().unwrap().len(), 1);
    assert_eq!(list[0]["ServiceStatus"], json!({ "RunningTasks": 2, "DesiredTasks": 2, "CompletedTasks": 0 }));

    let (_, plain) = bench.get("/services/web").await;
    assert_eq!((&plain["ID"], plain["Spec"].get("UpdateConfig")), (&json!(id), None));
    let (_, full) = bench.get("/services/web?insertDefaults=true").await;
    assert_eq!(full["Spec"]["UpdateConfig"]["Parallelism"], json!(1));

    let mut spec = plain["Spec"].clone();
    spec["Mode"]["Replicated"]["Replicas"] = json!(3);
    let update = |version: &Value, more: &str| format!("/services/{id}/update?version={version}{more}");
    let answer = bench.post(&update(&plain["Version"]["Index"], "&registryAuthFrom=spec"), &spec).await;
    assert_eq!(answer, (200, json!({ "Warnings": null })));
    let (_, scaled) = bench.get("/services/web").await;
    assert_eq!(scaled["PreviousSpec"]["Mode"]["Replicated"]["Replicas"], json!(2));
    let (_, tasks) = bench.get("/tasks?filters=%7B%22_up-to-date%22%3A%7B%22true%22%3Atrue%7D%7D").await;
    assert_eq!(tasks.as_array().unwrap().len(), 4);
    let (_, task) = bench.get(&format!("/tasks/{}", tasks[0]["ID"].as_str().unwrap())).await;
    assert_eq!((&task["Status"]["State"], &task["NodeID"]), (&json!("running"), &json!(NODE)));

    bench.post(&update(&scaled["Version"]["Index"], "&rollback=previous"), &spec).await;
    let (_, back) = bench.get("/services/web").await;
    assert_eq!(back["Spec"]["Mode"]["Replicated"]["Replicas"], json!(2));
    assert_eq!(bench.ask(Method::DELETE, "/services/web", String::new()).await, (200, json!("")));
    assert_eq!(bench.get("/services/web").await.0, 404);
}

#[tokio::test]
async fn a_job_is_run_and_its_runs_are_listed() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 1).await;
    let (_, mut spec) = bench.get("/services/web").await;
    spec = spec["Spec"].take();
    spec["Name"] = json!("job");
    spec["Mode"] = json!({ "ReplicatedJob": {} });
    assert_eq!(bench.post("/services/create", &spec).await.0, 201);
    assert_eq!(bench.get("/services/job/runs").await, (200, json!([])));
    let (status, run) = bench.ask(Method::POST, "/services/job/run", String::new()).await;
    assert_eq!((status, &run["Spec"]["Name"]), (200, &json!("job")));
    let (_, runs) = bench.get("/services/job/runs").await;
    assert_eq!(
        (&runs[0]["Iteration"], &runs[0]["Outcome"], runs[0].get("FinishedAt")),
        (&json!(0), &json!("running"), None)
    );
    let (status, refused) = bench.ask(Method::POST, "/services/web/run", String::new()).await;
    assert!(status >= 400 && refused["message"].as_str().unwrap().contains("cannot be run now"), "{status} {refused}");
    assert_eq!(bench.get("/services/nosuch/runs").await.0, 404);
}

#[tokio::test]
async fn a_service_is_spread_anew_or_only_asked_about() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 1).await;
    for (query, to) in [("?dry-run=1", "asked"), ("", "moved")] {
        let (status, moves) = bench.ask(Method::POST, &format!("/services/web/rebalance{query}"), String::new()).await;
        assert_eq!((status, &moves[0]["Slot"], &moves[0]["ToNode"]), (200, &json!(2), &json!(to)));
    }
    assert_eq!(bench.ask(Method::POST, "/services/nosuch/rebalance", String::new()).await.0, 404);
}

#[tokio::test]
async fn revisions_are_listed_and_gone_back_to() {
    let bench = Bench::new(SwarmRole::Manager);
    bench.service("web", 1).await;
    let (_, service) = bench.get("/services/web").await;
    let rollback = |version: &Value, to: &str| format!("/services/web/rollback?version={version}&to={to}");
    let version = &service["Version"]["Index"];
    let refused = bench.ask(Method::POST, &rollback(version, "x"), String::new()).await;
    assert_eq!(refused, (400, json!({ "message": "the revision to go back to must be a number" })));
    let gone = bench.ask(Method::POST, &rollback(version, "7"), String::new()).await;
    assert_eq!(gone, (200, json!({ "Warnings": null })));
    let (_, listed) = bench.get("/services/web/revisions").await;
    assert_eq!((&listed["Current"], &listed["Previous"]), (&json!(7), &json!(1)));
    let first = json!({ "Number": 1, "Image": "demo:1", "RunningTasks": 1 });
    assert_eq!((&listed["Revisions"][0]["Number"], &listed["Revisions"][1]), (&json!(2), &first));
    let (_, service) = bench.get("/services/web").await;
    let stayed = bench.ask(Method::POST, &rollback(&service["Version"]["Index"], "7"), String::new()).await;
    assert_eq!(stayed, (200, json!({ "Warnings": ["the service is at revision 7 already"] })));
    assert_eq!(bench.get("/services/nosuch/revisions").await.0, 404);
}

#[tokio::test]
async fn a_node_is_shown_and_changed() {
    let bench = Bench::new(SwarmRole::Manager);
    let (_, nodes) = bench.get("/nodes?filters=%7B%22role%22%3A%5B%22manager%22%5D%7D").await;
    let (_, node) = bench.get("/nodes/dk1").await;
    assert_eq!(nodes, json!([node]));
    assert_eq!(bench.get("/nodes?filters=%7B%22role%22%3A%5B%22worker%22%5D%7D").await.1, json!([]));
    assert_eq!(bench.get("/nodes?filters=%7B%22membership%22%3A%5B%22pending%22%5D%7D").await.1, json!([]));
    assert_eq!(node["ManagerStatus"]["Reachability"], json!("reachable"));
    assert_eq!(node["Description"]["TLSInfo"]["TrustRoot"], json!("pem"));
    let spec = json!({ "Labels": { "a": "b" }, "Role": "manager", "Availability": "pause" });
    let path = format!("/nodes/{NODE}/update?version={}", node["Version"]["Index"]);
    assert_eq!(bench.post(&path, &spec).await, (200, json!("")));
    assert_eq!(bench.get("/nodes/dk1").await.1["Spec"], spec);
}

#[tokio::test]
async fn the_host_network_is_there() {
    let bench = Bench::new(SwarmRole::Manager);
    let (_, host) = bench.get("/networks/host?scope=swarm").await;
    assert_eq!((&host["Name"], &host["Scope"], &host["Driver"]), (&json!("host"), &json!("swarm"), &json!("host")));
    let (_, list) = bench.get("/networks").await;
    let shown: Vec<_> =
        list.as_array().unwrap().iter().map(|one| [&one["Name"], &one["Driver"], &one["Scope"]]).collect();
    assert_eq!(json!(shown), json!([["none", "null", "local"], ["host", "host", "local"]]));
    assert_eq!(bench.get("/networks/host").await.1, list[1]);
    assert_eq!(bench.get("/networks/none?scope=swarm").await.0, 404);
    assert_eq!(bench.get("/networks?filters=%7B%22driver%22%3A%5B%22overlay%22%5D%7D").await.1, json!([]));
    let spec = json!({
        "Name": "web",
        "TaskTemplate": { "ContainerSpec": { "Image": "x" }, "Networks": [{ "Target": host["Id"] }] },
    });
    assert_eq!(bench.post("/services/create", &spec).await.0, 201);
    assert_eq!(
        bench.get("/services/web").await.1["Spec"]["TaskTemplate"]["Networks"],
        spec["TaskTemplate"]["Networks"]
    );
}

#[tokio::test]
async fn images_are_loaded_and_shown() {
    let bench = Bench::new(SwarmRole::Outside);
    let (status, line) = bench.ask(Method::POST, "/images/load?quiet=1", "skep/demo:1\n").await;
    assert_eq!((status, line), (200, json!({ "stream": "Loaded image: skep/demo:1\n" })));
    bench.ask(Method::POST, "/images/load?quiet=1", "busybox:1.35\n").await;

    let (_, all) = bench.get("/images/json").await;
    assert_eq!(all.as_array().unwrap().len(), 2);
    let (_, one) = bench.get("/v1.43/images/json?filters=%7B%22reference%22%3A%5B%22skep%2F%2A%22%5D%7D").await;
    assert_eq!((&one[0]["RepoTags"], one.as_array().unwrap().len()), (&json!(["skep/demo:1"]), 1));
    assert_eq!(one[0]["VirtualSize"], one[0]["Size"]);
    let (_, one) = bench.get("/v1.44/images/json?filters=%7B%22reference%22%3A%5B%22skep%2F%2A%22%5D%7D").await;
    assert_eq!(one[0].get("VirtualSize"), None);

    let (status, image) = bench.get("/images/skep/demo:1/json").await;
    assert_eq!((status, &image["RepoTags"]), (200, &json!(["skep/demo:1"])));
    let (_, known) = bench.get("/distribution/skep/demo:1/json").await;
    assert!(known["Descriptor"]["digest"].as_str().unwrap().starts_with("sha256:"));
    for path in ["/images/nope/json", "/distribution/nope/json"] {
        let (status, error) = bench.get(path).await;
        assert_eq!((status, error), (404, json!({ "message": "No such image: nope" })), "{path}");
    }
    assert_eq!(bench.get("/images/skep/demo:1").await, (404, json!({ "message": "page not found" })));
}

#[tokio::test]
async fn containers_are_shown() {
    let bench = Bench::new(SwarmRole::Outside);
    let mut ids = Vec::new();
    for task in ["t1", "t2"] {
        let id = container_id_of_task(task);
        let specification = ContainerSpecification {
            id: id.clone(),
            name: format!("web.1.{task}"),
            labels: [("com.docker.swarm.task.id".to_owned(), task.to_owned())].into(),
            container: ContainerSpec {
                image: "busybox".into(),
                args: vec!["sleep".into(), "9 lives".into()],
                ..ContainerSpec::default()
            },
            resources: Default::default(),
            network: Default::default(),
            log_driver: Default::default(),
        };
        bench.runtime.prepare(&specification).await.unwrap();
        bench.runtime.start(&id).await.unwrap();
        ids.push(id);
    }
    bench.runtime.exit(&ids[1], 7, true);

    let (_, running) = bench.get("/containers/json").await;
    assert_eq!((running.as_array().unwrap().len(), &running[0]["Names"]), (1, &json!(["/web.1.t1"])));
    assert_eq!((&running[0]["State"], &running[0]["Command"]), (&json!("running"), &json!("sleep '9 lives'")));
    assert!(running[0]["Status"].as_str().unwrap().starts_with("Up "));
    assert_eq!(bench.get("/containers/json?all=1").await.1.as_array().unwrap().len(), 2);
    let (_, ended) = bench.get("/containers/json?filters=%7B%22status%22%3A%5B%22exited%22%5D%7D").await;
    assert!(ended[0]["Status"].as_str().unwrap().starts_with("Exited (7) "));

    for key in [ids[1].as_str(), "web.1.t2", "/web.1.t2", &ids[1][..12]] {
        let (status, container) = bench.get(&format!("/containers/{}/json", key.replace('/', "%2F"))).await;
        assert_eq!((status, &container["Id"]), (200, &json!(ids[1])), "{key}");
        let state = &container["State"];
        assert_eq!(
            (&state["ExitCode"], &state["OOMKilled"], &state["Running"]),
            (&json!(7), &json!(true), &json!(false))
        );
    }
}

#[tokio::test]
async fn reasons_are_given_and_changes_imagined() {
    let bench = Bench::new(SwarmRole::Manager);
    let id = bench.service("web", 1).await;
    let expected = json!({
        "Text": "web",
        "Nodes": [{
            "ID": NODE, "Hostname": "dk1", "Fits": true, "RecentFailures": 0, "TasksOfService": 0, "Tasks": 2, "Preferences": [],
        }],
        "History": [{ "Time": "2024-05-06T07:08:09.123456789Z", "Version": 3, "By": "user via dk1", "Slot": 1, "Text": "" }],
    });
    assert_eq!(bench.get(&format!("/v1.46/skep/services/{id}/explain")).await, (200, expected));
    let (status, refused) = bench.get("/skep/tasks/nosuch/explain").await;
    assert_eq!((status, &refused["message"]), (404, &json!("task nosuch not found")));
    assert_eq!(bench.get("/skep/nodes/dk1/explain").await.1["Text"], NODE);
    let text = async |path: &str| bench.get(path).await.1["Text"].clone();
    assert_eq!(text("/skep/swarm/history").await, "since 0, 0 at most");
    assert_eq!(text("/skep/swarm/history?since=7.5&limit=20").await, "since 7500000000, 20 at most");
    for wrong in ["limit=0", "limit=1001", "limit=x", "since=yesterday"] {
        let (status, _) = bench.get(&format!("/skep/swarm/history?{wrong}")).await;
        assert_eq!(status, 400, "{wrong}");
    }

    let (status, forecast) = bench.post("/skep/what-if", &json!({ "Drain": "dk1" })).await;
    let effects = json!([{ "Service": "web", "Slot": 1, "From": NODE, "To": "" }]);
    assert_eq!((status, &forecast["Effects"], &forecast["Summary"]), (200, &effects, &json!("one task")));
    for wrong in [json!({}), json!({ "Drain": "dk1", "Lose": ["dk1"] }), json!({ "Explode": true })] {
        let (status, _) = bench.post("/skep/what-if", &wrong).await;
        assert_eq!(status, 400, "{wrong}");
    }
    let (status, _) = Bench::new(SwarmRole::Worker).get("/skep/services/web/explain").await;
    assert_eq!(status, 503);
}

fn golden(name: &str) -> Value {
    let path = format!("{}/../common/dockerapi/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
    let golden: Value = serde_json::from_str(&std::fs::read_to_string(&path).unwrap()).unwrap();
    golden["body"].clone()
}

/// Every key of `theirs` that is not among `ours`, at any depth, and every object that is none. Keys of maps are data: their names do not count, and
/// for the networks of a container one stands for all.
fn missing(theirs: &Value, ours: &Value, at: &str) -> Vec<String> {
    const MAPS: [&str; 5] = ["Labels", "Config", "Sysctls", "Data", "PortBindings"];
    match (theirs, ours) {
        (Value::Object(theirs), Value::Object(ours)) => {
            let is_map = MAPS.iter().any(|map| at.ends_with(&format!(".{map}"))) && at != ".Config";
            let one = ours.values().next().filter(|_| at.ends_with(".Networks"));
            let keys = theirs.iter().filter(|_| !is_map).flat_map(|(key, theirs)| {
                let at = format!("{at}.{key}");
                one.or(ours.get(key)).map_or_else(|| vec![at.clone()], |ours| missing(theirs, ours, &at))
            });
            keys.collect()
        }
        (Value::Array(theirs), Value::Array(ours)) => {
            theirs.iter().zip(ours).flat_map(|(theirs, ours)| missing(theirs, ours, at)).collect()
        }
        (Value::Object(_), _) => vec![format!("{at} is {ours}")],
        _ => Vec::new(),
    }
}

/// Clients written in Go follow objects without asking whether they are there.
#[tokio::test]
async fn what_an_engine_shows_of_a_container_is_shown() {
    let bench = Bench::new(SwarmRole::Outside);
    let strings = |words: &[&str]| words.iter().map(|word| (*word).to_owned()).collect::<Vec<_>>();
    let specification = ContainerSpecification {
        id: container_id_of_task("t1"),
        name: "web.1.t1".into(),
        labels: [("l".to_owned(), "v".to_owned())].into(),
        container: ContainerSpec {
            image: "skep/demo:1".into(),
            command: strings(&["/bin/busybox", "sleep", "1000"]),
            args: strings(&["x"]),
            hostname: "web-1".into(),
            env: strings(&["A=1"]),
            user: "1000:1001".into(),
            groups: strings(&["5"]),
            dir: "/tmp".into(),
            tty: true,
            open_stdin: true,
            read_only: true,
            init: Some(true),
            stop_signal: "SIGINT".into(),
            hosts: strings(&["1.2.3.4 a b"]),
            capability_add: strings(&["CAP_NET_ADMIN"]),
            capability_drop: strings(&["CAP_CHOWN"]),
            ulimits: vec![skep_proto::v1::Ulimit { name: "nofile".into(), soft: 100, hard: 200 }],
            sysctls: [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into(),
            ..ContainerSpec::default()
        },
        resources: skep_proto::v1::ResourceRequirements {
            limits: Some(skep_proto::v1::Resources {
                nano_cpus: 500_000_000,
                memory_bytes: 67_108_864,
                ..Default::default()
            }),
            pids_limit: 50,
            ..Default::default()
        },
        network: Default::default(),
        log_driver: skep_proto::v1::LogDriver {
            name: "json-file".into(),
            options: [("max-size".to_owned(), "1m".to_owned())].into(),
        },
    };
    bench.runtime.prepare(&specification).await.unwrap();
    bench.runtime.start(&specification.id).await.unwrap();

    let (_, list) = bench.get("/containers/json").await;
    assert_eq!(missing(&golden("container-list-options"), &list, ""), [""; 0]);
    let (_, ours) = bench.get("/containers/web.1.t1/json").await;
    let theirs = golden("container-inspect-options");
    // How its health is asked for: this one has none at all, which the image says.
    assert_eq!(missing(&theirs, &ours, ""), [".Config.Healthcheck"]);
    assert_eq!(missing(&golden("container-inspect")["Config"], &ours["Config"], ".Config"), [""; 0]);
    for (place, same) in [
        (
            "HostConfig",
            &["LogConfig", "CapAdd", "CapDrop", "GroupAdd", "ReadonlyRootfs", "Sysctls", "Memory", "NanoCpus"][..],
        ),
        ("HostConfig", &["PidsLimit", "Ulimits", "Init", "ShmSize", "Privileged", "RestartPolicy", "PortBindings"][..]),
        ("Config", &["Hostname", "User", "Tty", "OpenStdin", "Entrypoint", "WorkingDir", "StopSignal", "Volumes"][..]),
    ] {
        for field in same {
            assert_eq!(ours[place][field], theirs[place][field], "{place}.{field}");
        }
    }
    assert_eq!(ours["HostConfig"]["ExtraHosts"], json!(["a:1.2.3.4", "b:1.2.3.4"]));
    assert_eq!((&ours["Config"]["Cmd"], &ours["Config"]["Env"]), (&json!(["x"]), &json!(["A=1"])));
    assert_eq!(ours["LogPath"], json!(format!("/containers/{}/log", specification.id)));
}

#[tokio::test]
async fn what_an_engine_shows_of_an_image_is_shown() {
    let bench = Bench::new(SwarmRole::Outside);
    bench.runtime.configure_images(
        json!({
            "architecture": "amd64", "os": "linux", "author": "somebody", "created": "2024-05-06T07:08:09Z",
            "config": { "Env": ["PATH=/bin"], "Cmd": ["sh"], "Volumes": { "/data": {} }, "Labels": { "a": "b" }, "New": 1 },
            "rootfs": { "type": "layers", "diff_ids": ["sha256:1"] }, "history": [{ "comment": "the last" }],
        })
        .to_string(),
    );
    assert_eq!(bench.ask(Method::POST, "/images/load", "skep/demo:1").await.0, 200);
    let (status, ours) = bench.get("/v1.41/images/skep/demo:1/json").await;
    assert_eq!(status, 200, "{ours}");
    // What built an image left with it, in old engines: no API version after 1.44 shows it.
    assert_eq!(missing(&golden("image-inspect-demo"), &ours, ""), [".Container", ".ContainerConfig"]);
    assert_eq!((&ours["Author"], &ours["Comment"]), (&json!("somebody"), &json!("the last")));
    assert_eq!((&ours["Config"]["Cmd"], &ours["Config"]["Volumes"]), (&json!(["sh"]), &json!({ "/data": {} })));
    assert_eq!(ours["RootFS"], json!({ "Type": "layers", "Layers": ["sha256:1"] }));
    assert_eq!(ours["GraphDriver"]["Data"], json!({ "UpperDir": "/layers/b", "LowerDir": "/layers/a" }));
}

#[tokio::test]
async fn filters_find_what_they_name() {
    let bench = Bench::new(SwarmRole::Outside);
    bench.ask(Method::POST, "/images/load", "skep/demo:1\nskep/other:1").await;
    let filter = |name: &str, value: &str| format!("filters=%7B%22{name}%22%3A%5B%22{value}%22%5D%7D");
    let (_, images) = bench.get(&format!("/images/json?{}", filter("reference", "skep/d*"))).await;
    assert_eq!((images.as_array().unwrap().len(), &images[0]["RepoTags"]), (1, &json!(["skep/demo:1"])));

    let container = ContainerSpec { image: "skep/demo:1".into(), ..ContainerSpec::default() };
    let specification = ContainerSpecification {
        id: container_id_of_task("t1"),
        name: "web.1.t1".into(),
        labels: Default::default(),
        container,
        resources: Default::default(),
        network: Default::default(),
        log_driver: Default::default(),
    };
    bench.runtime.prepare(&specification).await.unwrap();
    for (image, found) in [("skep/demo:1", 1), ("skep/other:1", 0), ("nope", 0)] {
        let path = format!("/containers/json?all=1&{}", filter("ancestor", image));
        assert_eq!(bench.get(&path).await.1.as_array().unwrap().len(), found, "{image}");
    }
}
