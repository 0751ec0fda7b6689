//! The sentences a user gets for a spec that cannot be asked for.

use skep_common::limits;
use skep_proto::v1::{
    Annotations, ClusterSpec, ContainerSpec, EndpointSpec, FailureAction, GenericResource, GlobalJob, GlobalService,
    LogDriver, NetworkMode, NodeSpec, Placement, PortConfig, ReplicatedJob, ReplicatedService, ResourceRequirements,
    Resources, RestartPolicy, ServiceSpec, TaskSpec, UpdateConfig, generic_resource::Value, service_spec::Mode,
};

use super::*;

fn good() -> ServiceSpec {
    ServiceSpec {
        annotations: Some(Annotations { name: "web".into(), ..Annotations::default() }.into()),
        task: Some(
            TaskSpec {
                container: Some(ContainerSpec { image: "skep/demo:1".into(), ..ContainerSpec::default() }),
                ..TaskSpec::default()
            }
            .into(),
        ),
        mode: Some(Mode::Replicated(ReplicatedService { replicas: 3 })),
        ..ServiceSpec::default()
    }
}

fn refusal(edit: impl FnOnce(&mut ServiceSpec)) -> String {
    let mut spec = good();
    edit(&mut spec);
    service(&spec).map_or_else(|error| error.to_string(), |()| "accepted".into())
}

fn task_of(spec: &mut ServiceSpec) -> &mut TaskSpec {
    spec.task.as_mut().unwrap()
}

fn container_of(spec: &mut ServiceSpec) -> &mut ContainerSpec {
    task_of(spec).container.as_mut().unwrap()
}

