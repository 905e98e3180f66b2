//! The addresses that a join token names: where a node may find this hub.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use nix::{ifaddrs::getifaddrs, net::if_::InterfaceFlags};
use secmon_protocol::token::MAX_ADDRESSES;

use crate::{HubError, config::advertised};

/// What `hub.advertise` says; else the address that the hub listens on; else this machine's addresses.
///
/// # Errors
/// An address in `advertise` that is none.
pub(crate) fn for_tokens(advertise: &[String], bound: SocketAddr) -> Result<Vec<String>, HubError> {
    if !advertise.is_empty() {
        return advertise.iter().map(|address| advertised(address, bound.port())).collect();
    }
    if !bound.ip().is_unspecified() {
        return Ok(vec![bound.to_string()]);
    }
    Ok(choose(of_this_machine(), bound))
}

/// The best of a machine's addresses, IPv4 first; loopback where there is no other.
fn choose(found: Vec<IpAddr>, bound: SocketAddr) -> Vec<String> {
    let usable = |ip: &IpAddr| match ip {
        IpAddr::V4(ip) => !ip.is_loopback() && !ip.is_link_local() && !ip.is_unspecified(),
        IpAddr::V6(ip) => bound.is_ipv6() && is_global(ip),
    };
    let mut chosen: Vec<IpAddr> = found.into_iter().filter(usable).collect();
    chosen.sort_by_key(IpAddr::is_ipv6);
    chosen.dedup();
    chosen.truncate(MAX_ADDRESSES);
    if chosen.is_empty() {
        chosen.push(IpAddr::from([127, 0, 0, 1]));
    }
    chosen.into_iter().map(|ip| SocketAddr::new(ip, bound.port()).to_string()).collect()
}

/// Within 2000::/3, the global unicast addresses of RFC 4291, or a unique local one of RFC 4193.
fn is_global(ip: &Ipv6Addr) -> bool {
    ip.segments()[0] & 0xe000 == 0x2000 || ip.is_unique_local()
}

fn of_this_machine() -> Vec<IpAddr> {
    let Ok(interfaces) = getifaddrs() else {
        return vec![];
    };
    interfaces
        .filter(|interface| interface.flags.contains(InterfaceFlags::IFF_UP))
        .filter_map(|interface| {
            let address = interface.address?;
            address
                .as_sockaddr_in()
                .map(|v4| IpAddr::V4(v4.ip()))
                .or_else(|| address.as_sockaddr_in6().map(|v6| IpAddr::V6(v6.ip())))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_names_what_a_node_can_reach() {
        let any: SocketAddr = "[::]:7373".parse().unwrap();
        let any4: SocketAddr = "0.0.0.0:7373".parse().unwrap();
        let found: Vec<IpAddr> =
            ["127.0.0.1", "::1", "fe80::1", "2001:db8::7", "192.0.2.4", "169.254.1.1", "10.0.0.2"]
                .iter()
                .map(|ip| ip.parse().unwrap())
                .collect();
        assert_eq!(choose(found.clone(), any), ["192.0.2.4:7373", "10.0.0.2:7373", "[2001:db8::7]:7373"]);
        assert_eq!(choose(found, any4), ["192.0.2.4:7373", "10.0.0.2:7373"]);
        assert_eq!(choose(vec![], any4), ["127.0.0.1:7373"]);
        let fixed: SocketAddr = "127.0.0.1:5".parse().unwrap();
        assert_eq!(for_tokens(&[], fixed).unwrap(), ["127.0.0.1:5"]);
        assert_eq!(for_tokens(&["hub".into()], fixed).unwrap(), ["hub:5"]);
    }
}
