//! The binary `secmon`: arguments, logs, signals, and off to a role. What a role does lives in its crate.

#[cfg(feature = "node")]
mod check;
#[cfg(any(feature = "hub", feature = "node", feature = "telegram", feature = "discord", feature = "http"))]
mod config;
#[cfg(any(feature = "telegram", feature = "discord", feature = "http"))]
mod integrations;
#[cfg(all(feature = "node", feature = "client"))]
mod parse;
#[cfg(any(feature = "hub", feature = "node", feature = "telegram", feature = "discord", feature = "http"))]
mod roles;
#[cfg(all(feature = "hub", feature = "node", feature = "client"))]
mod up;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

const AFTER_HELP: &str = "\
Examples:
  secmon up                          everything on this machine, to see what it is like
  secmon hub                         the hub, on the machine that keeps the state
  secmon enroll web-1                there: the line to paste on the first server
  secmon node --join TOKEN           that line, on the server
  secmon watch --type 'session.*'    who comes and goes, everywhere
  secmon run 'web*' uptime           a command from the allowlists of many servers

`secmon COMMAND --help` has examples of each.";

/// Security monitor: logins, WireGuard peers and auth logs of many servers, live
#[derive(Debug, Parser)]
#[command(version, after_help = AFTER_HELP, arg_required_else_help = true, color = help_colour())]
struct Arguments {
    #[command(subcommand)]
    role: Role,
    #[cfg(any(
        feature = "hub",
        feature = "client",
        feature = "telegram",
        feature = "discord",
        feature = "http"
    ))]
    /// The hub's Unix socket: where clients look for it, and where `hub` and `up` make it [default:
    /// /run/secmon/hub.sock; not as root: a user's own]
    #[arg(long, value_name = "PATH", env = "SECMON_SOCKET", global = true)]
    socket: Option<std::path::PathBuf>,
}

#[derive(Debug, Subcommand)]
#[allow(clippy::large_enum_variant, reason = "made once; and which is large depends on the features")]
enum Role {
    /// Run hub and node of this machine together and watch, everything made on the first run
    #[cfg(all(feature = "hub", feature = "node", feature = "client"))]
    Up(up::UpArgs),
    /// Run the hub: it keeps the state, orders events and serves clients
    #[cfg(feature = "hub")]
    Hub(roles::HubArgs),
    /// Run the agent that watches this server and reports to a hub
    #[cfg(feature = "node")]
    Node(roles::NodeArgs),
    /// Run the part that starts commands, as root, for a node that is not root
    #[cfg(feature = "node")]
    Runner(roles::RunnerArgs),
    #[cfg(feature = "client")]
    #[command(flatten)]
    Client(secmon_client::cli::Command),
    /// Run the Telegram bot: what happens, told in chats; questions and commands from those who may
    #[cfg(feature = "telegram")]
    Telegram(integrations::TelegramArgs),
    /// Tell Discord, ntfy and webhooks what happens
    #[cfg(feature = "discord")]
    Discord(integrations::DiscordArgs),
    /// Show what no service took, and what becomes of it
    #[cfg(any(feature = "telegram", feature = "discord"))]
    Notify(integrations::NotifyArgs),
    /// Run the HTTP bridge: a web page, an API, live events
    #[cfg(feature = "http")]
    Http(integrations::HttpArgs),
    /// Explain an allowlist: what may be run by it, as whom and with which arguments
    #[cfg(feature = "node")]
    Check(check::CheckArgs),
    /// Show what secmon makes of an auth log
    #[cfg(all(feature = "node", feature = "client"))]
    Parse(parse::ParseArgs),
}

/// clap colours by CLICOLOR_FORCE as well; nothing here does.
fn help_colour() -> clap::ColorChoice {
    match coloured(&std::io::stdout()) && coloured(&std::io::stderr()) {
        true => clap::ColorChoice::Auto,
        false => clap::ColorChoice::Never,
    }
}

/// Whether a stream is coloured: a terminal that can, and NO_COLOR (<https://no-color.org>) not set.
fn coloured(stream: &impl std::io::IsTerminal) -> bool {
    let set = |name| std::env::var_os(name).filter(|value| !value.is_empty());
    stream.is_terminal() && set("NO_COLOR").is_none() && set("TERM").is_some_and(|term| term != "dumb")
}

fn main() -> ExitCode {
    // Where a shell asks what could stand next, that is answered, and all.
    #[cfg(feature = "client")]
    clap_complete::CompleteEnv::with_factory(<Arguments as clap::CommandFactory>::command).complete();
    let arguments = Arguments::parse();
    #[cfg(any(
        feature = "hub",
        feature = "client",
        feature = "telegram",
        feature = "discord",
        feature = "http"
    ))]
    let socket = arguments.socket;
    match arguments.role {
        #[cfg(all(feature = "hub", feature = "node", feature = "client"))]
        Role::Up(arguments) => roles::end(up::up(arguments, socket)),
        #[cfg(feature = "hub")]
        Role::Hub(arguments) => roles::end(roles::hub(arguments, socket)),
        #[cfg(feature = "node")]
        Role::Node(arguments) => roles::end(roles::node(arguments)),
        #[cfg(feature = "node")]
        Role::Runner(arguments) => roles::end(roles::runner(arguments)),
        #[cfg(feature = "client")]
        Role::Client(command) => client(command, socket),
        #[cfg(feature = "telegram")]
        Role::Telegram(arguments) => roles::end(integrations::telegram(arguments, socket)),
        #[cfg(feature = "discord")]
        Role::Discord(arguments) => roles::end(integrations::discord(arguments, socket)),
        #[cfg(any(feature = "telegram", feature = "discord"))]
        Role::Notify(arguments) => roles::end(integrations::notify(arguments)),
        #[cfg(feature = "http")]
        Role::Http(arguments) => roles::end(integrations::http(arguments, socket)),
        #[cfg(feature = "node")]
        Role::Check(arguments) => check::check(arguments),
        #[cfg(all(feature = "node", feature = "client"))]
        Role::Parse(arguments) => parse::parse(&arguments),
    }
}

#[cfg(feature = "client")]
fn client(command: secmon_client::cli::Command, socket: Option<std::path::PathBuf>) -> ExitCode {
    let runtime = match tokio::runtime::Builder::new_current_thread().enable_all().build() {
        Ok(runtime) => runtime,
        Err(error) => {
            eprintln!("secmon: cannot start: {error}");
            return ExitCode::FAILURE;
        }
    };
    let code = runtime.block_on(secmon_client::cli::run(command, &secmon_client::cli::Common { socket }));
    // A thread that still waits to write to a reader that does not read would keep the process.
    runtime.shutdown_background();
    code
}
