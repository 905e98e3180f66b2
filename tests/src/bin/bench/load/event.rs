//! The event that every simulated node sends: what sshd logs when it lets somebody in, about 200 bytes.

use std::net::{IpAddr, Ipv4Addr};

use bytes::{BufMut as _, Bytes, BytesMut};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Source, SourceHost},
    codec,
    ids::Seq,
    limits::BATCH_TARGET,
    record::Envelope,
    time::UnixNanos,
};

const MESSAGE: &str = "Accepted publickey for deploy from 203.0.113.77 port 51514 ssh2: ED25519 SHA256:NR9e5Rm9WLcCrqRkcHQV1FhxkTtIo8rV8u5bLk2CzJQ";

/// The envelope around such an event.
fn envelope(time: i64) -> Bytes {
    let mut event = AuthEvent::new(UnixNanos(time), "sshd", Some(31_337), AuthAction::Accepted, MESSAGE);
    event.user = Some("deploy".to_owned());
    event.source =
        Some(Source { host: SourceHost::Ip(IpAddr::V4(Ipv4Addr::new(203, 0, 113, 77))), port: Some(51_514) });
    event.method = Some("publickey".to_owned());
    event.fingerprint = Some("ED25519 SHA256:NR9e5Rm9WLcCrqRkcHQV1FhxkTtIo8rV8u5bLk2CzJQ".to_owned());
    event.trusted = Some(true);
    codec::encode(&Envelope::auth(&event))
}

/// Bytes of such an envelope.
pub(crate) fn size() -> usize {
    envelope(1_800_000_000_000_000_000).len()
}

/// Lists of records, as a node makes batches of them.
pub(crate) struct Batches {
    envelope: Bytes,
}

impl Batches {
    /// Events that happened at this time.
    pub(crate) fn at(time: i64) -> Self {
        Self { envelope: envelope(time) }
    }

    /// A batch of the records from `next` to at most `last`, and the seq after it.
    pub(crate) fn batch(&self, next: u64, last: u64) -> (Bytes, u64) {
        let mut list = BytesMut::with_capacity(BATCH_TARGET);
        let mut at = next;
        while at <= last && list.len() < BATCH_TARGET - 2 * self.envelope.len() {
            // A record is its seq and its envelope.
            let seq = codec::encode(&Seq(at));
            let len = seq.len() + self.envelope.len();
            list.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
            list.put_slice(&seq);
            list.put_slice(&self.envelope);
            at += 1;
        }
        (list.freeze(), at)
    }
}
