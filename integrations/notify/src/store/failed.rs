//! What was set aside: by the role that has the store, and as `secmon notify` sees it from beside.

use std::path::Path;

use rusqlite::{Connection, OptionalExtension as _, Transaction, params};
use secmon_protocol::time::UnixNanos;

use super::{Store, StoreError, schema};
use crate::{Kind, Notice, Severity, failed::Failed, run::file};

impl Store {
    /// Sets a row of the queue aside. Of one message at most one edition is kept, the newest.
    pub(super) fn row_aside(
        db: &Transaction<'_>,
        id: i64,
        reason: &str,
        limit: u64,
        now: UnixNanos,
    ) -> Result<(), StoreError> {
        db.prepare_cached(
            "DELETE FROM failed WHERE (destination, thread) = (SELECT destination, thread FROM queue WHERE id = ?1)",
        )?
        .execute([id])?;
        db.prepare_cached(
            "INSERT INTO failed (destination, thread, critical, time, notice, tries, reason, since)
             SELECT destination, thread, critical, time, notice, tries + refusals, ?2, ?3 FROM queue WHERE id = ?1",
        )?
        .execute(params![id, reason, now.0])?;
        db.prepare_cached("DELETE FROM queue WHERE id = ?1")?.execute([id])?;
        let count: i64 = db.query_row("SELECT count(*) FROM failed", [], |row| row.get(0))?;
        if count.cast_unsigned() > limit {
            tracing::warn!(
                limit,
                "too many messages were set aside: the oldest that are not critical are forgotten"
            );
            db.prepare_cached(
                "DELETE FROM failed WHERE id IN (SELECT id FROM failed ORDER BY critical, id LIMIT ?1)",
            )?
            .execute([count - limit.cast_signed()])?;
        }
        Ok(())
    }

    /// Sets aside what waits for destinations that are no longer there.
    pub(super) fn leave_only(&mut self, names: &[String], now: UnixNanos) -> Result<(), StoreError> {
        let transaction = self.db.transaction()?;
        let found = transaction
            .prepare("SELECT DISTINCT destination FROM queue")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<Vec<String>, _>>()?;
        for destination in found.iter().filter(|found| !names.contains(found)) {
            let rows = transaction
                .prepare("SELECT id FROM queue WHERE destination = ?1 ORDER BY id")?
                .query_map([destination], |row| row.get(0))?
                .collect::<Result<Vec<i64>, _>>()?;
            tracing::warn!(
                %destination, waiting = rows.len(),
                "messages wait for a destination that the configuration no longer names; they are set aside"
            );
            for row in rows {
                let reason = "the configuration no longer names this destination";
                Self::row_aside(&transaction, row, reason, self.limits.failed, now)?;
            }
        }
        Self::forget_threads(&transaction, now)?;
        Ok(transaction.commit()?)
    }

    /// Whether anything was set aside.
    pub(crate) fn has_failed(&self) -> Result<bool, StoreError> {
        Ok(self.db.prepare_cached("SELECT 1 FROM failed LIMIT 1")?.exists([])?)
    }
}

/// What a role has set aside, seen from beside it.
#[derive(Debug)]
pub(crate) struct Shelf {
    db: Connection,
}

impl Shelf {
    /// Opens the store in a folder, also while its role has it; none where there is none.
    pub(crate) fn open(state_dir: &Path) -> Result<Option<Self>, StoreError> {
        let path = file(state_dir);
        match path.try_exists() {
            Ok(true) => Ok(Some(Self { db: schema::open_beside(&path)? })),
            Ok(false) => Ok(None),
            Err(error) => Err(StoreError::Refused(error.to_string())),
        }
    }

    /// The oldest first.
    pub(crate) fn list(&self) -> Result<Vec<Failed>, StoreError> {
        let mut select = self
            .db
            .prepare("SELECT id, destination, notice, tries, reason, since, time FROM failed ORDER BY id")?;
        let rows = select.query_map([], |row| {
            let (json, time): (String, i64) = (row.get(2)?, row.get(6)?);
            Ok(Failed {
                id: row.get(0)?,
                destination: row.get(1)?,
                notice: serde_json::from_str(&json).unwrap_or_else(|_| unreadable(UnixNanos(time))),
                tries: row.get(3)?,
                reason: row.get(4)?,
                since: UnixNanos(row.get(5)?),
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }

    /// Puts them at the end of the queue, or with `None` all; an edition of a message then is a message of its own. Whatever pause
    /// their destinations are in is over, for somebody says that it is worth a try. `Err` within names one that is not there.
    pub(crate) fn retry(&mut self, ids: Option<&[i64]>) -> Result<Result<usize, i64>, StoreError> {
        self.each(ids, |db, id| {
            db.execute(
                "INSERT INTO queue (destination, last, critical, time, notice)
                 SELECT destination, 0, critical, time, notice FROM failed WHERE id = ?1",
                [id],
            )?;
            let pause =
                "DELETE FROM pauses WHERE destination = (SELECT destination FROM failed WHERE id = ?1)";
            db.execute(pause, [id])?;
            db.execute("DELETE FROM failed WHERE id = ?1", [id]).map(drop)
        })
    }

    /// Removes them, as [`Shelf::retry`] does.
    pub(crate) fn forget(&mut self, ids: Option<&[i64]>) -> Result<Result<usize, i64>, StoreError> {
        self.each(ids, |db, id| db.execute("DELETE FROM failed WHERE id = ?1", [id]).map(drop))
    }

    fn each(
        &mut self,
        ids: Option<&[i64]>,
        act: impl Fn(&Transaction<'_>, i64) -> rusqlite::Result<()>,
    ) -> Result<Result<usize, i64>, StoreError> {
        let transaction = self.db.transaction_with_behavior(rusqlite::TransactionBehavior::Immediate)?;
        let there = transaction
            .prepare("SELECT id FROM failed ORDER BY id")?
            .query_map([], |row| row.get(0))?
            .collect::<Result<Vec<i64>, _>>()?;
        let mut wanted = ids.map_or_else(|| there.clone(), <[i64]>::to_vec);
        wanted.sort_unstable();
        wanted.dedup();
        if let Some(missing) = wanted.iter().find(|id| there.binary_search(id).is_err()) {
            return Ok(Err(*missing));
        }
        for id in &wanted {
            act(&transaction, *id)?;
        }
        transaction.commit()?;
        Ok(Ok(wanted.len()))
    }

    /// How many wait for their destinations.
    pub(crate) fn waiting(&self) -> Result<u64, StoreError> {
        let count =
            self.db.query_row("SELECT count(*) FROM queue", [], |row| row.get::<_, i64>(0)).optional()?;
        Ok(count.unwrap_or_default().cast_unsigned())
    }
}

/// In the place of what cannot be read.
fn unreadable(time: UnixNanos) -> Notice {
    Notice {
        id: String::new(),
        kind: Kind::Missing,
        severity: Severity::Info,
        title: "a message that this version of secmon cannot read".to_owned(),
        text: String::new(),
        fields: vec![],
        node: None,
        time,
        json: serde_json::Value::Null,
    }
}
