//! wtmpdb(8): the log of logins in SQLite that takes the place of wtmp where times must outlive the year 2038. It is
//! only read.
//!
//! What must not live here: whether a login is news.
//!
//! Times are microseconds since 1970. A row has no process and no session id; its `Logout` stays empty for ever
//! when a program was killed, so an open row proves nothing. Also su, sudo and run0 make rows, for somebody
//! who is logged in already.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
    time::Duration,
};

use rusqlite::{Connection, OpenFlags, Row, params_from_iter, types::Value};
use secmon_protocol::{limits::clip, session::SessionSource, time::UnixNanos};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::view::Past;
use crate::watch::path_watch::{Expect, PathWatch};

/// `Type` of a user's login; `enum` in `wtmpdb.h`.
const USER_PROCESS: i64 = 3;
/// Rows read in one go.
const ROWS: usize = 1024;
/// Open rows that are asked for again; more than people log in at a time.
const OPEN: usize = 512;
/// How long a writer is waited for: a login writes one row.
const BUSY: Duration = Duration::from_secs(2);
/// Before a database that could not be read is tried again, and before inotify is.
const RETRY: Duration = Duration::from_secs(30);

/// One row, as it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct LoginRow {
    pub(super) id: i64,
    pub(super) user: String,
    pub(super) login: UnixNanos,
    pub(super) logout: Option<UnixNanos>,
    pub(super) tty: Option<String>,
    pub(super) remote: Option<String>,
    pub(super) service: Option<String>,
}

impl LoginRow {
    fn of(row: &Row<'_>) -> rusqlite::Result<Self> {
        let text = |at| -> rusqlite::Result<Option<String>> {
            let value: Value = row.get(at)?;
            Ok(match value {
                Value::Text(text) if !text.is_empty() => Some(clip(&text).to_owned()),
                _ => None,
            })
        };
        let time = |micros: i64| UnixNanos(micros.saturating_mul(1_000));
        let tty = text(4)?.map(|tty| tty.strip_prefix("/dev/").map(str::to_owned).unwrap_or(tty));
        Ok(Self {
            id: row.get(0)?,
            user: text(1)?.unwrap_or_default(),
            login: time(row.get(2)?),
            logout: row.get::<_, Option<i64>>(3)?.map(time),
            // What PAM modules write for want of a terminal.
            tty: tty.filter(|tty| tty.starts_with("tty") || tty.contains('/') || tty == "console"),
            remote: text(5)?,
            service: text(6)?,
        })
    }

    /// Whether somebody logged in, rather than become somebody else.
    pub(super) fn is_login(&self) -> bool {
        let service = self.service.as_deref().unwrap_or_default();
        let becomes = ["su", "sudo", "runuser", "systemd-run0", "systemd-user", "cron", "doas"];
        !becomes.iter().any(|name| {
            service.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with('-'))
        })
    }

    pub(super) fn past(self) -> Past {
        Past {
            source: SessionSource::Wtmpdb,
            id: self.id.to_string(),
            user: self.user,
            tty: self.tty,
            remote: self.remote,
            service: self.service,
            since: self.login,
            ended: self.logout.is_some(),
        }
    }
}

/// Opens the database at `path` for reading.
///
/// # Errors
/// There is none, it is no database, or it may not be read.
pub(super) fn open(path: &Path) -> rusqlite::Result<Connection> {
    let flags = OpenFlags::SQLITE_OPEN_READ_ONLY | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let connection = Connection::open_with_flags(path, flags)?;
    connection.busy_timeout(BUSY)?;
    Ok(connection)
}

/// At most [`ROWS`] logins after row `after`, in their order.
///
/// # Errors
/// It is no database of wtmpdb's, or it stays locked.
pub(super) fn rows_after(connection: &Connection, after: i64) -> rusqlite::Result<Vec<LoginRow>> {
    rows(connection, "ID > ?", [Value::Integer(after)])
}

fn rows(
    connection: &Connection,
    which: &str,
    values: impl IntoIterator<Item = Value>,
) -> rusqlite::Result<Vec<LoginRow>> {
    let mut statement = connection.prepare(&format!(
        "SELECT ID, User, Login, Logout, TTY, RemoteHost, Service FROM wtmp \
         WHERE Type = {USER_PROCESS} AND ({which}) ORDER BY ID LIMIT {ROWS}"
    ))?;
    statement.query_map(params_from_iter(values), LoginRow::of)?.collect()
}

