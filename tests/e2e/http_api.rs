//! The HTTP API over the real binary: what stands, and events, with no hole and no repeat over restarts of the bridge and
//! of the hub.

use std::{fs::OpenOptions, io::Write as _, path::PathBuf, time::Duration};

use futures::{SinkExt as _, StreamExt as _};
use rand::{Rng as _, SeedableRng as _, rngs::StdRng, seq::IndexedRandom as _};
use reqwest::{Method, StatusCode};
use secmon_testkit::{
    json::{at, number, text},
    product::{Bridge, Hub, Lab, Node, NodeSetup, Place, bridge::Sent},
    wait::DEADLINE,
};
use serde_json::Value;
use tokio::{runtime::Runtime, time::timeout};
use tokio_tungstenite::tungstenite::{Message, client::IntoClientRequest as _};

/// How a syslog daemon writes a line by RFC 3164; the date is any, the product takes the nearest year.
const FRAME: &str = "Nov 21 03:00:00 web1 sshd[4711]: ";

struct Scene {
    bridge: Bridge,
    _nodes: Vec<Node<'static>>,
    hub: Hub<'static>,
    logs: Vec<PathBuf>,
    /// Last: the others' files are in it.
    _lab: Lab,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With further tokens.
    fn with(tokens: &[&[&str]]) -> Self {
        let lab = Lab::new();
        let hub = Hub::start(&lab, Place::Here);
        let (mut nodes, mut logs) = (vec![], vec![]);
        for name in ["web1", "db1"] {
            let log = lab.write(&format!("{name}.log"), "");
            let setup = NodeSetup::quiet(&lab).with_auth_file(&log);
            nodes.push(Node::join(&lab, Place::Here, &hub, name, &setup));
            hub.wait_for_facet(name, "auth_log", "ready");
            logs.push(log);
        }
        let bridge = Bridge::start_with(&lab, &hub, tokens);
        Self { bridge, _nodes: nodes, hub, logs, _lab: lab }
    }

    /// A failed login of somebody on the node of that number.
    fn fail(&self, node: usize, user: &str) {
        let line = format!("{FRAME}Failed password for {user} from 192.0.2.7 port 50000 ssh2\n");
        self.append(node, &line);
    }

    /// A login.
    fn accept(&self, node: usize, user: &str) {
        let line = format!("{FRAME}Accepted password for {user} from 192.0.2.7 port 50000 ssh2\n");
        self.append(node, &line);
    }

    fn append(&self, node: usize, line: &str) {
        let mut log = OpenOptions::new().append(true).open(&self.logs[node]).unwrap();
        log.write_all(line.as_bytes()).unwrap();
    }
}

fn block_on(test: impl Future<Output = ()>) {
    Runtime::new().unwrap().block_on(test);
}

fn is(user: &str) -> impl Fn(&Value) -> bool {
    move |event| text(event, "user.name") == user
}

fn users(sent: &[Sent]) -> Vec<String> {
    sent.iter().map(|sent| text(&sent.data, "user.name").to_owned()).filter(|user| !user.is_empty()).collect()
}

