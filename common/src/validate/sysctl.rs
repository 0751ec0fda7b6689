//! Kernel parameters of a container.
//!
//! Only those can be set that the kernel keeps by namespace, of the namespaces a container has to itself: any other
//! would be the host's.

use super::{Invalid, shown};

/// What the kernel keeps by IPC namespace.
const OF_IPC: [&str; 8] = [
    "kernel.msgmax",
    "kernel.msgmnb",
    "kernel.msgmni",
    "kernel.sem",
    "kernel.shm_rmid_forced",
    "kernel.shmall",
    "kernel.shmmax",
    "kernel.shmmni",
];

/// Checks a parameter of a container with a network of its own, or without one.
pub fn check_sysctl(name: &str, value: &str, own_network: bool) -> Result<(), Invalid> {
    // A slash stands for a point within a part, `net.ipv4.conf.eth0/1.forwarding`.
    let parts_are_plain = name.split(['.', '/']).all(|part| !part.is_empty()) && !name.contains('\0');
    if !parts_are_plain || value.contains('\0') {
        return Err(Invalid::Sysctl(shown(name)));
    }
    if name.starts_with("net.") {
        return if own_network { Ok(()) } else { Err(Invalid::SysctlOfHost(shown(name))) };
    }
    if OF_IPC.contains(&name) || name.starts_with("fs.mqueue.") || name == "kernel.domainname" {
        Ok(())
    } else {
        Err(Invalid::Sysctl(shown(name)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_a_namespace_keeps_can_be_set() {
        for name in ["net.ipv4.ip_forward", "net.ipv4.conf.eth0/1.forwarding", "kernel.sem", "fs.mqueue.msg_max"] {
            assert_eq!(check_sysctl(name, "1", true), Ok(()), "{name}");
        }
        let hosts = check_sysctl("net.ipv4.ip_forward", "1", false).unwrap_err();
        assert_eq!(hosts.to_string(), "sysctl \"net.ipv4.ip_forward\" not allowed in host network namespace");
        for name in ["kernel.foo", "kernel.hostname", "vm.swappiness", "", "net.", "net...x", "net.ipv4/../../kernel"] {
            let refused = check_sysctl(name, "1", true).unwrap_err().to_string();
            assert_eq!(refused, format!("sysctl \"{name}\" is not in a separate kernel namespace"));
        }
        assert!(check_sysctl("kernel.sem", "1\0", true).is_err());
    }
}
