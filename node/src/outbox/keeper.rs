//! The core and its shelf together, and what is done when the disk fails: the node goes on in memory, and
//! returns to the disk when that can be written again. Nothing here waits but for the disk itself.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    time::Duration,
};

use rand::Rng as _;
use secmon_protocol::ids::{Epoch, Seq};

use super::{Disk, Memory, Shelf, ShelfError, aside::set_aside};
use crate::{
    core::{Batch, Loaded, NodeCore, Now, Row, Start, Write},
    watch::Observation,
};

/// Memory for what comes while the disk fails, in bytes; a small server has it to spare.
const IN_MEMORY: usize = 8 << 20;
/// From the failure of the disk to the first attempt to go back to it; then twice as long each time …
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// … up to this. Each give or take a quarter, so that nodes whose disks are one shared storage do not all come back
/// to it at once.
const RETRY: Duration = Duration::from_secs(30);

/// See the module.
#[derive(Debug)]
pub struct Keeper {
    /// The core. What it is told is written by [`Keeper::commit`].
    pub core: NodeCore,
    on: On,
    /// Where the database is; nowhere in tests.
    path: Option<PathBuf>,
    capacity: usize,
    /// Whether the disk is to have room in advance.
    room: bool,
}

#[derive(Debug)]
enum On {
    Disk(Disk),
    Memory(Box<Fallback>),
}

/// While the disk cannot be written.
#[derive(Debug, Default)]
struct Fallback {
    /// Records only; the core has the rest.
    memory: Memory,
    /// What lies there may still be read.
    disk: Option<Disk>,
    /// When to try again, on the monotonic clock; never without a path.
    retry: Option<Duration>,
    /// How long it was waited for last.
    pause: Duration,
    /// What was last said of it.
    said: String,
}

fn fresh() -> Epoch {
    Epoch(rand::random())
}

fn open(path: &Path) -> Result<(Disk, Loaded), ShelfError> {
    let mut disk = Disk::open(path)?;
    let loaded = disk.load()?;
    Ok((disk, loaded))
}

/// As [`open`]; a damaged database is set aside, and a new one is made. Where that was, and why.
fn open_or_make(path: &Path) -> Result<(Disk, Loaded, Option<String>), ShelfError> {
    let reason = match open(path) {
        Ok((disk, loaded)) => return Ok((disk, loaded, None)),
        Err(ShelfError::Damaged(reason)) => reason,
        Err(error) => return Err(error),
    };
    let kept =
        set_aside(path).map_err(|error| ShelfError::Refused(format!("cannot set it aside: {error}")))?;
    let name = kept.file_name().unwrap_or_default().display().to_string();
    tracing::error!(path = %path.display(), kept = %kept.display(), %reason,
        "the node's database is damaged and was set aside; what it held and the hub did not have is lost. \
         Check the disk");
    let (disk, loaded) = open(path)?;
    Ok((disk, loaded, Some(format!("the node's database was damaged, and set aside as {name}: {reason}"))))
}

impl Keeper {
    /// A core that keeps all in memory.
    #[must_use]
    pub fn in_memory(start: Start) -> Self {
        let capacity = start.capacity;
        let core = NodeCore::start(Loaded::default(), start);
        Self { core, on: On::Memory(Box::default()), path: None, capacity, room: false }
    }

    /// A core that goes on from the database at `path`. One that is damaged is set aside; one that cannot be
    /// used now is tried again later, and the node goes on in memory.
    ///
    /// # Errors
    /// A newer secmon wrote it.
    pub fn open(path: &Path, start: Start) -> Result<Self, ShelfError> {
        let (capacity, now) = (start.capacity, start.now);
        let path = Some(path.to_owned());
        match open_or_make(path.as_deref().unwrap_or(Path::new(""))) {
            Ok((disk, loaded, lost)) => {
                let core = NodeCore::start(loaded, start);
                let mut keeper = Self { core, on: On::Disk(disk), path, capacity, room: false };
                if let Some(reason) = lost {
                    keeper.core.observe(Observation::Missed(reason), now);
                }
                keeper.commit(now);
                Ok(keeper)
            }
            Err(error @ ShelfError::Newer { .. }) => Err(error),
            Err(error) => {
                let core =
                    NodeCore::start(Loaded::default(), Start { capacity: IN_MEMORY.min(capacity), ..start });
                let mut fallback = Fallback::default();
                fallback.wait(now);
                let mut keeper =
                    Self { core, on: On::Memory(Box::new(fallback)), path, capacity, room: false };
                // Without the places that lie there, sources are read from now on.
                keeper.core.observe(
                    Observation::Missed(format!(
                        "the node's database could not be opened at its start ({error}); what was logged while the \
                         node was down may be missing"
                    )),
                    now,
                );
                keeper.say(&error);
                keeper.commit(now);
                Ok(keeper)
            }
        }
    }

