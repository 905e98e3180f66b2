//! Files of logins: utmp, wtmp and btmp, and wtmpdb's database, record by record.

use std::{fmt, io, path::Path};

use secmon_node::watch::sessions::parse::{self, Login};
use secmon_protocol::{
    event::{Detail, EventType},
    session::Session,
};

use super::{Broken, Show, input::Input, output::Printer};

/// What became of the records.
#[derive(Debug, Default)]
pub(super) struct Summary {
    records: u64,
    last: u64,
    opened: u64,
    closed: u64,
    failed: u64,
    known: u64,
    unknown: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { records, opened, closed, failed, known, unknown, .. } = self;
        let records_word = if *records == 1 { "record" } else { "records" };
        write!(f, "{records} {records_word}: {opened} opened, {closed} closed, {failed} failed, ")?;
        write!(f, "{known} understood that are no login, {unknown} that cannot be read")?;
        if *records > 0 && unknown == records {
            write!(f, "; is it a file of logins?")?;
        }
        Ok(())
    }
}

/// Reads a utmp or wtmp file and prints what `show` asks for.
pub(super) fn utmp(input: Input, out: &mut Printer, show: Show) -> Result<Summary, Broken> {
    let mut summary = Summary::default();
    parse::utmp(input, show == Show::Joined, |number, login| summary.take(number, login, out, show))?;
    Ok(summary)
}

/// Reads a btmp file and prints what `show` asks for.
pub(super) fn btmp(input: Input, out: &mut Printer, show: Show) -> Result<Summary, Broken> {
    let mut summary = Summary::default();
    parse::btmp(input, |number, login| summary.take(number, login, out, show))?;
    Ok(summary)
}

/// Reads wtmpdb's database and prints what `show` asks for.
pub(super) fn wtmpdb(path: &Path, out: &mut Printer, show: Show) -> Result<Summary, Broken> {
    let mut summary = Summary::default();
    parse::wtmpdb(path, show == Show::Joined, |number, login| summary.take(number, login, out, show))?;
    Ok(summary)
}

impl Summary {
    fn take(&mut self, number: u64, login: Login, out: &mut Printer, show: Show) -> Result<(), Broken> {
        if std::mem::replace(&mut self.last, number) != number {
            self.records += 1;
        }
        let (event_type, session, time) = match login {
            Login::Opened(session) => (EventType::SessionOpened, session.clone(), session.since),
            Login::Closed(session, at) => (EventType::SessionClosed, session, at),
            Login::Failed(event) => {
                self.failed += 1;
                return match show {
                    Show::Unmatched => Ok(()),
                    Show::Each | Show::Joined => out.event(number, event.time, None, Detail::Auth(*event)),
                };
            }
            Login::Other => {
                self.known += 1;
                return Ok(());
            }
            Login::Unknown => {
                self.unknown += 1;
                return match show {
                    Show::Unmatched => out.unmatched(number, b"a record that cannot be read"),
                    Show::Each | Show::Joined => Ok(()),
                };
            }
        };
        match event_type {
            EventType::SessionOpened => self.opened += 1,
            _ => self.closed += 1,
        }
        match show {
            Show::Unmatched => Ok(()),
            Show::Each | Show::Joined => {
                let key = key(&session);
                out.event(number, time, None, Detail::Session(event_type, key, session))
            }
        }
    }
}

/// What a session is called here: no source tells a name that is the same everywhere.
fn key(session: &Session) -> String {
    format!("{}:{}", session.tty.as_deref().unwrap_or_default(), session.since.0 / 1_000)
}

impl From<io::Error> for Broken {
    fn from(error: io::Error) -> Self {
        Self::Input(error)
    }
}

impl From<parse::DatabaseError> for Broken {
    fn from(error: parse::DatabaseError) -> Self {
        Self::Input(io::Error::other(error))
    }
}
