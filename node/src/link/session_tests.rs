use std::collections::BTreeMap;

use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    ids::{Epoch, NodeName},
    message::{
        ErrorCode, Refusal,
        runner::{NodeToRunner, RunnerToNode},
    },
    record::NodeRecord,
    time::UnixNanos,
};
use tokio::io::{DuplexStream, ReadHalf, WriteHalf, duplex};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::{
    actor,
    commands::Executor,
    core::{Limits, Start},
    jobs,
    outbox::Keeper,
    watch::{Observation, Observations},
};

const NODE: NodeId = NodeId([7; 16]);
const HEARTBEAT: u32 = 1000;

/// A core with its task, and what stands in for watchers.
struct Scene {
    core: Core,
    observations: Observations,
    jobs: Jobs,
    _executor: Ends,
    _stop: tokio_util::sync::DropGuard,
}

/// What an executor would have: it takes orders, and nothing comes of them.
struct Ends {
    _orders: mpsc::Receiver<NodeToRunner>,
    _news: mpsc::Sender<RunnerToNode>,
    _state: tempfile::TempDir,
}

fn no_commands() -> (Jobs, Ends) {
    let (orders, _orders) = mpsc::channel(64);
    let (_news, news) = mpsc::channel(16);
    let state = tempfile::tempdir().unwrap();
    let (jobs, task) = jobs::jobs(Executor { orders, news }, state.path(), CancellationToken::new());
    tokio::spawn(task);
    (jobs, Ends { _orders, _news, _state: state })
}

impl Scene {
    fn new() -> Self {
        let (observations, auth) = mpsc::channel(16);
        let (_, state) = mpsc::channel(1);
        let stop = CancellationToken::new();
        let clock = actor::Clock::new(now);
        let (fresh, boot, capacity) = (Epoch(1), None, 64 << 20);
        let keeper =
            Keeper::in_memory(Start { fresh, boot, capacity, limits: Limits::default(), now: clock.now() });
        let (core, task) = actor::core(keeper, actor::Observed { state, auth }, clock, stop.clone());
        tokio::spawn(task);
        Self::of(core, observations, stop)
    }

    fn of(core: Core, observations: Observations, stop: CancellationToken) -> Self {
        let (jobs, _executor) = no_commands();
        Self { core, observations, jobs, _executor, _stop: stop.drop_guard() }
    }

    async fn happen(&self, message: &str) {
        let event = AuthEvent::new(UnixNanos(1), "sshd", None, AuthAction::Failed, message);
        self.observations.send(Observation::Auth(Box::new(event))).await.unwrap();
    }

    /// Connects; gives the hub's side and the end to come.
    fn connect(&self) -> (FakeHub, tokio::task::JoinHandle<LinkError>) {
        let (node, hub) = duplex(1 << 20);
        let (core, jobs) = (self.core.clone(), self.jobs.clone());
        let task = tokio::spawn(async move {
            let Err(end) = session(node, NODE, "test", &core, &jobs, &mut None).await;
            end
        });
        let (read, write) = tokio::io::split(hub);
        (FakeHub { reader: Reader::new(read), writer: Writer::new(write) }, task)
    }
}

struct FakeHub {
    reader: Reader<ReadHalf<DuplexStream>, NodeToHub>,
    writer: Writer<WriteHalf<DuplexStream>>,
}

impl FakeHub {
    async fn say(&mut self, message: HubToNode) {
        self.writer.send(&message, ANSWER).await.unwrap();
    }

    async fn hello(&mut self) -> Hello {
        match self.reader.next(ANSWER).await.unwrap() {
            NodeToHub::Hello(hello) => hello,
            other => panic!("{other:?}"),
        }
    }

    async fn welcome(&mut self, resume: Resume) {
        let name: NodeName = "web-1".parse().unwrap();
        let (heartbeat_ms, clock, extensions) = (HEARTBEAT, now(), BTreeMap::new());
        self.say(HubToNode::Welcome(Welcome { node: NODE, name, resume, heartbeat_ms, clock, extensions }))
            .await;
    }

    async fn greet(&mut self, resume: Resume) {
        self.hello().await;
        self.welcome(resume).await;
    }

