//! Joining, under ALPN [`ALPN`]: TLS 1.3 without a client certificate. The hub proves itself by the CA
//! whose fingerprint the token carries; the node proves itself by the token's secret.

use std::fmt;

use bytes::Bytes;
use serde::{Deserialize, Serialize};

use super::{Refusal, fragmented};
use crate::{
    codec::Fragment,
    ids::{NodeId, NodeName},
};

/// The ALPN name of this conversation, which is its version.
pub const ALPN: &[u8] = b"secmon-join/1";

/// What a joining node sends: once, and then it waits.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum JoinToHub {
    /// The request.
    Join(Join),
    /// A piece of a larger message.
    Fragment(Fragment),
}

/// What the hub answers; then it closes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub enum HubToJoin {
    /// The node is enrolled.
    Joined(Joined),
    /// It is not.
    Reject(Refusal),
    /// A piece of a larger message.
    Fragment(Fragment),
}

fragmented!(JoinToHub);
fragmented!(HubToJoin);

/// A request to be enrolled.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Join {
    /// The token's secret.
    pub secret: Bytes,
    /// A PKCS #10 certificate signing request in DER, RFC 2986; the hub takes only its key.
    pub csr: Bytes,
    /// The node's version.
    pub agent: String,
}

impl fmt::Debug for Join {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Join").field("agent", &self.agent).finish_non_exhaustive()
    }
}

/// A node's papers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Joined {
    /// Its id.
    pub node: NodeId,
    /// Its name.
    pub name: NodeName,
    /// Its certificate, X.509 in DER.
    pub certificate: Bytes,
    /// The CAs to trust from now on, X.509 in DER.
    pub ca_set: Vec<Bytes>,
}
