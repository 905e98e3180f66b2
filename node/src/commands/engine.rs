//! The executor in this process: the one task that owns the allowlist and everything that runs. It never waits for
//! anybody to take its news, so that it always hears what to end.

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::{
        Arc, Weak,
        atomic::{AtomicU32, Ordering::Relaxed},
    },
    time::Duration,
};

use bytes::Bytes;
use secmon_protocol::{
    command::{Arg, CommandInfo, RunFailure, check_args},
    ids::JobId,
    limits::{MAX_CHUNK, OUTPUT_WINDOW, chunk_cost},
    message::runner::{NodeToRunner, RunnerToNode},
    text::printable,
};
use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::{Semaphore, mpsc},
    task::JoinSet,
    time::{Instant, sleep_until, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    CommandsSection, Executor, MAX_RUNS, NEWS, ORDERS,
    allowlist::{self, Allowlist, Entry},
    cgroup::Cgroups,
    output::{Input, STDIN_PIECES},
    run::Run,
};
use crate::watch::path_watch::{Expect, PathWatch};

/// Runs that have ended, or never began, and whose Exit nobody has taken. Who asks on without reading is cut off.
const MAX_UNTAKEN: usize = 64;
/// A file that is being written changes several times in a row; it is read when it has been left alone this long.
const SETTLE: Duration = Duration::from_millis(100);
/// How long all runs may take to end, and their Exits to be taken, when everything ends.
const LAST: Duration = Duration::from_secs(15);

/// Something about an order that has no place in the conversation.
#[derive(Debug, thiserror::Error)]
pub(super) enum Violation {
    #[error("a second Start with the number of a run that has not ended")]
    Twice,
    #[error("more than {MAX_UNTAKEN} runs that have ended and whose Exit was not taken")]
    Flood,
    #[error("more than {OUTPUT_WINDOW} bytes of credit for one run")]
    Credit,
    #[error("input that was not granted, or in a piece of more than {MAX_CHUNK} bytes")]
    Stdin,
    #[error("{0}")]
    Arguments(String),
    #[error("a message of the greeting behind it")]
    Greeting,
}

/// See [`super::start`].
pub(super) fn start(section: &CommandsSection, cancel: CancellationToken) -> Executor {
    let (orders, ordered) = mpsc::channel(ORDERS);
    let (told, news) = mpsc::channel(NEWS);
    let file = section.allowlist.clone().unwrap_or_else(|| PathBuf::from(allowlist::DEFAULT_PATH));
    let list = Allowlist::open(section.allowlist.as_deref());
    let cgroups = Cgroups::find()
        .inspect_err(|why| {
            tracing::info!(%why, "commands have no cgroups of their own; what leaves a command's session is not ended with it");
        })
        .ok()
        .map(Arc::new);
    let engine = Engine {
        unsaid: Some(list.infos()),
        list,
        runs: HashMap::new(),
        tasks: JoinSet::new(),
        news: told,
        cgroups,
        stopping: CancellationToken::new(),
    };
    // Ended by `cancel`, or by the end of the orders; `news` tells of it.
    tokio::spawn(engine.run(ordered, Changes::of(file), cancel));
    Executor { orders, news }
}

struct Engine {
    list: Allowlist,
    /// Those that go on, and maybe some that have ended.
    runs: HashMap<JobId, Handle>,
    /// One for each run until its Exit was taken.
    tasks: JoinSet<()>,
    news: mpsc::Sender<RunnerToNode>,
    /// What may be run, where it was not told yet.
    unsaid: Option<Vec<CommandInfo>>,
    cgroups: Option<Arc<Cgroups>>,
    stopping: CancellationToken,
}

struct Handle {
    label: String,
    /// Alive as long as the run goes on.
    credit: Weak<Semaphore>,
    input: mpsc::Sender<Bytes>,
    /// Input that may still come.
    granted: Arc<AtomicU32>,
    cancel: CancellationToken,
}

