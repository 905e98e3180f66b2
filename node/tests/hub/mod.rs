//! A hub that a test plays, over real TLS, and the node that it has: one that watches nothing and runs commands.

use std::{
    fs,
    path::PathBuf,
    sync::{Arc, Mutex},
    time::Duration,
};

use futures::{SinkExt as _, StreamExt as _};
use rcgen::{
    BasicConstraints, CertificateParams, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair, KeyUsagePurpose,
};
use rustls::{
    RootCertStore, ServerConfig,
    crypto::aws_lc_rs,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer},
    server::WebPkiClientVerifier,
    version::TLS13,
};
use secmon_node::{
    Limits, NodeConfig, NodeSection,
    commands::CommandsSection,
    identity::{Identity, StateDir},
    watch::{
        auth::{AuthConfig, AuthSourceChoice},
        sessions::SessionsConfig,
        wireguard::WireguardConfig,
    },
};
use secmon_protocol::{
    codec::{self, Assembler},
    ids::{NodeId, NodeName},
    message::node::{ALPN, HubToNode, NodeToHub, Resume, SERVER_NAME, Welcome},
    time::UnixNanos,
};
use tokio::{
    net::{TcpListener, TcpStream},
    time::{sleep, timeout},
};
use tokio_rustls::{TlsAcceptor, server::TlsStream};
use tokio_util::{
    codec::{Framed, LengthDelimitedCodec},
    sync::{CancellationToken, DropGuard},
};

const NODE: NodeId = NodeId([7; 16]);
/// Far longer than anything here takes on a slow machine; a test that waits this long has failed.
const PATIENCE: Duration = Duration::from_secs(60);

/// The hub, its port, and its node.
pub(crate) struct Hub {
    listener: TcpListener,
    tls: TlsAcceptor,
    log: Log,
    node: Option<DropGuard>,
    state: tempfile::TempDir,
}

/// One connection of the node.
pub(crate) struct Line {
    frames: Framed<TlsStream<TcpStream>, LengthDelimitedCodec>,
    assembler: Assembler<NodeToHub>,
    /// What the node has said that it holds.
    pub(crate) held: Vec<(u64, Option<u32>)>,
}

/// What a node has said of runs, in short.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Told {
    /// A process stood.
    Started,
    /// A run was over.
    Exit,
}

impl Hub {
    /// With a node that takes its commands from `allowlist`.
    pub(crate) async fn new(allowlist: PathBuf) -> Self {
        let mut hub = Self::alone().await;
        let (state_dir, log, stop) = (hub.state_dir(), hub.log.clone(), CancellationToken::new());
        hub.node = Some(stop.clone().drop_guard());
        std::thread::spawn(move || {
            let _log = tracing::subscriber::set_default(log);
            node(state_dir, allowlist, stop);
        });
        hub
    }

    /// Without the node, whose folder is made.
    pub(crate) async fn alone() -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (identity, tls) = papers(address);
        let state = tempfile::tempdir().unwrap();
        let hub = Self { listener, tls, log: Log::default(), node: None, state };
        StateDir::open(&hub.state_dir()).unwrap().save(&identity).unwrap();
        // A process that another test is starting just now has it open, and locked, for a moment.
        fs::remove_file(hub.state_dir().join("lock")).unwrap();
        hub
    }

    /// The node's folder.
    pub(crate) fn state_dir(&self) -> PathBuf {
        self.state.path().join("node")
    }

    /// Tells the node to stop.
    pub(crate) fn stop_node(&mut self) {
        self.node = None;
    }

    /// The node's next connection.
    pub(crate) async fn line(&self) -> Line {
        let accepted = async {
            loop {
                let (stream, _) = self.listener.accept().await.unwrap();
                if let Ok(stream) = self.tls.accept(stream).await {
                    return stream;
                }
            }
        };
        let stream = timeout(PATIENCE, accepted).await.expect("the node to come");
        Line { frames: Framed::new(stream, codec::frames()), assembler: Assembler::default(), held: vec![] }
    }

    /// The node's next connection, welcomed, with what it said first.
    pub(crate) async fn greeted(&self) -> Line {
        let mut line = self.line().await;
        line.hello().await;
        let (name, resume): (NodeName, _) = ("web-1".parse().unwrap(), Resume::Oldest);
        let (heartbeat_ms, clock) = (60_000, UnixNanos(jiff::Timestamp::now().as_nanosecond() as i64));
        let extensions = Default::default();
        line.say(HubToNode::Welcome(Welcome { node: NODE, name, resume, heartbeat_ms, clock, extensions }))
            .await;
        let mut told = false;
        loop {
            match line.next().await {
                NodeToHub::Commands(_) => told = true,
                NodeToHub::Jobs(held) => {
                    assert!(told, "what may be run comes before it");
                    line.held = held.iter().map(|held| (held.job.0, held.pid)).collect();
                    return line;
                }
                NodeToHub::Records(_) => {}
                other => panic!("{other:?}"),
            }
        }
    }

    /// Whether the node says in its log, sooner or later, why it left; and forgets that it did.
    pub(crate) async fn reason(&self, why: &str) -> bool {
        let said = async {
            loop {
                let lines = std::mem::take(&mut *self.log.0.lock().unwrap());
                if lines.iter().any(|line| line.contains(why)) {
                    return;
                }
                sleep(Duration::from_millis(5)).await;
            }
        };
        timeout(PATIENCE / 6, said).await.is_ok()
    }
}

impl Line {
    /// Waits for the node's Hello.
    pub(crate) async fn hello(&mut self) {
        assert!(matches!(self.next().await, NodeToHub::Hello(_)));
    }

