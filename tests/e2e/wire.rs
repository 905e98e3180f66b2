//! Hostile peers: each ends its own connection with a logged reason, and nobody else notices.

use std::{
    collections::BTreeMap,
    io::{Read, Write},
    net::TcpStream,
    os::unix::net::UnixStream,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use secmon_protocol::{
    codec::encode,
    ids::{Epoch, RequestId, Seq},
    message::{
        client::{ClientToHub, VERSION},
        join,
        node::{self, Hello, HostFacts, HubToNode, NodeToHub},
    },
    time::UnixNanos,
};
use secmon_testkit::{
    json::text,
    process::lines,
    product::{Hub, Lab, Node, NodeSetup, Place, Watch, arg},
    utmp,
    wait::{DEADLINE, eventually},
};

use crate::tls;

/// Three of these are a hub's patience with a silent peer. Short, for the tests' sake, and still longer than a
/// loaded machine keeps an honest node from its turn.
const HEARTBEAT_SECS: u32 = 2;

/// A hub with a node and a watcher who must not notice anything.
struct Scene {
    hub: Hub<'static>,
    node: Node<'static>,
    setup: NodeSetup,
    watch: Watch,
    lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let setup = NodeSetup::quiet(&lab);
        let config = lab.write("hub.toml", format!("[hub]\nheartbeat_secs = {HEARTBEAT_SECS}\n"));
        let hub = Hub::start_with(&lab, Place::Here, &["--config", arg(&config), "--listen", "127.0.0.1:0"]);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        hub.wait_for_facet("web1", "sessions", "ready");
        let watch = hub.watch(&[]);
        Self { hub, node, setup, watch, lab }
    }

    /// The innocent are served as before, on the connections that they had.
    #[track_caller]
    fn nobody_else_noticed(mut self) {
        let pid = std::process::id();
        let login = utmp::Login { line: "pts/70", user: "after", host: "", address: [0; 4], pid };
        utmp::write_slot(&self.setup.utmp, 0, &login.record()).unwrap();
        self.watch.find_user("session.opened", "after");
        let of_node = |event: &&serde_json::Value| {
            text(event, "secmon.type").starts_with("node.") && text(event, "host.name") == "web1"
        };
        assert_eq!(self.watch.events.iter().find(of_node), None, "the node kept its connection");
        assert!(self.node.process().is_running());
        assert_eq!(self.hub.client(&["list"]).code(), 0);
    }

    /// The hub has logged a line that names this peer, by its address or by its process.
    #[track_caller]
    fn logged(&self, what: &str, peer: &str) {
        self.hub.process().wait_for_log(&format!("a reason for {what} of {peer}"), |line| {
            line.contains(peer) && (line.contains("reason") || line.contains("error"))
        });
    }
}

fn frame(body: &[u8]) -> Vec<u8> {
    let length = u32::try_from(body.len()).expect("a small frame");
    [&length.to_be_bytes()[..], body].concat()
}

/// A node's first message, with a clock that is behind by so much.
fn hello(behind: Duration) -> NodeToHub {
    let clock = SystemTime::now().duration_since(UNIX_EPOCH).unwrap() - behind;
    NodeToHub::Hello(Hello {
        agent: "0.1.0".to_owned(),
        facts: HostFacts::default(),
        epoch: Epoch(7),
        oldest: Seq(1),
        newest: Seq(0),
        clock: UnixNanos(i64::try_from(clock.as_nanos()).unwrap()),
        extensions: BTreeMap::new(),
    })
}

/// What a peer says that has no right to be answered; `wrong_kind` is a message of another conversation.
fn abuses(wrong_kind: &[u8]) -> Vec<(&'static str, Vec<u8>)> {
    let noise: Vec<u8> = (0..1024_u32).map(|i| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    vec![
        ("garbage", noise.clone()),
        ("a frame of garbage", frame(&noise)),
        ("an empty frame", frame(&[])),
        ("a length of 4 GiB", vec![0xff; 4]),
        ("half a frame", frame(&noise)[..500].to_vec()),
        ("a frame of the wrong kind", frame(wrong_kind)),
        ("plain HTTP", b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n".to_vec()),
        ("nothing at all", Vec::new()),
    ]
}

/// The hub ends a connection, whatever it answers first.
#[track_caller]
fn ends(what: &str, mut stream: impl Read) {
    let started = Instant::now();
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer) {
            Ok(0) => return,
            Ok(_) => assert!(started.elapsed() < DEADLINE, "{what}: the hub goes on talking"),
            Err(error)
                if matches!(error.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) =>
            {
                panic!("{what}: the hub keeps the connection")
            }
            // A reset is an end as well.
            Err(_) => return,
        }
    }
}

