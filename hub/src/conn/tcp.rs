//! A node's TCP connection, from which much is read at once where much comes.
//!
//! rustls asks for 4 KiB at a time. That is right for ten thousand idle nodes, and four calls of the kernel for each
//! 16 KiB of one that sends what a command prints. What lies here is what the kernel had anyway, still encrypted.

use std::{
    io::{self, IoSlice},
    pin::Pin,
    task::{Context, Poll, ready},
};

use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    net::TcpStream,
};
use tokio_util::io::poll_read_buf;

/// What is read at once, of a peer that sends more than it was asked for.
const AHEAD: usize = 64 << 10;

/// See the module.
#[derive(Debug)]
pub(super) struct Tcp {
    stream: TcpStream,
    /// What was read ahead. Memory is held for it as long as much comes.
    ahead: BytesMut,
    /// Whether the last read brought all that it might.
    much: bool,
}

impl Tcp {
    pub(super) fn new(stream: TcpStream) -> Self {
        Self { stream, ahead: BytesMut::new(), much: false }
    }
}

impl AsyncRead for Tcp {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let Self { stream, ahead, much } = self.get_mut();
        if ahead.is_empty() && *much {
            ahead.clear();
            ahead.reserve(AHEAD);
            match poll_read_buf(Pin::new(stream), cx, ahead) {
                Poll::Ready(read) => drop(read?),
                Poll::Pending => {
                    *much = false;
                    return Poll::Pending;
                }
            }
            if ahead.is_empty() {
                return Poll::Ready(Ok(()));
            }
        }
        if ahead.is_empty() {
            let (room, before) = (buf.remaining(), buf.filled().len());
            ready!(Pin::new(stream).poll_read(cx, buf))?;
            *much = buf.filled().len() - before == room;
            if !*much {
                *ahead = BytesMut::new();
            }
        } else {
            let len = ahead.len().min(buf.remaining());
            buf.put_slice(&ahead[..len]);
            ahead.advance(len);
        }
        Poll::Ready(Ok(()))
    }
}

impl AsyncWrite for Tcp {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(cx, buf)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(cx, bufs)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}

#[cfg(test)]
mod tests {
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        net::TcpListener,
    };

    use super::*;

    async fn pair() -> (TcpStream, Tcp) {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let far = TcpStream::connect(listener.local_addr().unwrap()).await.unwrap();
        (far, Tcp::new(listener.accept().await.unwrap().0))
    }

    #[tokio::test]
    async fn what_is_read_ahead_comes_whole_and_in_order_and_then_the_end() {
        let (mut far, mut near) = pair().await;
        let sent: Vec<u8> = (0..3_000_000_u32).map(|n| (n % 251) as u8).collect();
        let expected = sent.clone();
        let sending = tokio::spawn(async move {
            far.write_all(&sent).await.unwrap();
            far.shutdown().await.unwrap();
        });
        let (mut got, mut piece, mut ahead) = (vec![], [0; 4096], false);
        loop {
            match near.read(&mut piece).await.unwrap() {
                0 => break,
                len => got.extend_from_slice(&piece[..len]),
            }
            ahead |= !near.ahead.is_empty();
        }
        assert!(got == expected && ahead);
        sending.await.unwrap();
    }

    #[tokio::test]
    async fn a_node_that_says_little_again_costs_no_memory() {
        let (mut far, mut near) = pair().await;
        far.write_all(&[7; 300_000]).await.unwrap();
        let mut piece = [0; 4096];
        let mut left = 300_000;
        while left > 0 {
            let len = piece.len().min(left);
            left -= near.read(&mut piece[..len]).await.unwrap();
        }
        assert!(near.ahead.capacity() > 0);
        far.write_all(&[7; 10]).await.unwrap();
        // Once more it is looked for much; then it is known that there is little.
        let mut little = 0;
        while little < 10 {
            little += near.read(&mut piece).await.unwrap();
        }
        far.write_all(&[7; 10]).await.unwrap();
        assert_eq!(near.read(&mut piece).await.unwrap(), 10);
        assert_eq!(near.ahead.capacity(), 0);
    }
}
