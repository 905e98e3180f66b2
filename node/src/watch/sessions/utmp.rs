//! Sessions from the bytes of a utmp file, utmp(5). Pure: which processes exist is asked of a trait.
//!
//! What must not live here: files, waiting, reporting.
//!
//! utmp-rs decodes a record; this module finds the layout and the records, so that one bad record never
//! costs the others, and reads the one field that utmp-rs leaves out, the address.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
    ops::Range,
};

use secmon_protocol::{
    session::{Session, SessionKind, SessionSource},
    time::UnixNanos,
};
use utmp_rs::{ParseError, Utmp32Parser, Utmp64Parser, UtmpEntry, UtmpError};

/// Largest file that is taken for utmp, in bytes: more than 10,000 records, while a busy terminal server
/// has hundreds.
pub(super) const MAX_UTMP: usize = 4 << 20;

/// Which processes there are.
pub(super) trait Processes {
    /// Whether process `pid` (positive) exists.
    fn exists(&self, pid: i32) -> bool;
}

/// What a utmp file says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Parsed {
    /// Live sessions; the key is `LINE:PID:MICROSECONDS`, the login time since 1970, so it stays the same
    /// however often the file is read, and by whom.
    pub(super) sessions: BTreeMap<String, Session>,
    /// Entries of users whose process is gone: their logout was not recorded. They are not sessions.
    pub(super) stale: usize,
    /// Records that cannot be read (an unknown type, an impossible time).
    pub(super) bad: usize,
    /// Bytes after the last whole record: one that is still being written.
    pub(super) partial: usize,
}

/// The sessions in `bytes`: records of type USER_PROCESS with a user name (as who(1) has it) whose process
/// exists. A pid of another pid namespace does not exist here, so its entry counts as stale.
pub(super) fn sessions(bytes: &[u8], processes: &impl Processes) -> Parsed {
    let layout = Layout::of(bytes);
    let records = bytes.chunks_exact(layout.size());
    let mut parsed = Parsed { partial: records.remainder().len(), ..Parsed::default() };
    for record in records {
        match layout.decode(record) {
            Ok(UtmpEntry::UserProcess { pid, line, user, host, time, .. }) if !user.is_empty() => {
                if pid > 0 && !processes.exists(pid) {
                    parsed.stale += 1;
                    continue;
                }
                let nanos = time.unix_timestamp_nanos();
                let since = UnixNanos(i64::try_from(nanos).unwrap_or(i64::MAX));
                let key = format!("{line}:{pid}:{}", nanos / 1_000);
                let origin = Origin { line: &line, host: &host, address: layout.address(record) };
                parsed.sessions.insert(key, origin.session(user, u32::try_from(pid).ok(), since));
            }
            Ok(_) => {}
            Err(_) => parsed.bad += 1,
        }
    }
    parsed
}

/// The two layouts of `struct utmp` on Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Layout {
    /// 384 bytes, 32-bit times: 32-bit systems, and 64-bit ones that share files with them (x86-64, ppc64).
    Narrow,
    /// 400 bytes, 64-bit times: aarch64, riscv64, s390x, and musl.
    Wide,
}

impl Layout {
    /// What glibc writes on this target, its `__WORDSIZE_TIME64_COMPAT32`.
    const NATIVE: Self = if cfg!(any(
        target_pointer_width = "32",
        target_arch = "x86_64",
        target_arch = "powerpc64",
        target_arch = "mips64",
        target_arch = "sparc64",
    )) {
        Self::Narrow
    } else {
        Self::Wide
    };

    /// The layout of a file: the target's own, unless its records make no sense so and do in the other.
    /// The length alone cannot tell: 25 narrow records are as long as 24 wide ones.
    fn of(bytes: &[u8]) -> Self {
        let other = match Self::NATIVE {
            Self::Narrow => Self::Wide,
            Self::Wide => Self::Narrow,
        };
        if !Self::NATIVE.makes_sense(bytes) && other.makes_sense(bytes) { other } else { Self::NATIVE }
    }

    fn size(self) -> usize {
        match self {
            Self::Narrow => 384,
            Self::Wide => 400,
        }
    }

    /// Where `ut_addr_v6` is.
    fn address_range(self) -> Range<usize> {
        match self {
            Self::Narrow => 348..364,
            Self::Wide => 360..376,
        }
    }