    /// From now on the disk has room in advance, so that one that others have filled does not send the node to
    /// memory while the hub takes what it has.
    pub fn keep_room(&mut self) {
        self.room = true;
        if let On::Disk(disk) = &mut self.on
            && let Err(error) = disk.keep_room()
        {
            tracing::debug!(%error, "no room can be kept in advance");
        }
    }

    /// Writes what the core has to write. A disk that fails is left for memory.
    pub fn commit(&mut self, now: Now) {
        let writes = self.core.take_writes();
        if writes.is_empty() {
            return;
        }
        match &mut self.on {
            On::Disk(disk) => match disk.apply(&writes) {
                Ok(()) => self.core.committed(),
                Err(error) => self.failed(&error, &writes, now),
            },
            On::Memory(fallback) => {
                fallback.take(&writes);
                self.core.committed();
            }
        }
    }

    /// The next records after `after`, as a list of about `target` bytes. None when there are none, and when
    /// they could not be read: then the epoch is another, or what is missing was replaced by a record that
    /// says so.
    pub fn batch(&mut self, after: Seq, target: usize, now: Now) -> Option<Batch> {
        let wanted = self.core.wanted(after, target);
        let (from, to) = (*wanted.first()?, *wanted.last()?);
        let rows = match &mut self.on {
            On::Disk(disk) => disk.read(from, to),
            On::Memory(fallback) => fallback.read(from, to, &wanted),
        };
        let rows = rows.and_then(|rows| match rows.len() == wanted.len() {
            true => Ok(rows),
            false => Err(ShelfError::Damaged(format!("records are missing between {from} and {to}"))),
        });
        match (rows, &mut self.on) {
            (Ok(rows), _) => self.core.pack(&rows),
            (Err(error), On::Disk(_)) => {
                self.failed(&error, &[], now);
                None
            }
            (Err(error), On::Memory(fallback)) => {
                tracing::error!(%error, "what the disk held for the hub cannot be read, and is lost");
                fallback.disk = None;
                self.lose_frozen(&format!("the node's disk could not be read: {error}"), now);
                None
            }
        }
    }

    fn lose_frozen(&mut self, reason: &str, now: Now) {
        let row = self.core.lose_frozen(reason, now);
        if let (Some(row), On::Memory(fallback)) = (row, &mut self.on) {
            fallback.take(&[Write::DropThrough(row.entry.place), Write::Append(row)]);
        }
        self.commit(now);
    }

    /// Goes over to memory with what could not be written.
    fn failed(&mut self, error: &ShelfError, writes: &[Write], now: Now) {
        let before = std::mem::replace(&mut self.on, On::Memory(Box::default()));
        let On::Memory(fallback) = &mut self.on else { return };
        fallback.take(writes);
        fallback.wait(now);
        let is_damaged = matches!(error, ShelfError::Damaged(_));
        if let (false, On::Disk(disk)) = (is_damaged, before) {
            fallback.disk = Some(disk);
        }
        self.core.freeze(fresh(), IN_MEMORY.min(self.capacity), now);
        self.commit(now);
        if is_damaged {
            self.lose_frozen(&format!("the node's database was damaged: {error}"), now);
            self.replace_damaged(error, now);
        } else {
            self.say(error);
        }
    }

    /// What one look has found damaged the next may find whole, so it is set aside first.
    fn replace_damaged(&mut self, error: &ShelfError, now: Now) {
        let Some(path) = self.path.clone() else { return };
        match set_aside(&path) {
            Ok(kept) => {
                tracing::error!(path = %path.display(), kept = %kept.display(), %error,
                    "the node's database was set aside; what it held and the hub did not have is lost. Check the disk");
                self.go_back(now);
            }
            Err(source) => self.say(&ShelfError::Refused(format!("{error}; cannot set it aside: {source}"))),
        }
    }

