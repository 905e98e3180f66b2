//! Messages on a stream: frames in, frames out.

use std::{io, time::Duration};

use bytes::{Buf as _, BytesMut};
use futures::StreamExt as _;
use secmon_protocol::{
    codec::{self, Assembler, CodecError, Message, put_message},
    limits::{MAX_CHUNK, MAX_FRAME, MAX_MESSAGE},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    time::timeout,
};
use tokio_util::codec::{FramedRead, LengthDelimitedCodec};

/// What is written at once; more than this waits for the peer.
pub(super) const WRITE_TARGET: usize = 64 << 10;
/// Room for what is read, to begin with: an idle peer's frames are small, and there may be ten thousand of them.
const BUFFER: usize = 512;
/// How long to wait for a peer to read the last that it is sent and to close.
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
    /// The peer said nothing for too long.
    #[error("nothing was heard for {} s", .0.as_secs_f32())]
    Silent(Duration),
    /// The peer takes nothing of what is written to it.
    #[error("it does not read what it is sent")]
    Stuck,
    /// Not a message.
    #[error(transparent)]
    Codec(#[from] CodecError),
    /// The connection failed.
    #[error(transparent)]
    Io(io::Error),
}

/// A frame above this leaves a large buffer behind, of which no message is to share a small part.
const LARGE: usize = 2 * MAX_CHUNK;

/// Reads the messages of a stream.
pub(super) struct Reader<R, M> {
    frames: FramedRead<R, LengthDelimitedCodec>,
    assembler: Assembler<M>,
    /// Whether the buffer may be large.
    large: bool,
}

impl<R: AsyncRead + Unpin, M: Message> Reader<R, M> {
    pub(super) fn new(stream: R) -> Self {
        Self::at_most(stream, MAX_MESSAGE)
    }

    /// One of messages of at most so many bytes.
    pub(super) fn at_most(stream: R, most: usize) -> Self {
        let frames = FramedRead::with_capacity(stream, codec::frames(), BUFFER);
        Self { frames, assembler: Assembler::at_most(most), large: false }
    }

    /// Gives back the memory that large frames needed, if none of it is in use.
    pub(super) fn relax(&mut self) {
        let buffer = self.frames.read_buffer_mut();
        if buffer.is_empty() {
            *buffer = BytesMut::with_capacity(BUFFER);
            self.large = false;
        }
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
            let frame = self.frame(MAX_FRAME).await?;
            if let Some(message) = self.take(frame)? {
                return Ok(message);
            }
        }
    }

    /// The next message of a peer that must be heard every so often. Each frame counts as being heard, so
    /// that a large message has the time that it needs over a slow link.
    ///
    /// # Errors
    /// See [`WireError`].
    pub(super) async fn message_within(&mut self, patience: Duration) -> Result<M, WireError> {
        loop {
            let frame = timeout(patience, self.frame(MAX_FRAME)).await;
            let frame = frame.map_err(|_| WireError::Silent(patience))??;
            if let Some(message) = self.take(frame)? {
                return Ok(message);
            }
        }
    }

    /// The message that a frame completes, if it does.
    fn take(&mut self, frame: BytesMut) -> Result<Option<M>, WireError> {
        self.large |= frame.len() > LARGE;
        let frame = frame.freeze();
        match (!self.large).then(|| M::sharing(&frame)).flatten() {
            Some(message) => Ok(Some(message)),
            None => Ok(self.assembler.push(&frame)?),
        }
    }
}

impl<R, M> Reader<R, M> {
    /// The stream; what was read of it and not handed out is gone.
    pub(super) fn into_inner(self) -> R {
        self.frames.into_inner()
    }
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

/// Writes all of `out`, and empties it. The peer must take some of it every so often.
///
/// # Errors
/// [`WireError::Stuck`] where it does not, or the stream's own.
pub(super) async fn write_within<W: AsyncWrite + Unpin>(
    stream: &mut W,
    out: &mut BytesMut,
    patience: Duration,
) -> Result<(), WireError> {
    let stuck = |_| WireError::Stuck;
    while !out.is_empty() {
        match timeout(patience, stream.write(out)).await.map_err(stuck)?.map_err(WireError::Io)? {
            0 => return Err(WireError::Io(io::ErrorKind::WriteZero.into())),
            written => out.advance(written),
        }
    }
    timeout(patience, stream.flush()).await.map_err(stuck)?.map_err(WireError::Io)
}

/// Ends a connection so that the last message is read and the end is seen as one: closes our side (over
/// TLS with its closing alert), then waits a moment for the peer's.
pub(super) async fn goodbye<S: AsyncRead + AsyncWrite + Unpin>(stream: &mut S) {
    let _ = timeout(GOODBYE, async {
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        while stream.read(&mut rest).await? > 0 {}
        io::Result::Ok(())
    })
    .await;
}

#[cfg(test)]
mod tests {
    use bytes::{BufMut as _, Bytes};
    use secmon_protocol::{
        codec::put_frame,
        message::node::{HubToNode, NodeToHub},
    };
    use tokio::time::{Instant, sleep};

    use super::*;

    const PATIENCE: Duration = Duration::from_secs(3);

    /// A slow link once ended a connection in the middle of its snapshot: the deadline was the message's.
    #[tokio::test(start_paused = true)]
    async fn a_large_message_that_comes_slowly_is_heard_as_long_as_its_frames_come() {
        let (mut far, near) = tokio::io::duplex(1 << 20);
        let message = NodeToHub::Records(Bytes::from(vec![7; 2 << 20]));
        let sent = message.clone();
        let sending = tokio::spawn(async move {
            for frame in codec::encode_frames(&sent).unwrap() {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                let mut out = BytesMut::new();
                put_frame(&mut out, |out| out.put_slice(&frame));
                far.write_all(&out).await.unwrap();
            }
            far
        });
        let mut reader = Reader::<_, NodeToHub>::new(near);
        let began = Instant::now();
        assert!(reader.message_within(PATIENCE).await.unwrap() == message);
        assert!(began.elapsed() > 10 * PATIENCE);
        let _open = sending.await.unwrap();
        assert!(matches!(reader.message_within(PATIENCE).await, Err(WireError::Silent(_))));
    }

    #[tokio::test(start_paused = true)]
    async fn a_peer_that_reads_slowly_is_written_to_and_one_that_does_not_read_is_not() {
        let (mut far, mut near) = tokio::io::duplex(1 << 10);
        let mut out = BytesMut::new();
        put_message(&mut out, &HubToNode::Cancel { job: secmon_protocol::ids::JobId(1) }).unwrap();
        out.resize(20 << 10, 0);
        let reading = tokio::spawn(async move {
            let mut seen = 0;
            while seen < 20 << 10 {
                sleep(PATIENCE - Duration::from_secs(1)).await;
                seen += far.read(&mut [0; 1 << 10]).await.unwrap();
            }
            far
        });
        write_within(&mut near, &mut out, PATIENCE).await.unwrap();
        assert!(out.is_empty());
        let _open = reading.await.unwrap();
        out.resize(20 << 10, 0);
        assert!(matches!(write_within(&mut near, &mut out, PATIENCE).await, Err(WireError::Stuck)));
    }
}
