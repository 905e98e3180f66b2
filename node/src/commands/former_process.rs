//! One process group: started without a shell, an environment or an input, its output sent as it comes, and
//! ended as a whole.
//!
//! The leader stays unreaped until its group is done with, so that the group's number cannot come to mean
//! somebody else's processes while signals are still to be sent.

use std::{
    io,
    os::{fd::OwnedFd, unix::process::ExitStatusExt as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicUsize, Ordering::Relaxed},
    time::Duration,
};

use bytes::{Bytes, BytesMut};
use nix::{
    sys::{
        signal::{Signal, killpg},
        wait::{Id, WaitPidFlag, WaitStatus, waitid},
    },
    unistd::Pid,
};
use secmon_protocol::{
    command::{OutputStream, RunEnd, RunFailure},
    ids::JobId,
    limits::{MAX_CHUNK, MIN_CHUNK_COST},
    message::node::NodeToHub,
};
use std::os::unix::process::CommandExt as _;
use tokio::{
    net::unix::pipe,
    signal::unix::{SignalKind, signal},
    sync::{Notify, Semaphore, mpsc},
    time::{Instant, sleep, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::allowlist::Entry;

/// Where a program without a path is looked for; the hub's and the node's own PATH play no part.
const PATH: [&str; 6] = ["/usr/local/sbin", "/usr/local/bin", "/usr/sbin", "/usr/bin", "/sbin", "/bin"];
/// Between TERM and KILL.
const GRACE: Duration = Duration::from_secs(2);
/// How long a pipe may stay silent after the leader's end before the rest of its group, which holds it
/// open, is ended.
const QUIET: Duration = Duration::from_secs(1);
/// How long a pipe that somebody outside of the dead group still holds may take to show that it is empty.
const LAST_LOOK: Duration = Duration::from_millis(100);
/// Most bytes that a pipe can hold (`/proc/sys/fs/pipe-max-size`, pipe(7)): no more can be left of the group.
const MAX_PIPE: usize = 1 << 20;
/// Credit without which nothing can be sent.
const LEAST: usize = MIN_CHUNK_COST as usize;
/// For what is left in the pipes when nobody waits for it, and for the leader to go after KILL.
const DRAIN: Duration = Duration::from_secs(1);

/// Runs `entry` to its end; every byte that its group printed is in `out` before this returns, unless it was
/// cancelled. Ends within about four seconds of `cancel`.
pub(super) async fn run(
    entry: &Entry,
    job: JobId,
    out: &mpsc::Sender<NodeToHub>,
    credit: &Semaphore,
    cancel: &CancellationToken,
) -> RunEnd {
    match try_run(entry, job, out, credit, cancel).await {
        Ok(end) => end,
        Err(error) => {
            let program = entry.argv.first().map_or("", String::as_str);
            let message = format!("cannot run {program}: {error}");
            RunEnd::Failed { why: RunFailure::Spawn, message }
        }
    }
}

async fn try_run(
    entry: &Entry,
    job: JobId,
    out: &mpsc::Sender<NodeToHub>,
    credit: &Semaphore,
    cancel: &CancellationToken,
) -> io::Result<RunEnd> {
    let deadline = Instant::now() + entry.timeout;
    let mut group = Group::spawn(&entry.argv)?;
    let started = out.send(NodeToHub::Started { job, pid: group.child.id() });
    let (stdout, stderr) = (group.child.stdout.take(), group.child.stderr.take());
    let flow = Flow::default();
    let pump = |stream, pipe: Option<OwnedFd>| Pump { job, stream, pipe, out, credit, flow: &flow }.run();
    let both = futures::future::join(
        pump(OutputStream::Stdout, stdout.map(OwnedFd::from)),
        pump(OutputStream::Stderr, stderr.map(OwnedFd::from)),
    );
    let pumps = async {
        // Nobody may be left to hear it; then the end comes by `cancel`.
        let _ = flow.deliver(started).await;
        both.await;
    };
    tokio::pin!(pumps);
    let mut drained = false;

    let mut reason = None;
    loop {
        tokio::select! {
            () = &mut pumps, if !drained => drained = true,
            () = group.exited() => break,
            () = sleep_until(deadline) => { reason = Some(RunEnd::TimedOut); break }
            () = cancel.cancelled() => { reason = Some(RunEnd::Cancelled); break }
        }
    }
    // The leader has ended by itself, but something holds its pipes: it may have more to say.
    if reason.is_none() && !drained {
        tokio::select! {
            () = &mut pumps => drained = true,
            () = flow.silence() => tracing::info!(job = job.0, "what the command left behind is silent and is ended"),
            () = sleep_until(deadline) => {}
            () = cancel.cancelled() => reason = Some(RunEnd::Cancelled),
        }
    }
    if reason.is_some() || !drained {
        group.signal(Signal::SIGTERM);
        let ended = async {
            tokio::join!(group.exited(), async {
                if !drained {
                    (&mut pumps).await;
                    drained = true;
                }
            });
        };
        let _ = timeout(GRACE, ended).await;
        group.signal(Signal::SIGKILL);
        // What was printed is delivered, however long its reader takes; only a reader that cancels, or is gone,
        // does without it. A process that has left the group and holds the pipe is not waited for.
        flow.ending.cancel();
        if !drained && reason != Some(RunEnd::Cancelled) {
            tokio::select! {
                () = &mut pumps => drained = true,
                () = cancel.cancelled() => reason = Some(RunEnd::Cancelled),
            }
        }
        if !drained {
            let _ = timeout(DRAIN, &mut pumps).await;
        }
        let _ = timeout(DRAIN, group.exited()).await;
    }
    let status = group.reap()?;
    Ok(reason.unwrap_or_else(|| match (status.code(), status.signal()) {
        (Some(code), _) => RunEnd::Exited(code),
        (None, signal) => RunEnd::Signalled(signal.unwrap_or_default()),
    }))
}

/// How the two pumps of a run are doing.
#[derive(Debug, Default)]
struct Flow {
    /// Pumps that hold output which is on its way to the hub.
    delivering: AtomicUsize,
    /// Counts what was delivered.
    delivered: Notify,
    /// The group is dead: what is in the pipes now is all that is still wanted.
    ending: CancellationToken,
}

impl Flow {
    /// Counts a delivery while it is under way.
    async fn deliver<T>(&self, delivery: impl Future<Output = T>) -> T {
        self.delivering.fetch_add(1, Relaxed);
        let result = delivery.await;
        self.delivering.fetch_sub(1, Relaxed);
        self.delivered.notify_one();
        result
    }

    /// Waits until nothing has come out of the pipes for [`QUIET`]. Output that waits for credit or for the
    /// link is not silence.
    async fn silence(&self) {
        loop {
            match timeout(QUIET, self.delivered.notified()).await {
                Err(_) if self.delivering.load(Relaxed) == 0 => return,
                _ => {}
            }
        }
    }
}

/// A leader and its process group, whose number is the leader's pid.
struct Group {
    child: Child,
    pid: Pid,
    exits: tokio::signal::unix::Signal,
}

impl Group {
    fn spawn(argv: &[String]) -> io::Result<Self> {
        let (program, arguments) = argv.split_first().ok_or(io::ErrorKind::InvalidInput)?;
        // Before the start, so that no end is missed.
        let exits = signal(SignalKind::child())?;
        let child = Command::new(find(program)?)
            .args(arguments)
            .env_clear()
            .current_dir("/")
            .process_group(0)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()?;
        let pid = Pid::from_raw(child.id().cast_signed());
        Ok(Self { child, pid, exits })
    }

    /// Waits for the leader's end, and leaves it to be reaped. Safe to be dropped while it waits.
    async fn exited(&mut self) {
        let look = WaitPidFlag::WEXITED | WaitPidFlag::WNOHANG | WaitPidFlag::WNOWAIT;
        while matches!(waitid(Id::Pid(self.pid), look), Ok(WaitStatus::StillAlive)) {
            if self.exits.recv().await.is_none() {
                sleep(QUIET).await;
            }
        }
    }

    fn signal(&self, signal: Signal) {
        // ESRCH: nobody is left, which is what was wanted.
        let _ = killpg(self.pid, signal);
    }

    /// The leader's status; an error when it has not ended.
    fn reap(&mut self) -> io::Result<ExitStatus> {
        self.child.try_wait()?.ok_or_else(|| io::Error::other("its process does not end, even by SIGKILL"))
    }
}

/// The program's file: as it is when it has a path, else the first in [`PATH`].
fn find(program: &str) -> io::Result<PathBuf> {
    if program.contains('/') {
        return Ok(PathBuf::from(program));
    }
    let found = PATH.iter().map(|dir| Path::new(dir).join(program)).find(|path| path.is_file());
    found.ok_or_else(|| {
        io::Error::new(io::ErrorKind::NotFound, format!("there is no such program in {}", PATH.join(":")))
    })
}

/// Carries one pipe to the hub, as fast as credit allows.
struct Pump<'a> {
    job: JobId,
    stream: OutputStream,
    pipe: Option<OwnedFd>,
    out: &'a mpsc::Sender<NodeToHub>,
    credit: &'a Semaphore,
    flow: &'a Flow,
}

impl Pump<'_> {
    /// Until the pipe's end, or until nobody takes its output.
    async fn run(mut self) {
        let Some(pipe) = self.pipe.take() else { return };
        if let Err(error) = self.carry(pipe).await {
            tracing::warn!(job = self.job.0, stream = self.stream.as_str(), %error, "cannot read a command's output");
        }
    }

    async fn carry(&self, pipe: OwnedFd) -> io::Result<()> {
        let pipe = pipe::Receiver::from_owned_fd(pipe)?;
        let mut left = MAX_PIPE;
        while left > 0 {
            if self.flow.ending.is_cancelled() {
                // A pipe without writers is readable at once: its end can be read.
                let Ok(ready) = timeout(LAST_LOOK, pipe.readable()).await else { return Ok(()) };
                ready?;
            } else {
                tokio::select! {
                    biased;
                    ready = pipe.readable() => ready?,
                    () = self.flow.ending.cancelled() => continue,
                }
            }
            // One chunk is read ahead of its credit: else a stream without credit could not be seen to end.
            let mut data = BytesMut::zeroed(MAX_CHUNK);
            let read = match pipe.try_read(&mut data) {
                Ok(0) => return Ok(()),
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => continue,
                other => other?,
            };
            if self.flow.ending.is_cancelled() {
                left = left.saturating_sub(read);
            }
            // A copy, so that a small chunk does not keep 64 KiB alive in the queue.
            let data = Bytes::copy_from_slice(&data[..read]);
            if !self.flow.deliver(self.send(data)).await {
                return Ok(());
            }
        }
        Ok(())
    }

    /// False when nobody takes it any more.
    async fn send(&self, mut data: Bytes) -> bool {
        while !data.is_empty() {
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
            let message = NodeToHub::Output { job: self.job, stream: self.stream, at: 0, data };
            if self.out.send(message).await.is_err() {
                return false;
            }
        }
        true
    }
}