#[test]
fn a_peer_that_does_not_speak_tls_is_turned_away() {
    let scene = Scene::new();
    let open = |(what, bytes): (&'static str, Vec<u8>)| {
        let mut peer = TcpStream::connect(scene.hub.address).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        // The hub may have closed already.
        let _ = peer.write_all(&bytes);
        (what, peer)
    };
    let peers: Vec<_> = abuses(b"x").into_iter().map(open).collect();
    for (what, peer) in peers {
        let address = peer.local_addr().unwrap().to_string();
        ends(what, peer);
        scene.logged(what, &address);
    }
    scene.nobody_else_noticed();
}

#[test]
fn a_peer_that_asks_to_join_and_talks_nonsense_is_turned_away() {
    let scene = Scene::new();
    let wrong = encode(&ClientToHub::List { request: RequestId(1) });
    let open = |(what, bytes): (&'static str, Vec<u8>)| {
        let mut peer = tls::connect(scene.hub.address, join::ALPN, None).unwrap();
        let _ = peer.write_all(&bytes).and_then(|()| peer.flush());
        (what, peer)
    };
    let peers: Vec<_> = abuses(&wrong).into_iter().map(open).collect();
    for (what, peer) in peers {
        let address = peer.sock.local_addr().unwrap().to_string();
        ends(what, peer);
        scene.logged(what, &address);
    }
    scene.nobody_else_noticed();
}

#[test]
fn a_node_with_papers_that_talks_nonsense_is_turned_away() {
    let scene = Scene::new();
    let wrong = encode(&HubToNode::Ack { seq: Seq(1) });
    let thief = Node::join(&scene.lab, Place::Here, &scene.hub, "stolen", &NodeSetup::quiet(&scene.lab));
    thief.process().kill();
    scene.hub.wait_for_node("stolen", "away");
    let papers = || Some(tls::identity(thief.state()));
    for greeting in [Vec::new(), frame(&encode(&hello(Duration::ZERO)))] {
        // One after the other: of two connections of one node, the newer wins.
        for (what, bytes) in abuses(&wrong) {
            let mut peer = tls::connect(scene.hub.address, node::ALPN, papers()).unwrap();
            let _ =
                peer.write_all(&greeting).and_then(|()| peer.write_all(&bytes)).and_then(|()| peer.flush());
            let address = peer.sock.local_addr().unwrap().to_string();
            ends(what, peer);
            scene.logged(what, &address);
        }
    }
    scene.nobody_else_noticed();
}

#[test]
fn a_node_without_papers_is_turned_away() {
    let scene = Scene::new();
    if let Ok(peer) = tls::connect(scene.hub.address, node::ALPN, None) {
        let address = peer.sock.local_addr().unwrap().to_string();
        ends("a node without a certificate", peer);
        scene.logged("a node without a certificate", &address);
    }
    assert!(tls::connect(scene.hub.address, b"h2", None).is_err(), "only secmon's protocols are spoken");
    scene.nobody_else_noticed();
}

#[test]
fn a_client_that_talks_nonsense_is_turned_away() {
    let scene = Scene::new();
    let wrong = encode(&HubToNode::Ack { seq: Seq(1) });
    let before = scene.hub.process().output().stderr.len();
    let mut all = abuses(&wrong);
    all.push(("a request before Hello", frame(&encode(&ClientToHub::List { request: RequestId(1) }))));
    let hello = frame(&encode(&ClientToHub::Hello { version: VERSION, agent: "test".to_owned() }));
    all.push(("two Hellos", hello.repeat(2)));
    let count = all.len();
    let open = |(what, bytes): (&'static str, Vec<u8>)| {
        let mut peer = UnixStream::connect(scene.hub.socket()).unwrap();
        peer.set_read_timeout(Some(DEADLINE)).unwrap();
        let _ = peer.write_all(&bytes);
        (what, peer)
    };
    let peers: Vec<_> = all.into_iter().map(open).collect();
    for (what, peer) in peers {
        ends(what, peer);
    }
    eventually("a reason for each client", || {
        let log = scene.hub.process().output().stderr[before..].to_vec();
        let reasons = lines(&log).filter(|line| line.contains("WARN") && line.contains("reason=")).count();
        (reasons >= count).then_some(())
    });
    scene.nobody_else_noticed();
}

#[test]
fn a_node_whose_clock_is_off_is_warned_about_with_the_offset() {
    let scene = Scene::new();
    let mut peer =
        tls::connect(scene.hub.address, node::ALPN, Some(tls::identity(scene.node.state()))).unwrap();
    peer.write_all(&frame(&encode(&hello(Duration::from_secs(3600))))).unwrap();
    peer.flush().unwrap();
    scene.hub.process().wait_for_log("a warning about the clock", |line| {
        line.contains("WARN") && line.contains("clock") && line.contains("3600")
    });
}
