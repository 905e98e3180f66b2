//! Writes acknowledged places to disk, off the thread of the runtime, at most once a second.

use std::{
    pin::Pin,
    task::{Context, Poll},
    time::Duration,
};

use secmon_protocol::ids::Cursor;
use tokio::{
    task::{JoinHandle, spawn_blocking},
    time::{Sleep, sleep},
};

use crate::{CursorFile, CursorFileError};

/// Between two writes: a crash repeats at most what was acknowledged in this time, and a flood of events costs a
/// disk no more than this.
const EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct Saver {
    file: CursorFile,
    acked: Option<Cursor>,
    saved: Option<Cursor>,
    saving: Option<(Cursor, JoinHandle<Result<(), CursorFileError>>)>,
    /// Until then nothing more is written.
    pause: Option<Pin<Box<Sleep>>>,
    /// Whether the latest write failed, and that was told.
    failing: bool,
}

impl Saver {
    pub(super) fn new(file: CursorFile) -> Self {
        let stored = file.stored();
        Self { file, acked: stored, saved: stored, saving: None, pause: None, failing: false }
    }

    /// Everything up to `cursor` is done; `last` is the last place that was given out.
    pub(super) fn ack(&mut self, cursor: Cursor, last: Cursor) {
        let newer = match self.acked {
            // A second log can only have come after the first: what is acknowledged of it is newer. So is what
            // lies further on, for numbers rise over a change of the log's id.
            Some(acked) if acked.log != cursor.log => {
                cursor.log == last.log || (acked.n < cursor.n && cursor.n <= last.n)
            }
            // Its numbers went back, as the hub said itself.
            Some(acked) if acked.log == last.log && acked.n > last.n => true,
            Some(acked) => cursor.n > acked.n,
            None => true,
        };
        let given = cursor.log != last.log || cursor.n <= last.n;
        if newer && given {
            self.acked = Some(cursor);
        }
    }

    /// Goes on with what is to be written; the first error of a spell of them.
    pub(super) fn poll(&mut self, cx: &mut Context<'_>) -> Option<CursorFileError> {
        loop {
            if let Some((cursor, write)) = &mut self.saving {
                let Poll::Ready(ended) = Pin::new(write).poll(cx) else { return None };
                let cursor = *cursor;
                self.saving = None;
                // A panic or the end of the runtime; the drop writes.
                let Ok(result) = ended else { return None };
                match result {
                    Ok(()) => (self.saved, self.failing) = (Some(cursor), false),
                    Err(error) if !std::mem::replace(&mut self.failing, true) => {
                        // Polled again at once, as the error is an update.
                        return Some(error);
                    }
                    Err(error) => tracing::debug!(%error, "the place is still not written"),
                }
            }
            let cursor = self.acked.filter(|acked| Some(*acked) != self.saved)?;
            if let Some(pause) = &mut self.pause
                && pause.as_mut().poll(cx).is_pending()
            {
                return None;
            }
            self.pause = Some(Box::pin(sleep(EVERY)));
            self.saving = Some((cursor, self.write(cursor)));
        }
    }

    /// Writes what is not written.
    pub(super) async fn close(mut self) -> Result<(), CursorFileError> {
        let Some(cursor) = self.unsaved() else { return Ok(()) };
        match self.write(cursor).await {
            Ok(result) => {
                if result.is_ok() {
                    (self.saved, self.saving) = (Some(cursor), None);
                }
                result
            }
            // The drop tries.
            Err(_) => Ok(()),
        }
    }

    fn write(&self, cursor: Cursor) -> JoinHandle<Result<(), CursorFileError>> {
        let writer = self.file.writer().clone();
        let ticket = writer.ticket();
        spawn_blocking(move || writer.write(ticket, cursor))
    }

    fn unsaved(&self) -> Option<Cursor> {
        self.acked.filter(|acked| self.saving.is_some() || Some(*acked) != self.saved)
    }
}

impl Drop for Saver {
    fn drop(&mut self) {
        if let Some(cursor) = self.unsaved()
            && let Err(error) = self.file.save(cursor)
        {
            tracing::warn!(%error, "the last acknowledged place is not written; events will come again");
        }
    }
}
