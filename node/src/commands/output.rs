//! A run's output and input on their way: bytes, under credit, nothing held but one chunk.
//!
//! One loop reads both pipes, whichever has something, so that what is sent has the order in which it came out of
//! them. While a chunk waits for credit neither is read: they fill, and the processes wait.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::{Buf as _, Bytes, BytesMut};
use nix::fcntl::{FcntlArg, fcntl};
use secmon_protocol::{
    command::OutputStream,
    ids::JobId,
    limits::{MAX_CHUNK, MIN_CHUNK_COST, chunk_cost},
    message::runner::RunnerToNode,
};
use tokio::{
    io::{AsyncWriteExt as _, Interest},
    net::unix::pipe,
    sync::{Notify, Semaphore, mpsc},
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

/// What a pipe is asked to hold, pipe(7), until one is granted: many chunks, so that a process that prints fast writes
/// on for all of [`PACE`].
const PIPES: [i32; 2] = [1 << 20, 256 << 10];
/// Most bytes that a pipe can hold (`/proc/sys/fs/pipe-max-size`): no more can be left of processes that are dead.
const MAX_PIPE: u64 = 1 << 20;
/// Between two chunks that are not full. A reader that takes what is there at once is given a page at a time by one
/// that writes at once, and each page costs node, hub and client as much as a full chunk.
const PACE: Duration = Duration::from_millis(1);
/// What is read at once: a chunk that fits, with what stands before it, what TLS takes at once.
const FULL: usize = MAX_CHUNK - 64;
/// A chunk below this is copied out of the buffer, so that it does not keep all of it alive in a queue.
const COPIED: usize = 16 << 10;
/// How long a pipe may stay silent after the leader's end before the rest of the run, which holds it open, is ended.
const QUIET: Duration = Duration::from_secs(1);
/// How long a pipe that somebody outside of the dead run still holds may take to show that it is empty.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// Credit without which nothing can be sent.
const LEAST: usize = MIN_CHUNK_COST as usize;
/// Input that a client may have under way.
pub(super) const STDIN_WINDOW: u32 = 256 << 10;
/// Input is granted again in portions, not with each chunk.
const GRANT: u32 = STDIN_WINDOW / 4;
/// Pieces of input that wait for the process: as many as the window pays for, and the end.
pub(super) const STDIN_PIECES: usize = (STDIN_WINDOW / MIN_CHUNK_COST) as usize + 1;

/// Where a run's messages go, and what it may send.
pub(super) struct Way<'a> {
    pub(super) job: JobId,
    pub(super) news: &'a mpsc::Sender<RunnerToNode>,
    pub(super) credit: &'a Semaphore,
}

/// How a run's output is doing, for whoever waits for its end.
#[derive(Debug, Default)]
pub(super) struct Flow {
    /// Whether something is on its way to the hub.
    delivering: AtomicBool,
    /// Counts what was delivered.
    delivered: Notify,
    /// Bytes that were printed.
    pub(super) printed: AtomicU64,
    /// The processes are dead: what is in the pipes now is all that is still wanted.
    pub(super) ending: CancellationToken,
}

impl Flow {
    /// Notes a delivery while it is under way.
    pub(super) async fn deliver<T>(&self, delivery: impl Future<Output = T>) -> T {
        self.delivering.store(true, Relaxed);
        let result = delivery.await;
        self.delivering.store(false, Relaxed);
        self.delivered.notify_one();
        result
    }

    /// Waits until nothing has come out of the pipes for [`QUIET`]. Output that waits for credit or for the
    /// link is not silence.
    pub(super) async fn silence(&self) {
        loop {
            match timeout(QUIET, self.delivered.notified()).await {
                Err(_) if !self.delivering.load(Relaxed) => return,
                _ => {}
            }
        }
    }
}

/// Why no more output comes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Carried {
    /// Both pipes have ended, or nobody takes what comes out of them.
    All,
    /// More came than the run may print; what it may was sent.
    TooMuch,
}

