//! The messages between node and runner on their Unix socket.

use std::{io, time::Duration};

use futures::{SinkExt, StreamExt as _};
use secmon_protocol::codec::{self, Assembler, CodecError, Message};
use tokio::{
    net::{
        UnixStream,
        unix::{OwnedReadHalf, OwnedWriteHalf},
    },
    time::timeout,
};
use tokio_util::codec::{FramedRead, FramedWrite, LengthDelimitedCodec};

/// How long the other side may take for the greeting.
pub(super) const GREETING: Duration = Duration::from_secs(5);

/// How a conversation fails.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    #[error("the connection broke: {0}")]
    Io(#[from] io::Error),
    #[error("it breaks the protocol: {0}")]
    Codec(#[from] CodecError),
    #[error("it did not answer within {} s", .0.as_secs())]
    Silent(Duration),
    #[error("the connection was closed")]
    Closed,
}

/// What the other side says.
pub(super) struct Reader<M> {
    frames: FramedRead<OwnedReadHalf, LengthDelimitedCodec>,
    assembler: Assembler<M>,
}

impl<M: Message> Reader<M> {
    /// The next message. Safe to be dropped while it waits.
    pub(super) async fn next(&mut self) -> Result<M, WireError> {
        loop {
            let frame = self.frames.next().await.ok_or(WireError::Closed)??;
            if let Some(message) = self.assembler.push(&frame)? {
                return Ok(message);
            }
        }
    }

    /// The next message, which belongs to the greeting.
    pub(super) async fn greeting(&mut self) -> Result<M, WireError> {
        timeout(GREETING, self.next()).await.map_err(|_| WireError::Silent(GREETING))?
    }
}

/// What is said to it.
pub(super) struct Writer {
    frames: FramedWrite<OwnedWriteHalf, LengthDelimitedCodec>,
}

impl Writer {
    /// Says it, or keeps it until [`flush`](Self::flush).
    pub(super) async fn feed<M: Message>(&mut self, message: &M) -> Result<(), WireError> {
        for frame in codec::encode_frames(message)? {
            self.frames.feed(frame).await?;
        }
        Ok(())
    }

    pub(super) async fn flush(&mut self) -> Result<(), WireError> {
        Ok(SinkExt::<bytes::Bytes>::flush(&mut self.frames).await?)
    }

    /// Says it at once, within `patience`.
    pub(super) async fn send<M: Message>(
        &mut self,
        message: &M,
        patience: Duration,
    ) -> Result<(), WireError> {
        let send = async {
            self.feed(message).await?;
            self.flush().await
        };
        timeout(patience, send).await.map_err(|_| WireError::Silent(patience))?
    }

    /// Says that nothing more comes.
    pub(super) async fn close(&mut self) -> Result<(), WireError> {
        Ok(SinkExt::<bytes::Bytes>::close(&mut self.frames).await?)
    }
}

/// Both directions of a connection.
pub(super) fn split<M: Message>(stream: UnixStream) -> (Reader<M>, Writer) {
    let (read, write) = stream.into_split();
    let frames = FramedRead::new(read, codec::frames());
    (
        Reader { frames, assembler: Assembler::default() },
        Writer { frames: FramedWrite::new(write, codec::frames()) },
    )
}
