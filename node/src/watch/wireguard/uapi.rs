//! The answer to `get=1` of WireGuard's cross-platform interface
//! (<https://www.wireguard.com/xplatform/>), line by line. Pure: bytes in, peers out.
//!
//! boringtun says how long ago the latest handshake was where the protocol wants its time (`api_get` in its
//! `device/api.rs`). It is known by a line of its own, `own_public_key`, and by values that are too small for a
//! time; a release of it that says the time is read as well.
//!
//! What must not live here: sockets, clocks. The lines `private_key` and `preshared_key` are passed over
//! where they stand: nothing copies their values, and no error quotes a value of any line.

use std::{
    collections::BTreeMap,
    net::{Ipv6Addr, SocketAddr, SocketAddrV6},
};

use secmon_protocol::{
    time::UnixNanos,
    wireguard::{WgPeer, WgPublicKey},
};

/// What is written to the socket. The empty line ends the request.
pub(super) const GET: &[u8] = b"get=1\n\n";

/// Longest line, in bytes; the longest that the protocol has, a key, takes 78.
pub(super) const MAX_LINE: usize = 1 << 10;

/// Largest answer, in bytes: some 30,000 peers, at about 500 bytes each.
pub(super) const MAX_REPLY: usize = 16 << 20;

/// A handshake before this time, of a daemon known to say ages, is an age: 2001-09-09, in nanoseconds.
const AGES_END: i64 = 1_000_000_000 * SECOND;

const SECOND: i64 = 1_000_000_000;

/// Why an answer was not understood.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum UapiError {
    /// A line that is not `key=value`.
    #[error("line {0} is not key=value")]
    Line(u64),
    /// A value that its key does not allow.
    #[error("line {line}: {key} has a value that cannot be read")]
    Value {
        /// The number of the line, from 1.
        line: u64,
        /// The key, one of those that this module knows.
        key: &'static str,
    },
    /// A line about a peer before any peer.
    #[error("line {0} speaks of a peer before the first public_key")]
    NoPeer(u64),
    /// See [`MAX_LINE`].
    #[error("line {0} is longer than {MAX_LINE} bytes")]
    LineTooLong(u64),
    /// See [`MAX_REPLY`].
    #[error("the answer is longer than {} MiB", MAX_REPLY >> 20)]
    ReplyTooLong,
    /// The other side refused: a number of errno(3).
    #[error("the interface answered with errno {0}")]
    Errno(i64),
}

/// Reads one answer in pieces.
///
/// Call order: [`feed`](Self::feed) until [`is_complete`](Self::is_complete), then
/// [`into_answer`](Self::into_answer).
#[derive(Debug, Default)]
pub(super) struct Reader {
    lines: u64,
    total: usize,
    current: Option<Peer>,
    peers: BTreeMap<WgPublicKey, WgPeer>,
    says_ages: bool,
    complete: bool,
}

/// What an interface said.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Answer {
    /// Its peers.
    pub(super) peers: BTreeMap<WgPublicKey, WgPeer>,
    /// Whether handshakes were told as ages: their times are computed, and differ a little each time.
    pub(super) from_ages: bool,
}

/// A peer whose lines are still coming.
#[derive(Debug)]
struct Peer {
    key: WgPublicKey,
    value: WgPeer,
    /// In seconds and nanoseconds; absent when there was no such line.
    handshake: (Option<i64>, i64),
}

impl Peer {
    fn new(key: WgPublicKey) -> Self {
        let value = WgPeer {
            endpoint: None,
            allowed_ips: Vec::new(),
            latest_handshake: None,
            rx_bytes: 0,
            tx_bytes: 0,
            keepalive: None,
            online: false,
        };
        Self { key, value, handshake: (None, 0) }
    }

    /// The handshake is as it was told, be it an age or a time.
    fn finish(mut self) -> (WgPublicKey, WgPeer) {
        let (seconds, nanos) = self.handshake;
        let at = seconds.map(|seconds| seconds.saturating_mul(SECOND).saturating_add(nanos));
        self.value.latest_handshake = at.map(UnixNanos);
        self.value.allowed_ips.sort_unstable();
        (self.key, self.value)
    }
}

impl Reader {
    /// Reads the whole lines of `bytes` and returns how many bytes they took; the caller brings the rest
    /// again, with more behind it.
    ///
    /// # Errors
    /// See [`UapiError`]; the answer is of no use then.
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Result<usize, UapiError> {
        let mut taken = 0;
        while !self.complete {
            let rest = bytes.get(taken..).unwrap_or_default();
            let Some(length) = memchr::memchr(b'\n', rest) else {
                return if rest.len() > MAX_LINE {
                    Err(UapiError::LineTooLong(self.lines + 1))
                } else {
                    Ok(taken)
                };
            };
            self.lines += 1;
            self.total = self.total.saturating_add(length + 1);
            if length > MAX_LINE {
                return Err(UapiError::LineTooLong(self.lines));
            }
            if self.total > MAX_REPLY {
                return Err(UapiError::ReplyTooLong);
            }
            self.line(rest.get(..length).unwrap_or_default())?;
            taken += length + 1;
        }
        Ok(taken)
    }

