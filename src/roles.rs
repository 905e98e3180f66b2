//! The long-running roles: from arguments and configuration to their `run`, with logs and signals.

#[cfg(any(feature = "hub", feature = "node"))]
use std::path::PathBuf;
use std::process::ExitCode;

#[cfg(any(feature = "hub", feature = "node"))]
use clap::Args;
#[cfg(any(feature = "hub", feature = "node"))]
use tokio::runtime::Builder;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;
use tracing_subscriber::{EnvFilter, filter::LevelFilter};

use crate::config;
#[cfg(any(feature = "hub", feature = "node"))]
use crate::config::Config;

/// What every role that keeps state takes.
#[cfg(any(feature = "hub", feature = "node"))]
#[derive(Debug, Args)]
pub(crate) struct Places {
    /// The configuration file [default: /etc/secmon/secmon.toml, if it is there]
    #[arg(long, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
    /// The folder for keys and state, and for a hub's socket where --socket does not say [default:
    /// /var/lib/secmon; not as root: ~/.local/state/secmon]
    #[arg(long, value_name = "DIR")]
    pub(crate) state_dir: Option<PathBuf>,
}

/// An error and its exit code: 2 for what is wrong usage, 3 for a hub that cannot be reached.
#[derive(Debug)]
pub(crate) struct Failed(pub(crate) String, pub(crate) u8);

impl<E: std::error::Error> From<(E, u8)> for Failed {
    fn from((error, code): (E, u8)) -> Self {
        Self(error.to_string(), code)
    }
}

impl From<config::ConfigError> for Failed {
    fn from(error: config::ConfigError) -> Self {
        (error, 2).into()
    }
}

impl From<config::NoHome> for Failed {
    fn from(error: config::NoHome) -> Self {
        (error, 2).into()
    }
}

impl From<std::io::Error> for Failed {
    fn from(error: std::io::Error) -> Self {
        (error, 1).into()
    }
}

/// Says what went wrong, if something did.
pub(crate) fn end(result: Result<(), Failed>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failed(error, code)) => {
            eprintln!("secmon: {}", secmon_protocol::text::printable(&error));
            ExitCode::from(code)
        }
    }
}

/// Logs to stderr, at `level` where SECMON_LOG does not say otherwise.
pub(crate) fn logs(level: LevelFilter) {
    let filter =
        EnvFilter::builder().with_default_directive(level.into()).with_env_var("SECMON_LOG").from_env_lossy();
    // A log that cannot be written, on a full disk perhaps, must not end what it tells of: said on standard error as
    // well, that would be a panic.
    tracing_subscriber::fmt()
        .log_internal_errors(false)
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(crate::coloured(&std::io::stderr()))
        .with_target(false)
        .init();
}

/// Cancelled by Ctrl-C and SIGTERM; a second one ends the process at once.
pub(crate) fn until_signalled() -> std::io::Result<CancellationToken> {
    let (mut interrupt, mut terminate) = (signal(SignalKind::interrupt())?, signal(SignalKind::terminate())?);
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    tokio::spawn(async move {
        let mut next = async || {
            tokio::select! {
                _ = interrupt.recv() => 130,
                _ = terminate.recv() => 143,
            }
        };
        next().await;
        stop.cancel();
        std::process::exit(next().await);
    });
    Ok(cancel)
}

/// Cancelled by SIGHUP as well, which a terminal sends when it goes, and by which a node reads its allowlist again: what
/// shows something on a terminal ends with it, unless that was not wanted (nohup).
#[cfg(all(feature = "hub", feature = "node", feature = "client"))]
pub(crate) fn end_with_the_terminal(cancel: &CancellationToken) -> std::io::Result<()> {
    const SIGHUP: u64 = 1;
    let status = std::fs::read_to_string("/proc/self/status")?;
    let ignored = status.lines().find_map(|line| line.strip_prefix("SigIgn:"));
    let ignored = ignored.and_then(|hex| u64::from_str_radix(hex.trim(), 16).ok()).unwrap_or(0);
    if ignored & SIGHUP != 0 {
        return Ok(());
    }
    let mut hangup = signal(SignalKind::hangup())?;
    let cancel = cancel.clone();
    tokio::spawn(async move {
        hangup.recv().await;
        cancel.cancel();
    });
    Ok(())
}

