//! Which address a node listens on and which one it tells the others.
//!
//! Texts are Docker's where Docker has one.

use std::net::{IpAddr, Ipv4Addr, SocketAddr, UdpSocket};

use skep_common::limits::MANAGER_PORT;

use crate::api::backend::SwarmError;

/// Every address of this machine, on the usual port.
const ANY: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::UNSPECIFIED), MANAGER_PORT);

/// An address of an interface of this machine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Interface {
    /// `eth0`.
    pub(super) name: String,
    /// One of its addresses.
    pub(super) ip: IpAddr,
}

/// The addresses of this machine that others could reach: neither loopback nor link-local.
///
/// # Errors
/// When the kernel does not say.
pub(super) fn interfaces() -> Result<Vec<Interface>, SwarmError> {
    let all = nix::ifaddrs::getifaddrs()
        .map_err(|error| SwarmError::Internal(format!("cannot list the addresses of this system: {error}")))?;
    let reachable = all.filter_map(|entry| {
        let address = entry.address?;
        let ip = address.as_sockaddr_in().map(|v4| IpAddr::V4(v4.ip()));
        let ip = ip.or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))?;
        is_reachable(ip).then_some(Interface { name: entry.interface_name, ip })
    });
    Ok(reachable.collect())
}

fn is_reachable(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(v4) => !v4.is_loopback() && !v4.is_link_local() && !v4.is_unspecified(),
        IpAddr::V6(v6) => !v6.is_loopback() && !v6.is_unicast_link_local() && !v6.is_unspecified(),
    }
}

/// host:port to bind, from `IP`, `IP:PORT`, `INTERFACE` or `INTERFACE:PORT`.
///
/// # Errors
/// When it is none of these.
pub(super) fn listen(given: &str, interfaces: &[Interface]) -> Result<SocketAddr, SwarmError> {
    let (host, port) = split(given)?;
    Ok(SocketAddr::new(resolve(host, interfaces)?, port.unwrap_or(MANAGER_PORT)))
}

/// host:port to tell the others: what the user says, else the address that is listened on, else the one address of this
/// machine. The port is the one that is listened on unless the user says otherwise: on any other nothing listens.
///
/// # Errors
/// When there is none, or more than one and nobody chose.
pub(super) fn advertise(
    given: Option<&str>,
    listen: SocketAddr,
    interfaces: &[Interface],
) -> Result<SocketAddr, SwarmError> {
    if let Some(given) = given {
        let (host, port) = split(given)?;
        let ip = resolve(host, interfaces)?;
        if ip.is_unspecified() {
            return Err(SwarmError::Invalid(
                "advertise address must be a non-zero IP address or network interface (with optional port number)"
                    .to_owned(),
            ));
        }
        return Ok(SocketAddr::new(ip, port.unwrap_or(listen.port())));
    }
    if is_reachable(listen.ip()) {
        return Ok(listen);
    }
    let v4: Vec<&Interface> = interfaces.iter().filter(|interface| interface.ip.is_ipv4()).collect();
    match *v4 {
        [only] => Ok(SocketAddr::new(only.ip, listen.port())),
        [] => Err(SwarmError::Invalid(
            "could not find the system's IP address - specify one with --advertise-addr".to_owned(),
        )),
        [first, second, ..] => Err(SwarmError::Invalid(format!(
            "could not choose an IP address to advertise since this system has multiple addresses on different interfaces ({} on {} and {} on {}) - specify one with --advertise-addr",
            first.ip, first.name, second.ip, second.name
        ))),
    }
}

/// The IP to tell the others from now on, if it is another than `was`: the interface that was asked for has another, or
/// an IP that was found is this machine's no more and the one on the way to the managers takes its place. An IP that was
/// asked for stays: it need not be on this machine at all.
pub(super) fn moved(
    asked: Option<&str>,
    was: IpAddr,
    interfaces: &[Interface],
    way: impl FnOnce() -> Option<IpAddr>,
) -> Option<IpAddr> {
    let has = |ip| interfaces.iter().any(|interface| interface.ip == ip);
    let now = match asked {
        Some(asked) => advertise(Some(asked), ANY, interfaces).ok()?.ip(),
        None if has(was) => was,
        None => way().filter(|ip| has(*ip)).or_else(|| Some(advertise(None, ANY, interfaces).ok()?.ip()))?,
    };
    (now != was).then_some(now)
}

/// The address this machine has on the way to `remote`; nothing is sent.
pub(super) fn towards(remote: &str) -> Option<IpAddr> {
    let remote = remote.parse::<SocketAddr>().ok()?;
    let any: IpAddr = if remote.is_ipv4() { [0, 0, 0, 0].into() } else { [0u16; 8].into() };
    let socket = UdpSocket::bind((any, 0)).ok()?;
    socket.connect(remote).ok()?;
    socket.local_addr().ok().map(|address| address.ip())
}

/// Host and port of `host`, `host:port`, `[v6]:port` or a bare IPv6 address.
fn split(given: &str) -> Result<(&str, Option<u16>), SwarmError> {
    let invalid =
        || SwarmError::Invalid(format!("invalid address {given:?}: it must be IP[:PORT] or INTERFACE[:PORT]"));
    if given.parse::<IpAddr>().is_ok() {
        return Ok((given, None));
    }
    let (host, port) = match given.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse::<u16>().ok().filter(|port| *port > 0).ok_or_else(invalid)?)),
        None => (given, None),
    };
    let host = host.strip_prefix('[').and_then(|host| host.strip_suffix(']')).unwrap_or(host);
    if host.is_empty() { Err(invalid()) } else { Ok((host, port)) }
}

