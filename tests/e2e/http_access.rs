//! Who may ask the HTTP bridge for what: the real binary, its real routes, and tokens as its users make them.

use std::{
    collections::BTreeSet,
    fs::{self, Permissions},
    net::SocketAddr,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::Duration,
};

use futures::StreamExt as _;
use nix::sys::signal::Signal;
use reqwest::{Client, Method, RequestBuilder, header::HeaderMap};
use secmon_testkit::{
    need::Need::Namespaces,
    process::{Output, Process},
    product::{Hub, Integration, Lab, Node, NodeSetup, Place, arg},
    realm::Realm,
    require,
    wait::eventually,
};
use serde_json::Value;
use tokio::runtime::Runtime;

use crate::mistakes::{refused, secmon};

const LISTEN: &str = "listen = [\"127.0.0.1:0\"]\n";
/// Longer than anything here takes.
const LONG: Duration = Duration::from_secs(30);

/// A running bridge and one who asks it.
struct Bridge<'a> {
    running: Integration<'a>,
    address: SocketAddr,
    client: Client,
    runtime: Runtime,
}

struct Answer {
    status: u16,
    headers: HeaderMap,
    body: String,
}

impl<'a> Bridge<'a> {
    #[track_caller]
    fn start(mut running: Integration<'a>) -> Self {
        running.start();
        let address = running.listening();
        let runtime = Runtime::new().unwrap();
        // The first test of the process installs it.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let client = Client::builder().no_proxy().timeout(LONG).build().unwrap();
        let bridge = Self { running, address, client, runtime };
        eventually("the bridge to reach the hub", || {
            (bridge.send(bridge.ask("GET", "/readyz")).status == 200).then_some(())
        });
        bridge
    }

    #[track_caller]
    fn token(&self, words: &[&str]) -> String {
        let output = self.running.command(&[&["token", "add"], words].concat());
        assert_eq!(output.code(), 0, "{output}");
        let line = output.out();
        let token = line.strip_suffix('\n').filter(|token| token.starts_with("secmon_"));
        token.unwrap_or_else(|| panic!("not the token alone: {line:?}")).to_owned()
    }

    fn ask(&self, method: &str, path: &str) -> RequestBuilder {
        let method = Method::from_bytes(method.as_bytes()).unwrap();
        self.client.request(method, format!("http://{}{path}", self.address))
    }

