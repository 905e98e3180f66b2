//! Files of logins by hand, record by record: what `secmon parse` shows of utmp, wtmp, btmp and wtmpdb.

use std::{
    io::{self, Read},
    path::Path,
};

use secmon_protocol::{
    auth::AuthEvent,
    session::{Session, SessionKind, SessionSource},
    time::UnixNanos,
};

use super::{
    btmp,
    utmp::{Entry, Layout, entries},
    wtmp::Pairs,
    wtmpdb,
};

/// What a record says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Login {
    /// Somebody logged in.
    Opened(Session),
    /// Somebody logged out, when. A record of utmp's that stands by itself may lack the name.
    Closed(Session, UnixNanos),
    /// Somebody failed to log in.
    Failed(Box<AuthEvent>),
    /// It is understood and says nothing of anybody.
    Other,
    /// It cannot be read.
    Unknown,
}

/// Reads a btmp file to its end and gives each record with its number, from 1.
///
/// # Errors
/// The file cannot be read, or `each` failed.
pub fn btmp<E: From<io::Error>>(
    input: impl Read,
    mut each: impl FnMut(u64, Login) -> Result<(), E>,
) -> Result<(), E> {
    records(input, |number, entry| {
        let login = match entry {
            Some(Entry::Login(login) | Entry::Prompt(login)) => Login::Failed(Box::new(btmp::event(&login))),
            Some(Entry::Bad) | None => Login::Unknown,
            Some(_) => Login::Other,
        };
        each(number, login)
    })
}

/// Reads a utmp or wtmp file to its end and gives each record with its number, from 1. With `join`, an
/// end is given the name of its beginning, and what is no login (windows of terminal multiplexers, ends without a
/// beginning) is [`Login::Other`].
///
/// # Errors
/// The file cannot be read, or `each` failed.
pub fn utmp<E: From<io::Error>>(
    input: impl Read,
    join: bool,
    mut each: impl FnMut(u64, Login) -> Result<(), E>,
) -> Result<(), E> {
    let mut pairs = Pairs::default();
    records(input, |number, entry| {
        let login = match entry {
            None => Login::Unknown,
            Some(entry) if join => joined(entry, &mut pairs),
            Some(entry) => alone(entry),
        };
        each(number, login)
    })
}

/// Gives each record with its number; nothing for what is left at the end and is less than one.
fn records<E: From<io::Error>>(
    mut input: impl Read,
    mut each: impl FnMut(u64, Option<Entry>) -> Result<(), E>,
) -> Result<(), E> {
    let mut held = Vec::new();
    let (mut layout, mut number) = (None, 0);
    loop {
        let read = input.by_ref().take(CHUNK).read_to_end(&mut held)?;
        let layout = *layout.get_or_insert_with(|| Layout::of(&held));
        let (found, partial) = entries(&held, layout);
        for entry in found {
            number += 1;
            each(number, Some(entry))?;
        }
        held.drain(..held.len() - partial);
        if read == 0 {
            break;
        }
    }
    if held.is_empty() { Ok(()) } else { each(number + 1, None) }
}

/// Bytes read in one go.
const CHUNK: u64 = 64 << 10;

fn alone(entry: Entry) -> Login {
    match entry {
        Entry::Login(login) => Login::Opened(login.session()),
        Entry::Logout { line, pid, at } => {
            let nobody = Session {
                user: String::new(),
                tty: Some(line).filter(|line| !line.is_empty()),
                remote: None,
                since: at,
                leader: u32::try_from(pid).ok().filter(|pid| *pid > 0),
                service: None,
                kind: SessionKind::Interactive,
                sources: [SessionSource::Utmp].into(),
            };
            Login::Closed(nobody, at)
        }
        Entry::Prompt(_) | Entry::Boot | Entry::Other => Login::Other,
        Entry::Bad => Login::Unknown,
    }
}

fn joined(entry: Entry, pairs: &mut Pairs) -> Login {
    let (at, bad) = match &entry {
        Entry::Logout { at, .. } => (*at, false),
        entry => (UnixNanos(0), *entry == Entry::Bad),
    };
    match pairs.push(entry) {
        Some(past) if past.ended => Login::Closed(past.session(), at),
        Some(past) => Login::Opened(past.session()),
        None if bad => Login::Unknown,
        None => Login::Other,
    }
}

/// wtmpdb's database cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct DatabaseError(#[source] rusqlite::Error);

/// Reads wtmpdb's database and gives each row of a user with its `ID`: its beginning, and its end where there is one.
/// With `join`, rows of su, sudo and their like are [`Login::Other`].
///
/// # Errors
/// It is no such database or cannot be read, or `each` failed.
pub fn wtmpdb<E: From<DatabaseError>>(
    path: &Path,
    join: bool,
    mut each: impl FnMut(u64, Login) -> Result<(), E>,
) -> Result<(), E> {
    let database = wtmpdb::open(path).map_err(DatabaseError)?;
    let mut after = 0;
    loop {
        let rows = wtmpdb::rows_after(&database, after).map_err(DatabaseError)?;
        let Some(last) = rows.last() else { return Ok(()) };
        after = last.id;
        for row in rows {
            let number = u64::try_from(row.id).unwrap_or_default();
            if join && !row.is_login() {
                each(number, Login::Other)?;
                continue;
            }
            let end = row.logout;
            let session = row.past().session();
            each(number, Login::Opened(session.clone()))?;
            if let Some(end) = end {
                each(number, Login::Closed(session, end))?;
            }
        }
    }
}
