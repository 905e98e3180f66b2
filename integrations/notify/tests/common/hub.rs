//! A hub as far as a notifier sees it: a log on a real Unix socket, and no nodes.

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    ids::{Cursor, Epoch, LogId, NodeId, RequestId, Seq},
    message::{
        Refusal,
        client::{ClientToHub, From as StartFrom, HubToClient},
    },
    record::{Envelope, LogRecord, Origin},
    time::UnixNanos,
};
use tokio::{
    net::{UnixListener, UnixStream},
    sync::watch,
};
use tokio_util::{codec::Framed, sync::CancellationToken};

const LOG: LogId = LogId(7);

/// What all its connections see.
#[derive(Clone)]
struct Shared {
    /// How many records there are; each is the login of `user-N`.
    newest: watch::Receiver<u64>,
    /// Why clients are turned away, if they are.
    refusal: watch::Receiver<Option<Refusal>>,
    /// How many subscriptions stood so far.
    subscriptions: Arc<AtomicUsize>,
}

/// The hub. Its drop ends it.
pub(crate) struct Hub {
    newest: watch::Sender<u64>,
    refusal: watch::Sender<Option<Refusal>>,
    subscriptions: Arc<AtomicUsize>,
    socket: std::path::PathBuf,
    up: Option<CancellationToken>,
}

impl Hub {
    pub(crate) fn start(socket: &Path) -> Self {
        let mut hub = Self {
            newest: watch::Sender::new(0),
            refusal: watch::Sender::new(None),
            subscriptions: Arc::default(),
            socket: socket.to_owned(),
            up: None,
        };
        hub.up();
        hub
    }

    /// Listens.
    pub(crate) fn up(&mut self) {
        let _ = std::fs::remove_file(&self.socket);
        let listener = UnixListener::bind(&self.socket).unwrap();
        let shared = Shared {
            newest: self.newest.subscribe(),
            refusal: self.refusal.subscribe(),
            subscriptions: self.subscriptions.clone(),
        };
        let down = CancellationToken::new();
        self.up = Some(down.clone());
        tokio::spawn(async move {
            while let Some(Ok((stream, _))) = down.run_until_cancelled(listener.accept()).await {
                let (shared, down) = (shared.clone(), down.clone());
                tokio::spawn(async move { down.run_until_cancelled(serve(stream, shared)).await });
            }
        });
    }

    /// Ends at once, with all connections.
    pub(crate) fn down(&mut self) {
        if let Some(up) = self.up.take() {
            up.cancel();
        }
    }

    /// So many more users log in.
    pub(crate) fn logins(&self, count: u64) {
        self.newest.send_modify(|newest| *newest += count);
    }

    /// How many subscriptions stood so far. A first start has two: one to learn where the log stands, and another from its beginning,
    /// once that is on the disk.
    pub(crate) fn subscriptions(&self) -> usize {
        self.subscriptions.load(Ordering::SeqCst)
    }

    /// Turns every client away from now on.
    pub(crate) fn refuse(&self, refusal: Refusal) {
        self.refusal.send_replace(Some(refusal));
    }
}

async fn send(
    frames: &mut Framed<UnixStream, tokio_util::codec::LengthDelimitedCodec>,
    message: &HubToClient,
) -> Option<()> {
    for frame in codec::encode_frames(message).unwrap() {
        frames.send(frame).await.ok()?;
    }
    Some(())
}

async fn serve(stream: UnixStream, mut shared: Shared) -> Option<()> {
    let mut frames = Framed::new(stream, codec::frames());
    frames.next().await?.ok()?;
    let refusal = shared.refusal.borrow().clone();
    if let Some(refusal) = refusal {
        return send(&mut frames, &HubToClient::Reject(refusal)).await;
    }
    let newest = Cursor { log: LOG, n: *shared.newest.borrow() };
    let welcome = HubToClient::Welcome { version: 1, agent: "0.1.0".into(), newest, clock: UnixNanos(0) };
    send(&mut frames, &welcome).await?;
    let mut place: Option<(RequestId, u64)> = None;
    loop {
        if let Some((request, at)) = &mut place {
            let newest = *shared.newest.borrow_and_update();
            while *at < newest {
                *at += 1;
                send(&mut frames, &HubToClient::Event { request: *request, record: record(*at) }).await?;
            }
        }
        let frame = tokio::select! {
            frame = frames.next() => frame?.ok()?,
            changed = shared.newest.changed() => match changed {
                Ok(()) => continue,
                Err(_) => return None,
            },
        };
        match codec::decode(&frame).unwrap() {
            ClientToHub::List { request } => {
                send(&mut frames, &HubToClient::Nodes { request, nodes: vec![] }).await?
            }
            ClientToHub::Subscribe { request, from, .. } => {
                let after = match from {
                    StartFrom::Cursor(cursor) => cursor,
                    _ => Cursor { log: LOG, n: *shared.newest.borrow() },
                };
                send(&mut frames, &HubToClient::Subscribed { request, after, snapshot: None, whole: true })
                    .await?;
                place = Some((request, after.n));
                shared.subscriptions.fetch_add(1, Ordering::SeqCst);
            }
            _ => {}
        }
    }
}

fn record(n: u64) -> Bytes {
    let mut event =
        AuthEvent::new(UnixNanos(1_700_000_000_000_000_000), "sshd", None, AuthAction::Accepted, "yes");
    event.user = Some(format!("user-{n}"));
    codec::encode(&LogRecord {
        cursor: Cursor { log: LOG, n },
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        origin: Origin::Node { epoch: Epoch(1), seq: Seq(n) },
        envelope: Envelope::auth(&event),
    })
}
