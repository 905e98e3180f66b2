//! Commands on this node: what starts, streams and ends them is an [`Executor`], in this process or behind the
//! socket of a runner. [`allowlist`] says what may run.
//!
//! What the hub sends is a label and arguments, and nothing of it widens what the allowlist allows.

pub mod allowlist;
mod cgroup;
mod engine;
mod output;
mod process;
mod run;

use std::path::PathBuf;

use secmon_protocol::message::runner::{NodeToRunner, RunnerToNode};
use serde::Deserialize;
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;

/// Commands that run side by side on one node. Each may hold two chunks of output and three pipes.
pub const MAX_RUNS: usize = 16;

/// Orders that wait for the executor, which never waits for anything but them: it only has to wake.
const ORDERS: usize = 64;
/// News that wait for whoever gave the orders, of which each is a chunk at most: 1 MiB.
const NEWS: usize = 16;

/// `[commands]` of the node's configuration.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct CommandsSection {
    /// The file that says what may run; none: [`allowlist::DEFAULT_PATH`], if it is there.
    pub allowlist: Option<PathBuf>,
}

/// Whatever starts processes. It speaks the conversation of [`secmon_protocol::message::runner`] from behind its
/// greeting: no Hello, no Welcome, no Reject, no Fragment.
///
/// - The first news is Commands, and it comes again when what may run has changed; it is empty while a runner is
///   away.
/// - Every Start is answered by exactly one Exit, after which its number is free; Started and Output come before
///   it, and the first StdinCredit, for a run that reads input, comes right after Started.
/// - It always takes orders, so that whoever gives them may wait for room without reading news meanwhile. It waits
///   itself while nobody takes its news.
/// - An order that breaks the conversation (a number twice, credit or input beyond the window) ends it: everything
///   is ended, and `news` closes. So it does after `cancel`, and when `orders` is dropped. The Exits of what was
///   running come first; `news` closes when no process is left.
#[derive(Debug)]
pub struct Executor {
    /// What is to be done.
    pub orders: mpsc::Sender<NodeToRunner>,
    /// What happens.
    pub news: mpsc::Receiver<RunnerToNode>,
}

/// Starts the executor that the configuration asks for. A file that may not be trusted or read is logged, and
/// nothing may run.
///
/// Must be called within a runtime; the executor's tasks end after `cancel`.
#[must_use]
pub fn start(section: &CommandsSection, cancel: CancellationToken) -> Executor {
    engine::start(section, cancel)
}
