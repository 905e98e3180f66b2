//! Nodes that have joined a hub: their papers, and connections made with them.

use std::{
    net::SocketAddr,
    path::{Path, PathBuf},
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use anyhow::{Context as _, bail};
use futures::{SinkExt as _, StreamExt as _};
use rustls::{ClientConfig, RootCertStore, crypto::aws_lc_rs, pki_types::ServerName, version::TLS13};
use secmon_node::{identity::Identity, join};
use secmon_protocol::{
    codec::{self, Assembler, Message},
    ids::RequestId,
    message::{
        client::{ClientToHub, HubToClient, VERSION},
        node,
    },
    token::JoinToken,
};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpStream, UnixStream},
    task::JoinSet,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::codec::{Framed, LengthDelimitedCodec};

/// How many nodes join side by side.
const JOINING: usize = 8;

/// A node's papers.
pub(crate) struct Member {
    /// What [`super::tally::Tally`] knows it by: the last eight bytes of its id, which are random.
    pub(crate) key: u64,
    /// Its side of TLS.
    pub(crate) tls: Arc<ClientConfig>,
}

/// Messages over a stream.
pub(crate) struct Conn<S> {
    frames: Framed<S, LengthDelimitedCodec>,
}

impl<S: AsyncRead + AsyncWrite + Unpin> Conn<S> {
    pub(crate) fn new(stream: S) -> Self {
        Self { frames: Framed::new(stream, codec::frames()) }
    }

    pub(crate) async fn send<M: Message>(&mut self, message: &M) -> anyhow::Result<()> {
        for frame in codec::encode_frames(message)? {
            self.frames.send(frame).await?;
        }
        Ok(())
    }

    pub(crate) async fn next<M: Message>(&mut self) -> anyhow::Result<M> {
        let mut assembler = Assembler::default();
        loop {
            let frame = self.frames.next().await.context("the hub closed the connection")??;
            if let Some(message) = assembler.push(&frame)? {
                return Ok(message);
            }
        }
    }

    pub(crate) fn into_inner(self) -> S {
        self.frames.into_inner()
    }
}

/// A client that has said Hello.
pub(crate) async fn client(socket: &Path) -> anyhow::Result<Conn<UnixStream>> {
    let mut conn = Conn::new(UnixStream::connect(socket).await?);
    conn.send(&ClientToHub::Hello { version: VERSION, agent: "bench".to_owned() }).await?;
    match conn.next().await? {
        HubToClient::Welcome { .. } => Ok(conn),
        other => bail!("no Welcome but {other:?}"),
    }
}

/// So many nodes, enrolled and joined.
pub(crate) async fn enrol(socket: &Path, count: usize) -> anyhow::Result<Vec<Member>> {
    let next = Arc::new(AtomicUsize::new(0));
    let mut joining = JoinSet::new();
    for _ in 0..JOINING.min(count) {
        let (next, socket) = (next.clone(), PathBuf::from(socket));
        joining.spawn(async move {
            let mut members = Vec::new();
            let mut conn = client(&socket).await?;
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                if number >= count {
                    return anyhow::Ok(members);
                }
                let token = token(&mut conn, number).await?;
                members.push(member(&join::join(&token).await?)?);
            }
        });
    }
    let mut members = Vec::with_capacity(count);
    while let Some(joined) = joining.join_next().await {
        members.extend(joined??);
    }
    Ok(members)
}

async fn token(conn: &mut Conn<UnixStream>, number: usize) -> anyhow::Result<JoinToken> {
    let request = RequestId(number as u64);
    let name = format!("bench{number}").parse()?;
    conn.send(&ClientToHub::Enroll { request, name, valid_secs: 0, replace: false }).await?;
    match conn.next().await? {
        HubToClient::Enrolling { token, .. } => Ok(token.0.parse()?),
        other => bail!("no token but {other:?}"),
    }
}

fn member(identity: &Identity) -> anyhow::Result<Member> {
    let mut roots = RootCertStore::empty();
    for ca in &identity.ca_set {
        roots.add(ca.clone())?;
    }
    let mut tls = ClientConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_protocol_versions(&[&TLS13])?
        .with_root_certificates(roots)
        .with_client_auth_cert(vec![identity.certificate.clone()], identity.key.clone_key())?;
    tls.alpn_protocols = vec![node::ALPN.to_vec()];
    let mut key = [0; 8];
    key.copy_from_slice(&identity.node.0[8..]);
    Ok(Member { key: u64::from_be_bytes(key), tls: Arc::new(tls) })
}

/// One TLS connection.
pub(crate) async fn connect(tls: &Arc<ClientConfig>, to: SocketAddr) -> anyhow::Result<TlsStream<TcpStream>> {
    let stream = TcpStream::connect(to).await?;
    stream.set_nodelay(true)?;
    Ok(TlsConnector::from(tls.clone()).connect(ServerName::try_from(node::SERVER_NAME)?, stream).await?)
}
