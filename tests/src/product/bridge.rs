//! A running HTTP bridge on a free port, and what one asks of it.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

use reqwest::{Client, Method, RequestBuilder, Response, StatusCode};
use serde_json::Value;
use tokio::time::timeout;

use super::{Hub, Lab, Place, arg};
use crate::{
    process::{Output, Process},
    wait::DEADLINE,
};

/// `secmon http` beside a hub.
pub struct Bridge {
    process: Process,
    state: PathBuf,
    socket: PathBuf,
    /// Where it listens.
    pub address: String,
    http: Client,
    token: String,
    /// Those that were asked for beside the admin's.
    pub tokens: Vec<String>,
}

impl Bridge {
    /// Starts one with a token for an admin, and waits until the hub is there.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start(lab: &Lab, hub: &Hub<'_>) -> Self {
        Self::start_with(lab, hub, &[])
    }

    /// The same with further tokens, by the arguments of `token add`; they stand in `tokens`.
    ///
    /// # Panics
    /// When it does not come up.
    #[must_use]
    #[track_caller]
    pub fn start_with(lab: &Lab, hub: &Hub<'_>, tokens: &[&[&str]]) -> Self {
        // Plain HTTP alone, but a client is not made without a provider.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let (state, socket) = (lab.path("http"), hub.socket().to_owned());
        let token = new_token(&state, &["tester", "--role", "admin"]);
        // Before it runs: a running one sees a new token within a second.
        let tokens = tokens.iter().map(|args| new_token(&state, args)).collect();
        let (process, address) = spawn(&state, &socket, "127.0.0.1:0");
        process.wait_for_log("the hub", |line| line.contains("following the hub"));
        let http = Client::builder().no_proxy().build().expect("a client without settings can be made");
        Self { process, state, socket, address, http, token, tokens }
    }

    /// The process.
    #[must_use]
    pub fn process(&self) -> &Process {
        &self.process
    }

    /// Starts it again where it was, after it was killed.
    ///
    /// # Panics
    /// When it does not come up.
    #[track_caller]
    pub fn start_again(&mut self) {
        assert!(!self.process.is_running(), "stop the bridge first");
        self.process = spawn(&self.state, &self.socket, &self.address).0;
    }

    /// Ends a token.
    ///
    /// # Panics
    /// When it cannot be.
    #[track_caller]
    pub fn revoke(&self, name: &str) {
        let mut command = Place::Here.secmon();
        command.args(["http", "token", "revoke", name, "--state-dir", arg(&self.state)]);
        let output = Process::run("token revoke", &mut command);
        assert_eq!(output.code(), 0, "{output}");
    }

    /// The token of the admin.
    #[must_use]
    pub fn admin(&self) -> &str {
        &self.token
    }

    /// A request in the admin's name.
    pub fn request(&self, method: Method, path: &str) -> RequestBuilder {
        self.request_as(&self.token, method, path)
    }

    /// A request with another token.
    pub fn request_as(&self, token: &str, method: Method, path: &str) -> RequestBuilder {
        self.http.request(method, format!("http://{}{path}", self.address)).bearer_auth(token)
    }

    /// GET, and the JSON that is answered.
    ///
    /// # Panics
    /// When there is no answer, or it is not JSON.
    pub async fn get(&self, path: &str) -> (StatusCode, Value) {
        answer(self.request(Method::GET, path)).await
    }

    /// The same with another token.
    ///
    /// # Panics
    /// As [`Bridge::get`].
    pub async fn get_as(&self, token: &str, path: &str) -> (StatusCode, Value) {
        answer(self.request_as(token, Method::GET, path)).await
    }

    /// Events as server-sent events; `last` is the `Last-Event-ID`.
    ///
    /// # Panics
    /// When the stream does not begin.
    pub async fn listen(&self, query: &str, last: Option<&str>) -> Sse {
        self.listen_as(&self.token, query, last).await
    }

    /// The same with another token.
    ///
    /// # Panics
    /// As [`Bridge::listen`].
    pub async fn listen_as(&self, token: &str, query: &str, last: Option<&str>) -> Sse {
        let path = format!("/v1/events{query}");
        let mut request = self.request_as(token, Method::GET, &path).header("accept", "text/event-stream");
        if let Some(last) = last {
            request = request.header("last-event-id", last);
        }
        let response = timeout(DEADLINE, request.send()).await.expect("an answer in time");
        let response = response.expect("an answer");
        assert_eq!(response.status(), StatusCode::OK, "{path}");
        Sse { response, bytes: vec![] }
    }
}

