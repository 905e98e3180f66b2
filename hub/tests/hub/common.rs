//! A hub in a temporary folder, and the simplest node and client that speak its protocols for real.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use futures::{SinkExt as _, StreamExt as _};
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer, ServerName},
};
use secmon_hub::{Hub, HubConfig, HubError, HubSection, JobsSection, LogSection, SocketSection};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec::{self, Assembler, Message},
    facet::FacetId,
    ids::{Epoch, RequestId, Seq},
    message::{
        client::{ClientToHub, Filter, From, HubToClient, NodeSummary},
        join::{self, HubToJoin, Join, JoinToHub, Joined},
        node::{self, Hello, HostFacts, HubToNode, NodeToHub, SERVER_NAME, Welcome},
    },
    record::{Envelope, NodeRecord},
    state::{NodeState, RawFacet},
    time::UnixNanos,
    token::JoinToken,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinHandle,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::{codec::Framed, codec::LengthDelimitedCodec, sync::CancellationToken};

/// Nothing in these tests takes this long unless it is broken.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) struct Running {
    pub(crate) address: std::net::SocketAddr,
    pub(crate) socket: std::path::PathBuf,
    cancel: CancellationToken,
    task: JoinHandle<Result<(), HubError>>,
}

pub(crate) fn config(dir: &Path) -> HubConfig {
    HubConfig {
        state_dir: dir.join("state"),
        hub: HubSection {
            listen: "127.0.0.1:0".parse().unwrap(),
            heartbeat_secs: 1,
            ..HubSection::default()
        },
        log: LogSection::default(),
        jobs: JobsSection::default(),
        socket: SocketSection::default(),
        access: vec![],
        socket_path: dir.join("hub.sock"),
    }
}

pub(crate) async fn start(dir: &Path) -> Running {
    run(secmon_hub::start(config(dir)).await.unwrap())
}

pub(crate) fn run(hub: Hub) -> Running {
    let cancel = CancellationToken::new();
    let (address, socket) = (hub.address(), hub.socket().to_owned());
    let task = tokio::spawn(hub.run(cancel.clone()));
    Running { address, socket, cancel, task }
}

impl Running {
    pub(crate) async fn stop(self) {
        self.cancel.cancel();
        timeout(PATIENCE, self.task).await.unwrap().unwrap().unwrap();
    }

    pub(crate) async fn client(&self) -> Client {
        let mut client = Client::on(Conn::new(UnixStream::connect(&self.socket).await.unwrap()));
        client.wire.send(&ClientToHub::Hello { version: 1, agent: "test".into() }).await;
        let welcome = client.wire.next().await.unwrap();
        assert!(matches!(welcome, HubToClient::Welcome { version: 1, .. }), "{welcome:?}");
        client
    }

    pub(crate) async fn enrol(&self, name: &str) -> Papers {
        let token = self.client().await.enroll(name, false).await;
        match self.join(&token).await {
            HubToJoin::Joined(joined) => joined_papers(joined),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn join(&self, token: &JoinToken) -> HubToJoin {
        let key = KeyPair::generate().unwrap();
        let csr = CertificateParams::default().serialize_request(&key).unwrap();
        KEY.with(|kept| *kept.borrow_mut() = key.serialize_der());
        let stream = tls(self.address, join::ALPN, None, None).await.unwrap();
        let chain = stream.get_ref().1.peer_certificates().unwrap();
        let pinned = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, chain.last().unwrap());
        assert_eq!(pinned.as_ref(), token.ca_fingerprint);
        let mut wire = Conn::new(stream);
        let csr = Bytes::copy_from_slice(csr.der());
        wire.send(&JoinToHub::Join(Join { secret: token.secret.clone(), csr, agent: "t".into() })).await;
        wire.next().await.unwrap()
    }

    pub(crate) async fn node(&self, papers: &Papers) -> Node {
        self.node_with(papers, hello(1, 1, 0)).await
    }

    pub(crate) async fn node_with(&self, papers: &Papers, hello: Hello) -> Node {
        self.try_node(papers, hello).await.expect("the node is let in")
    }

    /// A node, or nothing where it is sent away without a word.
    pub(crate) async fn try_node(&self, papers: &Papers, hello: Hello) -> Option<Node> {
        let stream = tls(self.address, node::ALPN, Some(papers), Some(&papers.ca)).await.unwrap();
        let mut wire = Conn::new(stream);
        wire.send(&NodeToHub::Hello(hello)).await;
        match wire.next().await {
            Some(HubToNode::Welcome(welcome)) => Some(Node { wire, welcome }),
            None => None,
            other => panic!("{other:?}"),
        }
    }
}

thread_local! {
    static KEY: std::cell::RefCell<Vec<u8>> = const { std::cell::RefCell::new(vec![]) };
}

pub(crate) fn joined_papers(joined: Joined) -> Papers {
    Papers {
        certificate: joined.certificate.to_vec(),
        key: KEY.with(|kept| kept.borrow().clone()),
        ca: joined.ca_set[0].to_vec(),
    }
}

#[derive(Clone)]
pub(crate) struct Papers {
    certificate: Vec<u8>,
    key: Vec<u8>,
    pub(crate) ca: Vec<u8>,
}

#[derive(Debug)]
struct TrustAll;

impl rustls::client::danger::ServerCertVerifier for TrustAll {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }
    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        unreachable!("TLS 1.3 only")
    }
    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }
    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        vec![rustls::SignatureScheme::ECDSA_NISTP256_SHA256]
    }
}