impl Engine {
    async fn run(
        mut self,
        mut orders: mpsc::Receiver<NodeToRunner>,
        mut changes: Changes,
        cancel: CancellationToken,
    ) {
        let news = self.news.clone();
        loop {
            tokio::select! {
                biased;
                () = cancel.cancelled() => break,
                Some(_) = self.tasks.join_next(), if !self.tasks.is_empty() => {}
                order = orders.recv() => {
                    let Some(order) = order else { break };
                    if let Err(violation) = self.take(order) {
                        // It may quote what the hub sent.
                        let violation = printable(&violation.to_string());
                        tracing::error!(%violation, "an order breaks the conversation with what starts commands; all commands are ended");
                        break;
                    }
                }
                change = changes.next() => self.look(change),
                room = news.reserve(), if self.unsaid.is_some() => {
                    let (Ok(room), Some(infos)) = (room, self.unsaid.take()) else { break };
                    room.send(RunnerToNode::Commands(infos));
                }
            }
        }
        self.stopping.cancel();
        let all = async { while self.tasks.join_next().await.is_some() {} };
        if timeout(LAST, all).await.is_err() {
            tracing::warn!("commands, or who was to hear of their end, did not end in time");
        }
        // The orders are closed, and the news: whoever waits for either knows that nothing runs any more.
    }

    fn take(&mut self, order: NodeToRunner) -> Result<(), Violation> {
        match order {
            NodeToRunner::Start { job, label, args, credit, stdin } => {
                self.start(job, label, &args, credit, stdin)
            }
            NodeToRunner::Stdin { job, data } => self.input(job, data),
            NodeToRunner::Credit { job, credit } => self.credit(job, credit),
            NodeToRunner::Cancel { job } => {
                if let Some(run) = self.runs.get(&job) {
                    run.cancel.cancel();
                }
                Ok(())
            }
            NodeToRunner::Hello { .. } | NodeToRunner::Fragment(_) => Err(Violation::Greeting),
        }
    }

    fn start(
        &mut self,
        job: JobId,
        label: String,
        args: &[Arg],
        credit: u32,
        stdin: bool,
    ) -> Result<(), Violation> {
        self.runs.retain(|_, run| run.credit.strong_count() > 0);
        if self.runs.contains_key(&job) {
            return Err(Violation::Twice);
        }
        if credit > OUTPUT_WINDOW {
            return Err(Violation::Credit);
        }
        check_args(args).map_err(Violation::Arguments)?;
        if self.tasks.len() >= self.runs.len() + MAX_UNTAKEN {
            return Err(Violation::Flood);
        }
        self.look(Change::Maybe);
        let entry = self.may_start(&label).cloned();
        let credit = Arc::new(Semaphore::new(credit as usize));
        let granted = Arc::new(AtomicU32::new(0));
        let (input, pieces) = mpsc::channel(STDIN_PIECES);
        let cancel = CancellationToken::new();
        let run = Run {
            job,
            news: self.news.clone(),
            credit: Arc::clone(&credit),
            input: stdin.then(|| Input { pieces, granted: Arc::clone(&granted) }),
            cancel: cancel.clone(),
            stopping: self.stopping.clone(),
            cgroups: self.cgroups.clone(),
        };
        if entry.is_ok() {
            let credit = Arc::downgrade(&credit);
            self.runs.insert(job, Handle { label: label.clone(), credit, input, granted, cancel });
        }
        // What is held here would keep the run's number in use.
        drop(credit);
        let args = args.to_vec();
        self.tasks.spawn(async move {
            let invocation = match entry {
                Ok(entry) => fill(entry, args).await,
                Err(refused) => Err(refused),
            };
            run.run(&label, invocation).await;
        });
        Ok(())
    }

    /// The entry of a label that may be started now.
    fn may_start(&self, label: &str) -> Result<&Entry, (RunFailure, String)> {
        let busy = |message: String| Err((RunFailure::Busy, message));
        let entry = self.list.find(label)?;
        if self.runs.len() >= MAX_RUNS {
            return busy(format!("{MAX_RUNS} commands are running on this node; wait for one to end"));
        }
        let same = self.runs.values().filter(|run| run.label == label).count();
        match entry.concurrency {
            Some(most) if same >= most as usize => busy(format!(
                "{label} runs side by side as often as its entry allows ({same}); wait for one to end"
            )),
            _ => Ok(entry),
        }
    }

