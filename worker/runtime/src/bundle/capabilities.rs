//! Which capabilities a container has: Docker's fourteen, less and more as the specification asks.

use std::collections::BTreeSet;

use skep_common::validate::{CAPABILITIES, Capability, parse_capability};

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

/// The set of a container. `ALL` may stand in either list; what is named in both is dropped, as in Docker.
pub(super) fn resolve(add: &[String], drop: &[String], last: usize) -> Result<BTreeSet<&'static str>, RuntimeError> {
    let ((all_added, added), (all_dropped, dropped)) = (named(add)?, named(drop)?);
    let mut set: BTreeSet<&'static str> = match (all_added, all_dropped) {
        (_, true) => BTreeSet::new(),
        (true, false) => CAPABILITIES.iter().take(last + 1).copied().collect(),
        (false, false) => DEFAULT.into(),
    };
    set.extend(added);
    set.retain(|name| !dropped.contains(name));
    Ok(set)
}

/// Whether all are named, and those named one by one.
fn named(names: &[String]) -> Result<(bool, BTreeSet<&'static str>), RuntimeError> {
    let (mut all, mut each) = (false, BTreeSet::new());
    for name in names {
        match parse_capability(name).map_err(|error| invalid(error.to_string()))? {
            Capability::All => all = true,
            Capability::One(name) => _ = each.insert(name),
        }
    }
    Ok((all, each))
}

/// The bits of a set, as the kernel numbers capabilities.
pub(super) fn bits(set: &BTreeSet<&'static str>) -> u64 {
    (0_u32..).zip(CAPABILITIES).filter(|(_, name)| set.contains(name)).fold(0, |bits, (number, _)| bits | 1 << number)
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
