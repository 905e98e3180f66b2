//! What the kernel says of one of its WireGuard interfaces: the answer to `WG_CMD_GET_DEVICE` of
//! `linux/wireguard.h`. Pure: bytes in, peers out.
//!
//! What must not live here: sockets, clocks. The attributes `WGDEVICE_A_PRIVATE_KEY` and
//! `WGPEER_A_PRESHARED_KEY` are passed over where they stand: nothing copies their values.

use std::{
    collections::BTreeMap,
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
};

use nix::libc::{AF_INET, AF_INET6};
use secmon_protocol::{
    time::UnixNanos,
    wireguard::{WgPeer, WgPublicKey},
};

use super::message::{Wrong, attributes, fixed, generic};

/// The name of the generic netlink family (`WG_GENL_NAME`).
pub(super) const FAMILY: &[u8] = b"wireguard\0";
/// The command that asks for an interface and its peers.
pub(super) const WG_CMD_GET_DEVICE: u8 = 0;
/// The attribute that says which: a u32.
pub(super) const WGDEVICE_A_IFINDEX: u16 = 1;

const WGDEVICE_A_PEERS: u16 = 8;

const WGPEER_A_PUBLIC_KEY: u16 = 1;
const WGPEER_A_ENDPOINT: u16 = 4;
const WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL: u16 = 5;
const WGPEER_A_LAST_HANDSHAKE_TIME: u16 = 6;
const WGPEER_A_RX_BYTES: u16 = 7;
const WGPEER_A_TX_BYTES: u16 = 8;
const WGPEER_A_ALLOWEDIPS: u16 = 9;

const WGALLOWEDIP_A_FAMILY: u16 = 1;
const WGALLOWEDIP_A_IPADDR: u16 = 2;
const WGALLOWEDIP_A_CIDR_MASK: u16 = 3;

/// Reads one answer message by message.
///
/// Call order: [`feed`](Self::feed) for each, then [`into_peers`](Self::into_peers).
#[derive(Debug, Default)]
pub(super) struct DeviceReader {
    peers: BTreeMap<WgPublicKey, WgPeer>,
}

impl DeviceReader {
    /// Reads the body of one message. Peers may go on in the next one, and so may the networks of one peer:
    /// it comes again then, with its public key and further networks and nothing else.
    ///
    /// # Errors
    /// See [`Wrong`]; the answer is of no use then.
    pub(super) fn feed(&mut self, body: &[u8]) -> Result<(), Wrong> {
        for attribute in attributes(generic(body)?) {
            let (WGDEVICE_A_PEERS, peers) = attribute? else { continue };
            for peer in attributes(peers) {
                self.peer(peer?.1)?;
            }
        }
        Ok(())
    }

    /// The peers, and whether each is online at `now`.
    pub(super) fn into_peers(mut self, now: UnixNanos) -> BTreeMap<WgPublicKey, WgPeer> {
        for peer in self.peers.values_mut() {
            peer.allowed_ips.sort_unstable();
            peer.online = WgPeer::is_online(peer.latest_handshake, now);
        }
        self.peers
    }

