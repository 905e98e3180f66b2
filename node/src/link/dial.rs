//! Getting to the hub: one TCP connection and one TLS handshake, each with a deadline.

use std::{io, sync::Arc, time::Duration};

use bytes::{Buf as _, BytesMut};
use futures::StreamExt as _;
use rustls::ClientConfig;
use secmon_protocol::codec::{self, Assembler, CodecError, Message};
use tokio::{
    io::{AsyncRead, AsyncWrite, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

use crate::tls;

/// How long one address is tried before the next one.
const CONNECT: Duration = Duration::from_secs(10);
/// How long a TLS handshake may take.
const HANDSHAKE: Duration = Duration::from_secs(10);
/// What is sent at once: a chunk of output, or many small ones. TLS takes no more at a time.
const AT_ONCE: usize = 64 << 10;
/// Memory for what is sent that is kept for the next: that of a node which is idle is none.
const KEPT: usize = 256 << 10;

/// Why a hub could not be reached, or was lost.
#[derive(Debug, thiserror::Error)]
pub enum LinkError {
    /// No connection.
    #[error("cannot connect to {address}: {source}")]
    Connect {
        /// The hub's address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The other side is not the hub.
    #[error("{address} is not the hub that was expected: its certificate is of another CA")]
    WrongHub {
        /// The address.
        address: String,
    },
    /// No TLS.
    #[error("no TLS with {address}: {source}")]
    Tls {
        /// The hub's address.
        address: String,
        /// Why.
        source: io::Error,
    },
    /// The connection broke.
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    /// The hub closed it.
    #[error("the hub closed the connection")]
    Closed,
    /// The hub says no.
    #[error("the hub refuses this node: {0}")]
    Rejected(secmon_protocol::message::Refusal),
    /// The hub sent something that makes no sense.
    #[error("the hub breaks the protocol: {0}")]
    Protocol(String),
    /// Nothing came for too long.
    #[error("the hub was silent for {} s", .0.as_secs())]
    Silent(Duration),
    /// The hub sent something about a run that breaks the protocol.
    #[error("the hub breaks the protocol: {0}")]
    Runs(#[from] crate::jobs::Violation),
    /// The state folder's papers are of no use.
    #[error(transparent)]
    Papers(#[from] tls::TlsError),
    /// The node has begun a new numbering of its records, which a new connection opens with.
    #[error("the node's records are numbered anew")]
    Renumbered,
    /// The node is shutting down.
    #[error(transparent)]
    Ended(#[from] crate::actor::Ended),
}

impl From<CodecError> for LinkError {
    fn from(error: CodecError) -> Self {
        Self::Protocol(error.to_string())
    }
}

/// A TLS connection to `address`, `HOST:PORT`.
///
/// # Errors
/// It cannot be reached, speaks no TLS, or is not the hub.
pub(crate) async fn dial(
    address: &str,
    config: Arc<ClientConfig>,
) -> Result<TlsStream<TcpStream>, LinkError> {
    let late = |what: &str, limit: Duration| {
        io::Error::new(io::ErrorKind::TimedOut, format!("{what} took over {} s", limit.as_secs()))
    };
    let tcp = match timeout(CONNECT, TcpStream::connect(address)).await {
        Ok(result) => result,
        Err(_) => Err(late("connecting", CONNECT)),
    };
    let tcp = tcp.map_err(|source| LinkError::Connect { address: address.to_owned(), source })?;
    // Diffs and output are small and wanted at once. A socket that refuses the option still works.
    let _ = tcp.set_nodelay(true);
    let handshake = TlsConnector::from(config).connect(tls::server_name()?, tcp);
    let tls = match timeout(HANDSHAKE, handshake).await {
        Ok(result) => result,
        Err(_) => Err(late("the handshake", HANDSHAKE)),
    };
    tls.map_err(|source| match tls::is_wrong_hub(&source) {
        true => LinkError::WrongHub { address: address.to_owned() },
        false => LinkError::Tls { address: address.to_owned(), source },
    })
}

/// The receiving half of a connection: frames put together to messages.
pub(crate) struct Reader<R, M> {
    frames: FramedRead<R, LengthDelimitedCodec>,
    assembler: Assembler<M>,
}

impl<R: AsyncRead + Unpin, M: Message> Reader<R, M> {
    /// Reads frames from `io`.
    pub(crate) fn new(io: R) -> Self {
        Self { frames: FramedRead::new(io, codec::frames()), assembler: Assembler::default() }
    }

    /// The next message, each of whose frames may take `patience`. Safe to be dropped while it waits.
    ///
    /// # Errors
    /// The connection ended or fell silent, or what came is no message.
    pub(crate) async fn next(&mut self, patience: Duration) -> Result<M, LinkError> {
        loop {
            let frame =
                timeout(patience, self.frames.next()).await.map_err(|_| LinkError::Silent(patience))?;
            let frame = match frame.ok_or(LinkError::Closed)? {
                // A hub that was killed says no goodbye.
                Err(e) if e.kind() == io::ErrorKind::UnexpectedEof => return Err(LinkError::Closed),
                other => other?,
            };
            if let Some(message) = self.assembler.push(&frame)? {
                return Ok(message);
            }
        }
    }
}

/// The sending half of a connection.
pub(crate) struct Writer<W> {
    io: W,
    out: BytesMut,
}

impl<W: AsyncWrite + Unpin> Writer<W> {
    /// Writes frames to `io`.
    pub(crate) fn new(io: W) -> Self {
        Self { io, out: BytesMut::new() }
    }

    /// Puts a message behind those that [`Writer::flush`] sends; whether there should be more of them.
    ///
    /// # Errors
    /// It is larger than any may be.
    pub(crate) fn put<M: Message>(&mut self, message: &M) -> Result<bool, LinkError> {
        codec::put_message(&mut self.out, message)?;
        Ok(self.out.len() < AT_ONCE)
    }

    /// Sends what was put. Each part of it that the other side takes may take `patience`.
    ///
    /// # Errors
    /// The connection broke or is stuck.
    pub(crate) async fn flush(&mut self, patience: Duration) -> Result<(), LinkError> {
        let stuck = |_| LinkError::Silent(patience);
        while !self.out.is_empty() {
            match timeout(patience, self.io.write(&self.out)).await.map_err(stuck)?? {
                0 => return Err(io::Error::from(io::ErrorKind::WriteZero).into()),
                written => self.out.advance(written),
            }
        }
        if self.out.capacity() > KEPT {
            self.out = BytesMut::new();
        }
        Ok(timeout(patience, self.io.flush()).await.map_err(stuck)??)
    }

    /// Sends a message; see [`Writer::put`] and [`Writer::flush`].
    ///
    /// # Errors
    /// Theirs.
    pub(crate) async fn send<M: Message>(
        &mut self,
        message: &M,
        patience: Duration,
    ) -> Result<(), LinkError> {
        self.put(message)?;
        self.flush(patience).await
    }

    /// Sends what is left and tells the other side that nothing more comes.
    ///
    /// # Errors
    /// The connection broke.
    pub(crate) async fn close(&mut self) -> Result<(), LinkError> {
        self.io.write_all_buf(&mut self.out).await?;
        Ok(self.io.shutdown().await?)
    }
}
