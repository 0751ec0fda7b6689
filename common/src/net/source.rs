//! The source that limits are counted by: an IPv4 address, or an IPv6 network.

use std::net::{IpAddr, Ipv6Addr};

/// The one behind `addr`, for counting: an IPv4 address stands for itself, however it is written; an IPv6 host has a
/// whole /64 to choose its addresses from, so the /64 stands for it.
pub fn source_of(addr: IpAddr) -> IpAddr {
    match addr.to_canonical() {
        IpAddr::V6(addr) => Ipv6Addr::from_bits(addr.to_bits() & !u128::from(u64::MAX)).into(),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_host_is_one_source() {
        let same = |a: &str, b: &str| source_of(a.parse().unwrap()) == source_of(b.parse().unwrap());
        assert!(same("192.0.2.1", "::ffff:192.0.2.1"));
        assert!(!same("192.0.2.1", "192.0.2.2"));
        assert!(same("2001:db8::1", "2001:db8::ffff:ffff:ffff:ffff"));
        assert!(!same("2001:db8::1", "2001:db8:0:1::1"));
    }
}
