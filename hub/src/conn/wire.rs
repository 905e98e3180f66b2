//! Messages on a stream: frames in, frames out.

use std::{io, time::Duration};

use bytes::{BufMut as _, BytesMut};
use futures::StreamExt as _;
use secmon_protocol::codec::{self, Assembler, CodecError, Message};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// What is written at once; more than this waits for the peer.
pub(super) const WRITE_TARGET: usize = 64 << 10;
/// How long to wait for a peer that was turned away to read why and close.
const GOODBYE: Duration = Duration::from_secs(1);

/// Why no message came.
#[derive(Debug, thiserror::Error)]
pub(super) enum WireError {
    /// The peer closed the connection between two frames.
    #[error("the peer closed the connection")]
    Closed,
    /// The peer closed the connection within a frame.
    #[error("the connection ended within a frame")]
    HalfFrame,
    /// A frame's length is over the limit.
    #[error("a frame is over the limit of {limit} bytes")]
    TooLong {
        /// The limit.
        limit: usize,
    },
    /// Not a message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The connection failed.
    #[error(transparent)]
    Io(io::Error),
}

/// Reads the messages of a stream.
pub(super) struct Reader<R, M> {
    frames: FramedRead<R, LengthDelimitedCodec>,
    assembler: Assembler<M>,
}

impl<R: AsyncRead + Unpin, M: Message> Reader<R, M> {
    pub(super) fn new(stream: R) -> Self {
        Self { frames: FramedRead::new(stream, codec::frames()), assembler: Assembler::default() }
    }

    /// One frame, at most this long.
    ///
    /// # Errors
    /// See [`WireError`].
    pub(super) async fn frame(&mut self, limit: usize) -> Result<BytesMut, WireError> {
        self.frames.decoder_mut().set_max_frame_length(limit);
        match self.frames.next().await {
            Some(Ok(frame)) => Ok(frame),
            Some(Err(error)) => Err(match error.kind() {
                io::ErrorKind::InvalidData => WireError::TooLong { limit },
                // tokio-util's word for a stream that ends with bytes left over.
                io::ErrorKind::Other => WireError::HalfFrame,
                // TLS without its closing alert; so does a peer that dies.
                io::ErrorKind::UnexpectedEof => WireError::Closed,
                _ => WireError::Io(error),
            }),
            None => Err(WireError::Closed),
        }
    }

    /// The next message. Must not be dropped half-way and called again, unless the connection ends.
    ///
    /// # Errors
    /// See [`WireError`].
    pub(super) async fn message(&mut self) -> Result<M, WireError> {
        loop {
            let frame = self.frame(secmon_protocol::limits::MAX_FRAME).await?;
            if let Some(message) = self.assembler.push(&frame)? {
                return Ok(message);
            }
        }
    }
}

/// Puts a frame made of `parts` behind what is to be written.
pub(super) fn put_frame(out: &mut BytesMut, parts: &[&[u8]]) {
    let len: usize = parts.iter().map(|part| part.len()).sum();
    out.reserve(len + 4);
    // Every frame of ours is at most MAX_FRAME long.
    out.put_u32(u32::try_from(len).unwrap_or(u32::MAX));
    parts.iter().for_each(|part| out.put_slice(part));
}

/// Puts a message behind what is to be written.
///
/// # Errors
/// A message that is too large for this conversation.
pub(super) fn put_message<M: Message>(out: &mut BytesMut, message: &M) -> Result<(), CodecError> {
    codec::encode_frames(message)?.iter().for_each(|frame| put_frame(out, &[frame]));
    Ok(())
}

/// Writes one message and waits until it is out.
///
/// # Errors
/// See [`WireError`].
pub(super) async fn send<W: AsyncWrite + Unpin, M: Message>(
    stream: &mut W,
    message: &M,
) -> Result<(), WireError> {
    let mut out = BytesMut::new();
    put_message(&mut out, message)?;
    stream.write_all(&out).await.map_err(WireError::Io)?;
    stream.flush().await.map_err(WireError::Io)
}

/// Ends a connection so that the last message is read: closes our side, then waits a moment for the peer's.
pub(super) async fn goodbye<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let _ = timeout(GOODBYE, async {
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}