type Edit = (fn(&mut ContainerSpec), &'static str);

#[test]
fn each_kind_of_bad_service_has_its_sentence() {
    assert_eq!(refusal(|_| {}), "accepted");
    assert_eq!(refusal(|s| s.annotations = None), "name must be provided");
    assert_eq!(
        refusal(|s| s.annotations.as_mut().unwrap().name = "../etc".into()),
        "name must be valid as a DNS name component"
    );
    assert_eq!(refusal(|s| s.mode = None), "Unrecognized service mode");
    assert_eq!(refusal(|s| s.task = None), "ContainerSpec: missing in service spec");
    assert_eq!(refusal(|s| container_of(s).image.clear()), "ContainerSpec: image reference must be provided");
    assert_eq!(
        refusal(|s| container_of(s).image = "Web:1".into()),
        "ContainerSpec: \"Web:1\" is not a valid repository/tag"
    );
    assert_eq!(refusal(|s| container_of(s).args.push("a\0b".into())), "ContainerSpec: args cannot contain NUL");
    assert_eq!(
        refusal(|s| container_of(s).args.push("x".repeat(limits::MAX_SPEC_BYTES))).split(':').next(),
        Some("the spec is too large")
    );
    let reserve = |nano_cpus, memory_bytes| {
        move |s: &mut ServiceSpec| {
            let reservations = Some(Resources { nano_cpus, memory_bytes, ..Default::default() });
            task_of(s).resources = Some(ResourceRequirements { reservations, ..ResourceRequirements::default() });
        }
    };
    assert_eq!(refusal(reserve(100_000, 0)), "invalid cpu value 0.0001: Must be at least 0.001");
    assert_eq!(refusal(reserve(50_000, 0)), "invalid cpu value 5e-05: Must be at least 0.001");
    let least = 4 << 20;
    assert_eq!(refusal(reserve(0, least - 1)), "invalid memory value 4194303: Must be at least 4MiB");
    assert_eq!(refusal(reserve(0, -1)), "invalid memory value -1: Must be at least 4MiB");
    assert_eq!(refusal(reserve(1_000_000, 4 << 20)), "accepted");
    assert_eq!(
        refusal(|s| task_of(s).restart = Some(RestartPolicy { delay: Some(-1), ..RestartPolicy::default() })),
        "TaskSpec: restart-delay cannot be negative"
    );
    let edits: [Edit; 7] = [
        (
            |c| c.env = vec!["A={{.Bogus}}".into()],
            "expanding env failed: expanding env \"A={{.Bogus}}\": template: expansion:1:2: executing \"expansion\" at \
             <.Bogus>: can't evaluate field Bogus in type *template.Context",
        ),
        (|c| c.hostname = "{{".into(), "expanding hostname failed: template: expansion:1: unclosed action"),
        (|c| c.dir = "work".into(), "the working directory 'work' is invalid, it needs to be an absolute path"),
        (|c| c.stop_signal = "SIGFOO".into(), "Invalid signal: SIGFOO"),
        (|c| c.capability_add = vec!["CAP_FOO".into()], "unknown capability: \"CAP_FOO\""),
        (|c| c.capability_drop = vec!["x".into()], "unknown capability: \"x\""),
        (|c| c.ulimits = vec![skep_proto::v1::Ulimit { name: "x".into(), soft: 1, hard: 1 }], "invalid ulimit type: x"),
    ];
    for (edit, sentence) in edits {
        assert_eq!(refusal(|s| edit(container_of(s))), sentence);
    }
    let driver = LogDriver { name: String::new(), options: [("x".to_owned(), "1".to_owned())].into() };
    assert_eq!(refusal(|s| task_of(s).log_driver = Some(driver)), "unknown log opt 'x' for json-file log driver");
    assert_eq!(
        refusal(|s| task_of(s).restart = Some(RestartPolicy { condition: 9, ..RestartPolicy::default() })),
        "TaskSpec: restart-condition: unknown value"
    );
    let constrain = |text: &str| Some(Placement { constraints: vec![text.into()], ..Placement::default() });
    assert_eq!(
        refusal(|s| task_of(s).placement = constrain("node.id=x")),
        "constraint expected one operator from ==, !="
    );
    assert_eq!(refusal(|s| task_of(s).placement = constrain("node.id==x")), "accepted");
    assert_eq!(
        refusal(|s| s.mode = Some(Mode::Replicated(ReplicatedService { replicas: u64::MAX }))),
        "the number of replicas cannot be more than 100000"
    );
    assert_eq!(
        refusal(|s| s.mode = Some(Mode::Replicated(ReplicatedService { replicas: limits::MAX_REPLICAS }))),
        "accepted"
    );
    assert_eq!(
        refusal(|s| {
            s.mode = Some(Mode::Global(GlobalService {}));
            task_of(s).placement = Some(Placement { max_replicas: 1, ..Placement::default() });
        }),
        "replicas-max-per-node can only be used with replicated or replicated-job mode"
    );
    assert_eq!(
        refusal(|s| s.update = Some(UpdateConfig { max_failure_ratio: f32::NAN, ..UpdateConfig::default() })),
        "TaskSpec: update-maxfailureratio cannot be less than 0 or bigger than 1"
    );
    assert_eq!(
        refusal(|s| s.update = Some(UpdateConfig { delay: -1, ..UpdateConfig::default() })),
        "TaskSpec: update-delay cannot be negative"
    );
    assert_eq!(
        refusal(|s| s.rollback = Some(UpdateConfig { delay: -1, ..UpdateConfig::default() })),
        "TaskSpec: rollback-delay cannot be negative"
    );
    let action = FailureAction::Rollback.into();
    assert_eq!(
        refusal(|s| s.rollback = Some(UpdateConfig { failure_action: action, ..UpdateConfig::default() })),
        "RollbackConfig: failure action rollback is for updates; a rollback that fails is paused or continues"
    );
    assert_eq!(
        refusal(|s| s.update = Some(UpdateConfig { failure_action: action, ..UpdateConfig::default() })),
        "accepted"
    );
    let ports = vec![PortConfig { target: 80, ..PortConfig::default() }];
    assert_eq!(
        refusal(|s| s.endpoint = Some(EndpointSpec { ports, ..EndpointSpec::default() }.into())),
        "published ports are not supported by this version"
    );
}

#[test]
fn generic_resources_are_counted_and_each_kind_is_named_once() {
    let of = |kind: &str, value: Value| GenericResource { kind: kind.into(), value: Some(value) };
    let reserving = |generic: &[GenericResource]| {
        let reservations = Some(Resources { generic: generic.to_vec(), ..Resources::default() });
        refusal(|s| task_of(s).resources = Some(ResourceRequirements { reservations, ..Default::default() }))
    };
    assert_eq!(reserving(&[of("gpu", Value::Discrete(2)), of("ssd", Value::Discrete(0))]), "accepted");
    assert_eq!(reserving(&[of("gpu", Value::Discrete(-1))]), "cannot ask for negative resource gpu");
    let named = "Named Generic Resources is not supported for service create or update";
    assert_eq!(reserving(&[of("gpu", Value::Named("one".into()))]), named);
    let kinds = "Resources: every generic resource needs a kind of its own";
    assert_eq!(reserving(&[of("", Value::Discrete(1))]), kinds);
    assert_eq!(reserving(&[of("gpu", Value::Discrete(1)), of("gpu", Value::Discrete(1))]), kinds);
}

#[test]
fn jobs_are_asked_for_like_services_but_for_their_updates() {
    let job = |max_concurrent, total_completions| {
        move |s: &mut ServiceSpec| {
            s.mode = Some(Mode::ReplicatedJob(ReplicatedJob { max_concurrent, total_completions }));
            s.rollback = Some(UpdateConfig::default());
            task_of(s).restart = Some(RestartPolicy::default());
        }
    };
    assert_eq!(refusal(job(0, 0)), "accepted");
    assert_eq!(refusal(job(5, 2)), "accepted");
    assert_eq!(refusal(job(u64::MAX, 2)), "Maximum concurrent jobs must not be negative");
    assert_eq!(refusal(job(1, u64::MAX)), "Total completed jobs must not be negative");
    assert_eq!(refusal(job(1, 100_000)), "accepted");
    assert_eq!(refusal(job(1, 100_001)), "the number of completions cannot be more than 100000");
    let updated = |s: &mut ServiceSpec| {
        job(1, 1)(s);
        s.update = Some(UpdateConfig::default());
    };
    assert_eq!(refusal(updated), "Jobs may not have an update config");
    let one_per_node = |s: &mut ServiceSpec| {
        s.mode = Some(Mode::GlobalJob(GlobalJob {}));
        task_of(s).placement = Some(Placement { max_replicas: 1, ..Placement::default() });
    };
    assert_eq!(refusal(one_per_node), "replicas-max-per-node can only be used with replicated or replicated-job mode");
    let label = |s: &mut ServiceSpec| {
        s.annotations.as_mut().unwrap().labels.insert("skep.schedule".into(), "@daily".into());
    };
    assert_eq!(refusal(label), "label skep.schedule=\"@daily\" is for replicated jobs and global jobs only");
}

#[test]
fn what_a_service_may_become() {
    let update = |edit: &dyn Fn(&mut ServiceSpec)| {
        let mut new = good();
        edit(&mut new);
        service_update(&good(), &new).map_or_else(|error| error.to_string(), |()| "accepted".into())
    };
    assert_eq!(update(&|s| s.mode = Some(Mode::Replicated(ReplicatedService { replicas: 9 }))), "accepted");
    assert_eq!(
        update(&|s| s.annotations.as_mut().unwrap().name = "other".into()),
        "renaming services is not supported"
    );
    assert_eq!(update(&|s| s.mode = Some(Mode::Global(GlobalService {}))), "service mode change is not allowed");
    assert_eq!(update(&|s| container_of(s).args.push("x".into())), "accepted");
    assert_eq!(update(&|s| container_of(s).image.clear()), "ContainerSpec: image reference must be provided");
}

#[test]
fn nodes_and_the_cluster() {
    assert_eq!(node(&NodeSpec::default()), Ok(()));
    assert!(node(&NodeSpec { availability: 7, ..NodeSpec::default() }).is_err());
    let nameless = Annotations { labels: [(String::new(), "x".to_owned())].into(), ..Annotations::default() };
    let refused = node(&NodeSpec { annotations: Some(nameless), ..NodeSpec::default() }).unwrap_err().to_string();
    assert!(refused.contains("empty name"), "{refused}");
    let good = crate::defaults::cluster_spec();
    assert_eq!(cluster(&good), Ok(()));
    let short = ClusterSpec { node_cert_expiry: 1, ..good.clone() };
    assert_eq!(cluster(&short).unwrap_err().to_string(), "minimum certificate expiry time is: 1h0m0s");
    assert_eq!(cluster(&ClusterSpec { annotations: None, ..good.clone() }), Err(InvalidSpec::ClusterName));
    let beating = |heartbeat_period| cluster(&ClusterSpec { heartbeat_period, ..good.clone() });
    let least = skep_common::clock::nanos(limits::MIN_HEARTBEAT_PERIOD);
    assert_eq!(beating(-1), Err(InvalidSpec::NegativeHeartbeat));
    assert_eq!([beating(0), beating(least - 1)], [(); 2].map(|()| Err(InvalidSpec::HeartbeatPeriod)));
    assert_eq!(beating(least), Ok(()));
    let least = skep_common::clock::nanos(limits::MIN_CERTIFICATE_LIFETIME);
    assert_eq!(cluster(&ClusterSpec { node_cert_expiry: least, ..good }), Ok(()));
}

#[test]
fn kernel_parameters_of_a_network_are_for_who_has_one() {
    let refused = |network: NetworkMode| {
        refusal(|spec| {
            task_of(spec).set_network(network);
            container_of(spec).sysctls = [("net.ipv4.ip_forward".to_owned(), "1".to_owned())].into();
        })
    };
    assert_eq!(refused(NetworkMode::Isolated), "accepted");
    assert_eq!(refused(NetworkMode::Host), "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace");
}