    fn peer(&mut self, attrs: &[u8]) -> Result<(), Wrong> {
        let mut key = None;
        for attribute in attributes(attrs) {
            if let (WGPEER_A_PUBLIC_KEY, value) = attribute? {
                key = Some(WgPublicKey(fixed(value, "a public key")?));
            }
        }
        let key = key.ok_or(Wrong::Malformed("a peer without public key"))?;
        let peer = self.peers.entry(key).or_insert_with(|| WgPeer {
            endpoint: None,
            allowed_ips: Vec::new(),
            latest_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            keepalive: None,
            online: false,
        });
        for attribute in attributes(attrs) {
            let (kind, value) = attribute?;
            match kind {
                WGPEER_A_ENDPOINT => peer.endpoint = Some(endpoint(value)?),
                WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL => {
                    let seconds = u16::from_ne_bytes(fixed(value, "a keepalive interval")?);
                    peer.keepalive = Some(seconds).filter(|s| *s != 0);
                }
                WGPEER_A_LAST_HANDSHAKE_TIME => peer.latest_handshake = timespec(value)?,
                WGPEER_A_RX_BYTES => peer.rx_bytes = u64::from_ne_bytes(fixed(value, "a counter")?),
                WGPEER_A_TX_BYTES => peer.tx_bytes = u64::from_ne_bytes(fixed(value, "a counter")?),
                WGPEER_A_ALLOWEDIPS => {
                    for one in attributes(value) {
                        peer.allowed_ips.push(network(one?.1)?);
                    }
                }
                // The preshared key, flags, the protocol's version, and what is yet to come.
                _ => {}
            }
        }
        Ok(())
    }
}

/// `struct __kernel_timespec`: seconds and nanoseconds, both of 64 bits. Zero for both stands for "never".
fn timespec(value: &[u8]) -> Result<Option<UnixNanos>, Wrong> {
    let parts: [u8; 16] = fixed(value, "a time")?;
    let (seconds, nanos) = parts.split_at(8);
    let number = |bytes: &[u8]| fixed(bytes, "a time").map(i64::from_ne_bytes);
    let at = number(seconds)?.saturating_mul(1_000_000_000).saturating_add(number(nanos)?);
    Ok(Some(UnixNanos(at)).filter(|time| time.0 != 0))
}

/// `struct sockaddr_in` or `struct sockaddr_in6` (ip(7), ipv6(7)). The zone is dropped: a number means nothing on
/// another machine.
fn endpoint(value: &[u8]) -> Result<SocketAddr, Wrong> {
    const WRONG: Wrong = Wrong::Malformed("an endpoint");
    let part = |range| value.get(range).ok_or(WRONG);
    let family = u16::from_ne_bytes(fixed(part(0..2)?, "an endpoint")?);
    let port = u16::from_be_bytes(fixed(part(2..4)?, "an endpoint")?);
    match i32::from(family) {
        AF_INET => {
            let address: [u8; 4] = fixed(part(4..8)?, "an endpoint")?;
            Ok(SocketAddr::new(Ipv4Addr::from(address).into(), port))
        }
        AF_INET6 => {
            let address: [u8; 16] = fixed(part(8..24)?, "an endpoint")?;
            Ok(SocketAddrV6::new(Ipv6Addr::from(address), port, 0, 0).into())
        }
        _ => Err(WRONG),
    }
}

/// One network of a peer, `10.0.0.0/24`.
fn network(attrs: &[u8]) -> Result<String, Wrong> {
    const WRONG: Wrong = Wrong::Malformed("an allowed IP");
    let (mut family, mut address, mut bits) = (None, None, None);
    for attribute in attributes(attrs) {
        let (kind, value) = attribute?;
        match kind {
            WGALLOWEDIP_A_FAMILY => family = Some(u16::from_ne_bytes(fixed(value, "an allowed IP")?)),
            WGALLOWEDIP_A_IPADDR => address = Some(value),
            WGALLOWEDIP_A_CIDR_MASK => bits = Some(u8::from_ne_bytes(fixed(value, "an allowed IP")?)),
            _ => {}
        }
    }
    let (family, address, bits) = family.zip(address).zip(bits).map(|((f, a), b)| (f, a, b)).ok_or(WRONG)?;
    let (address, most) = match i32::from(family) {
        AF_INET => (IpAddr::from(fixed::<4>(address, "an allowed IP")?), 32),
        AF_INET6 => (IpAddr::from(fixed::<16>(address, "an allowed IP")?), 128),
        _ => return Err(WRONG),
    };
    if bits > most {
        return Err(WRONG);
    }
    Ok(format!("{address}/{bits}"))
}

#[cfg(test)]
#[path = "device_tests.rs"]
mod tests;
