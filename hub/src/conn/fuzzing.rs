//! What the bytes of strangers come to, without sockets and tasks: for the fuzz targets in `fuzz/`, and for the test
//! that replays their seeds. Only in builds with the feature `fuzzing`, and in tests.
//!
//! Each function is given all that a peer sends after its TLS handshake, and panics where a promise is broken. The
//! bytes go through the same reader, the same checks and the same core as those of a real peer.

use std::time::Duration;

use futures::FutureExt as _;
use secmon_protocol::{
    codec::{self, Assembler, Message},
    ecs, event,
    ids::{Epoch, LogId, NodeId},
    limits::MAX_FRAME,
    message::{
        client::{ClientToHub, HubToClient},
        join::{HubToJoin, JoinToHub},
        node::{HubToNode, NodeToHub},
    },
    record::LogRecord,
    time::UnixNanos,
};

use super::{client, intake, join, wire::Reader};
use crate::{
    access::{Access, Peer},
    ca::Ca,
    core::{
        Core, Effect, Effects, Enrolling, Incoming, Introduction, JobLimits, Kept, Link, LogRow, Now,
        batch_cost,
    },
};

const NOW: Now = Now { unix: UnixNanos(1_800_000_000_000_000_000), mono: Duration::from_secs(60) };
const PAPERS: [u8; 32] = [7; 32];

/// A core that knows one node.
fn core() -> Option<Core> {
    let log = LogRow { id: LogId(9), newest: 0, history: vec![] };
    let kept = Kept { log, nodes: vec![], tokens: vec![], jobs: vec![] };
    let mut core = Core::new(kept, Duration::from_secs(15), JobLimits::default());
    let name = "web-1".parse().ok()?;
    let wish =
        Enrolling { secret: [1; 32], id: NodeId([1; 16]), name, valid: Duration::ZERO, replace: false };
    core.enroll(NOW, wish, &mut Effects::new()).ok()?;
    core.join(NOW, &[1; 32], PAPERS, "0.1.0", &mut Effects::new()).ok()?;
    Some(core)
}

/// Frames and fragments of all conversations, in both directions; the first byte says which. Of events also what is
/// printed of them.
///
/// # Panics
/// When a message that was read is not read back as the same, or an event is printed as more than one plain line.
pub fn frames(bytes: &[u8]) {
    let Some((which, bytes)) = bytes.split_first() else { return };
    match which % 6 {
        0 => all::<NodeToHub>(bytes, |_| {}),
        1 => all::<HubToNode>(bytes, |_| {}),
        2 => all::<ClientToHub>(bytes, |_| {}),
        3 => all::<HubToClient>(bytes, shown),
        4 => all::<JoinToHub>(bytes, |_| {}),
        _ => all::<HubToJoin>(bytes, |_| {}),
    }
}

fn all<M: Message + PartialEq + std::fmt::Debug>(bytes: &[u8], use_it: impl Fn(&M)) {
    let mut reader = Reader::<_, M>::new(bytes);
    while let Some(Ok(message)) = reader.message().now_or_never() {
        let Ok(frames) = codec::encode_frames(&message) else {
            panic!("what was read is too large to be written")
        };
        let mut again = Assembler::<M>::default();
        let read = frames.iter().filter_map(|frame| again.push(frame).ok().flatten()).last();
        assert_eq!(read.as_ref(), Some(&message));
        use_it(&message);
    }
}

fn shown(message: &HubToClient) {
    if let HubToClient::Event { record, .. } = message
        && let Ok(record) = codec::decode::<LogRecord>(record)
    {
        for event in event::events(&record) {
            let line = ecs::line(&ecs::event(&event));
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        }
    }
}

/// What a node sends, from its Hello on.
///
/// # Panics
/// When cursors do not rise.
pub fn node(bytes: &[u8]) {
    let Some(mut core) = core() else { return };
    let mut reader = Reader::<_, NodeToHub>::new(bytes);
    let Some(Ok(first)) = reader.frame(MAX_FRAME).now_or_never() else { return };
    let Ok(NodeToHub::Hello(hello)) = codec::decode(&first) else { return };
    let address = "192.0.2.1:5".to_owned();
    let mut out = Effects::new();
    let mut newest = 0;
    core.handle_hello(
        NOW,
        Link(1),
        Introduction { papers: PAPERS, address, hello, fresh: Epoch(777) },
        &mut out,
    );
    rising(&mut core, &mut out, &mut newest);
    while let Some(Ok(message)) = reader.message().now_or_never() {
        if intake::check(&message).is_err() {
            break;
        }
        if let NodeToHub::Records(list) = message {
            let Ok(records) = Incoming::batch(&list) else { break };
            core.handle_records(NOW, Link(1), records, &mut out);
            rising(&mut core, &mut out, &mut newest);
        } else {
            core.handle_message(NOW, Link(1), message, &mut out);
            rising(&mut core, &mut out, &mut newest);
        }
    }
    core.handle_link_down(NOW, Link(1), "it left", &mut out);
    rising(&mut core, &mut out, &mut newest);
}