#[cfg(all(feature = "hub", feature = "node", feature = "client"))]
pub(crate) use hub::hub_failed;
#[cfg(feature = "hub")]
pub(crate) use hub::{HubArgs, hub};

#[cfg(feature = "hub")]
mod hub {
    use std::net::SocketAddr;

    use secmon_hub::{HubConfig, HubError};

    use super::*;

    /// Arguments of `hub`.
    #[derive(Debug, Args)]
    #[command(after_help = "\
Examples:
  secmon hub
  secmon hub --listen 0.0.0.0:7373 --advertise hub.example.org
  secmon hub --state-dir ./state --socket ./hub.sock

Then, here:  secmon enroll NAME")]
    pub(crate) struct HubArgs {
        #[command(flatten)]
        places: Places,
        /// Where nodes connect [default: 0.0.0.0:7373]
        #[arg(long, value_name = "ADDR:PORT")]
        listen: Option<SocketAddr>,
        /// The address in join tokens, HOST or HOST:PORT, where this machine's own is not the right one
        #[arg(long, value_name = "HOST[:PORT]")]
        advertise: Vec<String>,
    }

    pub(crate) fn hub_failed(error: HubError) -> Failed {
        let code = if matches!(error, HubError::Config { .. }) { 2 } else { 1 };
        (error, code).into()
    }

    /// Runs a hub until a signal.
    pub(crate) fn hub(arguments: HubArgs, socket: Option<PathBuf>) -> Result<(), Failed> {
        let HubArgs { places, listen, advertise } = arguments;
        let mut config = Config::load(places.config.as_deref())?;
        if let Some(listen) = listen {
            config.hub.listen = listen;
        }
        if !advertise.is_empty() {
            config.hub.advertise = advertise;
        }
        let state = config::state_dir(places.state_dir.clone())?;
        let socket = socket.or_else(|| config.socket.path.clone());
        let config = HubConfig {
            state_dir: state.join("hub"),
            socket_path: config::socket_path(socket, places.state_dir.as_deref(), &state),
            hub: config.hub,
            log: config.log,
            jobs: config.jobs,
            socket: config.socket,
            access: config.access,
        };
        logs(LevelFilter::INFO);
        Builder::new_multi_thread().enable_all().build()?.block_on(async {
            let cancel = until_signalled()?;
            let hub = secmon_hub::start(config).await.map_err(hub_failed)?;
            hub.run(cancel).await.map_err(hub_failed)
        })
    }
}

#[cfg(feature = "node")]
pub(crate) use node::{NodeArgs, node};
#[cfg(all(feature = "hub", feature = "node", feature = "client"))]
pub(crate) use node::{node_config, node_failed};
#[cfg(feature = "node")]
pub(crate) use runner::{RunnerArgs, runner};

#[cfg(feature = "node")]
mod node {
    use std::io::{Read as _, Write as _};

    use secmon_node::{NodeConfig, NodeError, join::JoinError, privileges::Report};
    use secmon_protocol::token::JoinToken;

    use super::*;

    /// A token is far shorter.
    const MAX_TOKEN_FILE: u64 = 16 << 10;

    /// Arguments of `node`.
    #[derive(Debug, Args)]
    #[command(after_help = "\
Examples:
  secmon node --join TOKEN          the line that `secmon enroll NAME` printed on the hub
  secmon node                       every later start
  secmon node --join - < token      the token from a file or a pipe
  secmon node --check               what it sees as the user who asks")]
    pub(crate) struct NodeArgs {
        #[command(flatten)]
        places: Places,
        /// Join a hub with this token; - reads it from standard input
        #[arg(long, value_name = "TOKEN", conflicts_with = "join_file")]
        join: Option<String>,
        /// Join a hub with the token in this file
        #[arg(long, value_name = "FILE")]
        join_file: Option<PathBuf>,
        /// The socket of the runner that starts commands in this process's place [default: `commands.runner`; not as
        /// root: /run/secmon-runner/runner.sock, if it is there]
        #[arg(long, value_name = "PATH")]
        runner: Option<PathBuf>,
        /// Say what a node sees as this user and what it would have to be given, and end: 0 when nothing is lacking
        #[arg(long, conflicts_with_all = ["join", "join_file"])]
        check: bool,
    }