/// Both pipes of a run.
pub(super) struct Output {
    stdout: Option<pipe::Receiver>,
    stderr: Option<pipe::Receiver>,
    /// Which was read last: the other has its turn.
    last: OutputStream,
    /// When it is time for a chunk that is not full.
    due: Instant,
    buffer: BytesMut,
}

impl Output {
    /// # Errors
    /// The system's.
    pub(super) fn new(stdout: Option<OwnedFd>, stderr: Option<OwnedFd>) -> io::Result<Self> {
        let open = |fd: Option<OwnedFd>| {
            fd.map(|fd| {
                // A user has only so much of it; then it stays as it is.
                let _ = PIPES.iter().any(|size| fcntl(fd.as_fd(), FcntlArg::F_SETPIPE_SZ(*size)).is_ok());
                pipe::Receiver::from_owned_fd(fd)
            })
            .transpose()
        };
        let (stdout, stderr) = (open(stdout)?, open(stderr)?);
        let (last, due) = (OutputStream::Stderr, Instant::now());
        Ok(Self { stdout, stderr, last, due, buffer: BytesMut::new() })
    }

    /// Carries all of it, at most `most` bytes.
    pub(super) async fn carry(mut self, way: &Way<'_>, flow: &Flow, most: Option<u64>) -> Carried {
        let mut left = most.unwrap_or(u64::MAX);
        let mut of_the_dead = 2 * MAX_PIPE;
        while let Some(stream) = self.ready(flow).await {
            let data = match Instant::now() < self.due && !flow.ending.is_cancelled() {
                true => self.read_later(way.job, stream, flow).await,
                false => self.read(way.job, stream),
            };
            let Some(mut data) = data else { continue };
            let len = data.len() as u64;
            if data.len() < FULL {
                self.due = Instant::now() + PACE;
            }
            flow.printed.fetch_add(len, Relaxed);
            data.truncate(usize::try_from(left).unwrap_or(usize::MAX));
            if !flow.deliver(way.send(stream, data)).await {
                return Carried::All;
            }
            let Some(rest) = left.checked_sub(len) else { return Carried::TooMuch };
            left = rest;
            if flow.ending.is_cancelled() {
                match of_the_dead.checked_sub(len) {
                    Some(rest) => of_the_dead = rest,
                    None => break,
                }
            }
        }
        Carried::All
    }

    /// As [`Output::read`], a moment later, so that there is more of it; no longer than until the other stream has
    /// something, which came later than what this one has now.
    async fn read_later(&mut self, job: JobId, stream: OutputStream, flow: &Flow) -> Option<Bytes> {
        let (pipe, other) = match stream {
            OutputStream::Stdout => (&mut self.stdout, &self.stderr),
            OutputStream::Stderr => (&mut self.stderr, &self.stdout),
        };
        // The runtime does not see it meanwhile: else each page that is written would wake this process.
        let unseen = pipe.take()?.into_nonblocking_fd();
        tokio::select! {
            () = sleep_until(self.due) => {}
            () = readable(other) => {}
            () = flow.ending.cancelled() => {}
        }
        self.last = stream;
        self.buffer.resize(FULL, 0);
        let read = unseen.and_then(|fd| {
            let read = nix::unistd::read(&fd, &mut self.buffer).map_err(io::Error::from);
            if !matches!(read, Ok(0)) {
                *pipe = Some(pipe::Receiver::from_owned_fd(fd)?);
            }
            read
        });
        self.buffer.truncate(*read.as_ref().unwrap_or(&0));
        self.taken(job, stream, read)
    }

    /// A pipe that can be read; none: there is none, or the dead have left nothing in them.
    async fn ready(&self, flow: &Flow) -> Option<OutputStream> {
        if self.stdout.is_none() && self.stderr.is_none() {
            return None;
        }
        let either = async {
            use OutputStream::{Stderr, Stdout};
            let (out, err) = (readable(&self.stdout), readable(&self.stderr));
            match self.last {
                Stderr => tokio::select! { biased; () = out => Stdout, () = err => Stderr },
                Stdout => tokio::select! { biased; () = err => Stderr, () = out => Stdout },
            }
        };
        tokio::pin!(either);
        if !flow.ending.is_cancelled() {
            tokio::select! {
                biased;
                stream = &mut either => return Some(stream),
                () = flow.ending.cancelled() => {}
            }
        }
        // A pipe without writers is readable at once: its end can be read.
        timeout(LAST_LOOK, either).await.ok()
    }

