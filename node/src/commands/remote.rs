//! The executor in another process: a runner, behind its Unix socket. While it is away nothing may run, and this
//! process never takes its place: what runs commands as root is decided by who starts a runner, not by its absence.

use std::{
    collections::{HashSet, VecDeque},
    path::PathBuf,
    time::Duration,
};

use nix::unistd::geteuid;
use rand::Rng as _;
use secmon_protocol::{
    command::{RunEnd, RunFailure},
    ids::JobId,
    message::runner::{NodeToRunner, RunnerToNode, VERSION},
    text::printable,
};
use tokio::{
    net::UnixStream,
    sync::mpsc,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    Executor, NEWS, ORDERS,
    wire::{self, GREETING, Reader, WireError, Writer},
};
use crate::AGENT;

/// The shortest wait between two attempts; the longest doubles from here up to [`SLOWEST`].
const FASTEST: Duration = Duration::from_millis(50);
/// The longest wait. The runner is on this machine: asking costs next to nothing.
const SLOWEST: Duration = Duration::from_secs(2);
/// How long the runner may take to take an order. It always takes them, unless it is stopped.
const PATIENCE: Duration = Duration::from_secs(10);
/// How long it may take to end everything, when this node stops.
const LAST: Duration = Duration::from_secs(15);
/// Answers that nobody has taken. Who asks on without reading is cut off.
const MAX_UNTAKEN: usize = 64;

/// Why there is no runner.
#[derive(Debug, thiserror::Error)]
enum Away {
    #[error(
        "cannot connect: {0}; is `secmon runner` running, and is this node's user the one that its [runner] user names?"
    )]
    Connect(std::io::Error),
    #[error("uid {0} listens there, which is neither root nor this node's own user")]
    Stranger(u32),
    #[error("it turned this node away: {0}")]
    Rejected(String),
    #[error("its first message is not Welcome")]
    NoWelcome,
    #[error(transparent)]
    Wire(#[from] WireError),
}

/// Why to end for good.
enum Over {
    /// The node is stopping.
    Stopping,
    /// Nobody gives orders any more, or nobody takes the news.
    Alone,
}

/// See [`super::start`].
pub(super) fn start(socket: PathBuf, cancel: CancellationToken) -> Executor {
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (told, news) = mpsc::channel(NEWS);
    let remote =
        Remote { socket, orders: ordered, news: told, open: HashSet::new(), held: VecDeque::new(), cancel };
    // Ended by `cancel`, or by the end of the orders; `news` tells of it.
    tokio::spawn(remote.run());
    Executor { orders, news }
}

struct Remote {
    socket: PathBuf,
    orders: mpsc::Receiver<NodeToRunner>,
    news: mpsc::Sender<RunnerToNode>,
    /// Runs that the runner was told to start and has told no end of.
    open: HashSet<JobId>,
    /// What was not told yet.
    held: VecDeque<RunnerToNode>,
    cancel: CancellationToken,
}

impl Remote {
    async fn run(mut self) {
        let mut limit = FASTEST;
        let mut said = String::new();
        let socket = self.socket.clone();
        // Nothing is answered before it is known whether there is a runner: what may be run comes first.
        let mut connected = tokio::select! {
            biased;
            connected = connect(&socket) => connected,
            () = self.cancel.cancelled() => return,
        };
        loop {
            let error = match connected {
                Err(error) => error,
                Ok((reader, writer)) => {
                    tracing::info!(socket = %self.socket.display(), "connected to the runner");
                    (limit, said) = (FASTEST, String::new());
                    match self.connected(reader, writer).await {
                        Ok(_) => return,
                        Err(error) => Away::Wire(error),
                    }
                }
            };
            let text = printable(&error.to_string());
            if text != said {
                tracing::warn!(socket = %self.socket.display(), error = %text, "no runner; no command may run");
            }
            if said.is_empty() {
                self.lost();
            }
            said = text;
            let pause = rand::rng().random_range(FASTEST..=limit.max(FASTEST * 2));
            limit = (limit * 2).min(SLOWEST);
            let again = async {
                sleep(pause).await;
                connect(&socket).await
            };
            let Ok(next) = self.away(again).await else { return };
            connected = next;
        }
    }

    /// The runner has ended everything when it noticed, or will; either way nothing more is heard of it.
    fn lost(&mut self) {
        for job in std::mem::take(&mut self.open) {
            let message = "the runner on the node went away, which ends what it runs".to_owned();
            let end = RunEnd::Failed { why: RunFailure::Stopped, message };
            self.held.push_back(RunnerToNode::Exit { job, end, usage: None });
        }
        self.held.push_back(RunnerToNode::Commands(vec![]));
    }

