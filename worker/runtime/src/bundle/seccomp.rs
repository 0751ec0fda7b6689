//! The default seccomp profile: what containers may call, as Docker allows it.
//!
//! Data, not policy of ours: the names are those Docker's default profile lists. Whatever is not listed fails with
//! EPERM. Rules that hang on a capability are in force when the container has it.

use std::collections::BTreeSet;

use serde_json::{Value, json};

mod table;

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const CLONE_NEW: u32 = 0x7e02_0000;
const AF_VSOCK: u32 = 40;
const ENOSYS: u32 = 38;
const EPERM: u32 = 1;
/// PER_LINUX, PER_LINUX32, UNAME26 with each, and the value that only asks.
const PERSONALITIES: [u32; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The `linux.seccomp` of a container with these capabilities.
pub(super) fn profile(capabilities: &BTreeSet<&'static str>) -> Value {
    let mut allowed: Vec<&str> = table::ALWAYS.to_vec();
    allowed.extend(table::OF_ARCHITECTURE);
    for (capability, calls) in table::WITH_CAPABILITY {
        if capabilities.contains(capability) {
            allowed.extend(*calls);
        }
    }
    allowed.sort_unstable();
    allowed.dedup();

    let mut rules =
        vec![json!({ "names": allowed, "action": "SCMP_ACT_ALLOW" }), rule("socket", 0, AF_VSOCK, "SCMP_CMP_NE", None)];
    rules.extend(PERSONALITIES.map(|value| rule("personality", 0, value, "SCMP_CMP_EQ", None)));
    if !capabilities.contains("CAP_SYS_ADMIN") {
        let flags = usize::from(cfg!(target_arch = "s390x"));
        rules.push(rule("clone", flags, CLONE_NEW, "SCMP_CMP_MASKED_EQ", Some(0)));
        // Its flags are behind a pointer, where no filter looks: told it does not exist, the C library takes clone.
        rules.push(json!({ "names": ["clone3"], "action": "SCMP_ACT_ERRNO", "errnoRet": ENOSYS }));
    }
    json!({
        "defaultAction": "SCMP_ACT_ERRNO",
        "defaultErrnoRet": EPERM,
        "architectures": table::ARCHITECTURES,
        "syscalls": rules,
    })
}

fn rule(call: &str, index: usize, value: u32, op: &str, value_two: Option<u64>) -> Value {
    let mut arg = json!({ "index": index, "value": value, "op": op });
    if let Some(two) = value_two {
        arg["valueTwo"] = two.into();
    }
    json!({ "names": [call], "action": "SCMP_ACT_ALLOW", "args": [arg] })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(capabilities: &[&'static str], call: &str) -> bool {
        let profile = profile(&capabilities.iter().copied().collect());
        let rules = profile["syscalls"].as_array().unwrap();
        rules.iter().any(|rule| {
            rule["action"] == "SCMP_ACT_ALLOW"
                && rule.get("args").is_none()
                && rule["names"].as_array().unwrap().iter().any(|name| name == call)
        })
    }

    #[test]
    fn what_reaches_out_of_a_container_needs_a_capability() {
        for call in
            ["mount", "unshare", "setns", "keyctl", "add_key", "bpf", "clone", "clone3", "reboot", "io_uring_setup"]
        {
            assert!(!allows(&[], call), "{call}");
        }
        for call in ["mount", "unshare", "setns", "clone3"] {
            assert!(allows(&["CAP_SYS_ADMIN"], call), "{call}");
        }
        assert!(allows(&["CAP_SYS_CHROOT"], "chroot") && !allows(&[], "chroot"));
    }

    #[test]
    fn every_program_may_do_the_ordinary() {
        for call in ["read", "execve", "mmap", "fork", "futex", "openat", "ptrace"] {
            assert!(allows(&[], call), "{call}");
        }
    }

    #[test]
    fn the_tables_are_sorted_and_without_repetition() {
        let sorted = |calls: &[&str]| calls.is_sorted() && calls.windows(2).all(|pair| pair[0] != pair[1]);
        assert!(sorted(table::ALWAYS));
        assert!(table::WITH_CAPABILITY.iter().all(|(_, calls)| sorted(calls)));
    }

    #[test]
    fn the_profile_is_one_libcontainer_reads() {
        let read: oci_spec::runtime::LinuxSeccomp = serde_json::from_value(profile(&BTreeSet::new())).unwrap();
        assert_eq!(read.default_errno_ret(), Some(1));
        assert!(read.syscalls().as_ref().unwrap().len() > 5);
    }
}
