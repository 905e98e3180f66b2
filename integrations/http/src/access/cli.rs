//! `secmon http token`.

use std::{
    fmt::Write as _,
    io::{self, Write as _},
    path::Path,
    time::Duration,
};

use clap::Subcommand;
use jiff::{Timestamp, Unit};
use secmon_protocol::{ecs, message::client::Role, text::printable, time::UnixNanos, units};
use serde_json::json;

use super::{
    role,
    tokens::{self, Listed, NewToken, TokenError},
};

/// What is done with tokens.
#[derive(Debug, Subcommand)]
pub enum TokenCommand {
    /// Make a token and print it, once
    #[command(after_help = "\
Examples:
  secmon http token add grafana                                      sees everything, runs nothing
  secmon http token add laptop --role operator --nodes 'web*' --commands 'restart-*' --expires 90d

The token alone is printed on standard output. It is kept nowhere, only its hash.")]
    Add {
        /// What to call it: the hub's log names it beside what it runs
        name: String,
        /// viewer: see; operator: and run commands; admin: and run every command
        #[arg(long, default_value = "viewer", value_parser = role)]
        role: Role,
        /// Nodes that it may see and use, as patterns [default: all]
        #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
        nodes: Vec<String>,
        /// Commands that an operator may run, as patterns [default: all]
        #[arg(long, value_name = "PATTERN", value_delimiter = ',')]
        commands: Vec<String>,
        /// How long it works, as 12h or 90d [default: until it is revoked]
        #[arg(long, value_name = "TIME", value_parser = units::duration)]
        expires: Option<Duration>,
    },
    /// List tokens, without what they are
    List {
        /// Print one JSON object per line
        #[arg(long)]
        json: bool,
    },
    /// End a token at once, and what runs for it
    Revoke {
        /// Which
        name: String,
    },
}

/// Does it.
///
/// # Errors
/// See [`super::tokens`].
pub fn token(command: TokenCommand, state_dir: &Path) -> Result<(), TokenError> {
    match command {
        TokenCommand::Add { name, role, nodes, commands, expires } => {
            let expires = expires.map(|time| ends(Timestamp::now(), time)).transpose()?;
            let token =
                tokens::add(state_dir, NewToken { name: name.clone(), role, nodes, commands, expires })?;
            let until = expires.map_or_else(String::new, |time| format!(", until {}", minute(time)));
            // Made for another folder than the bridge's, it would work nowhere.
            eprintln!(
                "secmon: made the token {name:?} ({}{until}) of the bridge whose state is in {}; it is shown once, here:",
                role.as_str(),
                state_dir.display()
            );
            print(&format!("{token}\n"))
        }
        TokenCommand::List { json } => {
            let listed = tokens::list(state_dir)?;
            print(&if json { lines(&listed) } else { table(&listed, Timestamp::now()) })
        }
        TokenCommand::Revoke { name } => {
            tokens::revoke(state_dir, &name)?;
            eprintln!("secmon: the token {name:?} works no more");
            Ok(())
        }
    }
}

/// A reader that has enough ends the writing, without complaint.
fn print(text: &str) -> Result<(), TokenError> {
    match io::stdout().lock().write_all(text.as_bytes()) {
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => {
            Err(TokenError(format!("cannot write to standard output: {error}")))
        }
        _ => Ok(()),
    }
}

fn ends(now: Timestamp, after: Duration) -> Result<UnixNanos, TokenError> {
    let end = now.checked_add(after).ok().and_then(|end| i64::try_from(end.as_nanosecond()).ok());
    end.map(UnixNanos)
        .ok_or_else(|| TokenError("--expires is later than clocks can say; leave it out".to_owned()))
}

fn minute(time: UnixNanos) -> String {
    time.timestamp().round(Unit::Second).unwrap_or(time.timestamp()).to_string()
}