    fn input(&mut self, job: JobId, data: Bytes) -> Result<(), Violation> {
        let Some(run) = self.runs.get(&job).filter(|run| run.credit.strong_count() > 0) else {
            return Ok(());
        };
        if data.len() > MAX_CHUNK {
            return Err(Violation::Stdin);
        }
        if !data.is_empty() {
            let cost = chunk_cost(data.len());
            let take = |granted: u32| granted.checked_sub(cost);
            run.granted.fetch_update(Relaxed, Relaxed, take).map_err(|_| Violation::Stdin)?;
        }
        match run.input.try_send(data) {
            Err(mpsc::error::TrySendError::Full(_)) => Err(Violation::Stdin),
            // The process has closed its input, or was given none.
            _ => Ok(()),
        }
    }

    fn credit(&mut self, job: JobId, credit: u32) -> Result<(), Violation> {
        let Some(held) = self.runs.get(&job).and_then(|run| run.credit.upgrade()) else { return Ok(()) };
        if held.available_permits() + credit as usize > OUTPUT_WINDOW as usize {
            return Err(Violation::Credit);
        }
        held.add_permits(credit as usize);
        Ok(())
    }

    /// Reads the allowlist again if it has changed.
    fn look(&mut self, change: Change) {
        let changed = match change {
            Change::Maybe => self.list.refresh(),
            Change::Asked => self.list.reload(),
        };
        if changed {
            self.unsaid = Some(self.list.infos());
        }
    }
}

/// Beside the others: a path or a user may have to be looked up on a file system or a directory that does not answer.
async fn fill(entry: Entry, args: Vec<Arg>) -> Result<super::allowlist::Invocation, (RunFailure, String)> {
    let filled = tokio::task::spawn_blocking(move || entry.fill(&args)).await;
    filled.unwrap_or_else(|_| Err((RunFailure::Stopped, "secmon on the node is stopping".to_owned())))
}

/// Why to look at the allowlist.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Change {
    /// It may have changed.
    Maybe,
    /// SIGHUP.
    Asked,
}

/// Tells when to look at the allowlist: when its file has changed, and when SIGHUP asks for it.
struct Changes {
    file: Option<PathWatch>,
    hangup: Option<Signal>,
    /// When a changed file is read.
    due: Option<Instant>,
}

impl Changes {
    fn of(file: PathBuf) -> Self {
        let watched = PathWatch::new(&file, Expect::File).and_then(|mut watch| watch.arm().map(|()| watch));
        let file = watched
            .inspect_err(|error| {
                tracing::warn!(path = %file.display(), %error, "the allowlist is not watched; a change shows with the next run, or SIGHUP");
            })
            .ok();
        Self { file, hangup: signal(SignalKind::hangup()).ok(), due: None }
    }

    /// Safe to be dropped while it waits.
    async fn next(&mut self) -> Change {
        loop {
            let changed = async {
                match &mut self.file {
                    Some(watch) => watch.changed().await.and_then(|()| watch.arm()),
                    None => std::future::pending().await,
                }
            };
            let asked = async {
                let asked = match &mut self.hangup {
                    Some(hangup) => hangup.recv().await,
                    None => None,
                };
                if asked.is_none() {
                    std::future::pending().await
                }
            };
            let due = async {
                match self.due {
                    Some(due) => sleep_until(due).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                result = changed => match result {
                    Ok(()) => self.due = Some(Instant::now() + SETTLE),
                    Err(error) => {
                        tracing::warn!(%error, "the allowlist is no longer watched; a change shows with the next run, or SIGHUP");
                        self.file = None;
                        return Change::Maybe;
                    }
                },
                () = asked => {
                    tracing::info!("SIGHUP: reading the allowlist");
                    return Change::Asked;
                }
                () = due => {
                    self.due = None;
                    return Change::Maybe;
                }
            }
        }
    }
}