    #[track_caller]
    fn send(&self, request: RequestBuilder) -> Answer {
        self.runtime.block_on(async {
            let response = request.send().await.unwrap();
            let (status, headers) = (response.status().as_u16(), response.headers().clone());
            Answer { status, headers, body: response.text().await.unwrap() }
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Need {
    /// Anybody.
    Nobody,
    /// A token of any role.
    Viewer,
    /// One that may run the command.
    Operator,
}

/// Every route, and who it is for.
const ROUTES: [(&str, &str, Need); 18] = [
    ("GET", "/healthz", Need::Nobody),
    ("GET", "/readyz", Need::Nobody),
    ("POST", "/v1/session", Need::Nobody),
    ("GET", "/v1/session", Need::Viewer),
    ("DELETE", "/v1/session", Need::Viewer),
    ("GET", "/openapi.json", Need::Viewer),
    ("GET", "/metrics", Need::Viewer),
    ("GET", "/v1/nodes", Need::Viewer),
    ("GET", "/v1/nodes/{node}", Need::Viewer),
    ("GET", "/v1/nodes/{node}/commands", Need::Viewer),
    ("POST", "/v1/nodes/{node}/commands/{label}", Need::Operator),
    ("GET", "/v1/jobs", Need::Viewer),
    ("GET", "/v1/jobs/{id}", Need::Viewer),
    ("GET", "/v1/jobs/{id}/output", Need::Operator),
    ("POST", "/v1/jobs/{id}/cancel", Need::Operator),
    ("GET", "/v1/events", Need::Viewer),
    ("GET", "/v1/events/ws", Need::Viewer),
    // Not in the document: a page that shows it.
    ("GET", "/api", Need::Nobody),
];

#[test]
fn every_route_is_for_those_whom_the_table_names_and_no_route_is_forgotten() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let setup = NodeSetup::quiet(&lab).with_commands("hello=echo hello\nother=echo other\n");
    let _node = Node::join(&lab, Place::Here, &hub, "web1", &setup);
    hub.wait_for_node("web1", "online");
    let bridge = Bridge::start(Integration::new(&lab, &hub, "http", LISTEN));
    let viewer = bridge.token(&["viewer"]);
    let operator =
        bridge.token(&["operator", "--role", "operator", "--nodes", "web*", "--commands", "hello*"]);
    let elsewhere = bridge.token(&["elsewhere", "--role", "admin", "--nodes", "db*"]);
    let admin = bridge.token(&["admin", "--role", "admin"]);

    let document = bridge.send(bridge.ask("GET", "/openapi.json").bearer_auth(&viewer)).body;
    let document: Value = serde_json::from_str(&document).unwrap();
    let told: BTreeSet<(String, String)> = document["paths"]
        .as_object()
        .unwrap()
        .iter()
        .flat_map(|(path, item)| {
            let methods = item.as_object().unwrap().keys().filter(|key| *key != "parameters");
            methods.map(|method| (method.to_uppercase(), path.clone()))
        })
        .collect();
    let table = ROUTES.iter().filter(|(_, path, _)| *path != "/api");
    let table: BTreeSet<_> =
        table.map(|(method, path, _)| ((*method).to_owned(), (*path).to_owned())).collect();
    assert_eq!(told, table, "the document and the table of this test");

    let detached = bridge.ask("POST", "/v1/nodes/web1/commands/hello?detach=true").bearer_auth(&operator);
    let detached = bridge.send(detached);
    assert_eq!(detached.status, 202, "{}", detached.body);
    let location = detached.headers["location"].to_str().unwrap();
    let job = location.strip_prefix("/v1/jobs/").unwrap();
    eventually("the job to end", || {
        let job = bridge.send(bridge.ask("GET", location).bearer_auth(&viewer)).body;
        job.contains("echo").then_some(()).or_else(|| (!job.contains("running")).then_some(()))
    });

    for (method, path, need) in ROUTES {
        let filled = path.replace("{node}", "web1").replace("{label}", "hello").replace("{id}", job);
        let filled = if path == "/v1/events" { format!("{filled}?wait=1s") } else { filled };
        let ask = |token: Option<&str>| {
            let request = bridge.ask(method, &filled).header("accept", "application/json");
            let answer = bridge.send(match token {
                Some(token) => request.bearer_auth(token),
                None => request,
            });
            assert!(answer.status < 500, "{method} {filled}: {} {}", answer.status, answer.body);
            answer.status
        };
        let status = ask(None);
        assert_eq!(status == 401, need != Need::Nobody, "{method} {path} without a token: {status}");
        // Told apart from no token at all, and as little is said.
        let wrong = ask(Some("secmon_0000000000000000000000000000000000000000000000000"));
        assert_eq!(
            matches!(wrong, 401 | 429),
            need != Need::Nobody,
            "{method} {path} by a wrong token: {wrong}"
        );
        let allowed = |status: u16| !matches!(status, 401 | 403 | 404);
        if need == Need::Nobody {
            continue;
        }
        assert!(allowed(ask(Some(&admin))), "{method} {path} by an admin");
        assert!(allowed(ask(Some(&operator))), "{method} {path} by an operator");
        let status = ask(Some(&viewer));
        assert_eq!(allowed(status), need == Need::Viewer, "{method} {path} by a viewer: {status}");
        if path.contains('{') {
            let status = ask(Some(&elsewhere));
            assert_eq!(status, 404, "{method} {path}: what one may not see is not there");
        }
    }
    let other = bridge.ask("POST", "/v1/nodes/web1/commands/other?wait=true").bearer_auth(&operator);
    assert_eq!(bridge.send(other).status, 403, "a command that the token does not name");
    let run = bridge.ask("POST", "/v1/nodes/web1/commands/hello?wait=true").bearer_auth(&operator);
    assert_eq!(bridge.send(run).status, 200);
    let mut started = hub.watch(&["--since", "1h", "--type", "command.started"]);
    started
        .find("who ran it, by the name of the token", |event| event.to_string().contains("token operator"));
}

#[test]
fn a_revoked_token_ends_its_stream_and_an_expired_one_says_so_and_no_log_has_a_secret() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let running = Integration::new(&lab, &hub, "http", LISTEN).with_env("SECMON_LOG", "trace");
    let bridge = Bridge::start(running);
    let (laptop, short) = (bridge.token(&["laptop"]), bridge.token(&["short", "--expires", "1s"]));
    let sign_in = bridge.ask("POST", "/v1/session").body(format!("{{\"token\":\"{laptop}\"}}"));
    let cookie = bridge.send(sign_in).headers["set-cookie"].to_str().unwrap().to_owned();
    let cookie = cookie.split(';').next().unwrap().to_owned();
    let value = cookie.split('=').nth(1).unwrap().to_owned();
    assert_eq!(bridge.send(bridge.ask("GET", "/v1/session").header("cookie", &cookie)).status, 200);

    bridge.runtime.block_on(async {
        let request = bridge.ask("GET", "/v1/events").bearer_auth(&laptop);
        let response = request.header("accept", "text/event-stream").send().await.unwrap();
        assert_eq!(response.status(), 200);
        let mut stream = response.bytes_stream();
        assert_eq!(bridge.running.command(&["token", "revoke", "laptop"]).code(), 0);
        let ended = async { while let Some(Ok(_)) = stream.next().await {} };
        tokio::time::timeout(LONG, ended).await.expect("the stream ends with its token");
    });
    for request in [
        bridge.ask("GET", "/v1/nodes").bearer_auth(&laptop),
        bridge.ask("GET", "/v1/nodes").header("cookie", &cookie),
    ] {
        assert_eq!(bridge.send(request).status, 401);
    }
    eventually("the short token to be over", || {
        let answer = bridge.send(bridge.ask("GET", "/v1/nodes").bearer_auth(&short));
        (answer.status == 401 && answer.body.contains("is over")).then_some(())
    });
    let listed = bridge.running.command(&["token", "list", "--json"]);
    assert!(listed.out().contains("\"name\":\"short\"") && !listed.out().contains("laptop"), "{listed}");

    let ended = bridge.running.process().terminate();
    assert_eq!(ended.code(), 0, "{ended}");
    let said = format!("{}{}{}", ended.err(), ended.out(), hub.process().output().err());
    let kept: String = fs::read_dir(bridge.running.state())
        .unwrap()
        .map(|file| fs::read_to_string(file.unwrap().path()).unwrap())
        .collect();
    for secret in [&laptop, &short, &value] {
        assert!(!said.contains(secret.as_str()), "a secret is in a log");
        assert!(!kept.contains(secret.as_str()), "a secret is on the disk");
    }
}

#[test]
fn by_a_unix_socket_each_user_is_who_the_kernel_says_he_is() {
    require!(Namespaces);
    const DASHBOARD: u32 = 4_100_001;
    const OPS: u32 = 4_100_002;
    const STRANGER: u32 = 4_100_003;
    let (lab, realm) = (Lab::new(), Realm::with_secmon("http-users"));
    let hub = Hub::start(&lab, Place::In(&realm));
    let socket = lab.path("http.sock");
    let config = format!(
        "listen = [\"unix:{}\"]\n[unix]\nmode = \"0666\"\n\
         [[users]]\nuid = {DASHBOARD}\nrole = \"viewer\"\nnodes = [\"web*\"]\n\
         [[users]]\ngroup = {OPS}\nrole = \"operator\"\ncommands = [\"restart-*\"]\n",
        socket.display()
    );
    let mut running = Integration::new(&lab, &hub, "http", &config).at(Place::In(&realm));
    running.start().wait_for_log("the bridge to listen", |line| line.contains("listening"));
    let ask = |uid: u32| by_socket(&realm, uid, &socket);
    let as_root = ask(0);
    assert!(as_root.contains("200 OK") && as_root.contains("\"role\":\"admin\""), "{as_root}");
    let viewer = ask(DASHBOARD);
    assert!(viewer.contains("\"role\":\"viewer\"") && viewer.contains("[\"web*\"]"), "{viewer}");
    let operator = ask(OPS);
    assert!(operator.contains("\"role\":\"operator\"") && operator.contains("restart-*"), "{operator}");
    let stranger = ask(STRANGER);
    assert!(stranger.contains("403 Forbidden") && stranger.contains("uid 4100003"), "{stranger}");
    assert!(stranger.contains("[[users]]"), "{stranger}");
}

/// What that user is answered. Perl's core is in every Debian, and has sockets.
#[track_caller]
fn by_socket(realm: &Realm, uid: u32, socket: &Path) -> String {
    const ASK: &str = r#"
        use IO::Socket::UNIX;
        my $s = IO::Socket::UNIX->new(Peer => $ARGV[0]) or die "connect: $!";
        print $s "GET /v1/session HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        $s->flush;
        print while <$s>;
    "#;
    let mut command = realm.command("setpriv");
    command.args([
        &format!("--reuid={uid}"),
        &format!("--regid={uid}"),
        "--clear-groups",
        "--",
        "perl",
        "-e",
        ASK,
    ]);
    let output = Process::run("a client of the socket", command.arg(socket));
    assert_eq!(output.code(), 0, "{output}");
    output.out()
}

#[test]
fn a_bridge_whose_configuration_makes_no_sense_begins_nothing_and_says_what_to_do() {
    let lab = Lab::new();
    let start = |config: &str, more: &[&str]| -> Output {
        let config = lab.write("http.toml", config);
        let state = lab.path("state");
        let words = ["http", "--config", arg(&config), "--state-dir", arg(&state), "--socket", "/nowhere"];
        secmon(&[&words[..], more].concat())
    };
    let open = ["cross the network in the clear", "[tls] cert and key", "[proxy] trusted"];
    refused(&start("listen = [\"0.0.0.0:0\"]\n", &[]), 2, &open);
    refused(&start("", &["--listen", "0.0.0.0:0"]), 2, &open);
    refused(&start("", &["--listen", "unix:/no/such/x.sock"]), 2, &["/no/such", "RuntimeDirectory="]);
    refused(&start("hots = [\"a\"]\n", &[]), 2, &["line 1", "did you mean `hosts`?"]);
    refused(
        &start("[[users]]\nuser = \"no-such-user-here\"\nrole = \"viewer\"\n", &[]),
        2,
        &["rule 1 of [[users]]"],
    );
    assert!(!lab.path("state").exists(), "nothing was begun");
    let (cert, key) = (lab.write("cert.pem", "x"), lab.write("key.pem", "x"));
    fs::set_permissions(&key, Permissions::from_mode(0o644)).unwrap();
    let tls = format!("{LISTEN}[tls]\ncert = {cert:?}\nkey = {key:?}\n");
    refused(&start(&tls, &[]), 1, &["there is no certificate in"]);
    let name = ["token", "add", "a b"];
    refused(&start("", &name), 1, &["\"a b\" is no name for a token"]);
    refused(&start("", &["token", "revoke", "nobody"]), 1, &["there is no token \"nobody\""]);
}

#[test]
fn sighup_ends_no_bridge_and_sigterm_leaves_no_socket_behind() {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let socket = lab.path("http.sock");
    let config = format!("listen = [\"127.0.0.1:0\", \"unix:{}\"]\n", socket.display());
    let bridge = Bridge::start(Integration::new(&lab, &hub, "http", &config));
    bridge.running.process().signal(Signal::SIGHUP);
    let token = bridge.token(&["laptop"]);
    assert_eq!(bridge.send(bridge.ask("GET", "/v1/nodes").bearer_auth(&token)).status, 200);
    assert!(socket.exists());
    let ended = bridge.running.process().terminate();
    assert!(ended.code() == 0 && !socket.exists(), "{ended}");
}

#[test]
fn who_is_root_makes_tokens_for_the_user_who_runs_the_bridge() {
    require!(Namespaces);
    const OWNER: u32 = 4_100_001;
    let (lab, realm) = (Lab::new(), Realm::with_secmon("http-owner"));
    let rules = format!("[socket]\nmode = \"0666\"\n[[access]]\nusers = [{OWNER}]\nrole = \"viewer\"\n");
    let rules = lab.write("hub.toml", rules);
    let options = ["--listen", "127.0.0.1:0", "--config", arg(&rules)];
    let hub = Hub::start_with(&lab, Place::In(&realm), &options);
    let bridge = Integration::new(&lab, &hub, "http", "listen = [\"127.0.0.1:0\"]\n");
    let state = bridge.state().to_owned();
    fs::create_dir(&state).unwrap();
    let chown = realm.command("chown").arg(format!("{OWNER}:{OWNER}")).arg(&state).status().unwrap();
    assert!(chown.success());
    let root = bridge.at(Place::In(&realm));
    assert_eq!(root.command(&["token", "add", "laptop"]).code(), 0);
    let mut owner = root.at(Place::As(&realm, OWNER));
    owner.start();
    let _ = owner.listening();
    let listed = owner.command(&["token", "list"]);
    assert!(listed.code() == 0 && listed.out().contains("laptop"), "{listed}");
    assert_eq!(owner.command(&["token", "revoke", "laptop"]).code(), 0);
    let revoked = |line: &str| line.contains("revoked") && line.contains("laptop");
    owner.process().wait_for_log("the running bridge to see it", revoked);
}