fn lines(listed: &[Listed]) -> String {
    let line = |Listed { token, made }: &Listed| {
        let expires = token.expires.map(UnixNanos::rfc3339);
        json!({
            "name": token.name, "role": token.role.as_str(), "nodes": token.nodes, "commands": token.commands,
            "made": made.rfc3339(), "expires": expires,
        })
    };
    listed.iter().map(|token| format!("{}\n", ecs::line(&line(token)))).collect()
}

fn table(listed: &[Listed], now: Timestamp) -> String {
    if listed.is_empty() {
        return "no tokens; secmon http token add NAME makes one\n".to_owned();
    }
    // The file is the bridge's, and it may be root who looks.
    let all = |patterns: &[String], all: &str| {
        if patterns.is_empty() { all.to_owned() } else { printable(&patterns.join(" ")) }
    };
    let mut rows = vec![["NAME", "ROLE", "NODES", "COMMANDS", "MADE", "EXPIRES"].map(str::to_owned)];
    for Listed { token, made } in listed {
        let expires = match token.expires {
            None => "never".to_owned(),
            Some(time) if time.timestamp() <= now => format!("{} (over)", minute(time)),
            Some(time) => minute(time),
        };
        let commands = if token.role == Role::Viewer { "-" } else { "all" };
        rows.push([
            token.name.clone(),
            token.role.as_str().to_owned(),
            all(&token.nodes, "all"),
            all(&token.commands, commands),
            minute(*made),
            expires,
        ]);
    }
    let mut widths = [0; 6];
    for row in &rows {
        for (width, cell) in widths.iter_mut().zip(row) {
            *width = (*width).max(cell.len());
        }
    }
    let mut out = String::new();
    for row in &rows {
        let mut line = String::new();
        for (width, cell) in widths.iter().zip(row) {
            // Writing to a String cannot fail.
            let _ = write!(line, "{cell:width$}  ");
        }
        out.push_str(line.trim_end());
        out.push('\n');
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_list_says_what_each_token_gives_and_which_is_over() {
        let token = |name: &str, role, commands: &[&str], expires| Listed {
            token: NewToken {
                name: name.into(),
                role,
                nodes: vec!["web*".into(), "db1".into()],
                commands: commands.iter().map(|&c| c.to_owned()).collect(),
                expires,
            },
            made: UnixNanos(1_700_000_000_123_456_789),
        };
        let listed = [
            token("grafana", Role::Viewer, &[], None),
            token("laptop", Role::Operator, &["restart-*"], Some(UnixNanos(1_700_000_100_000_000_000))),
            token("root", Role::Admin, &[], Some(UnixNanos(1_900_000_000_000_000_000))),
        ];
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        insta::assert_snapshot!(table(&listed, now), @r"
        NAME     ROLE      NODES     COMMANDS   MADE                  EXPIRES
        grafana  viewer    web* db1  -          2023-11-14T22:13:20Z  never
        laptop   operator  web* db1  restart-*  2023-11-14T22:13:20Z  2023-11-14T22:15:00Z (over)
        root     admin     web* db1  all        2023-11-14T22:13:20Z  2030-03-17T17:46:40Z
        ");
        let mut line: serde_json::Value = serde_json::from_str(&lines(&listed[1..2])).unwrap();
        // The order of keys depends on what else is built.
        line.sort_all_objects();
        insta::assert_snapshot!(line, @r#"{"commands":["restart-*"],"expires":"2023-11-14T22:15:00Z","made":"2023-11-14T22:13:20.123456789Z","name":"laptop","nodes":["web*","db1"],"role":"operator"}"#);
    }

    #[test]
    fn an_end_beyond_all_clocks_is_an_error() {
        let now = Timestamp::from_second(1_800_000_000).unwrap();
        assert!(ends(now, Duration::from_secs(u64::MAX)).is_err());
        assert!(ends(now, Duration::from_secs(60 * 60 * 24 * 365 * 1000)).is_err());
        assert_eq!(ends(now, Duration::from_secs(60)).unwrap(), UnixNanos(1_800_000_060_000_000_000));
    }
}