fn rising(core: &mut Core, out: &mut Effects, newest: &mut u64) {
    core.flush(out);
    for effect in out.drain(..) {
        if let Effect::Publish(record) = effect {
            assert!(record.cursor.n > *newest, "a cursor does not rise");
            *newest = record.cursor.n;
        }
    }
}

/// A batch of records, as it stands in a message.
pub fn records(list: &[u8]) {
    if batch_cost(list).is_ok() {
        // Whether it is good is not the question.
        let _ = Incoming::batch(list);
    }
}

/// What a client sends, from its Hello on.
pub fn client(bytes: &[u8]) {
    let mut reader = Reader::<_, ClientToHub>::new(bytes);
    let Some(Ok(first)) = reader.frame(client::MAX_HELLO).now_or_never() else { return };
    let peer = Peer { uid: 0, user: None, gid: 0, groups: [0].into() };
    if client::admit(codec::decode(&first), &peer, &Access::default()).is_ok() {
        while let Some(Ok(_)) = reader.message().now_or_never() {}
    }
}

/// What a joining node sends; its request for a certificate is signed whatever its token is.
pub fn join(bytes: &[u8], ca: &Authority) {
    let mut reader = Reader::<_, JoinToHub>::new(bytes);
    let Some(Ok(first)) = reader.frame(join::MAX_REQUEST).now_or_never() else { return };
    if let Ok(JoinToHub::Join(asked)) = codec::decode(&first) {
        // A refusal is as good an answer.
        let _ = ca.0.sign(&asked.csr, NodeId([1; 16]), 2027);
    }
}

/// A CA for [`join`].
pub struct Authority(Ca);

impl Authority {
    /// A new one, kept in this folder.
    ///
    /// # Errors
    /// The folder cannot be written.
    pub fn new(folder: &std::path::Path) -> Result<Self, crate::HubError> {
        Ca::open(folder, 2026).map(Self)
    }
}

#[cfg(test)]
mod tests {
    use std::{env, fs, path::Path};