    /// Once for each thing that is wrong.
    fn say(&mut self, error: &ShelfError) {
        let (On::Memory(fallback), Some(path)) = (&mut self.on, &self.path) else { return };
        let text = error.to_string();
        if text == fallback.said {
            return tracing::debug!(path = %path.display(), error = %text, "the disk still fails");
        }
        tracing::error!(path = %path.display(), error = %text, bytes = IN_MEMORY,
            "the node's database cannot be written; going on in memory, where a crash or a reboot loses what the hub \
             does not have. Free space, or see to the disk; it is tried again, at first after 1 s and then up to every 30 s");
        fallback.said = text;
    }

    /// When [`Self::tick`] is due, on the monotonic clock.
    #[must_use]
    pub fn deadline(&self) -> Option<Duration> {
        let retry = match &self.on {
            On::Disk(_) => None,
            On::Memory(fallback) => fallback.retry,
        };
        [retry, self.core.deadline()].into_iter().flatten().min()
    }

    /// Does what is due.
    pub fn tick(&mut self, now: Now) {
        self.core.tick(now);
        if matches!(&self.on, On::Memory(fallback) if fallback.retry.is_some_and(|at| at <= now.mono)) {
            self.go_back(now);
        }
    }

    /// Tries to go back to the disk.
    fn go_back(&mut self, now: Now) {
        self.commit(now);
        let (On::Memory(fallback), Some(path)) = (&mut self.on, &self.path) else { return };
        fallback.wait(now);
        let rows: Vec<Row> = fallback.memory.rows().cloned().collect();
        // On a copy: it counts only when the disk has it.
        let mut core = self.core.clone();
        let gone_back = open_or_make(path).and_then(|(mut disk, loaded, _)| {
            disk.apply(&core.thaw(&loaded, rows, fresh(), self.capacity, now))?;
            Ok(disk)
        });
        match gone_back {
            Ok(disk) => {
                core.committed();
                self.core = core;
                self.on = On::Disk(disk);
                tracing::info!(path = %path.display(), "the node's database is written again");
                if self.room {
                    self.keep_room();
                }
            }
            Err(error) => self.say(&error),
        }
    }

    /// Whether what is kept would outlive the process.
    #[must_use]
    pub fn is_on_disk(&self) -> bool {
        matches!(self.on, On::Disk(_))
    }
}

impl Fallback {
    /// Sets when to try again.
    fn wait(&mut self, now: Now) {
        self.pause = (self.pause * 2).clamp(FIRST_RETRY, RETRY);
        let pause = rand::rng().random_range(self.pause * 3 / 4..=self.pause * 5 / 4);
        self.retry = Some(now.mono + pause);
    }

    fn take(&mut self, writes: &[Write]) {
        let records: Vec<Write> = writes
            .iter()
            .filter(|write| matches!(write, Write::Append(_) | Write::DropThrough(_)))
            .cloned()
            .collect();
        // Memory refuses states that do not fit, and there is none among these.
        let _ = self.memory.apply(&records);
    }

    /// What is in memory comes before what the disk has at the same place.
    fn read(&mut self, from: u64, to: u64, wanted: &[u64]) -> Result<Vec<Row>, ShelfError> {
        let mut found: BTreeMap<u64, Row> = BTreeMap::new();
        let mut put = |rows: Vec<Row>| found.extend(rows.into_iter().map(|row| (row.entry.place, row)));
        let memory = self.memory.read(from, to)?;
        if let Some(disk) = self.disk.as_mut().filter(|_| memory.len() < wanted.len()) {
            put(disk.read(from, to)?);
        }
        put(memory);
        Ok(wanted.iter().filter_map(|place| found.remove(place)).collect())
    }
}

#[cfg(test)]
impl Keeper {
    /// The database may have no more pages than it has, or `pages` where that is more.
    pub(super) fn limit_pages(&mut self, pages: u32) {
        if let On::Disk(disk) = &self.on {
            disk.limit_pages(pages);
        }
    }

    /// All that lies in the log goes into the file itself.
    pub(super) fn checkpoint(&mut self) {
        if let On::Disk(disk) = &self.on {
            disk.checkpoint();
        }
    }
}
