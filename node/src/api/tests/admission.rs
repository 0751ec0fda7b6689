//! What a real engine takes and refuses (`admission-*.json`), and what is taken here: every recorded request is asked
//! again, and what differs is in a list with its reason.

use serde_json::{Value, json};
use skep_core::validate_spec;
use skep_dockerapi::{
    convert::{cluster_spec_from_docker, initial_cluster_spec, node_spec_from_docker, service_spec_from_docker},
    decode,
    types::{NodeSpec, ServiceSpec, SwarmSpec},
};

use super::super::testing::{Bench, SwarmRole};

/// What the engine takes and skep refuses: it is not there yet, or every task would fail on its node for it. Beside
/// each, a part of the sentence.
const STRICTER: &[(&str, &str)] = &[
    ("dir-relative", "needs to be an absolute path"),
    ("stop-signal-unknown", "Invalid signal: SIGFOO"),
    ("stop-signal-big", "Invalid signal: 99"),
    ("stop-grace-negative", "cannot be negative"),
    ("capability-unknown", "unknown capability"),
    ("capability-drop-unknown", "unknown capability"),
    ("sysctl-unknown", "is not in a separate kernel namespace"),
    ("sysctl-empty-name", "is not in a separate kernel namespace"),
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

fn recorded(name: &str) -> Value {
    let path = format!("{}/../common/dockerapi/tests/goldens/{name}.json", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// The engine dresses what its manager says.
fn same_sentence(theirs: &str, ours: &str) -> bool {
    theirs == ours || theirs.rsplit_once(" desc = ").is_some_and(|(_, theirs)| theirs == ours)
}

#[test]
fn a_spec_is_refused_where_the_engine_refuses_it() {
    let mut wrong = Vec::new();
    for (name, case) in recorded("admission-services").as_object().unwrap() {
        let ours = here(&case["sent"]);
        let stricter = STRICTER.iter().find(|(known, _)| known == name);
        let right = match (case["message"].as_str(), &ours, stricter) {
            (None, Ok(()), None) => true,
            (None, Err(sentence), Some((_, part))) => sentence.contains(part),
            (Some(_), Err(_), None) if OWN_WORDS.iter().any(|known| name.starts_with(known)) => true,
            (Some(theirs), Err(sentence), None) => same_sentence(theirs, sentence),
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: engine {:?}, here {ours:?}", case["message"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// What `swarm update` and `node update` take and refuse (`admission-others.json`), and what is taken here. Beside each
/// difference, a part of the sentence and why.
const OTHERS_STRICTER: &[(&str, &str)] = &[
    // Raft's timing is arithmetic on measured delays here, not a setting.
    ("election-tick", "cannot be changed"),
    ("heartbeat-tick", "cannot be changed"),
    // A beat every nanosecond would be the end of the leader.
    ("heartbeat-small", "heartbeat"),
    // As for services: `validate_spec` has one rule for all labels.
    ("label-empty", "empty name"),
    ("node-label-empty", "empty name"),
    // These have the label of `label-empty` in them, which the engine had taken before.
    ("unknown", "empty name"),
    ("log-driver", "empty name"),
];

fn other_here(sent: &Value) -> Result<(), String> {
    let sent = sent.to_string();
    if sent.contains("\"Role\"") {
        let spec: NodeSpec = decode::request(sent.as_bytes()).map_err(|error| error.to_string())?;
        let spec = node_spec_from_docker(spec).map_err(|error| error.to_string())?;
        return validate_spec::node(&spec).map_err(|error| error.to_string());
    }
    let spec: SwarmSpec = decode::request(sent.as_bytes()).map_err(|error| error.to_string())?;
    let spec = cluster_spec_from_docker(spec, &initial_cluster_spec()).map_err(|error| error.to_string())?;
    validate_spec::cluster(&spec).map_err(|error| error.to_string())
}

#[test]
fn the_specs_of_swarm_and_nodes_are_refused_where_the_engine_refuses_them() {
    let mut wrong = Vec::new();
    for (name, case) in recorded("admission-others").as_object().unwrap() {
        let mut sent = case["sent"].clone();
        if !name.ends_with("-tick")
            && let Some(raft) = sent["Raft"].as_object_mut()
        {
            // The engine had taken these from the cases before.
            raft.retain(|setting, _| !setting.ends_with("Tick"));
        }
        let ours = other_here(&sent);
        let stricter = OTHERS_STRICTER.iter().find(|(known, _)| known == name);
        let right = match (case["message"].as_str(), &ours, stricter) {
            (None, Ok(()), None) => true,
            (None, Err(sentence), Some((_, part))) => sentence.contains(part),
            (Some(theirs), Err(sentence), None) => same_sentence(theirs, sentence),
            _ => false,
        };
        if !right {
            wrong.push(format!("{name}: engine {:?}, here {ours:?}", case["message"]));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Where a list asked with a filter (`admission-filters.json`) is answered otherwise here, by the begin of the case.
/// What holds of all: what is the sender's fault is 400 also where that engine says 500, as in engines since, and a
/// sentence begins in lower case, as in engines since.
const LISTS_DIFFER: &[(&str, u16, &str)] = &[
    // Go's talk of its parser is left out.
    (" None", 400, "invalid filters: expected JSON like"),
    // The engine says so too in every other place.
    ("containers/json before=nope", 404, "No such container: nope"),
    ("containers/json since=nope", 404, "No such container: nope"),
    // There is no such protocol, and no such state, runtime or network either: an empty list would look like an answer.
    ("containers/json expose=80/xyz", 400, "error while looking up for expose 80/xyz"),
    // The engine adds a tag that was not given.
    ("images/json before=nope", 404, "No such image: nope"),
    ("images/json since=nope", 404, "No such image: nope"),
    // A flag is read alike in every list; the engine reads this one of its own CLI in no way at all.
    ("tasks _up-to-date=maybe", 400, "invalid filter '_up-to-date=[maybe]'"),
    // A filter nobody looks at is an error in this list as in the others.
    ("events?until=1 nonsense=x", 400, "invalid filter 'nonsense'"),
];

#[tokio::test]
async fn a_list_is_filtered_where_the_engine_filters_it() {
    let bench = Bench::new(SwarmRole::Manager);
    let mut wrong = Vec::new();
    let cases = recorded("admission-filters");
    for (name, case) in cases.as_object().unwrap() {
        let (path, filter) = name.rsplit_once(' ').unwrap();
        let filters = match filter.split_once('=') {
            Some((filter, value)) => json!({ filter: [value] }).to_string(),
            None => "nonsense".to_owned(),
        };
        let joint = if path.contains('?') { '&' } else { '?' };
        let escaped: String = filters.bytes().map(|byte| format!("%{byte:02x}")).collect();
        let (status, body) = bench.get(&format!("/{path}{joint}filters={escaped}")).await;
        let message = body["message"].as_str().unwrap_or_default();
        let count = body.as_array().map(Vec::len);

        let differs = LISTS_DIFFER.iter().find(|(known, ..)| name.contains(known));
        let right = if let Some((_, expected, part)) = differs {
            status == *expected && message.contains(part)
        } else {
            let theirs = case["status"].as_u64().unwrap();
            let same_status = u64::from(status) == theirs || (status, theirs) == (400, 500);
            let same_message = same_but_for_the_first_letter(case["message"].as_str().unwrap_or_default(), message);
            let same_count = case["count"].is_null() || count.map(|count| json!(count)) == Some(case["count"].clone());
            same_status && same_message && same_count
        };
        if !right {
            wrong.push(format!("{name}: engine {case}, here {status} {body}"));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for (known, ..) in LISTS_DIFFER {
        assert!(cases.as_object().unwrap().keys().any(|name| name.contains(known)), "{known} was not recorded");
    }
}

fn same_but_for_the_first_letter(one: &str, other: &str) -> bool {
    let lower = |text: &str| text.chars().take(1).flat_map(char::to_lowercase).chain(text.chars().skip(1)).collect();
    let (one, other): (String, String) = (lower(one), lower(other));
    one == other
}
