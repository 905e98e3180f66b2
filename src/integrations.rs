//! The integrations: from arguments and configuration to their `run`.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use serde::de::DeserializeOwned;
use tokio::runtime::Builder;
use tracing_subscriber::filter::LevelFilter;

use crate::{
    config,
    roles::{Failed, logs, until_signalled},
};

/// Where a role's configuration and state are.
#[derive(Debug, Args)]
pub(crate) struct Own {
    /// The configuration file [default: /etc/secmon/ROLE.toml]
    #[arg(long, value_name = "FILE", global = true)]
    config: Option<PathBuf>,
    /// The folder for what it keeps [default: /var/lib/secmon/ROLE; not as root: ~/.local/state/secmon/ROLE]
    #[arg(long, value_name = "DIR", global = true)]
    state_dir: Option<PathBuf>,
}

impl Own {
    fn load<T: DeserializeOwned + Default>(&self, role: &str) -> Result<T, Failed> {
        Ok(config::read(self.config.as_deref(), &usual(role))?)
    }

    #[cfg(any(feature = "telegram", feature = "discord"))]
    /// Says with what is wrong in a configuration that there is none.
    fn explain(&self, role: &str, failed: Failed) -> Failed {
        let usual = usual(role);
        if self.config.is_some() || usual.exists() {
            return failed;
        }
        let Failed(error, code) = failed;
        Failed(format!("{error}; there is no {} (another one: --config FILE)", usual.display()), code)
    }

    fn state_dir(&self, configured: Option<PathBuf>, role: &str) -> Result<PathBuf, Failed> {
        match self.state_dir.clone().or(configured) {
            Some(asked) => Ok(asked),
            None => Ok(config::state_dir(None)?.join(role)),
        }
    }
}

/// The configuration that a role reads where none is named.
fn usual(role: &str) -> PathBuf {
    Path::new("/etc/secmon").join(role).with_extension("toml")
}

fn socket_of(asked: Option<PathBuf>, configured: Option<PathBuf>) -> PathBuf {
    asked.or(configured).unwrap_or_else(secmon_client::default_socket)
}

#[cfg(feature = "telegram")]
pub(crate) use self::telegram::{TelegramArgs, telegram};
#[cfg(feature = "telegram")]
mod telegram {
    use secmon_telegram::{Config, NAME, Telegram, TelegramError};

    use super::*;

    /// Arguments of `telegram`.
    #[derive(Debug, Args)]
    #[command(after_help = "\
Examples:
  secmon telegram --config telegram.toml
  secmon telegram test --config telegram.toml     a sample to every chat

The token is read from a file or from systemd's credentials. docs/telegram.md explains the configuration.")]
    pub(crate) struct TelegramArgs {
        #[command(flatten)]
        own: Own,
        #[command(subcommand)]
        what: Option<What>,
    }

    #[derive(Debug, Subcommand)]
    enum What {
        /// Send a sample to every chat, or to one
        Test {
            /// The chat's name in the configuration
            chat: Option<String>,
        },
    }

    impl From<TelegramError> for Failed {
        fn from(error: TelegramError) -> Self {
            let code = if matches!(error, TelegramError::Config(_)) { 2 } else { 1 };
            (error, code).into()
        }
    }

    /// Runs the bot until a signal, or sends samples.
    pub(crate) fn telegram(arguments: TelegramArgs, socket: Option<PathBuf>) -> Result<(), Failed> {
        let TelegramArgs { own, what } = arguments;
        let config: Config = own.load(NAME)?;
        let place = place(NAME, &own, config.state_dir.clone(), socket_of(socket, config.socket.clone()))?;
        let telegram = Telegram::new(config).map_err(|error| own.explain(NAME, error.into()))?;
        match what {
            Some(What::Test { chat }) => test(&telegram.destinations(), chat.as_deref()),
            None => serve(async |cancel| Ok(telegram.run(place, cancel).await?)),
        }
    }
}

#[cfg(feature = "discord")]
pub(crate) use self::discord::{DiscordArgs, discord};
#[cfg(feature = "discord")]
mod discord {
    use secmon_discord::{Config, Discord, DiscordError, NAME};

    use super::*;

    /// Arguments of `discord`.
    #[derive(Debug, Args)]
    #[command(after_help = "\
Examples:
  secmon discord --config discord.toml
  secmon discord test --config discord.toml     a sample to every destination

The addresses of webhooks are secrets, read from files or from systemd's credentials. docs/discord.md explains
the configuration.")]
    pub(crate) struct DiscordArgs {
        #[command(flatten)]
        own: Own,
        #[command(subcommand)]
        what: Option<What>,
    }

    #[derive(Debug, Subcommand)]
    enum What {
        /// Send a sample to every destination, or to one
        Test {
            /// The destination's name in the configuration
            destination: Option<String>,
        },
    }

