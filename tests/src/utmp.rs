//! Writing real utmp records, as login programs do.
//!
//! The layout is `struct utmp` of `utmp(5)`, glibc on a 64-bit Linux: 384 bytes, native byte order.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::fs::FileExt as _,
    path::Path,
    time::{SystemTime, UNIX_EPOCH},
};

/// The size of one record.
pub const RECORD: usize = 384;

const USER_PROCESS: i16 = 7;
const DEAD_PROCESS: i16 = 8;

// Offsets of the fields.
const TYPE: usize = 0;
const PID: usize = 4;
const LINE: usize = 8;
const ID: usize = 40;
const USER: usize = 44;
const HOST: usize = 76;
const SECONDS: usize = 340;
const MICROSECONDS: usize = 344;
const ADDRESS: usize = 348;

/// A session, as a login program would put it down.
#[derive(Debug, Clone)]
pub struct Login<'a> {
    /// The terminal without `/dev/`, at most 32 bytes.
    pub line: &'a str,
    /// The user, at most 32 bytes.
    pub user: &'a str,
    /// Where the user comes from, at most 256 bytes.
    pub host: &'a str,
    /// The IPv4 address of that place; zero when it is none.
    pub address: [u8; 4],
    /// The leader's pid; a reader may drop sessions whose leader is gone.
    pub pid: u32,
}

impl Login<'_> {
    /// The record that opens the session, now.
    #[must_use]
    pub fn record(&self) -> [u8; RECORD] {
        self.encode(USER_PROCESS, self.user)
    }

    /// The record that takes its place when it has ended.
    #[must_use]
    pub fn end(&self) -> [u8; RECORD] {
        self.encode(DEAD_PROCESS, "")
    }

    fn encode(&self, kind: i16, user: &str) -> [u8; RECORD] {
        let mut record = [0; RECORD];
        let mut put =
            |offset: usize, bytes: &[u8]| record[offset..offset + bytes.len()].copy_from_slice(bytes);
        let now = SystemTime::now().duration_since(UNIX_EPOCH).expect("a clock past 1970");
        put(TYPE, &kind.to_ne_bytes());
        put(PID, &self.pid.to_ne_bytes());
        put(LINE, self.line.as_bytes());
        put(ID, self.line.get(self.line.len().saturating_sub(4)..).unwrap_or_default().as_bytes());
        put(USER, user.as_bytes());
        put(HOST, self.host.as_bytes());
        // utmp has 32 bits for the seconds, unsigned since glibc 2.39.
        put(SECONDS, &u32::try_from(now.as_secs()).unwrap_or(u32::MAX).to_ne_bytes());
        put(MICROSECONDS, &now.subsec_micros().to_ne_bytes());
        put(ADDRESS, &self.address);
        record
    }
}

/// Writes a record into a slot of a utmp file, in one write, as `pututline(3)` does; makes the file.
///
/// # Errors
/// The file's.
pub fn write_slot(file: &Path, slot: u64, record: &[u8; RECORD]) -> std::io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(file)?;
    file.write_all_at(record, slot * RECORD as u64)?;
    file.flush()
}