/// Sends a request and reads its JSON.
///
/// # Panics
/// When there is no answer, or it is not JSON.
pub async fn answer(request: RequestBuilder) -> (StatusCode, Value) {
    let answering = async {
        let response = request.send().await.expect("an answer");
        let status = response.status();
        let body = response.bytes().await.expect("a whole answer");
        let parsed = serde_json::from_slice(&body);
        (status, parsed.unwrap_or_else(|_| panic!("not JSON: {}", String::from_utf8_lossy(&body))))
    };
    timeout(DEADLINE, answering).await.expect("an answer in time")
}

/// A stream of server-sent events.
pub struct Sse {
    response: Response,
    /// What was read and not given out.
    bytes: Vec<u8>,
}

/// One of them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// `event:`; empty for the usual ones.
    pub kind: String,
    /// `id:`.
    pub id: Option<String>,
    /// `data:`.
    pub data: Value,
}

impl Sse {
    /// The next event; comments and `retry:` are left out. None at the stream's end.
    ///
    /// # Panics
    /// When none comes in time, or one that is not as it should be.
    pub async fn next(&mut self) -> Option<Sent> {
        timeout(DEADLINE, self.read()).await.expect("an event in time")
    }

    /// The next one unless that takes longer.
    pub async fn within(&mut self, limit: Duration) -> Option<Sent> {
        timeout(limit, self.read()).await.ok().flatten()
    }

    /// Reads until one is as wanted; all up to it.
    ///
    /// # Panics
    /// When it does not come.
    pub async fn until(&mut self, what: &str, wanted: impl Fn(&Value) -> bool) -> Vec<Sent> {
        let mut all = vec![];
        while let Some(sent) = self.next().await {
            let found = wanted(&sent.data);
            all.push(sent);
            if found {
                return all;
            }
        }
        panic!("the stream ended before {what}: {all:#?}")
    }

    async fn read(&mut self) -> Option<Sent> {
        loop {
            while let Some(end) = self.bytes.windows(2).position(|pair| pair == b"\n\n") {
                let block: Vec<u8> = self.bytes.drain(..end + 2).collect();
                let block = str::from_utf8(&block).expect("events are UTF-8");
                if let Some(sent) = parse(block.trim_end_matches('\n')) {
                    return Some(sent);
                }
            }
            self.bytes.extend(self.response.chunk().await.ok()??);
        }
    }
}

fn parse(block: &str) -> Option<Sent> {
    let (mut kind, mut id, mut data) = (String::new(), None, None);
    for line in block.lines() {
        match line.split_once(": ") {
            Some(("event", text)) => text.clone_into(&mut kind),
            Some(("id", text)) => id = Some(text.to_owned()),
            Some(("data", text)) => data = Some(serde_json::from_str(text).expect("data is JSON")),
            _ => assert!(line.starts_with(':') || line.starts_with("retry:"), "no field: {line:?}"),
        }
    }
    Some(Sent { kind, id, data: data? })
}

fn new_token(state: &Path, args: &[&str]) -> String {
    let mut command = Place::Here.secmon();
    command.args(["http", "token", "add"]).args(args).args(["--state-dir", arg(state)]);
    let output: Output = Process::run("token add", &mut command);
    assert_eq!(output.code(), 0, "{output}");
    output.out().trim().to_owned()
}

#[track_caller]
fn spawn(state: &Path, socket: &Path, listen: &str) -> (Process, String) {
    let mut command = Place::Here.secmon();
    let config = state.join("http.toml");
    // So many requests as a test makes come from no user.
    let limits = "[limits]\nrequests_per_second = 10000\nburst = 10000\n";
    std::fs::write(&config, limits).expect("the folder of the tokens is there");
    command.args(["http", "--config", arg(&config), "--state-dir", arg(state), "--socket", arg(socket)]);
    let process = Process::spawn("http", command.args(["--listen", listen]));
    let address = |line: &str| {
        let after = line.split_once("listening")?.1.split_once("address=")?.1;
        Some(after.split_whitespace().next()?.trim_matches('"').to_owned())
    };
    let line = process.wait_for_log("the bridge to listen", |line| address(line).is_some());
    let address = address(&line).expect("the line was found by its address");
    (process, address)
}
