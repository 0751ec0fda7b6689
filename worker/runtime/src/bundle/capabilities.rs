//! Which capabilities a container has: Docker's fourteen, less and more as the specification asks.

use std::collections::BTreeSet;

use super::invalid;
use crate::RuntimeError;

/// Docker's default set.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// Every capability, by number (capabilities(7)).
const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// The set of a container. `ALL` may stand in either list; what is named in both is dropped, as in Docker.
pub(super) fn resolve(add: &[String], drop: &[String], last: usize) -> Result<BTreeSet<&'static str>, RuntimeError> {
    let known = |names: &[String]| -> Result<BTreeSet<&'static str>, RuntimeError> {
        names.iter().filter(|name| !is_all(name)).map(|name| canonical(name)).collect()
    };
    let (added, dropped) = (known(add)?, known(drop)?);
    let mut set: BTreeSet<&'static str> = if add.iter().any(|name| is_all(name)) {
        ALL.iter().take(last + 1).copied().collect()
    } else if drop.iter().any(|name| is_all(name)) {
        BTreeSet::new()
    } else {
        DEFAULT.into()
    };
    if drop.iter().any(|name| is_all(name)) {
        set.clear();
    }
    set.extend(added);
    set.retain(|name| !dropped.contains(name));
    Ok(set)
}

/// The bits of a set, as the kernel numbers capabilities.
pub(super) fn bits(set: &BTreeSet<&'static str>) -> u64 {
    (0_u32..).zip(ALL).filter(|(_, name)| set.contains(name)).fold(0, |bits, (number, _)| bits | 1 << number)
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL") || name.eq_ignore_ascii_case("CAP_ALL")
}

fn canonical(name: &str) -> Result<&'static str, RuntimeError> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    ALL.into_iter()
        .find(|known| known.strip_prefix("CAP_") == Some(short))
        .ok_or_else(|| invalid(format!("invalid capability: {name:.100?}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(add: &[&str], drop: &[&str]) -> BTreeSet<&'static str> {
        let owned = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        resolve(&owned(add), &owned(drop), 40).unwrap()
    }

    #[test]
    fn nothing_asked_gives_dockers_set() {
        assert_eq!(set(&[], &[]).len(), 14);
        assert!(!set(&[], &[]).contains("CAP_SYS_ADMIN"));
        assert_eq!(bits(&set(&[], &[])), 0xa804_25fb, "as any container's /proc/self/status shows it");
    }

    #[test]
    fn names_are_read_as_people_write_them() {
        assert!(set(&["net_admin"], &[]).contains("CAP_NET_ADMIN"));
        assert!(!set(&[], &["CAP_CHOWN"]).contains("CAP_CHOWN"));
        assert!(resolve(&["FLY".to_owned()], &[], 40).is_err());
    }

    #[test]
    fn all_means_all_in_either_list() {
        assert_eq!(set(&["ALL"], &[]).len(), 41);
        assert_eq!(set(&["ALL"], &["MKNOD"]).len(), 40);
        assert_eq!(set(&["CHOWN"], &["ALL"]).into_iter().collect::<Vec<_>>(), ["CAP_CHOWN"]);
        assert_eq!(resolve(&["ALL".to_owned()], &[], 36).unwrap().len(), 37, "an older kernel has fewer");
    }
}
