//! The default seccomp profile: what containers may call, as Docker allows it.
//!
//! Data, not policy of ours: the names are those Docker's default profile lists. Whatever is not listed fails with
//! EPERM. Rules that hang on a capability are in force when the container has it.

use std::collections::BTreeSet;

use skep_shim::seccomp::{Action, Condition, Rule, Test, compile};

use crate::RuntimeError;

mod table;

/// CLONE_NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID and NEWNET.
const CLONE_NEW: u64 = 0x7e02_0000;
const AF_VSOCK: u64 = 40;
const ENOSYS: i32 = 38;
/// PER_LINUX, PER_LINUX32, UNAME26 with each, and the value that only asks.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

/// The rules of a container with these capabilities.
pub(super) fn rules(capabilities: &BTreeSet<&'static str>) -> Vec<Rule> {
    let mut allowed: Vec<&str> = table::ALWAYS.to_vec();
    allowed.extend(table::OF_ARCHITECTURE);
    for (capability, calls) in table::WITH_CAPABILITY {
        if capabilities.contains(capability) {
            allowed.extend(*calls);
        }
    }
    allowed.sort_unstable();
    allowed.dedup();

    let allow_when = |call, argument, test| Rule {
        calls: vec![call],
        action: Action::Allow,
        when: Some(Condition { argument, test }),
    };
    let mut rules = vec![
        Rule { calls: allowed, action: Action::Allow, when: None },
        allow_when("socket", 0, Test::IsNot(AF_VSOCK)),
    ];
    rules.extend(PERSONALITIES.map(|value| allow_when("personality", 0, Test::Is(value))));
    if !capabilities.contains("CAP_SYS_ADMIN") {
        let flags = u32::from(cfg!(target_arch = "s390x"));
        rules.push(allow_when("clone", flags, Test::NoneOf(CLONE_NEW)));
        // Its flags are behind a pointer, where no filter looks: told it does not exist, the C library takes clone.
        rules.push(Rule { calls: vec!["clone3"], action: Action::Errno(ENOSYS), when: None });
    }
    rules
}

/// The filter of a container with these capabilities, in hexadecimal. Takes some milliseconds: to be kept.
pub(super) fn filter(capabilities: &BTreeSet<&'static str>) -> Result<String, RuntimeError> {
    compile(table::ARCHITECTURES, &rules(capabilities))
        .map(hex::encode)
        .map_err(|error| RuntimeError::Storage(format!("cannot compile the seccomp profile: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn allows(capabilities: &[&'static str], call: &str) -> bool {
        let rules = rules(&capabilities.iter().copied().collect());
        rules.iter().any(|rule| rule.action == Action::Allow && rule.when.is_none() && rule.calls.contains(&call))
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
    fn the_profile_compiles() {
        assert!(filter(&BTreeSet::new()).unwrap().len() > 1000);
    }
}
