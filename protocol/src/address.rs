//! Where a hub is: `HOST:PORT`, as people write it in a configuration and as a token carries it.

use std::net::{Ipv6Addr, SocketAddr};

/// The port for nodes, where nobody names one.
pub const DEFAULT_PORT: u16 = 7373;
/// Longest host name, RFC 1035 §2.3.4, as it is written: without the root's dot.
const MAX_HOST: usize = 253;

/// `HOST` or `HOST:PORT` as `HOST:PORT`, with `port` where none is named; an IPv6 address stands in brackets
/// where a port follows. None for anything else, and for port 0.
#[must_use]
pub fn with_port(address: &str, port: u16) -> Option<String> {
    if let Ok(ip) = address.parse::<Ipv6Addr>() {
        return Some(format!("[{ip}]:{port}"));
    }
    if let Ok(full) = address.parse::<SocketAddr>() {
        return (full.port() > 0).then(|| full.to_string());
    }
    let (host, port) = match address.rsplit_once(':') {
        Some((host, text)) => (host, text.parse().ok()?),
        None => (address, port),
    };
    let allowed = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'_');
    let fits = !host.is_empty() && host.len() <= MAX_HOST && port > 0 && host.bytes().all(allowed);
    fits.then(|| format!("{host}:{port}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_named_with_or_without_its_port() {
        for (text, address) in [
            ("hub", "hub:7373"),
            ("hub.example.org:99", "hub.example.org:99"),
            ("192.0.2.1", "192.0.2.1:7373"),
            ("2001:db8::1", "[2001:db8::1]:7373"),
            ("[2001:db8::1]:99", "[2001:db8::1]:99"),
        ] {
            assert_eq!(with_port(text, DEFAULT_PORT).unwrap(), address);
        }
        for text in [
            "",
            ":",
            ":7373",
            "hub:",
            "hub:0",
            "192.0.2.1:0",
            "[::1]:0",
            "hub:70000",
            "https://hub",
            "host:x",
            "a:b:c",
            "a b",
            "[::1",
            "[::1]",
        ] {
            assert_eq!(with_port(text, DEFAULT_PORT), None, "{text}");
        }
    }
}
