//! `node inspect --pretty`. Tabs and blanks stand where Docker has them.

use std::{
    collections::BTreeMap,
    fmt::{Display, Write as _},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use skep_dockerapi::types::{Node, TlsInfo};

use crate::output::{
    text::{capitalized, pair},
    units::{binary_size, go_time},
};

/// One node.
pub(crate) fn show(node: &Node) -> String {
    let mut shown = String::new();
    let out = &mut shown;
    let description = &node.description;
    line(out, "ID:\t\t\t", &node.id);
    if !node.spec.name.is_empty() {
        line(out, "Name:\t\t\t", &node.spec.name);
    }
    labels(out, "Labels", &node.spec.labels);
    line(out, "Hostname:              \t", &description.hostname);
    line(out, "Joined at:             \t", capitalized(&go_time(node.created_at)));
    out.push_str("Status:\n");
    line(out, " State:\t\t\t", capitalized(&node.status.state));
    if !node.status.message.is_empty() {
        line(out, " Message:              \t", capitalized(&node.status.message));
    }
    line(out, " Availability:         \t", capitalized(&node.spec.availability));
    if !node.status.addr.is_empty() {
        line(out, " Address:\t\t", &node.status.addr);
    }
    if let Some(manager) = &node.manager_status {
        out.push_str("Manager Status:\n");
        line(out, " Address:\t\t", &manager.addr);
        line(out, " Raft Status:\t\t", capitalized(&manager.reachability));
        line(out, " Leader:\t\t", if manager.leader { "Yes" } else { "No" });
    }
    out.push_str("Platform:\n");
    line(out, " Operating System:\t", &description.platform.os);
    line(out, " Architecture:\t\t", &description.platform.architecture);
    out.push_str("Resources:\n");
    line(out, " CPUs:\t\t\t", description.resources.nano_cpus / 1_000_000_000);
    line(out, " Memory:\t\t", binary_size(description.resources.memory_bytes));
    if !description.engine.plugins.is_empty() {
        out.push_str("Plugins:\n");
        let mut kinds: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
        for plugin in &description.engine.plugins {
            kinds.entry(&plugin.r#type).or_default().push(&plugin.name);
        }
        for (kind, names) in kinds {
            line(out, &format!(" {kind}:\t\t"), names.join(", "));
        }
    }
    line(out, "Engine Version:\t\t", &description.engine.engine_version);
    labels(out, "Engine Labels", &description.engine.labels);
    trust(out, &description.tls_info);
    shown
}

fn labels(out: &mut String, title: &str, labels: &BTreeMap<String, String>) {
    if !labels.is_empty() {
        let _ = writeln!(out, "{title}:");
        for (key, value) in labels {
            let _ = writeln!(out, " - {}", pair(key, value));
        }
    }
}

fn trust(out: &mut String, trust: &TlsInfo) {
    if *trust != TlsInfo::default() {
        out.push_str("TLS Info:\n TrustRoot:\n");
        line(out, "", &trust.trust_root);
        line(out, " Issuer Subject:\t", STANDARD.encode(&trust.cert_issuer_subject));
        line(out, " Issuer Public Key:\t", STANDARD.encode(&trust.cert_issuer_public_key));
    }
}

fn line(out: &mut String, name: &str, value: impl Display) {
    let _ = writeln!(out, "{name}{value}");
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    /// As Docker 28.2 prints it.
    #[test]
    fn a_manager() {
        let node = json!({
            "ID": "r5rwegqkg7mqp3a9dtvvhcdg1", "CreatedAt": "2026-11-21T07:52:50.030642128Z",
            "Spec": {"Availability": "active", "Role": "manager", "Labels": {"a": "b", "c": ""}},
            "Description": {
                "Hostname": "dk1", "Platform": {"Architecture": "x86_64", "OS": "linux"},
                "Resources": {"NanoCPUs": 2_000_000_000, "MemoryBytes": 25_276_510_208_i64},
                "Engine": {
                    "EngineVersion": "20.10.24", "Labels": {"disk": "ssd"},
                    "Plugins": [{"Type": "Network", "Name": "host"}, {"Type": "Log", "Name": "json-file"}, {"Type": "Log", "Name": "local"}],
                },
                "TLSInfo": {"TrustRoot": "-----BEGIN CERTIFICATE-----\n", "CertIssuerSubject": "MBMx", "CertIssuerPublicKey": "MFkw"},
            },
            "Status": {"State": "ready", "Addr": "10.77.0.1"},
            "ManagerStatus": {"Leader": true, "Reachability": "reachable", "Addr": "10.77.0.1:2377"},
        });
        let expected = "ID:\t\t\tr5rwegqkg7mqp3a9dtvvhcdg1
Labels:
 - a=b
 - c
Hostname:              \tdk1
Joined at:             \t2026-11-21 07:52:50.030642128 +0000 utc
Status:
 State:\t\t\tReady
 Availability:         \tActive
 Address:\t\t10.77.0.1
Manager Status:
 Address:\t\t10.77.0.1:2377
 Raft Status:\t\tReachable
 Leader:\t\tYes
Platform:
 Operating System:\tlinux
 Architecture:\t\tx86_64
Resources:
 CPUs:\t\t\t2
 Memory:\t\t23.54GiB
Plugins:
 Log:\t\tjson-file, local
 Network:\t\thost
Engine Version:\t\t20.10.24
Engine Labels:
 - disk=ssd
TLS Info:
 TrustRoot:
-----BEGIN CERTIFICATE-----

 Issuer Subject:\tMBMx
 Issuer Public Key:\tMFkw
";
        assert_eq!(show(&serde_json::from_value(node).unwrap()), expected);
    }

    #[test]
    fn a_worker_says_less() {
        let node = json!({"ID": "w", "Status": {"State": "down", "Message": "heartbeat failure"}, "Spec": {"Availability": "drain"}});
        let shown = show(&serde_json::from_value(node).unwrap());
        assert!(shown.contains(" State:\t\t\tDown\n Message:              \tHeartbeat failure\n Availability:         \tDrain\nPlatform:"), "{shown}");
        assert!(shown.ends_with("Engine Version:\t\t\n"), "{shown}");
    }
}
