//! What subscribers read: the ring, behind it the store, and behind that a gap that says why.

use std::{sync::Arc, time::Duration};

use secmon_protocol::{ids::JobId, time::UnixNanos};

use crate::{
    LogSection,
    core::{Hole, Missing, Next, Reading, Start},
    ring::Ring,
    segment::Run,
    store::{LogReader, Printed, StoreError},
};

/// Bytes of records taken from the ring at once: one write to a client, or two.
const READ_BYTES: usize = 128 << 10;

/// The log, for those who read it.
pub(crate) struct Log {
    /// Its newest part.
    pub(crate) ring: Arc<Ring>,
    reader: LogReader,
    holes: Vec<Hole>,
    keeping: LogSection,
}

/// What follows a place.
#[derive(Debug, Default)]
pub(crate) struct Portion {
    /// What is missing before the records.
    pub(crate) missing: Vec<Missing>,
    /// The records.
    pub(crate) runs: Vec<Run>,
}

impl Portion {
    /// Whether there was nothing.
    pub(crate) fn is_empty(&self) -> bool {
        self.missing.is_empty() && self.runs.is_empty()
    }
}

impl Log {
    pub(crate) fn new(ring: Arc<Ring>, reader: LogReader, holes: Vec<Hole>, keeping: LogSection) -> Self {
        Self { ring, reader, holes, keeping }
    }

    /// What follows a reader's place; nothing where that is the newest. The reader has moved on behind it.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn read(&self, reading: &mut Reading) -> Result<Portion, StoreError> {
        loop {
            let ring = self.ring.shelf();
            let mut portion = Portion::default();
            match reading.next(ring) {
                Next::Wait => return Ok(portion),
                Next::Ring => match self.ring.read(reading.at(), READ_BYTES) {
                    Some(runs) => portion.runs = runs,
                    // It has moved on since it was looked at.
                    None => continue,
                },
                Next::Store => {
                    portion.runs = self.reader.after(reading.at()).await?;
                    let first = portion.runs.first().map(Run::first);
                    portion.missing = reading.handle_found(ring, first, &self.holes);
                }
            }
            portion.runs.retain(|run| reading.handle_records(run.first(), run.last()));
            return Ok(portion);
        }
    }

    /// What is kept of a job's output; see [`LogReader::output`].
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn output(&self, job: JobId, from: u64) -> Result<Vec<Printed>, StoreError> {
        self.reader.output(job, from).await
    }

    /// Where a subscription begins that wants everything from a time on, by the hub's clock.
    ///
    /// # Errors
    /// The store cannot be read.
    pub(crate) async fn since(&self, time: UnixNanos) -> Result<Start, StoreError> {
        let newest = self.ring.newest();
        let moment = self.reader.since(time).await?;
        let after = moment.after.unwrap_or(newest.n);
        let gap = moment.removed.then(|| (self.ring.cursor(0), self.too_old()));
        Ok(Start { after, gap })
    }

    /// Why a record is missing that is in neither.
    pub(crate) fn too_old(&self) -> String {
        let LogSection { size, age, .. } = self.keeping;
        format!("the hub keeps {} MiB of its log, and none of it longer than {}", size >> 20, in_words(age))
    }
}

fn in_words(age: Duration) -> String {
    match age.as_secs() {
        secs if secs >= 2 * 86_400 => format!("{} days", secs / 86_400),
        secs if secs >= 2 * 3_600 => format!("{} hours", secs / 3_600),
        secs => format!("{} minutes", secs / 60),
    }
}
