//! wtmpdb(8): the log of logins in SQLite that takes the place of wtmp where times must outlive the year 2038. It is
//! only read.
//!
//! What must not live here: whether a login is news.
//!
//! Times are microseconds since 1970. A row has no process and no session id; its `Logout` stays empty for ever
//! when a program was killed, so an open row proves nothing. Also su, sudo and run0 make rows, for somebody
//! who is logged in already.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::{Path, PathBuf},
    time::Duration,
};

use bytes::Bytes;
use rusqlite::{Connection, OpenFlags, Row, params_from_iter, types::Value};
use secmon_protocol::{
    codec::{Value as Kept, decode_value, encode_value},
    limits::clip,
    session::SessionSource,
    time::UnixNanos,
};
use serde::{Deserialize, Serialize};
use tokio::sync::mpsc;
use tracing::{debug, warn};

use super::view::{Logged, Past};
use crate::watch::{
    Place,
    path_watch::{Expect, PathWatch},
};

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
            login: time(row.get::<_, Option<i64>>(2)?.unwrap_or_default()),
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
        let becomes =
            ["su", "sudo", "runuser", "systemd-run0", "systemd-user", "cron", "crond", "atd", "doas"];
        // A display manager's login screen: gdm-launch-environment, lightdm-greeter, sddm-greeter.
        let is_screen = service.ends_with("greeter") || service.ends_with("launch-environment");
        !is_screen
            && !becomes.iter().any(|name| {
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
            pid: None,
            ended: self.logout.is_some(),
            unwatched: false,
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
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
struct Position {
    /// The newest row; none before the first reading.
    newest: Option<i64>,
    /// When its login was.
    newest_login: Option<UnixNanos>,
    /// Rows without an end.
    open: BTreeSet<i64>,
    /// Whether what is read next was logged while the node did not run.
    #[serde(skip)]
    unwatched: bool,
}

impl Kept for Position {}

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
        let unwatched = self.unwatched;
        self.unwatched &= more;
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
                news.push(Past { unwatched, ..row.past() });
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

/// Tells `out` of the logins that are logged from the place in `places` on, or from now on, for ever. A missing database
/// may come.
pub(super) async fn watch(path: PathBuf, places: &BTreeMap<String, Bytes>, out: mpsc::Sender<Logged>) {
    let source = format!("wtmpdb:{}", path.display());
    let mut missed = None;
    let mut position = match places.get(&source).map(|at| decode_value::<Position>(at)) {
        None => Position::default(),
        Some(Ok(position)) => Position { unwatched: true, ..position },
        Some(Err(error)) => {
            missed = Some(format!(
                "what was kept of {source} cannot be read ({error}); logins while the node was down may be missing"
            ));
            Position::default()
        }
    };
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
                        Ok((read, logins, more)) => {
                            let at = encode_value(&read);
                            let place =
                                (encode_value(&position) != at).then(|| Place { source: source.clone(), at });
                            (position, again, complained) = (read, more, false);
                            let missed = missed.take();
                            if logins.is_empty() && place.is_none() && missed.is_none() {
                                continue;
                            }
                            if out.send(Logged { logins, missed, place }).await.is_err() {
                                return;
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

#[cfg(test)]
mod tests {
    use std::sync::LazyLock;

    use proptest::prelude::*;

    use super::*;

    /// A database as wtmpdb 0.73 makes it.
    fn database(path: &Path) -> Connection {
        let connection = Connection::open(path).unwrap();
        let made = connection.execute_batch(
            "CREATE TABLE wtmp(ID INTEGER PRIMARY KEY, Type INTEGER, User TEXT NOT NULL, Login INTEGER, Logout INTEGER, \
             TTY TEXT, RemoteHost TEXT, Service TEXT) STRICT;",
        );
        made.unwrap();
        connection
    }

    fn insert(
        connection: &Connection,
        kind: i64,
        user: &str,
        login: i64,
        tty: &str,
        service: Option<&str>,
    ) -> i64 {
        let sql = "INSERT INTO wtmp(Type, User, Login, TTY, RemoteHost, Service) VALUES (?, ?, ?, ?, '192.0.2.1', ?)";
        connection.execute(sql, rusqlite::params![kind, user, login, tty, service]).unwrap();
        connection.last_insert_rowid()
    }

    fn end(connection: &Connection, id: i64) {
        connection.execute("UPDATE wtmp SET Logout = Login + 5 WHERE ID = ?", [id]).unwrap();
    }

    fn read_all(position: &mut Position, path: &Path) -> Vec<String> {
        let mut all = Vec::new();
        loop {
            let (found, more) = position.read(path).unwrap();
            all.extend(found.into_iter().map(|past| {
                format!(
                    "{}{}{}",
                    past.user,
                    past.tty.as_deref().unwrap_or("-"),
                    if past.ended { " ended" } else { "" }
                )
            }));
            if !more {
                return all;
            }
        }
    }

    #[test]
    fn rows_from_now_on_are_told_and_their_end_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp.db");
        let db = database(&path);
        // Open before the machine started: whoever it was is not there any more.
        insert(&db, 3, "ghost", 1, "pts/0", None);
        insert(&db, 1, "reboot", 2, "~", None);
        let old = insert(&db, 3, "old", 3, "pts/1", None);
        end(&db, insert(&db, 3, "gone", 4, "pts/2", None));
        let mut position = Position::default();
        assert_eq!(read_all(&mut position, &path), ["oldpts/1"]);
        assert!(read_all(&mut position, &path).is_empty());
        let alice = insert(&db, 3, "alice", 1_795_000_000_000_000, "pts/3", None);
        assert_eq!(read_all(&mut position, &path), ["alicepts/3"]);
        end(&db, alice);
        end(&db, old);
        end(&db, insert(&db, 3, "bob", 1_795_000_000_000_001, "ssh", None));
        assert_eq!(read_all(&mut position, &path), ["oldpts/1 ended", "alicepts/3 ended", "bob- ended"]);
        assert!(read_all(&mut position, &path).is_empty());
    }

    #[test]
    fn who_becomes_somebody_else_has_not_logged_in() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp.db");
        let db = database(&path);
        let mut position = Position::default();
        read_all(&mut position, &path);
        for service in
            ["su", "su-l", "sudo", "sudo-i", "systemd-run0", "runuser-l", "crond", "gdm-launch-environment"]
        {
            end(&db, insert(&db, 3, "bob", 5, "pts/0", Some(service)));
        }
        insert(&db, 3, "root", 5, "console", Some("login"));
        assert_eq!(read_all(&mut position, &path), ["rootconsole"]);
    }

    #[test]
    fn more_rows_than_one_reading_takes_are_all_told() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp.db");
        let db = database(&path);
        let mut position = Position::default();
        read_all(&mut position, &path);
        db.execute_batch("BEGIN").unwrap();
        for n in 0..2_500 {
            end(&db, insert(&db, 3, "u", n, "pts/0", None));
        }
        db.execute_batch("COMMIT").unwrap();
        assert_eq!(read_all(&mut position, &path).len(), 2_500);
    }

    #[test]
    fn a_database_that_was_rotated_tells_nothing_old_and_everything_new() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp.db");
        let db = database(&path);
        let mut position = Position::default();
        read_all(&mut position, &path);
        for n in 10..20 {
            end(&db, insert(&db, 3, "old", n, "pts/0", None));
        }
        assert_eq!(read_all(&mut position, &path).len(), 10);
        db.execute("DELETE FROM wtmp WHERE Login > 12", []).unwrap();
        end(&db, insert(&db, 3, "new", 30, "pts/0", None));
        assert_eq!(read_all(&mut position, &path), ["newpts/0 ended"]);
    }

    static SOUND: LazyLock<Vec<u8>> = LazyLock::new(|| {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("wtmp.db");
        insert(&database(&path), 3, "alice", 5, "pts/0", None);
        std::fs::read(&path).unwrap()
    });

    proptest! {
        #[test]
        fn what_is_no_database_is_an_error_and_no_more(bytes in proptest::collection::vec(any::<u8>(), 0..4096)) {
            let dir = tempfile::tempdir().unwrap();
            let path = dir.path().join("wtmp.db");
            let mut broken = SOUND.clone();
            // The header stays, so that SQLite looks further.
            for (at, byte) in bytes.iter().enumerate() {
                if let Some(place) = broken.get_mut(100 + at) {
                    *place ^= byte;
                }
            }
            std::fs::write(&path, broken).unwrap();
            if let Ok((found, _)) = Position::default().read(&path) {
                prop_assert!(found.len() <= ROWS);
            }
        }
    }
}