fn resolve(host: &str, interfaces: &[Interface]) -> Result<IpAddr, SwarmError> {
    if let Ok(ip) = host.parse() {
        return Ok(ip);
    }
    let mut found = interfaces.iter().filter(|interface| interface.name == host && interface.ip.is_ipv4());
    match (found.next(), found.next()) {
        (Some(only), None) => Ok(only.ip),
        (Some(_), Some(_)) => Err(SwarmError::Invalid(format!(
            "interface {host} has more than one IPv4 address: name the address instead"
        ))),
        (None, _) => Err(SwarmError::Invalid(format!("{host} is neither an IP address nor an interface with one"))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn interface(name: &str, ip: &str) -> Interface {
        Interface { name: name.to_owned(), ip: ip.parse().unwrap() }
    }

    #[test]
    fn an_address_is_an_ip_or_an_interface_with_or_without_a_port() {
        let have = [interface("eth0", "10.0.0.5"), interface("eth0", "fd00::5")];
        let cases = [
            ("10.1.1.1", "10.1.1.1:2377"),
            ("10.1.1.1:99", "10.1.1.1:99"),
            ("eth0", "10.0.0.5:2377"),
            ("eth0:99", "10.0.0.5:99"),
            ("fd00::1", "[fd00::1]:2377"),
            ("[fd00::1]:99", "[fd00::1]:99"),
        ];
        for (given, wanted) in cases {
            assert_eq!(advertise(Some(given), ANY, &have).unwrap().to_string(), wanted, "{given}");
        }
        for bad in ["", ":2377", "10.1.1.1:0", "10.1.1.1:65536", "eth7", "0.0.0.0", "a b:1"] {
            assert!(advertise(Some(bad), ANY, &have).is_err(), "{bad}");
        }
        assert_eq!(listen("0.0.0.0:2377", &have).unwrap().to_string(), "0.0.0.0:2377");
    }

    #[test]
    fn one_address_is_chosen_and_two_are_asked_about() {
        let one = [interface("eth0", "10.0.0.5"), interface("eth0", "fd00::5")];
        assert_eq!(advertise(None, ANY, &one).unwrap().to_string(), "10.0.0.5:2377");
        let two = [interface("eth0", "10.0.0.5"), interface("eth1", "10.9.0.5")];
        let text = advertise(None, ANY, &two).unwrap_err().to_string();
        assert!(text.contains("10.0.0.5 on eth0 and 10.9.0.5 on eth1"), "{text}");
        assert!(advertise(None, ANY, &[]).is_err());
    }

    #[test]
    fn the_port_that_is_listened_on_is_told_unless_another_is_asked_for() {
        let have = [interface("eth0", "10.0.0.5")];
        // listen, advertise: told
        let cases = [
            ("0.0.0.0:2500", Some("10.1.1.1"), "10.1.1.1:2500"),
            ("0.0.0.0:2500", Some("10.1.1.1:99"), "10.1.1.1:99"),
            ("0.0.0.0:2500", Some("eth0"), "10.0.0.5:2500"),
            ("0.0.0.0:2500", None, "10.0.0.5:2500"),
            ("10.0.0.5:2500", None, "10.0.0.5:2500"),
            ("10.9.9.9:2500", None, "10.9.9.9:2500"),
            ("127.0.0.1:2500", None, "10.0.0.5:2500"),
        ];
        for (listen, asked, told) in cases {
            let listen = listen.parse().unwrap();
            assert_eq!(advertise(asked, listen, &have).unwrap().to_string(), told, "{listen} {asked:?}");
        }
    }

    #[test]
    fn an_address_follows_the_machine_unless_it_was_asked_for() {
        let have = [interface("eth0", "10.0.0.7"), interface("eth1", "10.9.0.7")];
        let (old, new): (IpAddr, IpAddr) = ("10.0.0.5".parse().unwrap(), "10.0.0.7".parse().unwrap());
        let way = || Some(new);
        // asked, was, way: moved to
        assert_eq!(moved(None, old, &have, way), Some(new));
        assert_eq!(moved(None, new, &have, || None), None, "it is still there");
        assert_eq!(moved(None, old, &have, || None), None, "two to choose from and no way");
        assert_eq!(moved(None, old, &have[..1], || None), Some(new), "the only one");
        assert_eq!(moved(None, old, &have, || Some([127, 0, 0, 1].into())), None, "nobody reaches loopback");
        assert_eq!(moved(Some("eth0"), old, &have, way), Some(new));
        assert_eq!(moved(Some("eth0:99"), new, &have, way), None);
        assert_eq!(moved(Some("eth7"), old, &have, way), None, "the interface is gone");
        assert_eq!(moved(Some("10.0.0.5"), old, &have, way), None, "asked for");
        assert_eq!(moved(Some("203.0.113.1"), "203.0.113.1".parse().unwrap(), &have, way), None, "outside a NAT");
    }

    #[test]
    fn the_way_to_loopback_is_loopback() {
        assert_eq!(towards("127.0.0.1:9").unwrap().to_string(), "127.0.0.1");
        assert_eq!(towards("nowhere"), None);
    }
}
