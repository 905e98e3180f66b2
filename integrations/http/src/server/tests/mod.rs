//! A server over real sockets, with routes of the tests' own behind it and short deadlines.

mod access;
mod limits;
mod secure;

use std::{convert::Infallible, net::SocketAddr, path::PathBuf, time::Duration};

use axum::{
    Extension, Router,
    body::{Body, Bytes},
    extract::Request,
    http::{StatusCode, header},
    response::{IntoResponse as _, Response},
    routing::{get, post},
};
use futures::{StreamExt as _, stream};
use secmon_protocol::message::client::Role;
use tempfile::TempDir;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Deadlines, Server};
use crate::{
    Config, HttpError, Place,
    access::{
        Principal, session_routes,
        tokens::{self, NewToken},
    },
    hub::Hub,
};

/// Longer than anything here takes; what waits for it fails.
const LONG: Duration = Duration::from_secs(30);
/// No deadline is met in a test that is not about it.
const NEVER: Duration = Duration::from_secs(3600);
const PATIENT: Deadlines =
    Deadlines { handshake: NEVER, head: NEVER, idle: NEVER, stuck: NEVER, look: Duration::from_millis(50) };

/// A server that runs.
struct Bridge {
    dir: TempDir,
    address: SocketAddr,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), HttpError>>,
}

impl Bridge {
    fn start(config: &str) -> Self {
        Self::start_with(config, PATIENT)
    }

    fn start_with(config: &str, deadlines: Deadlines) -> Self {
        Self::start_in(tempfile::tempdir().unwrap(), config, deadlines)
    }

    fn start_in(dir: TempDir, config: &str, deadlines: Deadlines) -> Self {
        let listen = "listen = [\"127.0.0.1:0\"]\n";
        let text = if config.contains("listen = ") { config.to_owned() } else { format!("{listen}{config}") };
        let config: Config = toml::from_str(&text).unwrap();
        let place = Place { socket: dir.path().join("no-hub.sock"), state_dir: dir.path().join("state") };
        let server = Server::bind(config.check().unwrap(), &place, deadlines).unwrap();
        let address = server.addresses().first().copied().unwrap_or_else(|| ([127, 0, 0, 1], 0).into());
        let cancel = CancellationToken::new();
        let hub = Hub::start(&place, &cancel);
        let known = known().merge(session_routes::known(server.access.clone(), hub));
        let open = Router::new().route("/", get(async || "a page")).route("/healthz", get(async || "ok"));
        let task = tokio::spawn(server.run(known, open, cancel.clone()));
        Self { dir, address, cancel, task }
    }

    fn state(&self) -> PathBuf {
        self.dir.path().join("state")
    }

    fn token(&self, name: &str) -> String {
        let new = NewToken {
            name: name.into(),
            role: Role::Viewer,
            nodes: vec!["web*".into()],
            commands: vec![],
            expires: None,
        };
        tokens::add(&self.state(), new).unwrap()
    }

    fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn get(&self, path: &str) -> reqwest::RequestBuilder {
        client().get(self.url(path))
    }

    fn post(&self, path: &str) -> reqwest::RequestBuilder {
        client().post(self.url(path))
    }

    /// Sends bytes as they are, and reads until the other side ends it.
    async fn raw(&self, request: &str) -> String {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        to_end(&mut stream).await
    }

    async fn stop(self) {
        self.cancel.cancel();
        timeout(LONG, self.task).await.unwrap().unwrap().unwrap();
    }
}

async fn to_end(stream: &mut TcpStream) -> String {
    let mut all = Vec::new();
    // A connection that is reset has ended as well.
    let _ = timeout(LONG, stream.read_to_end(&mut all)).await.expect("it is ended");
    String::from_utf8_lossy(&all).into_owned()
}

fn client() -> reqwest::Client {
    // The first test of the process installs it.
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    reqwest::Client::builder().no_proxy().timeout(LONG).build().unwrap()
}

fn known() -> Router {
    Router::new()
        .route("/v1/who", get(async |Extension(who): Extension<Principal>| who.name.to_string()))
        .route("/v1/echo", post(async |body: Bytes| body))
        .route("/v1/stream", get(events))
        .route("/v1/flood", get(flood))
        .route("/v1/tagged", get(async || ([(header::ETAG, "\"x\"")], "x".repeat(5000))))
        .route("/v1/panic", get(panics))
}

/// An event, and then nothing for ever.
async fn events(_request: Request) -> Response {
    let event = stream::iter([Ok::<_, Infallible>(Bytes::from_static(b"data: 1\n\n"))]);
    let body = Body::from_stream(event.chain(stream::pending()));
    ([(header::CONTENT_TYPE, "text/event-stream")], body).into_response()
}

/// As much as is taken.
async fn flood() -> Response {
    let piece = Bytes::from(vec![b'x'; 64 << 10]);
    let body = Body::from_stream(stream::repeat(piece).map(Ok::<_, Infallible>));
    (StatusCode::OK, body).into_response()
}

async fn panics() -> StatusCode {
    panic!("on purpose")
}
