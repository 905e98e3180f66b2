//! A listener to server-sent events that does as little as it can: of each event it reads the cursor, and skips the rest, so that
//! what is measured is the bridge and not the one that listens.
//!
//! HTTP/1.1 with chunks (RFC 9112 §7.1), events as <https://html.spec.whatwg.org/multipage/server-sent-events.html>.

use std::net::SocketAddr;

use anyhow::Context as _;
use bytes::{Buf as _, BytesMut};
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
};

/// Room for what is read at once.
const READ: usize = 64 << 10;

/// A stream of events that stands.
pub(super) struct Listener {
    stream: TcpStream,
    raw: BytesMut,
    /// Of the chunk that is being read, what has not come yet.
    left: usize,
    text: BytesMut,
    /// The number of the last cursor.
    last: u64,
    /// Events so far.
    pub(super) delivered: u64,
    /// Events whose cursor was not behind the one before.
    pub(super) out_of_order: u64,
    /// Gaps that were told.
    pub(super) gaps: u64,
}

impl Listener {
    /// Listens to the load's events by a filter that they match, on a connection of its own.
    pub(super) async fn listen(to: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let mut stream = TcpStream::connect(to).await?;
        stream.set_nodelay(true)?;
        let request = format!(
            "GET /v1/events?node=bench*&type=auth.*&type=gap HTTP/1.1\r\nHost: {to}\r\nAuthorization: Bearer {token}\r\n\
             Accept: text/event-stream\r\n\r\n"
        );
        stream.write_all(request.as_bytes()).await?;
        let mut listener = Self {
            stream,
            raw: BytesMut::with_capacity(READ),
            left: 0,
            text: BytesMut::new(),
            last: 0,
            delivered: 0,
            out_of_order: 0,
            gaps: 0,
        };
        let head = loop {
            if let Some(end) = memchr::memmem::find(&listener.raw, b"\r\n\r\n") {
                break listener.raw.split_to(end + 4);
            }
            listener.fill().await?;
        };
        let head = String::from_utf8_lossy(&head).to_ascii_lowercase();
        anyhow::ensure!(head.starts_with("http/1.1 200"), "the bridge answered: {head}");
        anyhow::ensure!(head.contains("transfer-encoding: chunked"), "no chunks: {head}");
        Ok(listener)
    }

    /// Reads until this many events have come.
    pub(super) async fn read_until(&mut self, delivered: u64) -> anyhow::Result<()> {
        while self.delivered < delivered {
            self.fill().await?;
            self.chunks()?;
            self.lines();
        }
        Ok(())
    }

    async fn fill(&mut self) -> anyhow::Result<()> {
        self.raw.reserve(READ);
        let read = self.stream.read_buf(&mut self.raw).await?;
        anyhow::ensure!(read > 0, "the bridge closed the connection after {} events", self.delivered);
        Ok(())
    }

    /// Takes what is whole out of the chunks.
    fn chunks(&mut self) -> anyhow::Result<()> {
        loop {
            if self.left == 0 {
                // The end of the chunk before, and the size of this one.
                while self.raw.starts_with(b"\r\n") {
                    self.raw.advance(2);
                }
                let Some(end) = memchr::memmem::find(&self.raw, b"\r\n") else { return Ok(()) };
                let size = std::str::from_utf8(&self.raw[..end])?;
                self.left =
                    usize::from_str_radix(size, 16).with_context(|| format!("a chunk of {size:?}"))?;
                anyhow::ensure!(self.left > 0, "the bridge ended the stream");
                self.raw.advance(end + 2);
            }
            if self.raw.is_empty() {
                return Ok(());
            }
            let taken = self.left.min(self.raw.len());
            self.text.extend_from_slice(&self.raw[..taken]);
            self.raw.advance(taken);
            self.left -= taken;
        }
    }

    fn lines(&mut self) {
        let mut at = 0;
        while let Some(end) = memchr::memchr(b'\n', &self.text[at..]) {
            let line = &self.text[at..at + end];
            if line.starts_with(b"data:") {
                if memchr::memmem::find(line, b"\"type\":\"gap\"").is_some() {
                    self.gaps += 1;
                } else {
                    self.delivered += 1;
                }
            } else if let Some(id) = line.strip_prefix(b"id:") {
                // LOG-NUMBER
                let number = id.rsplit(|byte| *byte == b'-').next().unwrap_or_default();
                let number =
                    std::str::from_utf8(number).ok().and_then(|text| text.trim().parse().ok()).unwrap_or(0);
                self.out_of_order += u64::from(number <= self.last);
                self.last = number;
            }
            at += end + 1;
        }
        self.text.advance(at);
    }
}
