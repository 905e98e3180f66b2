//! stdout: whether it is a terminal, how wide, whether coloured, and writing to it.

use std::{
    io::{self, IsTerminal as _, Write as _},
    time::SystemTime,
};

use anstream::{AutoStream, ColorChoice};
use jiff::{Timestamp, tz::TimeZone};
use secmon_protocol::time::UnixNanos;
use serde_json::Value;

use super::Failure;
use crate::render::Look;

/// The look of stdout: colour only on a terminal and by the rules of NO_COLOR, CLICOLOR and
/// CLICOLOR_FORCE; the terminal's width; the local zone.
#[must_use]
pub fn look() -> Look {
    let stdout = io::stdout();
    let colour = AutoStream::choice(&stdout) != ColorChoice::Never;
    let width = stdout
        .is_terminal()
        .then(|| terminal_size::terminal_size_of(&stdout))
        .flatten()
        .map(|(terminal_size::Width(width), _)| width)
        // Some terminals say 0 for "not known".
        .filter(|width| *width > 0);
    Look { colour, width, zone: TimeZone::system() }
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
    print(&values.into_iter().map(|value| format!("{value}\n")).collect::<String>())
}

/// A line for people on stderr; whether they can read it is not our business.
pub(super) fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}
