//! Runs of this node: what its hub asks for goes to the [`Executor`], and what comes of it goes to the hub.
//!
//! An attached run ends with the connection that it was asked for on. A detached job goes on without one: its output
//! (as much as the hub has granted) and its end wait here until the hub has them, and its number is written to the
//! disk before it is started, so that none is started twice.
//!
//! `core` decides, `run` and `output` are one run, all pure; `numbers` is what is on disk and `memory` its thread; the
//! task here owns them and stands between the link and the executor. Nothing here starts a process or reads the allowlist: a label and
//! arguments pass through as they came.

mod core;
mod memory;
mod numbers;
mod output;
mod run;

use std::path::Path;

use secmon_protocol::{
    command::MAX_LABEL,
    limits::{MAX_CHUNK, OUTPUT_WINDOW},
    message::{
        node::{HubToNode, NodeToHub},
        runner::{NodeToRunner, RunnerToNode},
    },
};
use tokio::sync::{mpsc, oneshot, watch};
use tokio_util::sync::CancellationToken;

use self::{core::Core, memory::Memory};
use crate::commands::{Executor, MAX_RUNS};

/// Runs that the executor may have at once: as many as it runs side by side, and twice as many that it is about to
/// refuse. It takes more of them for an attack, and ends everything.
const MAX_OPEN: usize = 3 * MAX_RUNS;
/// Runs of one connection, those whose end the hub has not read yet among them; as many as a hub opens on one node.
const MAX_ATTACHED: usize = 64;
/// Answers "no" that may wait for the hub to read them. A hub that asks on without reading is not a hub.
const MAX_REFUSALS: usize = 64;
/// Bytes of output that detached jobs may hold together, in those that run as much as they may come to: sixteen that
/// run, and as much again of those whose end the hub has not kept.
const MAX_KEPT: u64 = 32 << 20;
/// Messages from the link that wait for this task, which only has to wake.
const FROM_HUB: usize = 16;
/// Messages of runs that wait to be written, of which each is a chunk at most: 512 KiB.
const TO_HUB: usize = 8;
/// News that are taken at once, before others get their turn.
const TOGETHER: usize = 16;

/// The hub sent something about a run that breaks the protocol. Nothing was started for it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Violation {
    /// Two runs of one number.
    #[error("a second run with the number of one that has not ended")]
    Twice,
    /// Refused runs whose answers it does not read.
    #[error("more than {MAX_REFUSALS} refused runs whose answers it has not read")]
    Flood,
    /// More credit than there is to grant.
    #[error("more than {OUTPUT_WINDOW} bytes of credit for one run")]
    Credit,
    /// No label, or a very long one.
    #[error("a label of {0} bytes; one has 1 to {MAX_LABEL}")]
    Label(usize),
    /// Arguments over their limits.
    #[error("{0}")]
    Args(String),
    /// A piece of input that is too large.
    #[error("{0} bytes of input at once, over the limit of {MAX_CHUNK}")]
    Chunk(usize),
    /// More input than was granted.
    #[error("more input for a run than was granted")]
    Input,
    /// Input for a run that was started without.
    #[error("input for a run that was started without")]
    NoInput,
    /// Input after its end.
    #[error("input for a run after its end")]
    InputAfterEnd,
    /// What goes for detached jobs only.
    #[error("a run that is not detached can be neither resumed nor forgotten")]
    Attached,
    /// A job that goes on already.
    #[error("a job is resumed that goes on over this connection already")]
    Resumed,
}

/// A cheap handle for the link.
#[derive(Debug, Clone)]
pub struct Jobs {
    lines: mpsc::Sender<Line>,
    idle: watch::Receiver<bool>,
}

/// A connection's part of it. Dropped with the connection, which ends the attached runs.
#[derive(Debug)]
pub(crate) struct Linked {
    /// What the hub says of runs, and its Pings.
    pub hub: mpsc::Sender<HubToNode>,
    /// What it is to be told, Commands and Jobs first.
    pub messages: mpsc::Receiver<NodeToHub>,
    /// Why the connection is to be ended.
    pub violation: oneshot::Receiver<Violation>,
}

/// The other end of a [`Linked`].
#[derive(Debug)]
struct Line {
    hub: mpsc::Receiver<HubToNode>,
    messages: mpsc::Sender<NodeToHub>,
    violation: oneshot::Sender<Violation>,
}

impl Jobs {
    /// A new connection stands; there is at most one, and the latest counts. Nothing when the node is shutting down.
    pub(crate) async fn link(&self) -> Option<Linked> {
        let (hub, from_hub) = mpsc::channel(FROM_HUB);
        let (to_hub, messages) = mpsc::channel(TO_HUB);
        let (end, violation) = oneshot::channel();
        self.lines.send(Line { hub: from_hub, messages: to_hub, violation: end }).await.ok()?;
        Some(Linked { hub, messages, violation })
    }

    /// Waits until the hub has everything of what ran, or is not there to take it. Whether it has.
    pub async fn drained(&self) -> bool {
        self.idle.clone().wait_for(|idle| *idle).await.is_ok()
    }
}