pub(crate) async fn tls(
    address: std::net::SocketAddr,
    alpn: &[u8],
    papers: Option<&Papers>,
    ca: Option<&[u8]>,
) -> std::io::Result<TlsStream<TcpStream>> {
    dial(address, tls_config(alpn, papers, ca)).await
}

pub(crate) async fn dial(
    address: std::net::SocketAddr,
    config: Arc<ClientConfig>,
) -> std::io::Result<TlsStream<TcpStream>> {
    let name = ServerName::try_from(SERVER_NAME).unwrap();
    TlsConnector::from(config).connect(name, TcpStream::connect(address).await?).await
}

pub(crate) fn tls_config(alpn: &[u8], papers: Option<&Papers>, ca: Option<&[u8]>) -> Arc<ClientConfig> {
    let builder =
        ClientConfig::builder_with_provider(Arc::new(rustls::crypto::aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap();
    let builder = match ca {
        Some(ca) => {
            let mut roots = RootCertStore::empty();
            roots.add(CertificateDer::from(ca.to_vec())).unwrap();
            builder.with_root_certificates(roots)
        }
        None => builder.dangerous().with_custom_certificate_verifier(Arc::new(TrustAll)),
    };
    let mut config = match papers {
        Some(papers) => {
            let key: PrivateKeyDer<'static> = PrivatePkcs8KeyDer::from(papers.key.clone()).into();
            builder
                .with_client_auth_cert(vec![CertificateDer::from(papers.certificate.clone())], key)
                .unwrap()
        }
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![alpn.to_vec()];
    Arc::new(config)
}

/// Messages over a stream.
pub(crate) struct Conn<S> {
    pub(crate) frames: Framed<S, LengthDelimitedCodec>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { frames: Framed::new(stream, codec::frames()) }
    }

    pub(crate) async fn send<M: Message>(&mut self, message: &M) {
        for frame in codec::encode_frames(message).unwrap() {
            self.frames.send(frame).await.unwrap();
        }
    }

    /// The next message; none once the connection has ended.
    pub(crate) async fn next<M: Message>(&mut self) -> Option<M> {
        let mut assembler = Assembler::default();
        loop {
            let frame = timeout(PATIENCE, self.frames.next()).await.expect("an answer in time")?.ok()?;
            if let Some(message) = assembler.push(&frame).unwrap() {
                return Some(message);
            }
        }
    }
}

pub(crate) struct Node {
    pub(crate) wire: Conn<TlsStream<TcpStream>>,
    pub(crate) welcome: Welcome,
}

impl Node {
    pub(crate) async fn records(&mut self, records: &[NodeRecord]) {
        self.wire.send(&NodeToHub::Records(codec::encode_list(records))).await;
    }

    /// The next message that is not a Ping, which is answered.
    pub(crate) async fn next(&mut self) -> Option<HubToNode> {
        loop {
            match self.wire.next().await? {
                HubToNode::Ping { nonce } => self.wire.send(&NodeToHub::Pong { nonce }).await,
                other => return Some(other),
            }
        }
    }
}

pub(crate) struct Client {
    pub(crate) wire: Conn<UnixStream>,
    next: u64,
}

impl Client {
    /// One that was let in.
    pub(crate) fn on(wire: Conn<UnixStream>) -> Self {
        Self { wire, next: 1 }
    }

    pub(crate) fn request(&mut self) -> RequestId {
        self.next += 1;
        RequestId(self.next)
    }

    pub(crate) async fn next(&mut self) -> HubToClient {
        self.wire.next().await.expect("the connection stands")
    }

    pub(crate) async fn enroll(&mut self, name: &str, replace: bool) -> JoinToken {
        let request = self.request();
        let name = name.parse().unwrap();
        self.wire.send(&ClientToHub::Enroll { request, name, valid_secs: 0, replace }).await;
        match self.next().await {
            HubToClient::Enrolling { token, .. } => token.0.parse().unwrap(),
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn list(&mut self) -> Vec<NodeSummary> {
        let request = self.request();
        self.wire.send(&ClientToHub::List { request }).await;
        match self.next().await {
            HubToClient::Nodes { nodes, .. } => nodes,
            other => panic!("{other:?}"),
        }
    }

    pub(crate) async fn subscribe(&mut self, from: From, filter: Filter) -> HubToClient {
        let request = self.request();
        self.wire.send(&ClientToHub::Subscribe { request, from, filter }).await;
        self.next().await
    }

    /// The next event whose types contain this one.
    pub(crate) async fn event(&mut self, wanted: &str) -> secmon_protocol::record::LogRecord {
        loop {
            if let HubToClient::Event { record, .. } = self.next().await {
                let record: secmon_protocol::record::LogRecord = codec::decode(&record).unwrap();
                if record.envelope.types.iter().any(|name| name == wanted) {
                    return record;
                }
            }
        }
    }
}

/// Has the hub's database refuse what is written of nodes, until `DROP TRIGGER full`.
pub(crate) fn full(dir: &Path) -> rusqlite::Connection {
    let database = rusqlite::Connection::open(dir.join("state/hub.db")).unwrap();
    database.busy_timeout(PATIENCE).unwrap();
    let trigger = "CREATE TRIGGER full BEFORE UPDATE ON nodes BEGIN SELECT RAISE(ABORT, 'disk full'); END";
    database.execute_batch(trigger).unwrap();
    database
}

pub(crate) fn hello(epoch: u64, oldest: u64, newest: u64) -> Hello {
    Hello {
        agent: "0.1.0".into(),
        facts: HostFacts { hostname: "h".into(), ..HostFacts::default() },
        epoch: Epoch(epoch),
        oldest: Seq(oldest),
        newest: Seq(newest),
        clock: now(),
        extensions: Default::default(),
    }
}

pub(crate) fn now() -> UnixNanos {
    let nanos = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    UnixNanos(i64::try_from(nanos).unwrap())
}

pub(crate) fn state(keys: &[&'static str]) -> NodeState {
    let mut state = NodeState::default();
    let entries = keys.iter().map(|key| (Bytes::from_static(key.as_bytes()), Bytes::from_static(b"v")));
    state.set(FacetId::SESSIONS, RawFacet::Ready(entries.collect()));
    state
}

pub(crate) fn snapshot(seq: u64, state: &NodeState) -> NodeRecord {
    NodeRecord { seq: Seq(seq), envelope: Envelope::snapshot(now(), &state.snapshot()) }
}

pub(crate) fn auth(seq: u64) -> NodeRecord {
    let event = AuthEvent::new(now(), "sshd", Some(1), AuthAction::Accepted, "Accepted publickey for a");
    NodeRecord { seq: Seq(seq), envelope: Envelope::auth(&event) }
}

/// A record of a kind that no hub looks into, of this size.
pub(crate) fn large(seq: u64, size: usize) -> NodeRecord {
    let types = vec!["auth.probe".to_owned()];
    let kind = secmon_protocol::record::RecordKind(4000);
    let envelope = Envelope { kind, version: 1, time: now(), types, body: vec![7; size].into() };
    NodeRecord { seq: Seq(seq), envelope }
}
