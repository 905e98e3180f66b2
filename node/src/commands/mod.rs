//! Commands on this node: what starts, streams and ends them is an [`Executor`], in this process or behind the
//! socket of a runner. [`allowlist`] says what may run.
//!
//! What the hub sends is a label and arguments, and nothing of it widens what the allowlist allows.

pub mod allowlist;
mod cgroup;
mod engine;
mod output;
mod process;
mod remote;
mod run;
pub mod runner;
mod wire;

use std::path::{Path, PathBuf};

use nix::unistd::geteuid;
use secmon_protocol::message::runner::{NodeToRunner, RunnerToNode};
use serde::Deserialize;
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::mpsc,
};
use tokio_util::sync::CancellationToken;

/// Commands that run side by side on one node. Each may hold two chunks of output and three pipes.
pub const MAX_RUNS: usize = 16;

/// Where a runner listens, and where a node that is not root looks for one, when the configuration does not say.
pub const DEFAULT_SOCKET: &str = "/run/secmon-runner/runner.sock";

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
    /// The socket of the runner that starts processes in the place of this one; none: [`DEFAULT_SOCKET`], if this
    /// process is not root and a socket is there when it starts.
    pub runner: Option<PathBuf>,
}

impl CommandsSection {
    /// The runner's socket, where there is to be one.
    #[must_use]
    pub fn runner(&self) -> Option<PathBuf> {
        let default = Path::new(DEFAULT_SOCKET);
        self.runner.clone().or_else(|| (!geteuid().is_root() && default.exists()).then(|| default.to_owned()))
    }
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
    // SIGHUP reads the allowlist again, here or at the runner, and ends nothing: the handler stays for the process's life.
    if let Err(error) = signal(SignalKind::hangup()) {
        tracing::warn!(%error, "cannot listen for SIGHUP, which will end this process");
    }
    if let Some(socket) = section.runner() {
        tracing::info!(socket = %socket.display(), "commands are started by the runner");
        return remote::start(socket, cancel);
    }
    if geteuid().is_root() {
        tracing::info!(
            "commands are started by this process, which is root and faces the network; `secmon runner` would let \
             it be another user, see docs/operating.md"
        );
    }
    engine::start(section, cancel)
}