    /// What is in a pipe, at most a chunk. It is read ahead of its credit: else a stream without credit could not be
    /// seen to end.
    fn read(&mut self, job: JobId, stream: OutputStream) -> Option<Bytes> {
        self.last = stream;
        let pipe = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        self.buffer.clear();
        self.buffer.reserve(FULL);
        let mut room = bytes::BufMut::limit(&mut self.buffer, FULL);
        let read = pipe.as_mut()?.try_read_buf(&mut room);
        self.taken(job, stream, read)
    }

    /// What was read into the buffer; a pipe that has ended, or that fails, goes.
    fn taken(&mut self, job: JobId, stream: OutputStream, read: io::Result<usize>) -> Option<Bytes> {
        let pipe = match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        };
        match read {
            Ok(0) => {
                *pipe = None;
                None
            }
            Ok(len) if len < COPIED => Some(Bytes::copy_from_slice(&self.buffer)),
            Ok(_) => Some(self.buffer.split().freeze()),
            Err(error) if matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {
                None
            }
            Err(error) => {
                tracing::warn!(job = %job, stream = stream.as_str(), %error, "cannot read a command's output");
                *pipe = None;
                None
            }
        }
    }
}

/// Waits until there is something in a pipe, or its end; for ever where there is none.
async fn readable(pipe: &Option<pipe::Receiver>) {
    match pipe {
        // An error shows when it is read.
        Some(pipe) => drop(pipe.ready(Interest::READABLE).await),
        None => std::future::pending().await,
    }
}

impl Way<'_> {
    /// Sends a chunk, in pieces where credit is short; false when nobody takes it any more.
    async fn send(&self, stream: OutputStream, mut data: Bytes) -> bool {
        while data.has_remaining() {
            let Ok(least) = self.credit.acquire_many(MIN_CHUNK_COST).await else { return false };
            least.forget();
            let more = self.credit.available_permits().min(data.len().saturating_sub(LEAST));
            let more = match self.credit.try_acquire_many(u32::try_from(more).unwrap_or(0)) {
                Ok(permit) => {
                    permit.forget();
                    more
                }
                Err(_) => 0,
            };
            let data = data.split_to(data.len().min(LEAST + more));
            if self.news.send(RunnerToNode::Output { job: self.job, stream, data }).await.is_err() {
                return false;
            }
        }
        true
    }
}

/// A run's input, from where the engine puts it.
pub(super) struct Input {
    /// What came and the process has not read; an empty piece is the end.
    pub(super) pieces: mpsc::Receiver<Bytes>,
    /// What may still come.
    pub(super) granted: Arc<AtomicU32>,
}

impl Input {
    /// Carries it into the process, until its end, or until the process reads no more of it.
    pub(super) async fn carry(mut self, pipe: OwnedFd, way: &Way<'_>) {
        let mut pipe = match pipe::Sender::from_owned_fd(pipe) {
            Ok(pipe) => pipe,
            Err(error) => {
                return tracing::warn!(job = %way.job, %error, "cannot write a command's input");
            }
        };
        let mut owed = 0;
        while let Some(piece) = self.pieces.recv().await.filter(|piece| !piece.is_empty()) {
            // Whoever has closed its input wants no more: no error.
            if pipe.write_all(&piece).await.is_err() {
                return;
            }
            owed += chunk_cost(piece.len());
            if owed >= GRANT && !self.grant(std::mem::take(&mut owed), way).await {
                return;
            }
        }
    }

    /// Lets more come; false when nobody is there to send it.
    pub(super) async fn grant(&self, credit: u32, way: &Way<'_>) -> bool {
        // Before it is told, so that it is there when the input comes.
        self.granted.fetch_add(credit, Relaxed);
        way.news.send(RunnerToNode::StdinCredit { job: way.job, credit }).await.is_ok()
    }
}
