//! Commands and jobs over HTTP.

use std::fs;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use reqwest::{Method, StatusCode};
use secmon_testkit::{
    json::{self, number, text},
    product::{Bridge, Hub, Lab, Node, NodeSetup, Place, bridge::answer},
    wait::eventually,
};
use serde_json::{Value, json};
use tokio::runtime::Runtime;

const ALLOWLIST: &str = r#"
[commands.both]
run = ["sh", "-c", "echo to-stdout; echo to-stderr >&2; exit 3"]

[commands.repeat]
run = ["sh", "-c", "for i in $(seq $1); do echo $2 $3; done", "sh", "{n}", "{word}", "{loud}"]
args.n = { type = "integer", min = 1, max = 9 }
args.word = { type = "choice", values = ["a", "b"] }
args.loud = { type = "bool", word = "--loud", default = false }

[commands.tree]
run = ["sh", "-c", "sh -c 'sleep 1000 & echo $!; wait' & wait"]
timeout = "10m"

[commands.large]
run = ["sh", "-c", "head -c 3000000 /dev/zero; exit 7"]

[commands.echo]
run = ["cat"]
stdin = "client"

[commands.gated]
run = ["sh", "-c", "echo before; while ! test -e GATE; do sleep 0.05; done; echo after"]
timeout = "10m"
"#;

struct Scene {
    bridge: Bridge,
    node: Node<'static>,
    hub: Hub<'static>,
    lab: Lab,
}

impl Scene {
    fn new() -> Self {
        Self::with(&[])
    }

    /// With further tokens.
    fn with(tokens: &[&[&str]]) -> Self {
        let lab = Lab::new();
        let gate = lab.path("gate");
        let hub = Hub::start(&lab, Place::Here);
        let allowlist = ALLOWLIST.replace("GATE", gate.to_str().unwrap());
        let setup = NodeSetup::quiet(&lab).with_commands(&allowlist);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        let bridge = Bridge::start_with(&lab, &hub, tokens);
        Self { bridge, node, hub, lab }
    }

    async fn post(&self, path: &str, body: Option<Value>) -> (StatusCode, Value) {
        let request = self.bridge.request(Method::POST, path);
        answer(match body {
            Some(body) => request.json(&body),
            None => request,
        })
        .await
    }

    async fn lines(&self, method: Method, path: &str, body: Option<Value>) -> Vec<Value> {
        let request = self.bridge.request(method, path);
        let request = match body {
            Some(body) => request.json(&body),
            None => request,
        };
        let response = request.send().await.unwrap();
        assert_eq!(response.status(), StatusCode::OK);
        assert_eq!(response.headers()["content-type"], "application/x-ndjson");
        json::lines(&response.bytes().await.unwrap())
    }
}

fn block_on(test: impl Future<Output = ()>) {
    Runtime::new().unwrap().block_on(test);
}

fn decode(value: &Value) -> String {
    String::from_utf8(STANDARD.decode(value.as_str().unwrap()).unwrap()).unwrap()
}

/// A process is gone when it is not there or only waits to be reaped (state Z, `proc_pid_stat(5)`).
fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

#[test]
fn a_run_streams_its_start_its_output_and_its_end() {
    let scene = Scene::new();
    block_on(async {
        let lines = scene.lines(Method::POST, "/v1/nodes/web1/commands/both", None).await;
        let [started, output @ .., end] = &*lines else { panic!("{lines:?}") };
        assert_eq!(text(started, "started.job").len(), 16, "{started}");
        assert!(number(started, "started.pid").is_some(), "{started}");
        let of = |stream: &str| {
            let of = output.iter().filter(|line| text(line, "stream") == stream);
            of.map(|line| decode(&line["data"])).collect::<String>()
        };
        assert_eq!((of("stdout").as_str(), of("stderr").as_str()), ("to-stdout\n", "to-stderr\n"));
        assert_eq!((text(end, "end"), number(end, "exit_code")), ("exited", Some(3)), "{end}");
        let mut watch = scene.hub.watch(&["--type", "command.started", "--since", "1h"]);
        let event = watch.find_type("command.started");
        let agent = text(&event, "secmon.command.agent");
        assert!(agent.starts_with("secmon-http ") && agent.ends_with(" (token tester)"), "{agent}");
    });
}

