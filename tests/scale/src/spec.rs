//! The services that are asked for: what a small web service looks like, for a spec's size is part of several figures.

use std::collections::BTreeMap;

use skep_proto::v1::{
    Annotations, ContainerSpec, ReplicatedService, ResourceRequirements, Resources, ServiceSpec, TaskSpec,
    service_spec::Mode,
};

const IMAGE: &str =
    "registry.example.com/shop/frontend:1.4.2@sha256:9f2c1d6a0b7e4f3c8a5d2e1b6c9f0a3d7e4b1c8f5a2d9e6b3c0f7a4d1e8b5c2f";

/// The name of one of the services.
pub(crate) fn name(number: usize) -> String {
    format!("s{number}")
}

/// A service of so many replicas.
pub(crate) fn service(name: &str, replicas: u64) -> ServiceSpec {
    let labels = |pairs: &[(&str, &str)]| -> BTreeMap<String, String> {
        pairs.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect()
    };
    let container = ContainerSpec {
        image: IMAGE.to_owned(),
        labels: labels(&[("com.example.team", "frontend")]),
        args: ["serve", "--listen", ":8080"].map(str::to_owned).into(),
        env: ["LOG_LEVEL=info", "DATABASE_HOST=db", "REGION=eu-central"].map(str::to_owned).into(),
        stop_grace_period: Some(1_000_000_000),
        ..ContainerSpec::default()
    };
    let reserved = Resources { nano_cpus: 10_000_000, memory_bytes: 16 << 20, generic: Vec::new() };
    let limits = Resources { nano_cpus: 500_000_000, memory_bytes: 128 << 20, generic: Vec::new() };
    let task = TaskSpec {
        container: Some(container),
        resources: Some(ResourceRequirements { limits: Some(limits), reservations: Some(reserved), pids_limit: 0 }),
        ..TaskSpec::default()
    };
    ServiceSpec {
        annotations: Some(
            Annotations { name: name.to_owned(), labels: labels(&[("com.example.stack", "shop")]) }.into(),
        ),
        task: Some(task.into()),
        mode: Some(Mode::Replicated(ReplicatedService { replicas })),
        ..ServiceSpec::default()
    }
}
