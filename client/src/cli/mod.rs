//! The commands of a client: `list`, `show`, `watch`, `commands`, `run`, `jobs`, `job`, `whoami`, `enroll`, `remove` and
//! `completions`.
//!
//! stdout carries data only; everything else goes to stderr. A closed pipe is a clean end, except of
//! `run`, whose exit code is about the command. What must not live here: how a thing looks (see
//! [`crate::render`]) and how the hub is talked to (see [`crate::Client`]).

mod complete;
mod enroll;
mod failure;
mod jobs;
mod lines;
mod nodes;
mod out;
mod remove;
mod run;
mod screen;
mod since;
mod socket;
mod watch;
mod whoami;

use std::{path::PathBuf, process::ExitCode};

use clap::{Args, Subcommand};

pub use complete::CompletionsArgs;
pub use enroll::EnrollArgs;
pub use failure::Failure;
pub use jobs::{JobArgs, JobsArgs};
pub use lines::{Form, watch_lines};
pub use nodes::{CommandsArgs, ListArgs, ShowArgs};
pub use remove::RemoveArgs;
pub use run::{RunArgs, given};
pub use screen::look;
pub use since::since;
pub use socket::default_socket;
pub use watch::WatchArgs;
pub use whoami::WhoAmIArgs;

use crate::Client;

/// The exit codes of every command, for the end of `--help`.
pub const EXIT_CODES: &str = "\
Exit codes:
  0    done
  1    something else went wrong
  2    wrong usage
  3    the hub cannot be reached, or was lost
  4    the node is unknown or away
  5    not permitted
  130  ended by Ctrl-C (143: by SIGTERM)

`secmon run` on one node ends as the command did, and so does `secmon job output --follow`:
  0-255  the command's own code
  128+N  the command was ended by signal N
  124    the command's time was up
  125    secmon itself failed before the command's end, or could not write its output
On several nodes it ends with 0 if the command exited with 0 on all of them, else with 1.";

/// What this program calls itself towards a hub.
const AGENT: &str = concat!("secmon ", env!("CARGO_PKG_VERSION"));

/// What every client command needs.
#[derive(Debug, Clone, Default, Args)]
pub struct Common {
    /// The hub's Unix socket [default: the first that exists of the user's own and /run/secmon/hub.sock]
    #[arg(long, value_name = "PATH", env = "SECMON_SOCKET", global = true)]
    pub socket: Option<PathBuf>,
}

impl Common {
    /// The socket that was asked for, or the default one.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.socket.clone().unwrap_or_else(default_socket)
    }

    async fn connect(&self) -> Result<Client, Failure> {
        Ok(Client::connect(&self.socket(), AGENT).await?)
    }
}

/// The client commands.
#[derive(Debug, Clone, Subcommand)]
pub enum Command {
    /// List all nodes: who is there, what can be seen of them
    List(ListArgs),
    /// Show one node: sessions, WireGuard peers, auth log, commands
    Show(ShowArgs),
    /// Watch events as they happen
    Watch(WatchArgs),
    /// List what may be run on a node
    Commands(CommandsArgs),
    /// Run a command of one node, or of many
    Run(RunArgs),
    /// List commands that go on without a client, and those that wait for their nodes
    Jobs(JobsArgs),
    /// Show a job, print its output, end it
    Job(JobArgs),
    /// Say who you are to the hub, and what you may do
    Whoami(WhoAmIArgs),
    /// Make a token with which a new node joins
    Enroll(EnrollArgs),
    /// Lock a node out and forget it
    Remove(RemoveArgs),
    /// Print what makes a shell complete names of nodes, commands and arguments
    Completions(CompletionsArgs),
}

/// Runs a command to its end and says on stderr what went wrong. Needs a tokio runtime with I/O and time.
///
/// A command whose output nobody takes may leave a thread behind that still waits to write: end the
/// runtime with `shutdown_background`.
pub async fn run(command: Command, common: &Common) -> ExitCode {
    let result = match command {
        Command::List(args) => nodes::list(&args, common).await,
        Command::Show(args) => nodes::show(&args, common).await,
        Command::Commands(args) => nodes::commands(&args, common).await,
        Command::Watch(args) => Box::pin(watch::watch(&args, common)).await,
        Command::Run(args) => Box::pin(run::run(&args, common)).await,
        Command::Jobs(args) => jobs::jobs(&args, common).await,
        Command::Job(args) => jobs::job(&args, common).await,
        Command::Whoami(args) => whoami::whoami(&args, common).await,
        Command::Enroll(args) => enroll::enroll(&args, common).await,
        Command::Remove(args) => remove::remove(&args, common).await,
        Command::Completions(args) => complete::completions(&args),
    };
    ExitCode::from(match result {
        Ok(code) => code,
        Err(failure) => failure.report(),
    })
}