/// A handle, and the task that owns the runs. Numbers of detached jobs are kept in the folder `state`. After `stop`
/// nothing is started any more. The task ends when all handles and their connections are gone and the executor has
/// ended everything, which it does then or before, by a token of its own.
pub fn jobs(
    executor: Executor,
    state: &Path,
    stop: CancellationToken,
) -> (Jobs, impl Future<Output = ()> + Send + use<>) {
    let (lines, incoming) = mpsc::channel(1);
    let (idle, idle_seen) = watch::channel(true);
    let owner = Owner {
        core: Core::default(),
        incoming: Some(incoming),
        line: None,
        orders: Some(executor.orders),
        news: Some(executor.news),
        memory: Memory::at(state.join(numbers::FILE)),
        idle,
        stop,
        stopping: false,
    };
    (Jobs { lines, idle: idle_seen }, owner.run())
}

struct Owner {
    core: Core,
    /// Until all handles are gone.
    incoming: Option<mpsc::Receiver<Line>>,
    line: Option<Line>,
    /// Until nobody can give orders any more; the executor ends then.
    orders: Option<mpsc::Sender<NodeToRunner>>,
    /// Until the executor has ended.
    news: Option<mpsc::Receiver<RunnerToNode>>,
    memory: Memory,
    idle: watch::Sender<bool>,
    stop: CancellationToken,
    stopping: bool,
}

impl Owner {
    async fn run(mut self) {
        loop {
            self.write();
            self.flush();
            let idle = self.core.is_idle();
            self.idle.send_if_modified(|held| std::mem::replace(held, idle) != idle);
            if self.incoming.is_none() && self.line.is_none() {
                self.orders = None;
                if self.news.is_none() {
                    return;
                }
            }
            self.step().await;
        }
    }

    /// Waits for something, and takes it.
    async fn step(&mut self) {
        let (takes_hub, takes_news) = (self.core.takes_hub(), self.core.takes_news());
        let (has_order, has_message) = (self.core.has_order(), self.core.has_message());
        let (hub, messages) = match &mut self.line {
            Some(Line { hub, messages, .. }) => (takes_hub.then_some(hub), has_message.then_some(&*messages)),
            None => (None, None),
        };
        let orders = self.orders.as_ref().filter(|_| has_order);
        let news = self.news.as_mut().filter(|_| takes_news);
        tokio::select! {
            line = heard(self.incoming.as_mut()) => match line {
                Some(line) => {
                    self.core.handle_link_up();
                    self.line = Some(line);
                }
                None => self.incoming = None,
            },
            message = heard(hub) => match message {
                Some(message) => self.handle_hub(message),
                None => self.hang_up(),
            },
            news = heard(news) => match news {
                Some(news) => self.handle_news(news),
                None => {
                    (self.news, self.orders) = (None, None);
                    self.core.handle_executor_gone();
                }
            },
            // `flush` takes it.
            () = room(orders) => {}
            () = room(messages) => {}
            answers = self.memory.done() => {
                answers.into_iter().for_each(|(job, answer)| self.core.handle_remembered(job, answer));
            }
            () = self.stop.cancelled(), if !self.stopping => self.look_at_stop(),
        }
    }

    /// Hands out what there is room for.
    fn flush(&mut self) {
        while let Some(orders) = self.orders.as_ref().filter(|_| self.core.has_order()) {
            // It has ended where nobody takes them; `news` says so.
            let Ok(room) = orders.try_reserve() else { break };
            if let Some(order) = self.core.poll_order() {
                room.send(order);
            }
        }
        while let Some(line) = self.line.as_ref().filter(|_| self.core.has_message()) {
            // It has ended where nobody takes them; its other queue says so.
            let Ok(room) = line.messages.try_reserve() else { break };
            if let Some(message) = self.core.poll_message() {
                room.send(message);
            }
        }
    }

    fn look_at_stop(&mut self) {
        if !self.stopping && self.stop.is_cancelled() {
            self.stopping = true;
            self.core.handle_stop();
        }
    }

    fn handle_hub(&mut self, message: HubToNode) {
        // Both may have come at once.
        self.look_at_stop();
        if let Err(violation) = self.core.handle_hub(message)
            && let Some(line) = self.line.take()
        {
            self.core.handle_link_down();
            // The connection may have ended by itself.
            let _ = line.violation.send(violation);
        }
    }

    /// What has come meanwhile goes with it.
    fn handle_news(&mut self, news: RunnerToNode) {
        self.core.handle_news(news);
        for _ in 1..TOGETHER {
            match self.news.as_mut().filter(|_| self.core.takes_news()).map(mpsc::Receiver::try_recv) {
                Some(Ok(news)) => self.core.handle_news(news),
                _ => return,
            }
        }
    }

    fn hang_up(&mut self) {
        self.line = None;
        self.core.handle_link_down();
    }

    /// Gives the memory of numbers what there is for it.
    fn write(&mut self) {
        if !self.memory.works() && self.core.has_writes() {
            self.memory.begin(self.core.take_writes());
        }
    }
}

/// What comes out of a queue; nothing ever out of one that is not there.
async fn heard<T>(queue: Option<&mut mpsc::Receiver<T>>) -> Option<T> {
    match queue {
        Some(queue) => queue.recv().await,
        None => std::future::pending().await,
    }
}

/// Waits for room in a queue; for ever where there is none.
async fn room<T>(queue: Option<&mpsc::Sender<T>>) {
    if let Some(queue) = queue
        && let Ok(room) = queue.reserve().await
    {
        // Nobody else sends into it, so it stays when it is given back.
        drop(room);
    } else {
        std::future::pending().await
    }
}

#[cfg(test)]
mod tests;