    impl From<DiscordError> for Failed {
        fn from(error: DiscordError) -> Self {
            let code = if matches!(error, DiscordError::Config(_)) { 2 } else { 1 };
            (error, code).into()
        }
    }

    /// Tells until a signal, or sends samples.
    pub(crate) fn discord(arguments: DiscordArgs, socket: Option<PathBuf>) -> Result<(), Failed> {
        let DiscordArgs { own, what } = arguments;
        let config: Config = own.load(NAME)?;
        let place = place(NAME, &own, config.state_dir.clone(), socket_of(socket, config.socket.clone()))?;
        let discord = Discord::new(config).map_err(|error| own.explain(NAME, error.into()))?;
        match what {
            Some(What::Test { destination }) => test(&discord.destinations(), destination.as_deref()),
            None => serve(async |cancel| Ok(discord.run(place, cancel).await?)),
        }
    }
}

#[cfg(any(feature = "telegram", feature = "discord"))]
pub(crate) use self::notify::{NotifyArgs, notify};
#[cfg(any(feature = "telegram", feature = "discord"))]
use self::notify::{place, test};
#[cfg(any(feature = "telegram", feature = "discord"))]
mod notify {
    use std::io::Write as _;

    use secmon_notify::{
        Destination, failed,
        run::{self, NotifyError, Place},
    };

    use super::*;

    /// Roles that keep notices, in the default folder of each of which we look.
    const ROLES: [&str; 2] = ["telegram", "discord"];

    /// Arguments of `notify`.
    #[derive(Debug, Args)]
    #[command(after_help = "\
Examples:
  secmon notify failed                                       what no service took, and why
  secmon notify retry 3                                      try one of them again
  secmon notify failed --state-dir /var/lib/secmon-telegram  of a role that keeps its state there")]
    pub(crate) struct NotifyArgs {
        #[command(subcommand)]
        what: What,
        /// The state folder of a role [default: those of the roles, as far as they exist]
        #[arg(long, value_name = "DIR", global = true)]
        state_dir: Vec<PathBuf>,
    }

    #[derive(Debug, Subcommand)]
    enum What {
        /// List the messages that were set aside
        Failed {
            /// Print one JSON object per line
            #[arg(long)]
            json: bool,
        },
        /// Queue messages again
        Retry(Which),
        /// Forget messages
        Forget(Which),
    }

    #[derive(Debug, Args)]
    struct Which {
        /// Their numbers in the list
        #[arg(value_name = "ID", required_unless_present = "all")]
        ids: Vec<i64>,
        /// All of them
        #[arg(long, conflicts_with = "ids")]
        all: bool,
    }

    impl From<NotifyError> for Failed {
        fn from(error: NotifyError) -> Self {
            (error, 1).into()
        }
    }

    /// Where a notifying role works.
    pub(super) fn place(
        role: &str,
        own: &Own,
        state_dir: Option<PathBuf>,
        socket: PathBuf,
    ) -> Result<Place, Failed> {
        let agent = format!("secmon-{role} {}", env!("CARGO_PKG_VERSION"));
        Ok(Place { socket, agent, state_dir: own.state_dir(state_dir, role)? })
    }

    /// Sends samples and says who took them.
    pub(super) fn test(destinations: &[Destination], only: Option<&str>) -> Result<(), Failed> {
        logs(LevelFilter::WARN);
        if let Some(only) = only
            && !destinations.iter().any(|d| d.name == only)
        {
            let names: Vec<&str> = destinations.iter().map(|d| d.name.as_str()).collect();
            return Err(Failed(
                format!("no destination is called {only:?}; there are: {}", names.join(", ")),
                2,
            ));
        }
        if destinations.is_empty() {
            return Err(Failed(
                "the configuration names no destination, so there is nobody to tell".into(),
                2,
            ));
        }
        let results =
            Builder::new_current_thread().enable_all().build()?.block_on(run::test(destinations, only));
        let mut failed = 0;
        for (name, result) in results {
            match result {
                Ok(()) => writeln!(std::io::stdout(), "{name}: sent")?,
                Err(error) => {
                    failed += 1;
                    eprintln!("secmon: {name}: {}", secmon_protocol::text::printable(&error.to_string()));
                }
            }
        }
        if failed > 0 {
            Err(Failed(format!("{failed} of the destinations did not take it"), 1))
        } else {
            Ok(())
        }
    }