/// How far the database was read.
#[derive(Debug, Clone, Default)]
struct Position {
    /// The newest row; none before the first reading.
    newest: Option<i64>,
    /// When its login was.
    newest_login: Option<UnixNanos>,
    /// Rows without an end.
    open: BTreeSet<i64>,
}

impl Position {
    /// What is new since the last time, and whether there is more. The first time nothing is, but for rows
    /// without an end: they name a further source of sessions that live.
    fn read(&mut self, path: &Path) -> rusqlite::Result<(Vec<Past>, bool)> {
        let connection = open(path)?;
        let top: i64 = connection.query_row("SELECT coalesce(max(ID), 0) FROM wtmp", [], |row| row.get(0))?;
        let (found, more) = match self.newest {
            None => {
                let newest_first =
                    "Logout IS NULL AND ID > (SELECT coalesce(max(ID), 0) FROM wtmp WHERE Type = 1)";
                (rows(&connection, newest_first, [])?, false)
            }
            // `wtmpdb rotate` moved rows to another file; when it moved them all their numbers are given again.
            Some(newest) if top < newest => {
                self.open.clear();
                let found = rows_after(&connection, 0)?;
                let more = found.len() == ROWS;
                let is_new = |row: &LoginRow| self.newest_login.is_none_or(|newest| row.login > newest);
                (found.into_iter().filter(is_new).collect(), more)
            }
            Some(newest) => {
                let marks = vec!["?"; self.open.len()].join(",");
                let mut values = vec![Value::Integer(newest)];
                values.extend(self.open.iter().copied().map(Value::Integer));
                let found = rows(&connection, &format!("ID > ? OR ID IN ({marks})"), values)?;
                let more = found.len() == ROWS;
                (found, more)
            }
        };
        let last = found.last().map(|row| row.id);
        self.newest_login = self.newest_login.max(found.iter().map(|row| row.login).max());
        self.newest = Some(if more { last.unwrap_or(top) } else { top });
        let mut news = Vec::new();
        for row in found {
            if row.logout.is_some() {
                self.open.remove(&row.id);
            } else if !self.open.insert(row.id) {
                continue;
            }
            if row.is_login() {
                news.push(row.past());
            } else {
                self.open.remove(&row.id);
            }
        }
        while self.open.len() > OPEN {
            self.open.pop_first();
        }
        Ok((news, more))
    }
}

/// Tells `out` of the logins that are logged from now on, for ever. A missing database may come.
pub(super) async fn watch(path: PathBuf, out: mpsc::Sender<Past>) {
    let mut position = Position::default();
    let mut complained = false;
    loop {
        match PathWatch::new(&path, Expect::File) {
            Ok(mut watch) => loop {
                if let Err(error) = watch.arm() {
                    warn!(path = %path.display(), %error, "cannot watch wtmpdb's database");
                    break;
                }
                let mut again = path.exists();
                while again {
                    match read(position.clone(), path.clone()).await {
                        Ok((read, news, more)) => {
                            (position, again, complained) = (read, more, false);
                            for login in news {
                                if out.send(login).await.is_err() {
                                    return;
                                }
                            }
                        }
                        Err(error) => {
                            if !std::mem::replace(&mut complained, true) {
                                warn!(path = %path.display(), %error, "cannot read wtmpdb's database");
                            } else {
                                debug!(path = %path.display(), %error, "cannot read wtmpdb's database");
                            }
                            break;
                        }
                    }
                }
                // A failed reading is tried again without a word from inotify.
                let changed = watch.changed();
                let changed = if complained && again {
                    tokio::time::timeout(RETRY, changed).await.unwrap_or(Ok(()))
                } else {
                    changed.await
                };
                if changed.is_err() {
                    break;
                }
            },
            Err(error) => warn!(path = %path.display(), %error, "cannot watch wtmpdb's database"),
        }
        tokio::time::sleep(RETRY).await;
    }
}

/// Reads in a thread of its own: a writer may hold the database for a moment.
async fn read(mut position: Position, path: PathBuf) -> rusqlite::Result<(Position, Vec<Past>, bool)> {
    let reading = tokio::task::spawn_blocking(move || {
        let (news, more) = position.read(&path)?;
        Ok((position, news, more))
    });
    reading.await.unwrap_or_else(|_| Err(rusqlite::Error::InvalidQuery))
}