    /// Whether the empty line that ends an answer has come.
    pub(super) fn is_complete(&self) -> bool {
        self.complete
    }

    /// The peers, and whether each is online at `now`.
    pub(super) fn into_answer(self, now: UnixNanos) -> Answer {
        let mut peers = self.peers;
        peers.extend(self.current.map(Peer::finish));
        let mut from_ages = false;
        for peer in peers.values_mut() {
            if self.says_ages && peer.latest_handshake.is_some_and(|told| told.0 < AGES_END) {
                from_ages = true;
                peer.latest_handshake =
                    peer.latest_handshake.map(|age| UnixNanos(now.0.saturating_sub(age.0)));
            } else {
                // Zero for both parts stands for "never".
                peer.latest_handshake = peer.latest_handshake.filter(|time| time.0 != 0);
            }
            peer.online = WgPeer::is_online(peer.latest_handshake, now);
        }
        Answer { peers, from_ages }
    }

    fn line(&mut self, line: &[u8]) -> Result<(), UapiError> {
        if line.is_empty() {
            self.complete = true;
            return Ok(());
        }
        let number = self.lines;
        let split = memchr::memchr(b'=', line).ok_or(UapiError::Line(number))?;
        let (key, value) = (&line[..split], &line[split + 1..]);
        let bad = |key| UapiError::Value { line: number, key };
        match key {
            b"public_key" => {
                let new = public_key(value).ok_or(bad("public_key"))?;
                self.peers.extend(self.current.replace(Peer::new(new)).map(Peer::finish));
                return Ok(());
            }
            b"own_public_key" => {
                self.says_ages = true;
                return Ok(());
            }
            b"errno" => {
                return match decimal(value).ok_or(bad("errno"))? {
                    0 => Ok(()),
                    errno => Err(UapiError::Errno(errno)),
                };
            }
            b"endpoint"
            | b"allowed_ip"
            | b"last_handshake_time_sec"
            | b"last_handshake_time_nsec"
            | b"rx_bytes"
            | b"tx_bytes"
            | b"persistent_keepalive_interval" => {}
            // private_key, preshared_key, listen_port, fwmark, protocol_version, and what is yet to come.
            _ => return Ok(()),
        }
        let peer = self.current.as_mut().ok_or(UapiError::NoPeer(number))?;
        match key {
            b"endpoint" => peer.value.endpoint = Some(endpoint(value).ok_or(bad("endpoint"))?),
            b"allowed_ip" => peer.value.allowed_ips.push(network(value).ok_or(bad("allowed_ip"))?),
            b"last_handshake_time_sec" => {
                peer.handshake.0 = Some(decimal(value).ok_or(bad("last_handshake_time_sec"))?);
            }
            b"last_handshake_time_nsec" => {
                peer.handshake.1 = decimal(value).ok_or(bad("last_handshake_time_nsec"))?;
            }
            b"rx_bytes" => peer.value.rx_bytes = decimal(value).ok_or(bad("rx_bytes"))?,
            b"tx_bytes" => peer.value.tx_bytes = decimal(value).ok_or(bad("tx_bytes"))?,
            _ => {
                let seconds: u16 = decimal(value).ok_or(bad("persistent_keepalive_interval"))?;
                peer.value.keepalive = Some(seconds).filter(|s| *s != 0);
            }
        }
        Ok(())
    }
}

fn text(value: &[u8]) -> Option<&str> {
    std::str::from_utf8(value).ok()
}

fn decimal<N: std::str::FromStr>(value: &[u8]) -> Option<N> {
    text(value)?.parse().ok()
}

/// 64 hexadecimal digits.
fn public_key(value: &[u8]) -> Option<WgPublicKey> {
    let (pairs, rest) = value.as_chunks::<2>();
    let mut key = [0; 32];
    if pairs.len() != key.len() || !rest.is_empty() {
        return None;
    }
    let digit = |c: u8| char::from(c).to_digit(16).and_then(|d| u8::try_from(d).ok());
    for (byte, [high, low]) in key.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(WgPublicKey(key))
}

/// `192.0.2.1:51820`, `[2001:db8::1]:51820`, `[fe80::1%eth0]:51820`: the zone is dropped when it is a name,
/// since a number means nothing on another machine either.
fn endpoint(value: &[u8]) -> Option<SocketAddr> {
    let text = text(value)?;
    if let Ok(address) = text.parse() {
        return Some(address);
    }
    let (address, rest) = text.strip_prefix('[')?.split_once('%')?;
    let (_zone, port) = rest.rsplit_once("]:")?;
    Some(SocketAddrV6::new(address.parse::<Ipv6Addr>().ok()?, port.parse().ok()?, 0, 0).into())
}

/// `10.0.0.0/24`, in the shortest form of the address.
fn network(value: &[u8]) -> Option<String> {
    let (address, bits) = text(value)?.split_once('/')?;
    let address: std::net::IpAddr = address.parse().ok()?;
    let bits: u8 = bits.parse().ok()?;
    (bits <= if address.is_ipv4() { 32 } else { 128 }).then(|| format!("{address}/{bits}"))
}

#[cfg(test)]
#[path = "uapi_tests.rs"]
mod tests;