    /// The seqs of the next batch.
    async fn seqs(&mut self) -> Vec<u64> {
        loop {
            match self.reader.next(ANSWER).await.unwrap() {
                NodeToHub::Records(list) => {
                    return codec::decode_list::<NodeRecord>(&list)
                        .unwrap()
                        .iter()
                        .map(|r| r.seq.0)
                        .collect();
                }
                NodeToHub::Pong { .. } | NodeToHub::Commands(_) | NodeToHub::Jobs(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    async fn ping(&mut self) {
        self.say(HubToNode::Ping { nonce: 9 }).await;
        loop {
            match self.reader.next(ANSWER).await.unwrap() {
                NodeToHub::Pong { nonce } => return assert_eq!(nonce, 9),
                NodeToHub::Commands(_) | NodeToHub::Jobs(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }
}

#[tokio::test]
async fn what_was_not_acknowledged_is_sent_again_and_what_was_is_not() {
    let scene = Scene::new();
    for message in ["a", "b", "c"] {
        scene.happen(message).await;
    }
    scene.core.head().wait_for(|head| head.newest == Seq(3)).await.unwrap();
    let (mut hub, end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    assert_eq!(hub.seqs().await, [1, 2, 3]);
    hub.say(HubToNode::Ack { seq: Seq(1) }).await;
    scene.happen("d").await;
    assert_eq!(hub.seqs().await, [4]);
    drop(hub);
    let end = end.await.unwrap();
    assert!(matches!(end, LinkError::Closed | LinkError::Io(_)), "{end}");

    let (mut hub, _end) = scene.connect();
    let hello = hub.hello().await;
    assert_eq!((hello.epoch, hello.oldest, hello.newest), (Epoch(1), Seq(2), Seq(4)));
    // The hub had kept more than its acknowledgements said.
    hub.welcome(Resume::After(Seq(3))).await;
    assert_eq!(hub.seqs().await, [4]);
}

#[tokio::test]
async fn a_hub_that_does_not_acknowledge_gets_no_more_than_the_window() {
    let scene = Scene::new();
    let (mut hub, _end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    let message = "x".repeat(4000);
    for _ in 0..2000 {
        scene.happen(&message).await;
    }
    scene.core.head().wait_for(|head| head.newest == Seq(2000)).await.unwrap();
    let mut last = 0;
    // As long as less than the window is on its way, at least one more batch comes.
    while (last as usize) * message.len() < WINDOW - (1 << 20) {
        last = *hub.seqs().await.last().unwrap();
    }
    hub.say(HubToNode::Ping { nonce: 9 }).await;
    loop {
        match hub.reader.next(ANSWER).await.unwrap() {
            NodeToHub::Pong { .. } => break,
            NodeToHub::Records(list) => {
                last = codec::decode_list::<NodeRecord>(&list).unwrap().last().unwrap().seq.0;
            }
            NodeToHub::Commands(_) | NodeToHub::Jobs(_) => {}
            other => panic!("{other:?}"),
        }
    }
    assert!(last < 2000, "all of it was sent");
    hub.ping().await;
    hub.say(HubToNode::Ack { seq: Seq(last) }).await;
    assert_eq!(hub.seqs().await[0], last + 1);
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_falls_silent_is_given_up() {
    let scene = Scene::new();
    let (mut hub, end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    hub.ping().await;
    assert!(matches!(end.await.unwrap(), LinkError::Silent(_)));
}

#[tokio::test(start_paused = true)]
async fn a_hub_that_never_answers_is_given_up() {
    let scene = Scene::new();
    let (_hub, end) = scene.connect();
    assert!(matches!(end.await.unwrap(), LinkError::Silent(_)));
}

#[tokio::test]
async fn a_hub_that_would_make_the_node_forget_what_it_has_not_sent_is_left() {
    let scene = Scene::new();
    scene.happen("a").await;
    scene.core.head().wait_for(|head| head.newest == Seq(1)).await.unwrap();
    let (mut hub, end) = scene.connect();
    hub.greet(Resume::After(Seq(2))).await;
    assert!(matches!(end.await.unwrap(), LinkError::Protocol(_)));

    let (mut hub, end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    hub.seqs().await;
    hub.say(HubToNode::Ack { seq: Seq(2) }).await;
    assert!(matches!(end.await.unwrap(), LinkError::Protocol(_)));
    assert_eq!(scene.core.opening().await.unwrap().oldest, Seq(1), "it is still held");
}

#[tokio::test]
async fn a_refusal_is_told_as_the_hub_words_it() {
    let scene = Scene::new();
    let (mut hub, end) = scene.connect();
    hub.hello().await;
    hub.say(HubToNode::Reject(Refusal::new(ErrorCode::NotPermitted, "no such node"))).await;
    assert!(end.await.unwrap().to_string().contains("no such node"));
}

#[tokio::test]
async fn a_message_out_of_place_ends_the_connection() {
    let scene = Scene::new();
    for wrong in [HubToNode::Resync, HubToNode::Ping { nonce: 1 }] {
        let (mut hub, end) = scene.connect();
        hub.hello().await;
        hub.say(wrong).await;
        assert!(matches!(end.await.unwrap(), LinkError::Protocol(_)));
    }
    let (mut hub, end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    hub.welcome(Resume::Oldest).await;
    assert!(matches!(end.await.unwrap(), LinkError::Protocol(_)));
}

/// What a disk that hangs does to the core: it stops within what it does, at the next look at the clock.
static HANGS: (std::sync::Mutex<bool>, std::sync::Condvar) =
    (std::sync::Mutex::new(false), std::sync::Condvar::new());

fn hanging_clock() -> UnixNanos {
    let hangs = HANGS.0.lock().unwrap();
    drop(HANGS.1.wait_while(hangs, |hangs| *hangs).unwrap());
    now()
}

fn hang(hangs: bool) {
    *HANGS.0.lock().unwrap() = hangs;
    HANGS.1.notify_all();
}

#[tokio::test]
async fn a_core_that_hangs_on_its_disk_stops_neither_heartbeats_nor_acknowledgements() {
    let (observations, auth) = mpsc::channel(16);
    let (_, state) = mpsc::channel(1);
    let stop = CancellationToken::new();
    let clock = actor::Clock::new(hanging_clock);
    let (fresh, boot, capacity) = (Epoch(1), None, 64 << 20);
    let keeper =
        Keeper::in_memory(Start { fresh, boot, capacity, limits: Limits::default(), now: clock.now() });
    let (core, task) = actor::core(keeper, actor::Observed { state, auth }, clock, stop.clone());
    // As the node has it: a thread of its own.
    let thread = std::thread::spawn(|| {
        tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(task);
    });
    let scene = Scene::of(core, observations, stop);
    let (mut hub, _end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    scene.happen("a").await;
    assert_eq!(hub.seqs().await, [1]);

    hang(true);
    scene.happen("b").await;
    // More than any queue between the two holds.
    for _ in 0..100 {
        hub.ping().await;
        hub.say(HubToNode::Ack { seq: Seq(1) }).await;
        hub.say(HubToNode::Resync).await;
    }
    hang(false);
    let mut last = 0;
    while last < 2 {
        last = *hub.seqs().await.last().unwrap();
    }
    drop(scene);
    tokio::task::spawn_blocking(|| thread.join()).await.unwrap().unwrap();
}

#[tokio::test]
async fn a_node_that_stops_waits_for_the_hub_to_have_everything_and_for_no_hub_that_is_away() {
    let scene = Scene::new();
    let (mut hub, _end) = scene.connect();
    hub.greet(Resume::Oldest).await;
    scene.happen("a").await;
    let Scene { core, observations, jobs: _jobs, _executor, _stop } = scene;
    drop(observations);
    assert_eq!(hub.seqs().await, [1]);
    let drained = tokio::spawn({
        let core = core.clone();
        async move { core.drained().await }
    });
    // It still answers, and does not end.
    hub.ping().await;
    assert!(!drained.is_finished());
    hub.say(HubToNode::Ack { seq: Seq(1) }).await;
    assert!(drained.await.unwrap());

    let scene = Scene::new();
    scene.happen("a").await;
    scene.core.head().wait_for(|head| head.newest == Seq(1)).await.unwrap();
    let Scene { core, observations, jobs: _jobs, _executor, _stop } = scene;
    drop(observations);
    assert!(!core.drained().await, "nobody is there to take it");
}

#[tokio::test]
async fn a_new_epoch_ends_the_connection_that_was_opened_for_the_old_one() {
    let (core, mut fake) = actor::fake();
    let scene = Scene::of(core, mpsc::channel(1).0, CancellationToken::new());
    let (mut hub, end) = scene.connect();
    fake.open(Epoch(1)).await;
    hub.greet(Resume::Oldest).await;
    hub.ping().await;
    fake.turn_to(Epoch(2));
    assert!(matches!(end.await.unwrap(), LinkError::Renumbered));
}
#[path = "hostile_tests.rs"]
mod hostile;