    fn folders(asked: Vec<PathBuf>) -> Result<Vec<PathBuf>, Failed> {
        if let Some(wrong) = asked.iter().find(|folder| !run::file(folder).exists()) {
            let reason = "no role keeps messages there";
            let file = run::file(wrong);
            return Err(Failed(format!("{} is not there: {reason}", file.display()), 2));
        }
        if !asked.is_empty() {
            return Ok(asked);
        }
        let own = config::state_dir(None)?;
        let usual = ROLES
            .iter()
            .flat_map(|role| [own.join(role), Path::new("/var/lib").join(format!("secmon-{role}"))]);
        Ok(usual.filter(|folder| run::file(folder).exists()).collect())
    }

    /// Shows what was set aside, or does something about it.
    pub(crate) fn notify(arguments: NotifyArgs) -> Result<(), Failed> {
        let NotifyArgs { what, state_dir } = arguments;
        let folders = folders(state_dir)?;
        if folders.is_empty() {
            eprintln!("secmon: no role keeps messages in its usual place; name its folder with --state-dir");
        }
        match what {
            What::Failed { json } => {
                let mut shown = String::new();
                for folder in &folders {
                    if folders.len() > 1 && !json {
                        shown.push_str(&format!("{}:\n", folder.display()));
                    }
                    shown.push_str(&failed::show(folder, &failed::list(folder)?, json));
                }
                let mut out = std::io::stdout().lock();
                match out.write_all(shown.as_bytes()) {
                    Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => return Ok(()),
                    other => other?,
                }
                for folder in &folders {
                    match failed::waiting(folder)? {
                        0 => {}
                        count => {
                            eprintln!("secmon: {count} more in {} wait for their turn", folder.display())
                        }
                    }
                }
                Ok(())
            }
            What::Retry(which) => each(&folders, &which, "queued again", failed::retry),
            What::Forget(which) => each(&folders, &which, "forgotten", failed::forget),
        }
    }

    fn each(
        folders: &[PathBuf],
        which: &Which,
        done: &str,
        act: impl Fn(&Path, &[i64]) -> Result<usize, NotifyError>,
    ) -> Result<(), Failed> {
        if !which.all && folders.len() > 1 {
            let names: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            let names = names.join(", ");
            return Err(Failed(format!("there is a list in each of {names}: name one with --state-dir"), 2));
        }
        let mut count = 0;
        for folder in folders {
            count += act(folder, &which.ids)?;
        }
        eprintln!("secmon: {count} {done}");
        Ok(())
    }
}

#[cfg(feature = "http")]
pub(crate) use self::http::{HttpArgs, http};
#[cfg(feature = "http")]
mod http {
    use secmon_http::{Config, HttpError, Listen, NAME, Place};

    use super::*;

    /// Arguments of `http`.
    #[derive(Debug, Args)]
    #[command(after_help = "\
Examples:
  secmon http token add laptop --role operator     prints a token, once
  secmon http                                      then open http://127.0.0.1:7380/
  secmon http --listen unix:/run/secmon-http/http.sock

Over TCP every request needs a token. docs/http.md explains the configuration, docs/http-api.md the API.")]
    pub(crate) struct HttpArgs {
        #[command(flatten)]
        own: Own,
        /// Where to listen, ADDR:PORT or unix:PATH [default: 127.0.0.1:7380]
        #[arg(long, value_name = "WHERE")]
        listen: Vec<Listen>,
        #[command(subcommand)]
        what: Option<What>,
    }

    #[derive(Debug, Subcommand)]
    enum What {
        /// Make, list and revoke tokens
        #[command(subcommand)]
        Token(secmon_http::access::cli::TokenCommand),
    }

    impl From<HttpError> for Failed {
        fn from(error: HttpError) -> Self {
            let code = if matches!(error, HttpError::Config(_)) { 2 } else { 1 };
            (error, code).into()
        }
    }

    /// Serves until a signal, or sees to tokens.
    pub(crate) fn http(arguments: HttpArgs, socket: Option<PathBuf>) -> Result<(), Failed> {
        let HttpArgs { own, listen, what } = arguments;
        let mut config: Config = own.load(NAME)?;
        let state_dir = own.state_dir(config.state_dir.clone(), NAME)?;
        if let Some(What::Token(command)) = what {
            return secmon_http::access::cli::token(command, &state_dir)
                .map_err(|error| Failed(error.to_string(), 1));
        }
        if !listen.is_empty() {
            config.listen = listen;
        }
        let place = Place { socket: socket_of(socket, config.socket.clone()), state_dir };
        serve(async |cancel| Ok(secmon_http::run(config, place, cancel).await?))
    }
}

/// Runs a role on tokio's threads until a signal.
fn serve(
    role: impl AsyncFnOnce(tokio_util::sync::CancellationToken) -> Result<(), Failed>,
) -> Result<(), Failed> {
    logs(LevelFilter::INFO);
    Builder::new_multi_thread().enable_all().build()?.block_on(async { role(until_signalled()?).await })
}