    /// Answers for a runner that is away, while it is tried for.
    async fn away<T>(&mut self, again: impl Future<Output = T>) -> Result<T, Over> {
        tokio::pin!(again);
        loop {
            tokio::select! {
                () = self.cancel.cancelled() => return Err(Over::Stopping),
                next = &mut again => return Ok(next),
                room = self.news.reserve(), if !self.held.is_empty() => {
                    let (Ok(room), Some(message)) = (room, self.held.pop_front()) else { return Err(Over::Alone) };
                    room.send(message);
                }
                order = self.orders.recv() => {
                    // All else is of runs that have ended.
                    let NodeToRunner::Start { job, .. } = order.ok_or(Over::Alone)? else { continue };
                    if self.held.len() >= MAX_UNTAKEN {
                        tracing::error!("more than {MAX_UNTAKEN} runs whose end was not taken");
                        return Err(Over::Alone);
                    }
                    let message = format!(
                        "the node starts commands through its runner at {}, which is away", self.socket.display()
                    );
                    let end = RunEnd::Failed { why: RunFailure::Refused, message };
                    self.held.push_back(RunnerToNode::Exit { job, end, usage: None });
                }
            }
        }
    }

    /// Passes both ways until either end goes.
    async fn connected(
        &mut self,
        mut reader: Reader<RunnerToNode>,
        mut writer: Writer,
    ) -> Result<Over, WireError> {
        let (news, cancel) = (self.news.clone(), self.cancel.clone());
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => {
                    self.stop(reader, writer).await;
                    return Ok(Over::Stopping);
                }
                order = self.orders.recv() => {
                    let Some(order) = order else {
                        self.stop(reader, writer).await;
                        return Ok(Over::Alone);
                    };
                    if let NodeToRunner::Start { job, .. } = &order {
                        self.open.insert(*job);
                    }
                    writer.send(&order, PATIENCE).await?;
                }
                room = news.reserve(), if !self.held.is_empty() => {
                    let (Ok(room), Some(message)) = (room, self.held.pop_front()) else { return Ok(Over::Alone) };
                    room.send(message);
                }
                message = reader.next(), if self.held.is_empty() => self.heard(message?),
            }
        }
    }

    fn heard(&mut self, message: RunnerToNode) {
        let known = match &message {
            RunnerToNode::Exit { job, .. } => self.open.remove(job),
            RunnerToNode::Started { job, .. }
            | RunnerToNode::Output { job, .. }
            | RunnerToNode::StdinCredit { job, .. } => self.open.contains(job),
            RunnerToNode::Commands(_) => true,
            RunnerToNode::Welcome { .. } | RunnerToNode::Reject(_) | RunnerToNode::Fragment(_) => false,
        };
        if known {
            self.held.push_back(message);
        }
    }

    /// Lets the runner end everything, and tells of those ends.
    async fn stop(&mut self, mut reader: Reader<RunnerToNode>, mut writer: Writer) {
        let ends = async {
            writer.close().await?;
            while !self.open.is_empty() || !self.held.is_empty() {
                match self.held.pop_front() {
                    // Nobody may be left to hear it.
                    Some(message) => drop(self.news.send(message).await),
                    None => {
                        let message = reader.next().await?;
                        self.heard(message);
                    }
                }
            }
            Ok::<_, WireError>(())
        };
        match timeout(LAST, ends).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::debug!(%error, "the runner ended first"),
            Err(_) => tracing::warn!("the runner did not tell in time how everything ended"),
        }
    }
}

async fn connect(socket: &std::path::Path) -> Result<(Reader<RunnerToNode>, Writer), Away> {
    let stream = timeout(GREETING, UnixStream::connect(socket)).await;
    let stream = stream.map_err(|_| WireError::Silent(GREETING))?.map_err(Away::Connect)?;
    let uid = stream.peer_cred().map_err(Away::Connect)?.uid();
    // Whoever could make a socket there would see what the hub sends, and say what it likes.
    if uid != 0 && uid != geteuid().as_raw() {
        return Err(Away::Stranger(uid));
    }
    let (mut reader, mut writer) = wire::split(stream);
    writer.send(&NodeToRunner::Hello { version: VERSION, agent: AGENT.to_owned() }, GREETING).await?;
    match reader.greeting().await? {
        RunnerToNode::Welcome { version: VERSION, .. } => Ok((reader, writer)),
        RunnerToNode::Welcome { version, .. } => {
            Err(Away::Rejected(format!("it speaks version {version}, which this node does not")))
        }
        RunnerToNode::Reject(refusal) => Err(Away::Rejected(refusal.message)),
        _ => Err(Away::NoWelcome),
    }
}
