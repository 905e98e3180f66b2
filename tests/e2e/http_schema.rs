//! A tester that knows nothing but the OpenAPI document finds nothing that contradicts it, and no 500.

use std::process::Command;

use reqwest::{Method, StatusCode};
use secmon_testkit::{
    need::Need::Program,
    process::Process,
    product::{Bridge, Hub, Lab, Node, NodeSetup, Place},
    require,
};
use tokio::runtime::Runtime;

const ALLOWLIST: &str = r#"
[commands.tail]
run = ["echo", "{lines}"]
args.lines = { type = "integer", min = 1, max = 100, default = 5 }
"#;

struct Scene {
    bridge: Bridge,
    _node: Node<'static>,
    _hub: Hub<'static>,
    _lab: Lab,
}

impl Scene {
    fn new() -> Self {
        let lab = Lab::new();
        let hub = Hub::start(&lab, Place::Here);
        let setup = NodeSetup::quiet(&lab).with_commands(ALLOWLIST);
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        let bridge = Bridge::start(&lab, &hub);
        Self { bridge, _node: node, _hub: hub, _lab: lab }
    }
}

#[test]
fn the_document_names_every_error_and_its_references_lead_somewhere() {
    let scene = Scene::new();
    Runtime::new().unwrap().block_on(async {
        let (status, document) = scene.bridge.get("/openapi.json").await;
        assert_eq!(status, StatusCode::OK);
        let text = document.to_string();
        for part in text.split("\"$ref\":\"#").skip(1) {
            let pointer = part.split('"').next().unwrap();
            assert!(document.pointer(pointer).is_some(), "{pointer} leads nowhere");
        }
        let mut operations = 0;
        for (path, item) in document["paths"].as_object().unwrap() {
            for (method, operation) in item.as_object().unwrap() {
                operations += 1;
                let responses = operation["responses"].as_object().unwrap();
                for status in ["400", "401", "403", "421", "429", "502", "503"] {
                    assert!(responses.contains_key(status), "{method} {path} says nothing of {status}");
                }
                assert!(operation["security"].is_array(), "{method} {path} says nothing of tokens");
            }
        }
        assert!(operations >= 15, "{operations}");
        let tagged = scene.bridge.request(Method::GET, "/openapi.json").send().await.unwrap();
        let tag = tagged.headers()["etag"].clone();
        let same = scene.bridge.request(Method::GET, "/openapi.json").header("if-none-match", tag);
        assert_eq!(same.send().await.unwrap().status(), StatusCode::NOT_MODIFIED);
    });
}

/// schemathesis: <https://schemathesis.readthedocs.io>. Streams of events have no end and are tested by hand; the rest of the
/// cookie's life is the server's.
#[test]
fn a_tester_driven_by_the_document_finds_no_500_and_no_contradiction() {
    require!(Program("python3"));
    let installer = concat!(env!("CARGO_MANIFEST_DIR"), "/schemathesis");
    let installed = Process::run("tests/schemathesis", &mut Command::new(installer));
    if installed.code() != 0 {
        assert!(
            std::env::var("CI").as_deref() != Ok("true"),
            "schemathesis cannot be installed\n{installed}"
        );
        eprintln!("SKIPPED: schemathesis cannot be installed\n{installed}");
        return;
    }
    let scene = Scene::new();
    // Python alone takes seconds to start where much else runs: its deadline is its own.
    let mut command = Command::new("timeout");
    command
        .args(["150", installed.out().trim(), "run"])
        .arg(format!("http://{}/openapi.json", scene.bridge.address))
        .args(["-H", &format!("Authorization: Bearer {}", scene.bridge.admin())])
        .args(["--exclude-path", "/v1/events", "--exclude-path", "/v1/events/ws"])
        .args(["--exclude-path", "/v1/session"])
        .args(["--phases", "examples,coverage,fuzzing", "--seed", "1", "--max-time", "30"])
        .args(["--max-examples", "10", "--request-timeout", "10", "--no-color"])
        .args(["--checks", "not_a_server_error,status_code_conformance,content_type_conformance"])
        .args(["--checks", "response_headers_conformance,response_schema_conformance"])
        .current_dir(scene._lab.path(""))
        .env_remove("CI");
    let output = command.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && said.contains(" passed"), "{:?}\n{said}", output.status);
}
