//! The `wg_peers` facet: WireGuard peers.
//!
//! A private or a preshared key has no place in these types: the reader drops and wipes them.

use std::{fmt, net::SocketAddr};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::{Deserialize, Serialize};

use crate::time::UnixNanos;

/// A peer counts as online this long after its latest handshake: WireGuard's own REJECT_AFTER_TIME
/// (whitepaper §6.1), after which a session's keys are refused. Nanoseconds.
pub const ONLINE_FOR: i64 = 180 * 1_000_000_000;

/// The key of a peer in the `wg_peers` facet.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WgPeerKey {
    /// The interface, `wg0`.
    pub interface: String,
    /// The peer's public key.
    pub public_key: WgPublicKey,
}

/// A Curve25519 public key, shown in base64 as wg(8) does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct WgPublicKey(pub [u8; 32]);

impl fmt::Display for WgPublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&STANDARD.encode(self.0))
    }
}

/// The value of a peer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WgPeer {
    /// Where its packets last came from.
    pub endpoint: Option<SocketAddr>,
    /// Networks routed to it, `10.0.0.0/24`, sorted.
    pub allowed_ips: Vec<String>,
    /// The latest handshake; absent when there was none.
    pub latest_handshake: Option<UnixNanos>,
    /// Bytes received from it.
    pub rx_bytes: u64,
    /// Bytes sent to it.
    pub tx_bytes: u64,
    /// Seconds between keepalive packets; absent when off.
    pub keepalive: Option<u16>,
    /// Whether the latest handshake is younger than [`ONLINE_FOR`].
    pub online: bool,
}

impl WgPeer {
    /// WireGuard's own rule: online while the latest handshake is at most [`ONLINE_FOR`] old.
    #[must_use]
    pub fn is_online(latest_handshake: Option<UnixNanos>, now: UnixNanos) -> bool {
        latest_handshake.is_some_and(|t| now.0.saturating_sub(t.0) <= ONLINE_FOR)
    }

    /// The same peer with everything removed that moves all the time: the counters.
    #[must_use]
    pub fn without_counters(&self) -> Self {
        Self { rx_bytes: 0, tx_bytes: 0, ..self.clone() }
    }
}
