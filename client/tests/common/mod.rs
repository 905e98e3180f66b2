//! A hub that says what the test wants, on a real Unix socket.

use std::{path::Path, time::Duration};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use secmon_client::{Follow, Item, Update};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    ids::{Cursor, Epoch, LogId, NodeId, RequestId, Seq},
    message::{
        Refusal,
        client::{ClientToHub, From as StartFrom, Gap, HubToClient, NodeDetail},
    },
    record::{Envelope, LogRecord, Origin},
    time::UnixNanos,
};
use tokio::{
    io::AsyncWriteExt as _,
    net::{UnixListener, UnixStream},
};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

pub(crate) async fn within<T>(future: impl Future<Output = T>) -> T {
    tokio::time::timeout(Duration::from_secs(20), future).await.expect("nothing within 20 s")
}

pub(crate) fn at(log: u64, n: u64) -> Cursor {
    Cursor { log: LogId(log), n }
}

pub(crate) fn gap(after: Cursor, to: Cursor) -> Gap {
    Gap { after, to, reason: "the hub says".to_owned() }
}

/// A hub that listens; its drop leaves the socket's file behind, as a crash does.
pub(crate) struct Hub(UnixListener);

impl Hub {
    pub(crate) fn start(socket: &Path) -> Self {
        let _ = std::fs::remove_file(socket);
        Self(UnixListener::bind(socket).unwrap())
    }

    /// Takes the next client and hangs up at once.
    pub(crate) async fn turn_away(&self) {
        drop(within(self.0.accept()).await.unwrap());
    }

    /// The next client, greeted.
    pub(crate) async fn client(&self) -> Connection {
        let (stream, _) = within(self.0.accept()).await.unwrap();
        let mut frames = Framed::new(stream, codec::frames());
        let hello = within(frames.next()).await.unwrap().unwrap();
        assert!(matches!(codec::decode(&hello).unwrap(), ClientToHub::Hello { .. }));
        let mut connection = Connection { frames, request: RequestId(0) };
        connection
            .send(&HubToClient::Welcome {
                version: 1,
                agent: "0.1.0".into(),
                newest: at(7, 0),
                clock: UnixNanos(0),
            })
            .await;
        connection
    }

    /// The next client, who must want to begin at `from`, and is told that everything after `after` follows.
    pub(crate) async fn subscriber(&self, from: StartFrom, after: Cursor) -> Connection {
        let mut connection = self.client().await;
        assert_eq!(connection.asked().await, from);
        connection.subscribed(after, None).await;
        connection
    }
}

/// One client's connection, from the hub's side.
pub(crate) struct Connection {
    frames: Framed<UnixStream, LengthDelimitedCodec>,
    request: RequestId,
}

impl Connection {
    pub(crate) async fn send(&mut self, message: &HubToClient) {
        for frame in codec::encode_frames(message).unwrap() {
            within(self.frames.send(frame)).await.unwrap();
        }
    }

    /// Where the client wants to begin.
    pub(crate) async fn asked(&mut self) -> StartFrom {
        let frame = within(self.frames.next()).await.expect("the client hung up").unwrap();
        let ClientToHub::Subscribe { request, from, .. } = codec::decode(&frame).unwrap() else {
            panic!("not a Subscribe")
        };
        self.request = request;
        from
    }

    pub(crate) async fn subscribed(&mut self, after: Cursor, snapshot: Option<Vec<NodeDetail>>) {
        let request = self.request;
        self.send(&HubToClient::Subscribed { request, after, snapshot, whole: true }).await;
    }

    pub(crate) async fn record(&mut self, cursor: Cursor) {
        let request = self.request;
        self.send(&HubToClient::Event { request, record: record(cursor) }).await;
    }

    pub(crate) async fn records(&mut self, log: u64, numbers: std::ops::RangeInclusive<u64>) {
        for n in numbers {
            self.record(at(log, n)).await;
        }
    }

    pub(crate) async fn gap(&mut self, gap: Gap) {
        let request = self.request;
        self.send(&HubToClient::Gap { request, gap }).await;
    }

    pub(crate) async fn refuse(&mut self, refusal: Refusal) {
        let request = self.request;
        self.send(&HubToClient::Error { request, refusal }).await;
    }

    /// Sends one whole record and the first half of another, and dies.
    pub(crate) async fn die_within(mut self, whole: Cursor, half: Cursor) {
        self.record(whole).await;
        let message = HubToClient::Event { request: self.request, record: record(half) };
        let frame = codec::encode(&message);
        let mut bytes = u32::try_from(frame.len()).unwrap().to_be_bytes().to_vec();
        bytes.extend_from_slice(&frame[..frame.len() / 2]);
        within(self.frames.get_mut().write_all(&bytes)).await.unwrap();
    }

    /// Waits until the client has hung up.
    pub(crate) async fn hung_up(&mut self) {
        while within(self.frames.next()).await.is_some() {}
    }
}

fn record(cursor: Cursor) -> Bytes {
    let event = AuthEvent::new(UnixNanos(1), "sshd", None, AuthAction::Failed, "no");
    codec::encode(&LogRecord {
        cursor,
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        origin: Origin::Node { epoch: Epoch(1), seq: Seq(cursor.n) },
        envelope: Envelope::auth(&event),
    })
}

/// The next update in a short form: `7-3` a record, `7-3..7-5` a gap, `began 7-0`, `lost`, `resumed 7-3`.
pub(crate) async fn next(follow: &mut Follow) -> String {
    let short = |c: Cursor| format!("{:x}-{}", c.log.0, c.n);
    match within(follow.next()).await {
        Ok(Update::Began { after, .. }) => format!("began {}", short(after)),
        Ok(Update::Item(Item::Record { cursor, events })) => {
            assert_eq!(events.len(), 1);
            short(cursor)
        }
        Ok(Update::Item(Item::Gap(gap))) => format!("{}..{}", short(gap.after), short(gap.to)),
        Ok(Update::Item(Item::Progress(cursor))) => format!("({})", short(cursor)),
        Ok(Update::Disconnected { .. }) => "lost".to_owned(),
        Ok(Update::Resumed { after }) => format!("resumed {}", short(after)),
        Ok(Update::NotSaved { error }) => format!("not saved: {error}"),
        Err(error) => format!("over: {error}"),
    }
}

/// The next so many updates.
pub(crate) async fn some(follow: &mut Follow, count: usize) -> Vec<String> {
    let mut out = vec![];
    for _ in 0..count {
        out.push(next(follow).await);
    }
    out
}
