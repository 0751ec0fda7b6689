//! Capabilities of Linux by name, as users write them.

use super::{Invalid, shown};

/// Every capability, by number (capabilities(7)).
pub const CAPABILITIES: [&str; 41] = [
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

/// What a name in a list of capabilities stands for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Capability {
    /// Every one there is.
    All,
    /// One of [`CAPABILITIES`].
    One(&'static str),
}

/// Reads `ALL`, `CAP_NET_ADMIN` or `net_admin`.
pub fn parse_capability(name: &str) -> Result<Capability, Invalid> {
    let upper = name.to_ascii_uppercase();
    let short = upper.strip_prefix("CAP_").unwrap_or(&upper);
    if short == "ALL" {
        return Ok(Capability::All);
    }
    let known = CAPABILITIES.into_iter().find(|known| known.strip_prefix("CAP_") == Some(short));
    known.map(Capability::One).ok_or_else(|| Invalid::Capability(shown(name)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read_as_people_write_them() {
        assert_eq!(parse_capability("net_admin"), Ok(Capability::One("CAP_NET_ADMIN")));
        assert_eq!(parse_capability("CAP_CHOWN"), Ok(Capability::One("CAP_CHOWN")));
        assert_eq!(parse_capability("all"), Ok(Capability::All));
        assert_eq!(parse_capability("CAP_ALL"), Ok(Capability::All));
        for wrong in ["", "FLY", "CAP_", "CAP_CAP_CHOWN", "CHOWN "] {
            assert!(parse_capability(wrong).is_err(), "{wrong}");
        }
        assert_eq!(parse_capability("FLY").unwrap_err().to_string(), "unknown capability: \"FLY\"");
    }
}