#[test]
fn what_stands_is_as_the_command_line_prints_it() {
    let scene = Scene::new();
    block_on(async {
        let (status, listed) = scene.bridge.get("/v1/nodes").await;
        assert_eq!((status, &listed["nodes"]), (StatusCode::OK, &Value::Array(scene.hub.json(&["list"]))));
        let (status, shown) = scene.bridge.get("/v1/nodes/web1").await;
        assert_eq!((status, &shown), (StatusCode::OK, &scene.hub.json(&["show", "web1"])[0]));
        let id = text(&shown, "host.id");
        assert_eq!(scene.bridge.get(&format!("/v1/nodes/{id}")).await.1, shown);
        let (_, one) = scene.bridge.get("/v1/nodes?node=d*&status=online").await;
        assert_eq!(one["nodes"].as_array().unwrap().len(), 1, "{one}");
        assert_eq!(scene.bridge.get("/v1/nodes?status=away").await.1["nodes"], Value::Array(vec![]));

        let response = scene.bridge.request(Method::GET, "/v1/nodes").send().await.unwrap();
        let tag = response.headers()["etag"].clone();
        let same = scene.bridge.request(Method::GET, "/v1/nodes").header("if-none-match", &tag);
        assert_eq!(same.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
        let another = scene.bridge.request(Method::GET, "/v1/nodes?node=web1").header("if-none-match", &tag);
        assert_eq!(another.send().await.unwrap().status(), StatusCode::OK);
    });
}

#[test]
fn what_makes_no_sense_is_told_by_its_name_and_what_is_not_there_is_not_found() {
    let scene = Scene::new();
    block_on(async {
        for (path, status, words) in [
            ("/v1/nodes?nod=x", 400, "nod"),
            ("/v1/nodes?status=up", 400, "status"),
            ("/v1/nodes/web", 404, "web1"),
            ("/v1/nodes/%00%ff", 400, "UTF-8"),
            ("/v1/nodes/a%2Fb%0A", 404, "a/b"),
            ("/v1/jobs?state=going", 400, "state"),
            ("/v1/jobs?limit=0", 400, "limit"),
            ("/v1/jobs/ffffffffffffffff", 404, "ffff"),
            ("/v1/events?wait=2h", 400, "wait"),
            ("/v1/events?wait=1s&since=lately", 400, "since"),
            ("/v1/events?wait=1s&after=x", 400, "after"),
            ("/v1/events?wait=1s&snapshot=true", 400, "snapshot"),
            ("/v1/events?since=10m&snapshot=true", 400, "snapshot"),
            ("/v1/events?wait=1s&after=ffffffffffffffff-18446744073709551616", 400, "after"),
            ("/v1/events/ws", 426, "WebSocket"),
            ("/v1/nothing", 404, "nothing"),
        ] {
            let (got, problem) = scene.bridge.get(path).await;
            assert_eq!(got.as_u16(), status, "{path}: {problem}");
            assert_eq!(problem["status"], status, "{path}: {problem}");
            let told = format!("{} {}", text(&problem, "detail"), problem["near"]);
            assert!(told.contains(words), "{path}: {problem}");
        }
        let last = scene.bridge.request(Method::GET, "/v1/events").header("last-event-id", "x");
        let last = last.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(last.status(), StatusCode::BAD_REQUEST);
        for (method, path) in [("POST", "/v1/nodes"), ("DELETE", "/v1/jobs"), ("PUT", "/v1/nodes/web1")] {
            let wrong = scene.bridge.request(method.parse().unwrap(), path).send().await.unwrap();
            assert_eq!(wrong.status(), StatusCode::METHOD_NOT_ALLOWED, "{method} {path}");
        }
        let head = scene.bridge.request(Method::HEAD, "/v1/nodes").send().await.unwrap();
        assert_eq!(head.status(), StatusCode::OK);
    });
}

#[test]
fn events_come_as_they_happen_and_those_of_other_nodes_and_types_do_not() {
    let scene = Scene::new();
    block_on(async {
        let mut all = scene.bridge.listen("", None).await;
        let mut some = scene.bridge.listen("?node=web*&type=auth.failed", None).await;
        scene.fail(1, "on-db1");
        scene.accept(0, "accepted");
        scene.fail(0, "bob");
        let sent = some.until("bob", is("bob")).await;
        assert_eq!(users(&sent), ["bob"]);
        let bob = sent.last().unwrap();
        assert_eq!(bob.id.as_deref(), Some(text(&bob.data, "secmon.cursor")));
        assert_eq!((bob.kind.as_str(), text(&bob.data, "host.name")), ("", "web1"));
        let mut all = all.until("bob", is("bob")).await;
        // The other node's may be behind it.
        all.retain(|sent| is("accepted")(&sent.data) || is("bob")(&sent.data));
        assert_eq!(users(&all), ["accepted", "bob"]);
    });
}

#[test]
fn a_snapshot_comes_first_and_what_happens_behind_it() {
    let scene = Scene::new();
    block_on(async {
        let mut stream = scene.bridge.listen("?snapshot=true", None).await;
        let mut states = vec![];
        let place = loop {
            let sent = stream.next().await.unwrap();
            if sent.kind == "progress" {
                break sent.id.unwrap();
            }
            assert_eq!((text(&sent.data, "event.kind"), &sent.id), ("state", &None), "{sent:?}");
            states.push(sent.data);
        };
        let nodes = states.iter().filter(|state| text(state, "secmon.type") == "node.state").count();
        assert_eq!(nodes, 2, "{states:#?}");
        scene.fail(0, "bob");
        let after = stream.until("bob", is("bob")).await;
        assert!(after.iter().all(|sent| text(&sent.data, "event.kind") == "event"));
        let again = scene.bridge.listen("", Some(&place)).await.until("bob", is("bob")).await;
        assert_eq!(after, again);
    });
}

#[test]
fn a_token_for_some_nodes_learns_nothing_of_the_others() {
    let scene = Scene::with(&[&["some", "--role", "viewer", "--nodes", "web*"]]);
    let token = scene.bridge.tokens[0].clone();
    let known = scene.hub.json(&["show", "db1"])[0].clone();
    let id = text(&known, "host.id").to_owned();
    block_on(async {
        let (_, listed) = scene.bridge.get_as(&token, "/v1/nodes").await;
        let listed = listed["nodes"].as_array().unwrap().clone();
        assert_eq!(listed.iter().map(|node| text(node, "host.name")).collect::<Vec<_>>(), ["web1"]);
        for hidden in ["db1", &id, &id[..13]] {
            let (status, problem) = scene.bridge.get_as(&token, &format!("/v1/nodes/{hidden}")).await;
            let (_, none) = scene.bridge.get_as(&token, "/v1/nodes/db2").await;
            assert_eq!(status, StatusCode::NOT_FOUND, "{problem}");
            let words = text(&problem, "detail").replace(hidden, "db2");
            assert_eq!(words, text(&none, "detail"), "as one that is not there");
            assert!(problem["near"].is_null() && none["near"].is_null(), "{problem} {none}");
        }
        // Live, and behind the ring.
        let mut live = scene.bridge.listen_as(&token, "", None).await;
        scene.fail(1, "hidden");
        scene.fail(0, "seen");
        let live = live.until("seen", is("seen")).await;
        let past = scene.bridge.listen_as(&token, "?since=1h", None).await.until("seen", is("seen")).await;
        for sent in live.iter().chain(&past).filter(|sent| sent.kind.is_empty()) {
            assert_eq!(text(&sent.data, "host.name"), "web1", "{sent:?}");
        }
    });
}

#[test]
fn who_comes_back_goes_on_where_he_was_over_restarts_of_bridge_and_hub() {
    let mut scene = Scene::new();
    block_on(async {
        let mut events: Vec<Sent> = vec![];
        let mut last: Option<String> = None;
        let (mut stream, mut sent) = (scene.bridge.listen("", None).await, 0);
        for round in 0..6 {
            for _ in 0..3 {
                scene.fail(sent % 2, &format!("user{sent}"));
                sent += 1;
            }
            let newest = format!("user{}", sent - 1);
            let found = stream.until(&newest, is(&newest)).await;
            events.extend(found);
            last = events.iter().rev().find_map(|sent| sent.id.clone()).or(last);
            match round % 3 {
                // The stream of a hub that is gone stays open.
                0 => {
                    scene.hub.process().kill();
                    scene.fail(0, "meanwhile");
                    scene.hub.start_again();
                    events.extend(stream.until("meanwhile", is("meanwhile")).await);
                    last = events.iter().rev().find_map(|sent| sent.id.clone());
                }
                1 => {
                    scene.bridge.process().kill();
                    scene.fail(0, "without a bridge");
                    scene.bridge.start_again();
                    stream = scene.bridge.listen("", last.as_deref()).await;
                }
                _ => {
                    scene.bridge.process().terminate();
                    scene.hub.process().kill();
                    scene.hub.start_again();
                    scene.bridge.start_again();
                    stream = scene.bridge.listen("", last.as_deref()).await;
                }
            }
        }
        scene.fail(0, "last");
        events.extend(stream.until("last", is("last")).await);
        let first = events.iter().find_map(|sent| sent.id.clone()).unwrap();
        let mut watch = scene.hub.watch(&["--since", &first]);
        watch.find_user("auth.failed", "last");
        // The same records in the same order; the first one began the stream. A cursor has the id that the log had when it was
        // given out, so numbers are compared.
        let came: Vec<&Value> =
            events.iter().filter(|sent| sent.kind.is_empty()).map(|sent| &sent.data).skip(1).collect();
        let of = |event: &Value| {
            let about =
                ["secmon.type", "host.name", "user.name", "message"].map(|at| text(event, at).to_owned());
            (number(event, "event.sequence"), about)
        };
        let expected: Vec<_> = watch.events.iter().map(of).collect();
        assert_eq!(came.iter().map(|event| of(event)).collect::<Vec<_>>(), expected);
        assert!(came.iter().all(|event| text(event, "secmon.type") != "gap"));
    });
}

#[test]
fn every_filter_from_every_place_gives_what_the_socket_gives() {
    let mut scene = Scene::new();
    let mut chance = StdRng::seed_from_u64(7);
    for n in 0..60 {
        let (node, user) = (chance.random_range(0..2), format!("user{n}"));
        if chance.random_bool(0.5) { scene.fail(node, &user) } else { scene.accept(node, &user) }
    }
    let mut watch = scene.hub.watch(&["--since", "1h"]);
    watch.find_in_all("all users", |events| {
        let users = events.iter().filter(|event| text(event, "user.name").starts_with("user")).count();
        (users == 60).then_some(())
    });
    // Its ring then begins behind all of that.
    scene.bridge.process().terminate();
    scene.bridge.start_again();
    for n in 60..80 {
        scene.fail(n % 2, &format!("user{n}"));
    }
    scene.accept(0, "sentinel");
    scene.accept(1, "sentinel");
    watch.find_in_all("both sentinels", |events| {
        (events.iter().filter(|event| is("sentinel")(event)).count() == 2).then_some(())
    });
    // Patterns, and the nodes that they match.
    let nodes: [(&[&str], &[&str]); 4] = [
        (&[], &["web1", "db1"]),
        (&["web*"], &["web1"]),
        (&["db1"], &["db1"]),
        (&["?eb1", "d*"], &["web1", "db1"]),
    ];
    let types: [&[&str]; 3] = [&[], &["auth.*"], &["auth.accepted"]];
    block_on(async {
        for _ in 0..24 {
            let from = chance.random_range(0..watch.events.len());
            let (before, behind) = watch.events.split_at(from + 1);
            let from = text(&before[from], "secmon.cursor");
            let ((nodes, names), types) =
                (nodes.choose(&mut chance).unwrap(), types.choose(&mut chance).unwrap());
            let sentinels = behind
                .iter()
                .filter(|event| is("sentinel")(event) && names.contains(&text(event, "host.name")))
                .count();
            let (mut args, mut query) = (vec!["--since", from], String::new());
            for node in *nodes {
                args.extend(["--node", node]);
                query.push_str(&format!("&node={}", node.replace('?', "%3F")));
            }
            for kind in *types {
                args.extend(["--type", kind]);
                query.push_str(&format!("&type={kind}"));
            }
            let mut expected = scene.hub.watch(&args);
            expected.find_in_all("the sentinels", |events| {
                (events.iter().filter(|event| is("sentinel")(event)).count() == sentinels).then_some(())
            });
            let mut stream = scene.bridge.listen(&format!("?since=now{query}"), Some(from)).await;
            let mut came = vec![];
            while came.len() < expected.events.len() {
                let sent = stream.next().await.unwrap();
                if sent.kind.is_empty() {
                    came.push(sent.data);
                }
            }
            assert_eq!(came, expected.events, "{query} after {from}");

            // The same by long poll, in pages.
            let (mut after, mut polled) = (from.to_owned(), vec![]);
            while polled.len() < expected.events.len() {
                let path = format!("/v1/events?after={after}&wait=10s&limit=7{query}");
                let (status, page) = scene.bridge.get(&path).await;
                assert_eq!(status, StatusCode::OK, "{page}");
                polled.extend(page["events"].as_array().unwrap().clone());
                text(&page, "after").clone_into(&mut after);
            }
            assert_eq!(polled, expected.events, "polled {query} after {from}");
        }
    });
}

#[test]
fn one_who_does_not_read_holds_up_nobody_else() {
    let scene = Scene::new();
    block_on(async {
        let slow = scene.bridge.listen("?since=1h", None).await;
        let mut quick = scene.bridge.listen("", None).await;
        for n in 0..2000 {
            scene.fail(n % 2, &format!("user{n}"));
        }
        scene.fail(0, "last");
        quick.until("last", is("last")).await;
        drop(slow);
    });
}

#[test]
fn a_websocket_has_the_same_events_and_is_closed_with_a_reason() {
    let scene = Scene::with(&[&["socket"]]);
    let token = scene.bridge.tokens[0].clone();
    block_on(async {
        let mut watch = scene.hub.watch(&["--type", "auth.failed"]);
        let url = format!("ws://{}/v1/events?type=auth.failed", scene.bridge.address);
        let mut request = url.into_client_request().unwrap();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (mut socket, response) = tokio_tungstenite::connect_async(request).await.unwrap();
        assert_eq!(response.status(), 101);
        scene.fail(0, "bob");
        let next = async |socket: &mut tokio_tungstenite::WebSocketStream<_>| {
            timeout(DEADLINE, socket.next()).await.unwrap().unwrap().unwrap()
        };
        let Message::Text(line) = next(&mut socket).await else { panic!("no text") };
        let event: Value = serde_json::from_str(&line).unwrap();
        assert_eq!(event, watch.find_user("auth.failed", "bob"));
        socket.send(Message::Ping("x".into())).await.unwrap();
        assert_eq!(next(&mut socket).await, Message::Pong("x".into()));

        scene.bridge.revoke("socket");
        let Message::Close(Some(close)) = next(&mut socket).await else { panic!("not closed") };
        assert_eq!(
            (u16::from(close.code), close.reason.as_str()),
            (1008, "the token or the session has ended")
        );
    });
}

/// Each ping is answered, and the answers were held for who did not read them: half a gigabyte in half a minute, of a viewer.
#[test]
fn a_websocket_client_that_says_too_much_is_sent_away() {
    let scene = Scene::new();
    block_on(async {
        let url = format!("ws://{}/v1/events", scene.bridge.address);
        let mut request = url.into_client_request().unwrap();
        let token = scene.bridge.admin();
        request.headers_mut().insert("authorization", format!("Bearer {token}").parse().unwrap());
        let (socket, _) = tokio_tungstenite::connect_async(request).await.unwrap();
        let (mut send, mut receive) = socket.split();
        let flood = async { while send.send(Message::Ping("x".into())).await.is_ok() {} };
        timeout(DEADLINE, flood).await.expect("it is ended");
        let mut answers = 0;
        while let Some(Ok(Message::Pong(_))) = receive.next().await {
            answers += 1;
        }
        assert!(answers <= 256, "{answers}");
    });
}

#[test]
fn a_long_poll_waits_and_says_where_to_go_on() {
    let scene = Scene::new();
    block_on(async {
        let (status, empty) = scene.bridge.get("/v1/events?wait=0s").await;
        assert_eq!((status, empty["events"].as_array().map(Vec::len)), (StatusCode::OK, Some(0)), "{empty}");
        let path = format!("/v1/events?wait=30s&after={}", text(&empty, "after"));
        let (polled, ()) = tokio::join!(scene.bridge.get(&path), async {
            tokio::task::yield_now().await;
            scene.fail(0, "bob");
        });
        let events = polled.1["events"].as_array().unwrap();
        assert_eq!(text(&events[0], "user.name"), "bob", "{polled:?}");
        assert_eq!(text(&polled.1, "after"), text(&events[0], "secmon.cursor"));
    });
}

#[test]
fn a_hub_that_is_away_is_told_at_once_and_its_streams_go_on() {
    let mut scene = Scene::new();
    block_on(async {
        let mut stream = scene.bridge.listen("", None).await;
        scene.hub.process().kill();
        let ready = async || scene.bridge.request(Method::GET, "/readyz").send().await.unwrap().status();
        while ready().await != StatusCode::SERVICE_UNAVAILABLE {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        for path in ["/v1/nodes", "/v1/nodes/web1", "/v1/jobs", "/v1/nodes/web1/commands"] {
            let (status, problem) = scene.bridge.get(path).await;
            assert_eq!((status, text(&problem, "code")), (StatusCode::BAD_GATEWAY, "hub_away"), "{problem}");
        }
        let (_, who) = scene.bridge.get("/v1/session").await;
        assert_eq!(at(&who, "hub.connected"), Some(&Value::Bool(false)), "{who}");
        let healthy = scene.bridge.request(Method::GET, "/healthz").send().await.unwrap();
        assert_eq!(healthy.status(), StatusCode::OK);
        let metrics = scene.bridge.request(Method::GET, "/metrics").send().await.unwrap();
        assert!(metrics.text().await.unwrap().contains("\nsecmon_http_hub_connected 0\n"));
        scene.hub.start_again();
        scene.fail(0, "bob");
        stream.until("bob", is("bob")).await;
    });
}