    use bytes::{BufMut as _, Bytes, BytesMut};
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair};
    use secmon_protocol::{
        auth::{AuthAction, AuthEvent},
        facet::FacetId,
        ids::{Cursor, RequestId, Seq},
        message::{
            client::{Filter, From as StartFrom},
            join::Join,
            node::{Hello, HostFacts},
        },
        record::{Envelope, Lost, NodeRecord, Origin},
        state::{NodeState, RawFacet},
    };

    use super::*;

    fn stream<M: Message>(messages: &[M]) -> Vec<u8> {
        let mut out = BytesMut::new();
        for frame in messages.iter().flat_map(|message| codec::encode_frames(message).unwrap()) {
            out.put_u32(u32::try_from(frame.len()).unwrap());
            out.put_slice(&frame);
        }
        out.to_vec()
    }

    fn batch() -> Bytes {
        let mut state = NodeState::default();
        state.set(FacetId::SESSIONS, RawFacet::Ready([("k".into(), "v".into())].into()));
        let event =
            AuthEvent::new(NOW.unix, "sshd", Some(1), AuthAction::Accepted, "Accepted publickey for a");
        let lost = Lost { count: 2, reason: "the outbox was full".into() };
        let envelopes = [
            (1, Envelope::snapshot(NOW.unix, &state.snapshot())),
            (2, Envelope::diff(NOW.unix, &secmon_protocol::state::diff(&state, &NodeState::default()))),
            (3, Envelope::auth(&event)),
            (6, Envelope::lost(NOW.unix, &lost)),
        ];
        codec::encode_list(&envelopes.map(|(seq, envelope)| NodeRecord { seq: Seq(seq), envelope }))
    }

    /// An honest peer of each kind, from which a fuzzer sets out.
    fn honest() -> Vec<(&'static str, &'static str, Vec<u8>)> {
        let hello = Hello {
            agent: "0.1.0".into(),
            facts: HostFacts::default(),
            epoch: Epoch(1),
            oldest: Seq(1),
            newest: Seq(6),
            clock: NOW.unix,
            extensions: Default::default(),
        };
        let in_pieces = [
            NodeToHub::Hello(hello.clone()),
            NodeToHub::Fragment(codec::Fragment::Begin { len: 2 }),
            NodeToHub::Fragment(codec::Fragment::Part(codec::encode(&NodeToHub::Pong { nonce: 1 }))),
            NodeToHub::Fragment(codec::Fragment::End),
        ];
        let request = RequestId(1);
        let filter = Filter { nodes: vec!["web-*".into()], types: vec!["auth.*".into()] };
        let client = [
            ClientToHub::Hello { version: 1, agent: "secmon".into() },
            ClientToHub::Subscribe {
                request,
                from: StartFrom::Cursor(Cursor { log: LogId(9), n: 3 }),
                filter,
            },
            ClientToHub::Run {
                request,
                node: "web-1".into(),
                label: "up".into(),
                args: vec![],
                credit: 4096,
                stdin: false,
            },
        ];
        let event =
            AuthEvent::new(NOW.unix, "sshd", Some(1), AuthAction::Accepted, "Accepted publickey for a");
        let record = LogRecord {
            cursor: Cursor { log: LogId(9), n: 1 },
            node: NodeId([1; 16]),
            name: "web-1".parse().unwrap(),
            origin: Origin::Node { epoch: Epoch(1), seq: Seq(3) },
            envelope: Envelope::auth(&event),
        };
        let told = HubToClient::Event { request, record: codec::encode(&record) };
        let node = [NodeToHub::Hello(hello), NodeToHub::Records(batch()), NodeToHub::Pong { nonce: 1 }];
        vec![
            ("node", "honest", stream(&node)),
            ("node", "in-pieces", stream(&in_pieces)),
            ("records", "honest", batch().to_vec()),
            ("client", "honest", stream(&client)),
            ("frames", "node", [vec![0], stream(&in_pieces)].concat()),
            ("frames", "client", [vec![2], stream(&client)].concat()),
            ("frames", "event", [vec![3], stream(&[told])].concat()),
        ]
    }

    /// The request of a real node; another one each time, for its key is.
    fn joining() -> Vec<u8> {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        let csr = Bytes::copy_from_slice(csr.der());
        stream(&[JoinToHub::Join(Join { secret: vec![1; 24].into(), csr, agent: "0.1.0".into() })])
    }

    fn seeds() -> &'static Path {
        Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../fuzz/seeds"))
    }

    fn run(target: &str, bytes: &[u8], ca: &Authority) {
        match target {
            "node" => node(bytes),
            "records" => records(bytes),
            "client" => client(bytes),
            "join" => join(bytes, ca),
            "frames" => super::frames(bytes),
            other => panic!("no fuzz target is called {other}"),
        }
    }

    /// What once broke a promise stays here for good: add a fuzzer's find to `fuzz/seeds/TARGET`.
    #[test]
    fn no_seed_of_the_fuzz_targets_breaks_a_promise() {
        let folder = tempfile::tempdir().unwrap();
        let ca = Authority::new(folder.path()).unwrap();
        let mut count = 0;
        for target in fs::read_dir(seeds()).unwrap() {
            let target = target.unwrap();
            for seed in fs::read_dir(target.path()).unwrap() {
                run(target.file_name().to_str().unwrap(), &fs::read(seed.unwrap().path()).unwrap(), &ca);
                count += 1;
            }
        }
        assert!(count >= honest().len(), "{count}");
    }

    /// A change of the protocol changes them: `UPDATE_SEEDS=1 cargo test -p secmon-hub seeds`.
    #[test]
    fn the_seeds_of_honest_peers_are_what_those_say_today() {
        let update = env::var_os("UPDATE_SEEDS").is_some();
        for (target, name, bytes) in honest() {
            let file = seeds().join(target).join(name);
            if update {
                fs::create_dir_all(file.parent().unwrap()).unwrap();
                fs::write(&file, &bytes).unwrap();
            }
            assert_eq!(fs::read(&file).unwrap(), bytes, "{target}/{name}");
        }
        if update {
            fs::create_dir_all(seeds().join("join")).unwrap();
            fs::write(seeds().join("join/honest"), joining()).unwrap();
        }
    }

    proptest! {
        /// What a fuzzer does first, in every build: an honest peer's bytes with a few of them changed.
        #[test]
        fn an_honest_peer_with_some_bytes_changed_breaks_no_promise(
            changes in prop::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 1..8),
            cut in any::<prop::sample::Index>(),
        ) {
            let folder = tempfile::tempdir().unwrap();
            let ca = Authority::new(folder.path()).unwrap();
            for (target, _, mut bytes) in honest().into_iter().chain([("join", "", joining())]) {
                for (at, byte) in &changes {
                    let at = at.index(bytes.len());
                    bytes[at] = *byte;
                }
                run(target, &bytes, &ca);
                run(target, &bytes[..cut.index(bytes.len())], &ca);
            }
        }
    }
}
