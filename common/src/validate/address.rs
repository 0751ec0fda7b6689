//! `host:port`, the way nodes are addressed.

use std::{fmt, net::Ipv6Addr};

use super::{Invalid, shown};

/// A host (name or IP, IPv6 without brackets) and a port.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct HostPort {
    /// A DNS name or an IP address.
    pub host: String,
    /// Never 0.
    pub port: u16,
}

impl HostPort {
    /// Reads `host`, `host:port`, `[v6]`, `[v6]:port` or a bare IPv6 address; without a port, `default_port` is meant.
    pub fn parse(text: &str, default_port: u16) -> Result<Self, Invalid> {
        let refuse = |reason| Invalid::Address(shown(text), reason);
        let (host, port) = split(text).ok_or_else(|| refuse("it must be HOST:PORT"))?;
        if !is_host(host) {
            return Err(refuse("the host must be an IP address or a DNS name"));
        }
        let port = match port {
            None => default_port,
            // `parse` alone would take "+80".
            Some(port) if port.bytes().all(|b| b.is_ascii_digit()) => port.parse().unwrap_or(0),
            Some(_) => 0,
        };
        if port == 0 {
            return Err(refuse("the port must be a number from 1 to 65535"));
        }
        Ok(Self { host: host.to_owned(), port })
    }
}

/// The form that [`HostPort::parse`] and the system's resolver take.
impl fmt::Display for HostPort {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(f, "[{}]:{}", self.host, self.port)
        } else {
            write!(f, "{}:{}", self.host, self.port)
        }
    }
}

/// Host and port as written, without brackets; `None` when brackets or colons do not add up.
fn split(text: &str) -> Option<(&str, Option<&str>)> {
    if text.parse::<Ipv6Addr>().is_ok() {
        return Some((text, None));
    }
    if let Some(rest) = text.strip_prefix('[') {
        let (host, rest) = rest.split_once(']')?;
        host.parse::<Ipv6Addr>().ok()?;
        return match rest {
            "" => Some((host, None)),
            port => Some((host, Some(port.strip_prefix(':')?))),
        };
    }
    match text.split_once(':') {
        None => Some((text, None)),
        Some((_, port)) if port.contains(':') => None,
        Some((host, port)) => Some((host, Some(port))),
    }
}

/// IP address or DNS name (RFC 1123; underscores, which people do use, included).
fn is_host(host: &str) -> bool {
    let is_label = |label: &str| {
        !label.is_empty()
            && label.len() <= 63
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
    };
    host.parse::<Ipv6Addr>().is_ok() || (host.len() <= 253 && host.split('.').all(is_label))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn takes_what_people_write() {
        let cases = [
            ("10.0.0.1", "10.0.0.1:2377"),
            ("10.0.0.1:80", "10.0.0.1:80"),
            ("n1", "n1:2377"),
            ("n1.example.org:1", "n1.example.org:1"),
            ("::1", "[::1]:2377"),
            ("[::1]", "[::1]:2377"),
            ("[2001:db8::1]:65535", "[2001:db8::1]:65535"),
        ];
        for (text, expected) in cases {
            let address = HostPort::parse(text, 2377).unwrap();
            assert_eq!(address.to_string(), expected);
            assert_eq!(HostPort::parse(&address.to_string(), 1), Ok(address));
        }
    }

    #[test]
    fn refuses_the_rest_in_one_sentence() {
        let bad = [
            "", ":", ":80", "a:", "a:0", "a:65536", "a:+80", "a:8 0", "a:b:c", "[::1", "[::1]80", "[a]:80", "a..b",
            "-a", "a b", "http://a", "a/b", "a\0", "../x:1",
        ];
        for text in bad {
            let refusal = HostPort::parse(text, 2377).unwrap_err().to_string();
            assert!(refusal.starts_with("invalid address '"), "{refusal}");
        }
        assert_eq!(
            HostPort::parse("a:65536", 2377).unwrap_err().to_string(),
            "invalid address 'a:65536': the port must be a number from 1 to 65535"
        );
    }
}