#[test]
fn a_run_that_is_waited_for_is_one_object_with_as_much_output_as_is_wanted() {
    let scene = Scene::new();
    block_on(async {
        let args = json!({ "args": { "n": 2, "word": "a", "loud": true } });
        let (status, ran) = scene.post("/v1/nodes/web1/commands/repeat?wait=true", Some(args)).await;
        assert_eq!(status, StatusCode::OK, "{ran}");
        assert_eq!(
            (decode(&ran["stdout"]).as_str(), &ran["truncated"]),
            ("a --loud\na --loud\n", &json!(false))
        );
        let path = "/v1/nodes/web1/commands/large?wait=true&max_output=1000";
        let (_, ran) = scene.post(path, None).await;
        assert_eq!((number(&ran, "exit_code"), &ran["truncated"]), (Some(7), &json!(true)));
        assert_eq!(decode(&ran["stdout"]).len(), 1000);
        let input = json!({ "stdin": STANDARD.encode("hello") });
        let (_, ran) = scene.post("/v1/nodes/web1/commands/echo?wait=true", Some(input)).await;
        assert_eq!((decode(&ran["stdout"]).as_str(), number(&ran, "exit_code")), ("hello", Some(0)));
    });
}

#[test]
fn what_the_node_or_the_token_does_not_allow_is_refused_before_anything_runs() {
    let scene =
        Scene::with(&[&["op", "--role", "operator", "--commands", "bo*"], &["eyes", "--role", "viewer"]]);
    let [operator, viewer] = &*scene.bridge.tokens else { panic!("two tokens") };
    block_on(async {
        let post = async |path: &str, body: &str, kind: &str| {
            let request = scene.bridge.request(Method::POST, &format!("/v1/nodes/{path}"));
            let (status, problem) = answer(request.header("content-type", kind).body(body.to_owned())).await;
            (status.as_u16(), text(&problem, "code").to_owned())
        };
        for (path, body, status, code) in [
            ("web1/commands/nothing", "", 404, "unknown_command"),
            ("web2/commands/both", "", 404, "unknown_node"),
            ("web1/commands/repeat", "{}", 400, "bad_argument"),
            ("web1/commands/repeat", r#"{"args":{"n":10,"word":"a"}}"#, 400, "bad_argument"),
            ("web1/commands/repeat", r#"{"args":{"n":1,"word":"c"}}"#, 400, "bad_argument"),
            ("web1/commands/both", r#"{"args":{"more":"x"}}"#, 400, "bad_argument"),
            ("web1/commands/both", r#"{"args":{"more":1.5}}"#, 400, "bad_request"),
            ("web1/commands/both", r#"{"args":{"more":[]}}"#, 400, "bad_request"),
            ("web1/commands/both", r#"{"arg":{}}"#, 400, "bad_request"),
            ("web1/commands/both", "[", 400, "bad_request"),
            ("web1/commands/both", r#"{"stdin":"aGk="}"#, 400, "bad_request"),
            ("web1/commands/echo", r#"{"stdin":"%"}"#, 400, "bad_request"),
            ("web1/commands/both?wait=true&detach=true", "", 400, "bad_request"),
            ("web1/commands/both?queue_for=1h", "", 400, "bad_request"),
        ] {
            let got = post(path, body, "application/json").await;
            assert_eq!(got, (status, code.to_owned()), "{path} {body}");
        }
        assert_eq!(post("web1/commands/both", "{}", "text/plain").await.0, 415);

        for (token, commands) in [(operator, json!(["both"])), (viewer, json!([]))] {
            let (_, listed) = scene.bridge.get_as(token, "/v1/nodes/web1/commands").await;
            let labels =
                listed["commands"].as_array().unwrap().iter().map(|command| command["label"].clone());
            assert_eq!(Value::from_iter(labels), commands);
        }
        let run = |token: &str, label: &str| {
            let path = format!("/v1/nodes/web1/commands/{label}?wait=true");
            answer(scene.bridge.request_as(token, Method::POST, &path))
        };
        assert_eq!(run(operator, "both").await.0, StatusCode::OK);
        assert_eq!(run(operator, "large").await.0, StatusCode::FORBIDDEN);
        assert_eq!(run(viewer, "both").await.0, StatusCode::FORBIDDEN);

        scene.node.process().terminate();
        scene.hub.wait_for_node("web1", "away");
        let (status, problem) = run(operator, "both").await;
        assert_eq!((status, text(&problem, "code")), (StatusCode::CONFLICT, "node_away"), "{problem}");
    });
}

#[test]
fn a_client_that_goes_away_takes_its_command_with_it() {
    let scene = Scene::new();
    block_on(async {
        for query in ["", "?wait=true"] {
            let mut watch = scene.hub.watch(&["--type", "command.*"]);
            let path = format!("/v1/nodes/web1/commands/tree{query}");
            let request = scene.bridge.request(Method::POST, &path);
            if query.is_empty() {
                let mut response = request.send().await.unwrap();
                let mut body = Vec::new();
                let grandchild: u32 = loop {
                    body.extend(response.chunk().await.unwrap().expect("more"));
                    let mut lines = body.split(|byte| *byte == b'\n').skip(1);
                    let line = lines.next().and_then(|line| serde_json::from_slice::<Value>(line).ok());
                    if let Some(line) = line {
                        break decode(&line["data"]).trim().parse().unwrap();
                    }
                };
                assert!(!is_gone(grandchild));
                drop(response);
                eventually("the grandchild's end", || is_gone(grandchild).then_some(()));
            } else {
                let sending = tokio::spawn(request.send());
                watch.find_type("command.started");
                sending.abort();
            }
            let finished = watch.find_type("command.finished");
            assert_eq!(text(&finished, "secmon.command.end"), "cancelled", "{finished}");
        }
    });
}

#[test]
fn a_job_goes_on_by_itself_and_its_output_can_be_followed_and_its_end_asked_for() {
    let scene =
        Scene::with(&[&["eyes", "--role", "viewer"], &["far", "--role", "operator", "--nodes", "db*"]]);
    let [viewer, stranger] = &*scene.bridge.tokens else { panic!("two tokens") };
    block_on(async {
        let path = "/v1/nodes/web1/commands/gated?detach=true";
        let response = scene.bridge.request(Method::POST, path).send().await.unwrap();
        assert_eq!(response.status(), StatusCode::ACCEPTED);
        let location = response.headers()["location"].to_str().unwrap().to_owned();
        let job: Value = serde_json::from_slice(&response.bytes().await.unwrap()).unwrap();
        assert_eq!(location, format!("/v1/jobs/{}", text(&job, "secmon.command.job")));

        let follow = format!("{location}/output?follow=true");
        let following = scene.lines(Method::GET, &follow, None);
        let opening = async {
            while text(&scene.bridge.get(&location).await.1, "secmon.job.state") != "running" {
                tokio::task::yield_now().await;
            }
            fs::write(scene.lab.path("gate"), "").unwrap();
        };
        let (lines, ()) = tokio::join!(following, opening);
        let (end, output) = lines.split_last().unwrap();
        let printed: String = output.iter().map(|line| decode(&line["data"])).collect();
        assert_eq!((printed.as_str(), text(end, "secmon.job.state")), ("before\nafter\n", "finished"));
        let shown = scene.hub.json(&["job", "show", text(&job, "secmon.command.job")]).remove(0);
        assert_eq!(scene.bridge.get(&location).await, (StatusCode::OK, shown));

        fs::remove_file(scene.lab.path("gate")).unwrap();
        let (_, other) = scene.post(path, None).await;
        let other = format!("/v1/jobs/{}", text(&other, "secmon.command.job"));
        let (status, cancelled) = scene.post(&format!("{other}/cancel"), None).await;
        assert_eq!(status, StatusCode::OK, "{cancelled}");
        while text(&scene.bridge.get(&other).await.1, "secmon.job.state") != "cancelled" {
            tokio::task::yield_now().await;
        }
        assert_eq!(scene.post(&format!("{other}/cancel"), None).await.0, StatusCode::CONFLICT);
        let jobs = async |token: &str, query: &str| {
            let (status, jobs) = scene.bridge.get_as(token, &format!("/v1/jobs{query}")).await;
            assert_eq!(status, StatusCode::OK, "{jobs}");
            (jobs["jobs"].as_array().unwrap().len(), jobs["more"].as_bool().unwrap())
        };
        let admin = scene.bridge.admin();
        assert_eq!(jobs(admin, "").await, (2, false));
        assert_eq!(jobs(admin, "?limit=1").await, (1, true));
        assert_eq!(jobs(admin, "?state=cancelled&node=web*&label=ga*").await, (1, false));
        assert_eq!(jobs(admin, "?label=other").await, (0, false));
        assert_eq!((jobs(viewer, "").await, jobs(stranger, "").await), ((2, false), (0, false)));

        let get = async |token: &str, path: &str| scene.bridge.get_as(token, path).await.0.as_u16();
        assert_eq!((get(viewer, &location).await, get(stranger, &location).await), (200, 404));
        let output = format!("{location}/output");
        assert_eq!((get(viewer, &output).await, get(stranger, &output).await), (403, 404));
        let cancel = scene.bridge.request_as(viewer, Method::POST, &format!("{other}/cancel"));
        assert_eq!(answer(cancel).await.0, StatusCode::FORBIDDEN);
    });
}