    impl NodeArgs {
        fn token(&self) -> Result<Option<JoinToken>, Failed> {
            let read = |from: &mut dyn std::io::Read| {
                let mut text = String::new();
                from.take(MAX_TOKEN_FILE).read_to_string(&mut text).map(|_| text)
            };
            let text = match (&self.join, &self.join_file) {
                (None, None) => return Ok(None),
                (Some(token), _) if token != "-" => token.clone(),
                (Some(_), _) => read(&mut std::io::stdin())
                    .map_err(|e| Failed(format!("cannot read a token from standard input: {e}"), 1))?,
                (None, Some(file)) => std::fs::File::open(file)
                    .and_then(|mut f| read(&mut f))
                    .map_err(|e| Failed(format!("cannot read a token from {}: {e}", file.display()), 1))?,
            };
            text.parse().map(Some).map_err(|error: secmon_protocol::token::TokenError| (error, 2).into())
        }
    }

    pub(crate) fn node_failed(error: NodeError) -> Failed {
        let code = match &error {
            NodeError::Join(JoinError::Unreachable(_)) => 3,
            NodeError::Hub(_) => 2,
            _ => 1,
        };
        (error, code).into()
    }

    pub(crate) fn node_config(config: Config, state_dir: PathBuf, join: Option<JoinToken>) -> NodeConfig {
        NodeConfig {
            state_dir,
            join,
            node: config.node,
            sessions: config.sessions,
            wireguard: config.wireguard,
            auth: config.auth,
            commands: config.commands,
            limits: config.limits,
        }
    }

    /// What a node is allowed to see.
    fn check() -> Result<(), Failed> {
        let report = Report::new();
        writeln!(std::io::stdout(), "{report}")?;
        match report.is_complete() {
            true => Ok(()),
            false => Err(Failed("as this user a node does not see everything".to_owned(), 1)),
        }
    }

    /// Runs a node until a signal.
    pub(crate) fn node(arguments: NodeArgs) -> Result<(), Failed> {
        if arguments.check {
            return check();
        }
        let mut config = Config::load(arguments.places.config.as_deref())?;
        let token = arguments.token()?;
        config.commands.runner = arguments.runner.or(config.commands.runner);
        let state = config::state_dir(arguments.places.state_dir)?.join("node");
        logs(LevelFilter::INFO);
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let cancel = until_signalled()?;
            Box::pin(secmon_node::run(node_config(config, state, token), cancel)).await.map_err(node_failed)
        })
    }
}

#[cfg(feature = "node")]
mod runner {
    use secmon_node::commands::runner::{self, RunnerError};

    use super::*;

    /// Arguments of `runner`.
    #[derive(Debug, Args)]
    #[command(after_help = "\
Examples:
  secmon runner                     for the node of the user secmon, at /run/secmon-runner/runner.sock
  secmon runner --user 998 --listen ./runner.sock

It reads the allowlist, starts what that allows, and nothing else; it has no network. The node needs no root then:
it finds the runner at that place, or by [commands] runner = \"PATH\".")]
    pub(crate) struct RunnerArgs {
        /// The configuration file [default: /etc/secmon/secmon.toml, if it is there]
        #[arg(long, value_name = "FILE")]
        config: Option<PathBuf>,
        /// The socket for the node [default: /run/secmon-runner/runner.sock]
        #[arg(long, value_name = "PATH")]
        listen: Option<PathBuf>,
        /// The node's user, by name or number: nobody else but root may use the runner [default: secmon]
        #[arg(long, value_name = "USER")]
        user: Option<String>,
    }

    fn runner_failed(error: RunnerError) -> Failed {
        let code = if matches!(error, RunnerError::NoUser(_)) { 2 } else { 1 };
        (error, code).into()
    }

    /// Runs a runner until a signal.
    pub(crate) fn runner(arguments: RunnerArgs) -> Result<(), Failed> {
        let Config { mut runner, commands, .. } = Config::load(arguments.config.as_deref())?;
        runner.socket = arguments.listen.or(runner.socket);
        runner.user = arguments.user.or(runner.user);
        logs(LevelFilter::INFO);
        Builder::new_current_thread().enable_all().build()?.block_on(async {
            let cancel = until_signalled()?;
            Box::pin(runner::run(&runner, &commands, cancel)).await.map_err(runner_failed)
        })
    }
}