    /// Sends a message; the connection must stand.
    pub(crate) async fn say(&mut self, message: HubToNode) {
        assert!(self.try_say(message).await);
    }

    /// Sends a message; false when the connection is gone.
    pub(crate) async fn try_say(&mut self, message: HubToNode) -> bool {
        let frame = codec::encode(&message);
        timeout(PATIENCE, self.frames.send(frame)).await.expect("the node to read").is_ok()
    }

    /// The next message; the connection must stand.
    pub(crate) async fn next(&mut self) -> NodeToHub {
        self.read().await.expect("a message")
    }

    /// What the node says of runs until it leaves.
    pub(crate) async fn ended(&mut self) -> Vec<Told> {
        let mut told = vec![];
        while let Some(message) = self.read().await {
            match message {
                NodeToHub::Started { .. } => told.push(Told::Started),
                NodeToHub::Exit { .. } => told.push(Told::Exit),
                _ => {}
            }
        }
        told
    }

    async fn read(&mut self) -> Option<NodeToHub> {
        loop {
            let frame = timeout(PATIENCE, self.frames.next()).await.expect("something in time")?.ok()?;
            if let Some(message) = self.assembler.push(&frame).unwrap() {
                return Some(message);
            }
        }
    }
}

/// Is the node, as it is run: with a thread and a runtime of its own, until `stop`.
pub(crate) fn node(state_dir: PathBuf, allowlist: PathBuf, stop: CancellationToken) {
    let nothing = PathBuf::from("/nonexistent");
    let config = NodeConfig {
        state_dir,
        join: None,
        node: NodeSection::default(),
        sessions: SessionsConfig {
            logind: false,
            utmp: nothing.clone(),
            wtmp: nothing.clone(),
            btmp: nothing.clone(),
            wtmpdb: nothing,
        },
        wireguard: WireguardConfig { enabled: false, ..WireguardConfig::default() },
        auth: AuthConfig { source: AuthSourceChoice::Off, files: vec![] },
        commands: CommandsSection { allowlist: Some(allowlist), ..CommandsSection::default() },
        limits: Limits::default(),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(secmon_node::run(config, stop)).unwrap();
}

/// Whether a process is gone, or only waits to be reaped.
pub(crate) fn is_gone(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(") ").is_none_or(|(_, rest)| rest.starts_with('Z'))
}

/// Waits until a process is gone.
pub(crate) async fn gone(pid: u32) {
    let wait = async {
        while !is_gone(pid) {
            sleep(Duration::from_millis(5)).await;
        }
    };
    timeout(PATIENCE, wait).await.expect("the process to end");
}

/// The node's papers and the hub's side of TLS, of one CA.
fn papers(address: String) -> (Identity, TlsAcceptor) {
    let ca_key = KeyPair::generate().unwrap();
    let mut ca = CertificateParams::default();
    ca.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    ca.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    let ca_certificate = ca.self_signed(&ca_key).unwrap().der().clone();
    let issuer = Issuer::new(ca, ca_key);
    let leaf = |names: Vec<String>, usage| {
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::new(names).unwrap();
        params.extended_key_usages = vec![usage];
        let certificate = params.signed_by(&key, &issuer).unwrap().der().clone();
        (certificate, PrivateKeyDer::from(PrivatePkcs8KeyDer::from(key.serialize_der())))
    };
    let (certificate, key) = leaf(vec![], ExtendedKeyUsagePurpose::ClientAuth);
    let identity = Identity {
        node: NODE,
        name: "web-1".parse().unwrap(),
        addresses: vec![address],
        certificate,
        key,
        ca_set: vec![ca_certificate.clone()],
    };
    let (certificate, key) = leaf(vec![SERVER_NAME.to_owned()], ExtendedKeyUsagePurpose::ServerAuth);
    (identity, acceptor(&ca_certificate, certificate, key))
}

fn acceptor(
    ca: &CertificateDer<'static>,
    own: CertificateDer<'static>,
    key: PrivateKeyDer<'static>,
) -> TlsAcceptor {
    let provider = Arc::new(aws_lc_rs::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(ca.clone()).unwrap();
    let verifier =
        WebPkiClientVerifier::builder_with_provider(roots.into(), Arc::clone(&provider)).build().unwrap();
    let mut config = ServerConfig::builder_with_provider(provider)
        .with_protocol_versions(&[&TLS13])
        .unwrap()
        .with_client_cert_verifier(verifier)
        .with_single_cert(vec![own], key)
        .unwrap();
    config.alpn_protocols = vec![ALPN.to_vec()];
    TlsAcceptor::from(Arc::new(config))
}

/// The node's log, as lines.
#[derive(Debug, Clone, Default)]
struct Log(Arc<Mutex<Vec<String>>>);

impl tracing::Subscriber for Log {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("secmon_node")
    }

    fn new_span(&self, _: &tracing::span::Attributes<'_>) -> tracing::span::Id {
        tracing::span::Id::from_u64(1)
    }

    fn record(&self, _: &tracing::span::Id, _: &tracing::span::Record<'_>) {}

    fn record_follows_from(&self, _: &tracing::span::Id, _: &tracing::span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let mut fields = Fields(String::new());
        event.record(&mut fields);
        self.0.lock().unwrap().push(fields.0);
    }

    fn enter(&self, _: &tracing::span::Id) {}

    fn exit(&self, _: &tracing::span::Id) {}
}

struct Fields(String);

impl tracing::field::Visit for Fields {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn std::fmt::Debug) {
        use std::fmt::Write as _;
        let _ = write!(self.0, "{}={value:?} ", field.name());
    }
}
