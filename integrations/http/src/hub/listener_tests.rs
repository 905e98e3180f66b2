//! Listeners of a ring that holds a dozen records, on a hub that is restarted: each record once and in order, whoever is slow,
//! behind, or comes back.

use std::{
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use futures::{SinkExt, StreamExt as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    ids::{Epoch, LogId, NodeId, Seq},
    message::{
        client::{ClientToHub, HubToClient, NodeSummary, Presence, Role, WhoAmI},
        node::HostFacts,
    },
    record::{Envelope, LogRecord, Origin},
};
use serde_json::Value;
use tokio::{
    net::{UnixListener, UnixStream},
    task::JoinSet,
};
use tokio_util::codec::Framed;

use super::*;
use crate::{
    Place,
    access::{By, Principal},
    hub::counts::Kind,
};

/// A hub whose log is all numbers from 1 to the newest, on a real socket.
struct FakeHub {
    log: AtomicU64,
    newest: watch::Sender<u64>,
    restarts: watch::Sender<u64>,
    socket: PathBuf,
}

impl FakeHub {
    fn start(folder: &Path) -> Arc<Self> {
        let socket = folder.join("hub.sock");
        let listener = UnixListener::bind(&socket).unwrap();
        let (newest, restarts) = (watch::Sender::new(0), watch::Sender::new(0));
        let hub = Arc::new(Self { log: AtomicU64::new(1), newest, restarts, socket });
        let serving = hub.clone();
        tokio::spawn(async move {
            let (mut clients, mut restarts) = (JoinSet::new(), serving.restarts.subscribe());
            loop {
                tokio::select! {
                    Ok((stream, _)) = listener.accept() => {
                        let hub = serving.clone();
                        clients.spawn(async move { hub.serve(stream).await });
                    }
                    Ok(()) = restarts.changed() => clients.abort_all(),
                }
            }
        });
        hub
    }

    fn write(&self, records: u64) {
        self.newest.send_modify(|newest| *newest += records);
    }

    /// Every connection breaks, and the log goes on under another id.
    fn restart(&self) {
        self.log.fetch_add(1, Ordering::Relaxed);
        self.restarts.send_modify(|restarts| *restarts += 1);
    }

    fn cursor(&self, n: u64) -> Cursor {
        Cursor { log: LogId(self.log.load(Ordering::Relaxed)), n }
    }

    /// One client, until it hangs up.
    async fn serve(&self, stream: UnixStream) -> Option<()> {
        let mut newest = self.newest.subscribe();
        let mut frames = Framed::new(stream, codec::frames());
        let send = |message: HubToClient| codec::encode_frames(&message).unwrap();
        frames.next().await?.ok()?;
        let at = self.cursor(*newest.borrow());
        let welcome = HubToClient::Welcome { version: 1, agent: "0.1.0".into(), newest: at, clock: now() };
        for frame in send(welcome) {
            frames.send(frame).await.ok()?;
        }
        let mut snapshot = None;
        let (request, mut at) = loop {
            match codec::decode(&frames.next().await?.ok()?).ok()? {
                ClientToHub::Subscribe { request, from, .. } => match from {
                    StartFrom::Cursor(cursor) => break (request, cursor.n),
                    StartFrom::Now => break (request, *newest.borrow()),
                    StartFrom::Time(_) => break (request, 0),
                    StartFrom::Snapshot => {
                        snapshot = Some((0..40).map(node).collect());
                        break (request, *newest.borrow());
                    }
                },
                ClientToHub::WhoAmI { request } => {
                    let who = Box::new(WhoAmI { uid: 0, user: None, groups: vec![], rules: vec![] });
                    for frame in send(HubToClient::You { request, who }) {
                        frames.send(frame).await.ok()?;
                    }
                }
                _ => return None,
            }
        };
        let after = self.cursor(at);
        for frame in send(HubToClient::Subscribed { request, after, snapshot, whole: true }) {
            frames.send(frame).await.ok()?;
        }
        loop {
            let end = *newest.borrow_and_update();
            while at < end {
                at += 1;
                let record = record(self.cursor(at));
                for frame in send(HubToClient::Event { request, record }) {
                    frames.feed(frame).await.ok()?;
                }
            }
            SinkExt::<bytes::Bytes>::flush(&mut frames).await.ok()?;
            newest.changed().await.ok()?;
        }
    }
}

fn node(n: u8) -> NodeDetail {
    let summary = NodeSummary {
        id: NodeId([n; 16]),
        name: format!("web-{n}").parse().unwrap(),
        presence: Presence::Away { since: UnixNanos(1) },
        agent: "0.1.0".to_owned(),
        address: String::new(),
        facts: HostFacts::default(),
        clock_offset: 0,
        facets: vec![],
        commands: 0,
        stale: false,
    };
    NodeDetail { summary, commands: vec![], entries: vec![] }
}

fn record(cursor: Cursor) -> bytes::Bytes {
    let event = AuthEvent::new(UnixNanos(1), "sshd", None, AuthAction::Failed, "no");
    codec::encode(&LogRecord {
        cursor,
        node: NodeId([1; 16]),
        name: "web-1".parse().unwrap(),
        origin: Origin::Node { epoch: Epoch(1), seq: Seq(cursor.n) },
        envelope: Envelope::auth(&event),
    })
}

async fn listen(hub: &Arc<Hub>, from: StartFrom) -> Listener {
    let who = Principal::new(By::Token, "laptop", Role::Viewer, &[], &[]);
    let counted = hub.counts.listen(Kind::Sse, &who, 1000, 1000).unwrap();
    let selection = Selection::new(vec![], vec![], who);
    Listener::open(hub, from, selection, CancellationToken::new(), counted).await.unwrap()
}

/// Reads all numbers up to `last`, now quick, now slow, and comes back now and then.
async fn read(hub: Arc<Hub>, seed: u64, last: u64) -> Vec<i64> {
    let mut chance = StdRng::seed_from_u64(seed);
    let (mut all, mut from) = (vec![], StartFrom::Time(UnixNanos(0)));
    loop {
        let mut listener = listen(&hub, from).await;
        for _ in 0..chance.random_range(1..40) {
            let Next::Said(said) = listener.next().await else { continue };
            for said in said {
                let Said::Record(picked) = said else { continue };
                for line in picked.lines() {
                    let event: Value = serde_json::from_slice(&line.json).unwrap();
                    assert_eq!(event["secmon"]["type"], "auth.failed", "no gap: {event}");
                    all.push(event["event"]["sequence"].as_i64().unwrap());
                }
                from = StartFrom::Cursor(picked.cursor());
            }
            if all.last().copied() == i64::try_from(last).ok() {
                return all;
            }
            if chance.random_bool(0.3) {
                sleep(Duration::from_millis(chance.random_range(0..8))).await;
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn whoever_is_slow_behind_or_comes_back_gets_each_record_once_and_in_order() {
    const LAST: u64 = 1500;
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeHub::start(folder.path());
    let cancel = CancellationToken::new();
    let place = Place { socket: fake.socket.clone(), state_dir: folder.path().to_owned() };
    let hub = Hub::start_with(&place, &cancel, 8000);
    // More of them than there are turns.
    let mut readers = JoinSet::new();
    for seed in 0..30 {
        readers.spawn(read(hub.clone(), seed, LAST));
    }
    let mut chance = StdRng::seed_from_u64(99);
    let mut written = 0;
    while written < LAST {
        let some = chance.random_range(1..40).min(LAST - written);
        written += some;
        fake.write(some);
        if chance.random_bool(0.04) {
            fake.restart();
        }
        sleep(Duration::from_millis(chance.random_range(0..8))).await;
    }
    let expected: Vec<i64> = (1..=i64::try_from(LAST).unwrap()).collect();
    let reading = async {
        while let Some(all) = readers.join_next().await {
            assert!(all.unwrap() == expected, "a hole, a repeat, or out of order");
        }
    };
    tokio::time::timeout(Duration::from_secs(60), reading).await.expect("all read in time");
    let (begun, running, waiting) = hub.catch_up_counts();
    assert!(begun > 30 && (running, waiting) == (0, 0), "{begun} {running} {waiting}");
    cancel.cancel();
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn one_that_catches_up_and_does_not_read_loses_its_turn_and_nothing_else() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeHub::start(folder.path());
    let cancel = CancellationToken::new();
    let place = Place { socket: fake.socket.clone(), state_dir: folder.path().to_owned() };
    let hub = Hub::start_with(&place, &cancel, 8000);
    fake.write(5000);
    let mut stuck = vec![];
    for _ in 0..16 {
        // It has begun, and reads no further.
        let mut listener = listen(&hub, StartFrom::Time(UnixNanos(0))).await;
        let began = tokio::time::timeout(Duration::from_millis(50), listener.next()).await;
        stuck.push((listener, began));
    }
    let all = tokio::time::timeout(Duration::from_secs(60), read(hub.clone(), 1, 5000)).await;
    assert_eq!(all.expect("a turn comes").len(), 5000);
    cancel.cancel();
}

/// The state of all nodes was held for whoever asked for it and read a little of it now and then, however many they were.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_stands_is_held_for_those_alone_who_read_it() {
    let folder = tempfile::tempdir().unwrap();
    let fake = FakeHub::start(folder.path());
    let cancel = CancellationToken::new();
    let place = Place { socket: fake.socket.clone(), state_dir: folder.path().to_owned() };
    let hub = Hub::start_with(&place, &cancel, 8000);
    let mut slow = listen(&hub, StartFrom::Snapshot).await;
    assert!(matches!(slow.next().await, Next::Said(_)));
    // Its turn is taken from it.
    while hub.catch_up_counts().1 > 0 {
        sleep(LOOK / 30).await;
    }
    assert!(matches!(slow.next().await, Next::Over(Over::Slow)));
    let (mut again, mut nodes) = (listen(&hub, StartFrom::Snapshot).await, 0);
    loop {
        let Next::Said(said) = again.next().await else { panic!("it is read, and not cut") };
        nodes += said.iter().filter(|said| matches!(said, Said::State(_))).count();
        if said.iter().any(|said| matches!(said, Said::Progress(_))) {
            break;
        }
    }
    assert_eq!(nodes, 40);
    cancel.cancel();
}

#[tokio::test]
async fn signs_of_life_come_together_and_never_late() {
    let folder = tempfile::tempdir().unwrap();
    let place = Place { socket: folder.path().join("none"), state_dir: folder.path().to_owned() };
    let cancel = CancellationToken::new();
    let hub = Hub::start_with(&place, &cancel, 8000);
    let moments: Vec<_> =
        (0..1000).map(|ms| hub.on_the_second(hub.began + QUIET + Duration::from_millis(ms))).collect();
    assert!(moments.iter().all(|moment| *moment == hub.began + QUIET));
    cancel.cancel();
}
