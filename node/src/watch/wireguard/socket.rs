//! One question to one UAPI socket. Private and preshared keys pass by here, in a buffer that is wiped when it
//! is let go.

use std::{io, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
};
use zeroize::Zeroizing;

use super::uapi::{Answer, GET, MAX_LINE, Reader, UapiError};

/// For the whole question; a sound interface answers in milliseconds.
const TIMEOUT: Duration = Duration::from_secs(2);

/// Never grown, so that no copy of it is left behind unwiped.
const BUFFER: usize = 16 * MAX_LINE;

/// Why a socket gave no peers.
#[derive(Debug, thiserror::Error)]
pub(super) enum Failure {
    /// Nobody listens: the file was left behind, or has just gone.
    #[error("nobody listens: {0}")]
    Dead(#[source] io::Error),
    /// It cannot be reached or read.
    #[error("{0}")]
    Io(#[source] io::Error),
    /// No whole answer in time.
    #[error("no answer within {} s", TIMEOUT.as_secs())]
    Timeout,
    /// It was not understood.
    #[error(transparent)]
    Answer(#[from] UapiError),
}

impl Failure {
    /// What would mend it.
    pub(super) fn remedy(&self) -> &'static str {
        match self {
            Self::Io(e) if e.kind() == io::ErrorKind::PermissionDenied => "run the node as root",
            _ => "see whether `wg show` can read the interface, and restart its daemon",
        }
    }
}

/// Asks the socket at `path` for its peers.
pub(super) async fn ask(path: &Path) -> Result<Answer, Failure> {
    tokio::time::timeout(TIMEOUT, exchange(path)).await.unwrap_or(Err(Failure::Timeout))
}

async fn exchange(path: &Path) -> Result<Answer, Failure> {
    let mut stream = UnixStream::connect(path).await.map_err(|e| match e.kind() {
        io::ErrorKind::ConnectionRefused | io::ErrorKind::NotFound => Failure::Dead(e),
        _ => Failure::Io(e),
    })?;
    stream.write_all(GET).await.map_err(Failure::Io)?;
    let mut buffer = Zeroizing::new(vec![0; BUFFER]);
    let mut filled = 0;
    let mut reader = Reader::default();
    while !reader.is_complete() {
        let read = stream.read(&mut buffer[filled..]).await.map_err(Failure::Io)?;
        if read == 0 {
            return Err(Failure::Io(io::ErrorKind::UnexpectedEof.into()));
        }
        filled += read;
        let taken = reader.feed(&buffer[..filled])?;
        buffer.copy_within(taken..filled, 0);
        filled -= taken;
    }
    Ok(reader.into_answer(crate::now()))
}

#[cfg(test)]
#[path = "socket_tests.rs"]
mod tests;
