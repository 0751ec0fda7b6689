//! Fields of Docker's request types that the types here do not have.
//!
//! A key that Docker's API defines and skep does not do is refused by name; one that no version of the API defines is
//! ignored, as the engine does: clients send back more than they were asked for. Written from Docker's Go structs
//! (moby `api/types`), of every version; `tests/every_field.rs` walks them.

/// Docker's types by the name they have here, and what is missing of each. A type that is not in the list is skep's
/// own: there every unknown key is refused.
const MISSING: &[(&str, &[&str])] = &[
    ("CaConfig", &["ExternalCAs", "SigningCACert", "SigningCAKey", "ForceRotate"]),
    ("ContainerSpec", &["Privileges", "Mounts", "Secrets", "Configs"]),
    ("DiscreteGenericResource", &[]),
    ("DispatcherConfig", &[]),
    ("DnsConfig", &["Nameservers", "Search", "Options"]),
    ("Driver", &[]),
    ("Empty", &[]),
    ("EncryptionConfig", &[]),
    ("EndpointSpec", &[]),
    ("GenericResource", &[]),
    ("HealthConfig", &["Interval", "Timeout", "StartPeriod", "StartInterval", "Retries"]),
    ("InitRequest", &["DefaultAddrPool"]),
    ("JoinRequest", &[]),
    ("Limit", &["GenericResources"]),
    ("NamedGenericResource", &[]),
    ("NetworkAttachmentConfig", &["Aliases", "DriverOpts"]),
    ("NodeSpec", &[]),
    ("OrchestrationConfig", &[]),
    ("Placement", &[]),
    ("PlacementPreference", &[]),
    ("Platform", &[]),
    ("PortConfig", &[]),
    ("RaftConfig", &[]),
    ("ReplicatedJob", &[]),
    ("ReplicatedService", &[]),
    ("ResourceRequirements", &["SwapBytes", "MemorySwappiness"]),
    ("Resources", &[]),
    ("RestartPolicy", &[]),
    ("ServiceSpec", &["Networks"]),
    ("SpreadOver", &[]),
    ("SwarmSpec", &[]),
    ("TaskDefaults", &[]),
    ("TaskSpec", &["PluginSpec", "NetworkAttachmentSpec"]),
    ("Ulimit", &[]),
    ("UpdateConfig", &[]),
];

/// Whether a key that the type `name` does not have asks for something.
pub(super) fn is_defined(name: &str, key: &str) -> bool {
    match MISSING.iter().find(|(known, _)| *known == name) {
        Some((_, fields)) => fields.iter().any(|field| field.eq_ignore_ascii_case(key)),
        None => true,
    }
}
