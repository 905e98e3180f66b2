//! stdout: whether it is a terminal, how wide, whether coloured, and writing to it.

use std::{
    env,
    ffi::OsStr,
    io::{self, Write as _},
    os::fd::AsFd,
    time::SystemTime,
};

use jiff::{Timestamp, tz::TimeZone};
use secmon_protocol::{ecs, time::UnixNanos};
use serde_json::Value;

use super::Failure;
use crate::render::Look;

/// The look of stdout: colour only on a terminal and by the rule of NO_COLOR; the terminal's width; the local
/// zone.
#[must_use]
pub fn look() -> Look {
    look_of(&io::stdout())
}

/// The same of stderr.
pub(super) fn look_of_stderr() -> Look {
    look_of(&io::stderr())
}

fn look_of(stream: &(impl io::IsTerminal + AsFd)) -> Look {
    let terminal = stream.is_terminal();
    let (no_color, term) = (env::var_os("NO_COLOR"), env::var_os("TERM"));
    let width = terminal
        .then(|| terminal_size::terminal_size_of(stream))
        .flatten()
        .map(|(terminal_size::Width(width), _)| width)
        // Some terminals say 0 for "not known".
        .filter(|width| *width > 0);
    let colour = colour(terminal, no_color.as_deref(), term.as_deref());
    Look { colour, terminal, width, zone: TimeZone::system() }
}

/// NO_COLOR counts when it is not empty, <https://no-color.org>. A terminal of which TERM says nothing, or
/// that it is `dumb`, cannot be trusted to know colour.
fn colour(terminal: bool, no_color: Option<&OsStr>, term: Option<&OsStr>) -> bool {
    terminal && no_color.is_none_or(OsStr::is_empty) && term.is_some_and(|term| term != "dumb")
}

pub(super) fn now() -> UnixNanos {
    Timestamp::try_from(SystemTime::now()).unwrap_or(Timestamp::UNIX_EPOCH).into()
}

/// Writes data to stdout.
pub(super) fn print(text: &str) -> Result<(), Failure> {
    let mut stdout = io::stdout().lock();
    stdout.write_all(text.as_bytes())?;
    Ok(stdout.flush()?)
}

/// Writes values to stdout, one line each.
pub(super) fn print_json(values: impl IntoIterator<Item = Value>) -> Result<(), Failure> {
    print(&values.into_iter().map(|value| format!("{}\n", ecs::line(&value))).collect::<String>())
}

/// A line for people on stderr, never coloured; whether they can read it is not our business.
pub(super) fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_for_terminals_that_know_it_and_for_nobody_who_said_no() {
        let of = |terminal, no_color: Option<&str>, term: Option<&str>| {
            colour(terminal, no_color.map(OsStr::new), term.map(OsStr::new))
        };
        assert!(of(true, None, Some("xterm")));
        assert!(of(true, Some(""), Some("xterm")), "an empty NO_COLOR says nothing");
        assert!(!of(true, Some("0"), Some("xterm")), "any other one does");
        assert!(!of(true, None, Some("dumb")));
        assert!(!of(true, None, None));
        assert!(!of(false, None, Some("xterm")));
    }
}
