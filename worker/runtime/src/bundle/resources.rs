//! Limits: of the cgroup, in the words of the OCI runtime specification, and of the process.

use serde_json::{Value, json};
use skep_common::validate::check_ulimit;
use skep_proto::v1::{ResourceRequirements, Ulimit};

use super::invalid;
use crate::RuntimeError;

/// The period a CPU quota counts in, in microseconds.
const CPU_PERIOD: i64 = 100_000;
/// The shortest quota the kernel takes, in microseconds.
const MIN_CPU_QUOTA: i64 = 1000;
/// Docker's smallest memory limit.
const MIN_MEMORY: i64 = 6 << 20;

/// The `linux.resources` of a container. No device but those every container has; memory comes with as much swap again
/// where the host counts swap at all.
pub(super) fn limits(resources: &ResourceRequirements, swap_is_counted: bool) -> Result<Value, RuntimeError> {
    let mut out = json!({ "devices": [{ "allow": false, "access": "rwm" }] });
    let limits = resources.limits.clone().unwrap_or_default();
    if limits.memory_bytes != 0 {
        if limits.memory_bytes < MIN_MEMORY {
            return Err(invalid("Minimum memory limit allowed is 6MB"));
        }
        out["memory"] = json!({ "limit": limits.memory_bytes });
        if swap_is_counted {
            out["memory"]["swap"] = limits.memory_bytes.saturating_mul(2).into();
        }
    }
    if limits.nano_cpus != 0 {
        let quota = limits.nano_cpus / (1_000_000_000 / CPU_PERIOD);
        if quota < MIN_CPU_QUOTA {
            return Err(invalid("the smallest CPU limit is 0.01"));
        }
        out["cpu"] = json!({ "quota": quota, "period": CPU_PERIOD });
    }
    if resources.pids_limit > 0 {
        out["pids"] = json!({ "limit": resources.pids_limit });
    }
    Ok(out)
}

/// The `process.rlimits` of a container; -1 is no limit.
pub(super) fn rlimits(ulimits: &[Ulimit]) -> Result<Vec<Value>, RuntimeError> {
    ulimits
        .iter()
        .map(|ulimit| {
            check_ulimit(&ulimit.name, ulimit.soft, ulimit.hard).map_err(|error| invalid(error.to_string()))?;
            let value = |value: i64| u64::try_from(value).unwrap_or(u64::MAX);
            let (soft, hard) = (value(ulimit.soft), value(ulimit.hard));
            Ok(json!({ "type": format!("RLIMIT_{}", ulimit.name.to_uppercase()), "soft": soft, "hard": hard }))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use skep_proto::v1::Resources;

    use super::*;

    fn requirements(nano_cpus: i64, memory_bytes: i64, pids_limit: i64) -> ResourceRequirements {
        let limits = Some(Resources { nano_cpus, memory_bytes, ..Default::default() });
        ResourceRequirements { limits, pids_limit, ..ResourceRequirements::default() }
    }

    #[test]
    fn limits_become_what_the_kernel_counts() {
        let limits = limits(&requirements(1_500_000_000, 64 << 20, 100), true).unwrap();
        assert_eq!(limits["cpu"], json!({ "quota": 150_000, "period": 100_000 }));
        assert_eq!(limits["memory"], json!({ "limit": 64 << 20, "swap": 128 << 20 }));
        assert_eq!(limits["pids"], json!({ "limit": 100 }));
        let _: oci_spec::runtime::LinuxResources = serde_json::from_value(limits).unwrap();
    }

    #[test]
    fn no_limit_asked_is_no_limit_set() {
        let limits = limits(&ResourceRequirements::default(), true).unwrap();
        assert_eq!(limits, json!({ "devices": [{ "allow": false, "access": "rwm" }] }));
    }

    #[test]
    fn limits_nothing_could_run_in_are_refused() {
        assert!(limits(&requirements(0, 1 << 20, 0), false).is_err());
        assert!(limits(&requirements(1, 0, 0), false).is_err());
        assert!(limits(&requirements(0, -5, 0), false).is_err());
    }

    #[test]
    fn ulimits_go_by_name() {
        let ulimit = |name: &str, soft, hard| Ulimit { name: name.into(), soft, hard };
        let out = rlimits(&[ulimit("nofile", 10, -1)]).unwrap();
        assert_eq!(out, [json!({ "type": "RLIMIT_NOFILE", "soft": 10, "hard": u64::MAX })]);
        assert!(rlimits(&[ulimit("files", 1, 1)]).is_err());
        assert!(rlimits(&[ulimit("core", 2, 1)]).is_err());
    }
}
