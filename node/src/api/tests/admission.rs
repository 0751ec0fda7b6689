//! What a real engine takes and refuses of a service's spec (`admission-services.json`), and what is taken here.

use serde_json::Value;
use skep_core::validate_spec;
use skep_dockerapi::{convert::service_spec_from_docker, decode, types::ServiceSpec};

/// What the engine takes and skep refuses: it is not there yet, or every task would fail on its node for it. Beside
/// each, a part of the sentence.
const STRICTER: &[(&str, &str)] = &[
    ("dir-relative", "needs to be an absolute path"),
    ("stop-signal-unknown", "Invalid signal: SIGFOO"),
    ("stop-signal-big", "Invalid signal: 99"),
    ("stop-grace-negative", "cannot be negative"),
    ("capability-unknown", "unknown capability"),
    ("capability-drop-unknown", "unknown capability"),
    ("ulimit-unknown", "invalid ulimit type: foo"),
    ("ulimit-soft-over-hard", "soft limit must be less"),
    ("isolation-hyperv", "Isolation"),
    ("dns-bad", "DNSConfig.Nameservers"),
    ("health-kind", "Healthcheck"),
    ("mount-no-target", "Mounts"),
    ("log-driver-option", "unknown log opt 'nonsense'"),
    ("log-driver-size", "invalid max-size"),
    ("pids-negative", "cannot be negative"),
    ("env-no-name", "invalid environment variable"),
    ("env-empty", "invalid environment variable"),
    ("label-empty-name", "empty name"),
    ("network-twice", "cannot be combined"),
    ("endpoint-port-big", "published ports"),
    ("template-printf", "is not supported"),
    ("template-pipe", "is not supported"),
    ("template-if", "is not supported"),
    ("template-whole", "is not supported"),
];

/// What both refuse, each in its own words: what is wrong has no meaning here, or Go talks of its types.
const OWN_WORDS: &[&str] = &[
    "health-",
    "mount-",
    "secret-",
    "template-mount-",
    "restart-attempts-negative",
    "replicas-negative",
    "update-parallelism-negative",
    "endpoint-",
];

fn here(sent: &Value) -> Result<(), String> {
    let spec: ServiceSpec = decode::request(sent.to_string().as_bytes()).map_err(|error| error.to_string())?;
    let spec = service_spec_from_docker(spec).map_err(|error| error.to_string())?;
    validate_spec::service(&spec).map_err(|error| error.to_string())
}

#[test]
fn a_spec_is_refused_where_the_engine_refuses_it() {
    let path = format!("{}/../common/dockerapi/tests/goldens/admission-services.json", env!("CARGO_MANIFEST_DIR"));
    let cases: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    let mut wrong = Vec::new();
    for (name, case) in cases.as_object().unwrap() {
        let ours = here(&case["sent"]);
        let stricter = STRICTER.iter().find(|(known, _)| known == name);
        let right = match (case["message"].as_str(), &ours, stricter) {
            (None, Ok(()), None) => true,
            (None, Err(sentence), Some((_, part))) => sentence.contains(part),
            (Some(_), Err(_), None) if OWN_WORDS.iter().any(|known| name.starts_with(known)) => true,
            (Some(theirs), Err(sentence), None) => {
                theirs == sentence || theirs.rsplit_once(" desc = ").is_some_and(|(_, theirs)| theirs == sentence)
            }
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: engine {:?}, here {ours:?}", case["message"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}