    /// Whether every record has a known type and a time after January 1970, and there is one.
    fn makes_sense(self, bytes: &[u8]) -> bool {
        /// Seconds. In the wrong layout, microseconds stand where seconds are looked for.
        const EARLIEST: i64 = 1_000_000;
        /// Seconds, in the year 2242. In the wrong layout, an address may stand in the upper half.
        const LATEST: i64 = 1 << 33;
        bytes.len() >= self.size()
            && bytes.chunks_exact(self.size()).all(|record| {
                let time = match self.decode(record) {
                    Ok(UtmpEntry::Empty) => return true,
                    Ok(
                        UtmpEntry::RunLevel { time, .. }
                        | UtmpEntry::BootTime { time, .. }
                        | UtmpEntry::ShutdownTime { time, .. }
                        | UtmpEntry::NewTime(time)
                        | UtmpEntry::OldTime(time)
                        | UtmpEntry::InitProcess { time, .. }
                        | UtmpEntry::LoginProcess { time, .. }
                        | UtmpEntry::UserProcess { time, .. }
                        | UtmpEntry::DeadProcess { time, .. },
                    ) => time.unix_timestamp(),
                    Ok(_) | Err(_) => return false,
                };
                // A logout record that sshd or login wrote may have no time.
                time == 0 || (EARLIEST..LATEST).contains(&time)
            })
    }

    /// One record. A text that is not UTF-8 makes utmp-rs refuse it; a session must not hide behind that,
    /// so such a record is decoded again with `?` for what is not ASCII.
    fn decode(self, record: &[u8]) -> Result<UtmpEntry, ParseError> {
        /// `ut_line`, `ut_id`, `ut_user` and `ut_host`, which follow each other in both layouts.
        const TEXTS: Range<usize> = 8..332;
        match self.decode_strict(record) {
            Err(ParseError::Utmp(
                UtmpError::InvalidLine(_) | UtmpError::InvalidUser(_) | UtmpError::InvalidHost(_),
            )) => {
                let mut plain = record.to_vec();
                if let Some(texts) = plain.get_mut(TEXTS) {
                    texts.iter_mut().filter(|b| !b.is_ascii()).for_each(|b| *b = b'?');
                }
                self.decode_strict(&plain)
            }
            other => other,
        }
    }

    fn decode_strict(self, record: &[u8]) -> Result<UtmpEntry, ParseError> {
        let entry = match self {
            Self::Narrow => Utmp32Parser::from_reader(record).next(),
            Self::Wide => Utmp64Parser::from_reader(record).next(),
        };
        entry.unwrap_or(Ok(UtmpEntry::Empty))
    }

    /// `ut_addr_v6`: network byte order, an IPv4 address in the first 4 bytes with zeros after it, all
    /// zeros for none.
    fn address(self, record: &[u8]) -> Option<IpAddr> {
        let bytes: [u8; 16] = record.get(self.address_range())?.try_into().ok()?;
        let [a, b, c, d, rest @ ..] = bytes;
        if rest != [0; 12] {
            return Some(Ipv6Addr::from(bytes).to_canonical());
        }
        ([a, b, c, d] != [0; 4]).then(|| Ipv4Addr::new(a, b, c, d).into())
    }
}

/// What a record says about where a session is and came from.
struct Origin<'a> {
    line: &'a str,
    host: &'a str,
    address: Option<IpAddr>,
}

impl Origin<'_> {
    fn session(&self, user: String, leader: Option<u32>, since: UnixNanos) -> Session {
        let line = self.line.strip_prefix("/dev/").unwrap_or(self.line);
        let place = strip_multiplexer(self.host);
        let kind = if is_display(line) || is_display(place) {
            SessionKind::Graphical
        } else if line.is_empty() {
            SessionKind::Background
        } else {
            SessionKind::Interactive
        };
        let remote = if is_display(place) {
            None
        } else if place.is_empty() && self.host.is_empty() {
            self.address.map(|a| a.to_string())
        } else {
            Some(place.to_owned()).filter(|p| !p.is_empty())
        };
        Session {
            user,
            // A display manager may write its display where the terminal belongs.
            tty: Some(line).filter(|l| !l.is_empty() && !is_display(l)).map(str::to_owned),
            remote,
            since,
            leader,
            service: None,
            kind,
            sources: BTreeSet::from([SessionSource::Utmp]),
        }
    }
}

/// An X display of this machine, `:0` or `:0.0`.
fn is_display(text: &str) -> bool {
    text.strip_prefix(':').is_some_and(|rest| {
        rest.starts_with(|c: char| c.is_ascii_digit())
            && rest.bytes().all(|b| b.is_ascii_digit() || b == b'.')
    })
}

/// Takes off what terminal multiplexers write into `ut_host`, and leaves the place from which their user
/// came, if they kept it: `192.0.2.1:S.0` (screen), `192.0.2.1 via mosh [77]`; `tmux(77).%0` and
/// `mosh [77]` name no place.
fn strip_multiplexer(host: &str) -> &str {
    let numbered = |rest: &str| rest.ends_with(']');
    if let Some((place, rest)) = host.rsplit_once(" via mosh [")
        && numbered(rest)
    {
        return place;
    }
    if host.strip_prefix("mosh [").is_some_and(numbered)
        || host.strip_prefix("tmux(").is_some_and(|rest| rest.contains(").%"))
    {
        return "";
    }
    match host.rsplit_once(":S.") {
        Some((place, window)) if window.bytes().all(|b| b.is_ascii_digit()) => place,
        _ => host,
    }
}

#[cfg(test)]
#[path = "utmp_tests.rs"]
mod tests;
