//! A hub, a node whose logins a test writes, a bridge, and a browser that is signed in.

use std::{fs, net::SocketAddr, path::PathBuf};

use secmon_testkit::{
    browser::Browser,
    process::Process,
    product::{Hub, Lab, Node, NodeSetup, Place, arg},
    utmp,
};
use serde_json::json;

/// What a node of these tests may run.
const ALLOWLIST: &str = r#"
[commands.both]
description = "Prints on both streams, and what no eye should trust"
run = ["sh", "-c", "echo to-stdout; echo to-stderr >&2; printf '<img src=x onerror=alert(1)> \\033[31m\\342\\200\\256\\n'; exit 3"]

[commands.endless]
run = ["sh", "-c", "echo begun; sleep 1000"]
timeout = "10m"

[commands.flood]
description = "Prints 100,000 lines"
run = ["seq", "1", "100000"]

[commands.say]
description = "Says a word"
run = ["echo", "{word}", "{times}", "{tone}"]
args.word = { type = "string", pattern = "[a-z]{1,8}" }
args.times = { type = "integer", min = 1, max = 9, default = 2 }
args.tone = { type = "choice", values = ["low", "high"], default = "low" }

[commands.quick]
run = ["echo", "done"]
"#;

/// A `secmon http` that can be stopped and started again on its address.
pub(super) struct Bridge {
    process: Process,
    state: PathBuf,
    socket: PathBuf,
    pub(super) address: SocketAddr,
}

impl Bridge {
    fn start(lab: &Lab, hub: &Hub<'_>) -> Self {
        let (state, socket) = (lab.path("http"), hub.socket().to_owned());
        let process = spawn(&state, &socket, "127.0.0.1:0");
        let address = listening(&process);
        Self { process, state, socket, address }
    }

    /// Ends it as a crash does.
    pub(super) fn kill(&self) {
        self.process.kill();
    }

    pub(super) fn start_again(&mut self) {
        self.process = spawn(&self.state, &self.socket, &self.address.to_string());
        assert_eq!(listening(&self.process), self.address);
    }

    /// A command about tokens, which prints `stdout`.
    pub(super) fn token(&self, words: &[&str]) -> String {
        token(&self.state, words)
    }
}

fn token(state: &std::path::Path, words: &[&str]) -> String {
    let mut command = Place::Here.secmon();
    command.args(["http", "token"]).args(words).args(["--state-dir", arg(state)]);
    let output = Process::run("secmon http token", &mut command);
    assert_eq!(output.code(), 0, "{output}");
    output.out().trim().to_owned()
}

fn spawn(state: &std::path::Path, socket: &std::path::Path, listen: &str) -> Process {
    let mut command = Place::Here.secmon();
    command.args(["http", "--listen", listen, "--socket", arg(socket), "--state-dir", arg(state)]);
    Process::spawn("http", &mut command)
}

fn listening(bridge: &Process) -> SocketAddr {
    let address = |line: &str| {
        let after = line.split_once("listening")?.1.split_once("address=")?.1;
        after.split_whitespace().next()?.trim_matches('"').parse().ok()
    };
    let line = bridge.wait_for_log("the bridge to listen", |line| address(line).is_some());
    address(&line).expect("the line was found by its address")
}

pub(super) struct Scene {
    // The browser goes first: what it still asks finds somebody who answers.
    pub(super) browser: Browser,
    pub(super) bridge: Bridge,
    pub(super) node: Node<'static>,
    pub(super) hub: Hub<'static>,
    utmp: PathBuf,
    pub(super) token: String,
    _lab: Lab,
}

impl Scene {
    /// All of it, and a browser before the sign-in.
    pub(super) fn new() -> Self {
        let lab = Lab::new();
        let hub = Hub::start(&lab, Place::Here);
        let setup = NodeSetup::quiet(&lab).with_commands(ALLOWLIST);
        let utmp = setup.utmp.clone();
        let node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
        hub.wait_for_facet("web1", "sessions", "ready");
        let folder = lab.path("http");
        fs::create_dir(&folder).unwrap();
        let token = token(&folder, &["add", "laptop", "--role", "operator"]);
        let bridge = Bridge::start(&lab, &hub);
        let browser = Browser::start();
        browser.open(&format!("http://{}/", bridge.address));
        Self { browser, bridge, node, hub, utmp, token, _lab: lab }
    }

    /// All of it, signed in.
    pub(super) fn signed_in() -> Self {
        let scene = Self::new();
        scene.browser.wait_for("form.signin input");
        // Before anybody is known, the page asks who it is, which a browser notes.
        let asked = scene.browser.complaints();
        assert!(asked.iter().all(|line| line.contains("/v1/session") && line.contains("401")), "{asked:#?}");
        scene.sign_in(&scene.token);
        scene.browser.wait_for_text("#connection", "live");
        scene
    }

    pub(super) fn sign_in(&self, token: &str) {
        self.browser.ask(
            "const at = document.querySelector('form.signin input'); at.value = arguments[0]; at.form.requestSubmit()",
            &[json!(token)],
        );
    }

    /// Goes to a view of the page without loading it again.
    pub(super) fn go(&self, hash: &str) {
        self.browser.ask("location.hash = arguments[0]", &[json!(hash)]);
    }

    /// Somebody logs in at the node; `slot` is a place of his own.
    pub(super) fn login(&self, slot: u64, user: &str) {
        let line = format!("pts/{}", 70 + slot);
        let login = self.utmp_login(&line, user).record();
        utmp::write_slot(&self.utmp, slot, &login).unwrap();
    }

    /// And logs out.
    pub(super) fn logout(&self, slot: u64, user: &str) {
        let line = format!("pts/{}", 70 + slot);
        utmp::write_slot(&self.utmp, slot, &self.utmp_login(&line, user).end()).unwrap();
    }

    fn utmp_login<'a>(&self, line: &'a str, user: &'a str) -> utmp::Login<'a> {
        utmp::Login { line, user, host: "192.0.2.7", address: [192, 0, 2, 7], pid: std::process::id() }
    }
}
