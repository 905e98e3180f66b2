//! The auth log parser: one line in, at most one event out. Pure: no clock, no files, no runtime.
//!
//! A line passes three tables. `frame` takes off what the logger wrote before the message; the program
//! picks a table of `shape::Shape`s; the first shape that fits reads the message. A new shape is one
//! entry, with a real line as its example, which the tests read through the whole parser.
//!
//! **One attempt, one event.** One login makes several programs and modules write lines; each kind of
//! fact is taken from one carrier line, so that nothing waits for a line that may not come:
//!
//! | fact | carrier | what adds nothing |
//! |---|---|---|
//! | sshd refused a password or key | sshd's `Failed …` | `pam_unix(sshd:auth)`, `PAM: …`, `maximum authentication attempts …` |
//! | the user does not exist | sshd's `Invalid user …` | `check pass; user unknown` |
//! | a connection ended | `Connection closed by`, `Disconnected from`, `Disconnecting …` | `Received disconnect from A port P:…`, which such a line follows |
//! | any other program, sudo and su among them, refused a password | `pam_unix(…:auth)` | other PAM modules |
//! | sudo denied a command | sudo's own line | |
//! | su denied a change of user | su's own line | |
//! | a PAM session | `pam_unix(…:session)`, for every program | |
//!
//! **Lines are hostile.** User names, directories, key ids and commands are chosen by attackers. What
//! sshd wrote last is read from the end of the line; where a line can honestly be read in two ways, the
//! fields in doubt are left absent and the message still shows all of it.

mod frame;
#[cfg(test)]
mod hostile;
mod journal_json;
mod pam;
mod shape;
mod sshd;
mod stamp;
mod su;
mod sudo;
mod trust;

use jiff::{Timestamp, civil, tz::TimeZone};
use secmon_protocol::{auth::AuthEvent, limits, time::UnixNanos};

use self::{
    frame::{Body, Framed},
    shape::{Found, Shape},
};

/// What a line is read against: the time, which gives RFC 3164 stamps their year and stands in for a
/// missing stamp, and the zone of stamps that name none.
#[derive(Debug, Clone)]
pub struct Context {
    now: UnixNanos,
    zone: TimeZone,
    local: civil::DateTime,
}

impl Context {
    /// A context for lines read at `now`, written by programs that live in `zone`.
    #[must_use]
    pub fn new(now: Timestamp, zone: TimeZone) -> Self {
        Self { now: UnixNanos::from(now), local: zone.to_datetime(now), zone }
    }
}

/// What the parser made of a line.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Parsed {
    /// Something happened.
    Event(Box<AuthEvent>),
    /// A line that is understood and is no event of its own; see the table of carrier lines.
    Known,
    /// A line that no shape fits.
    Unknown,
}

/// Reads one line, without or with its line end: a line of a log file (RFC 3164 or ISO 8601 stamp), or
/// an entry of `journalctl -o json`, which starts with `{`.
///
/// Bytes that are not UTF-8 are read as U+FFFD. Of a line longer than [`limits::MAX_LINE`] the start is
/// read, and shapes that are told from a line's end do not fit it. Never panics.
#[must_use]
pub fn parse_line(line: &[u8], context: &Context) -> Parsed {
    let line = line.strip_suffix(b"\n").unwrap_or(line);
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    if line.first() == Some(&b'{') {
        return parse_journal(line, context).0;
    }
    let cut = line.len() > limits::MAX_LINE;
    let text = String::from_utf8_lossy(&line[..line.len().min(limits::MAX_LINE)]);
    match frame::syslog(&text, cut, context) {
        Some(framed) => read(&framed, context),
        None => Parsed::Unknown,
    }
}

/// Reads one entry of `journalctl -o json`; beside what it says, its cursor.
#[must_use]
pub(super) fn parse_journal(line: &[u8], context: &Context) -> (Parsed, Option<String>) {
    match journal_json::entry(line) {
        Some((framed, cursor)) => (read(&framed, context), cursor),
        None => (Parsed::Unknown, None),
    }
}

fn read(framed: &Framed<'_>, context: &Context) -> Parsed {
    let body = Body::of(&framed.message, framed.cut);
    let found = if let Some(program) = framed.program.strip_suffix("(pam_unix)") {
        pam::read_module(program, program, "pam_unix", &body)
    } else if body.text.starts_with("pam_") {
        pam::read(&framed.program, &body)
    } else {
        shapes_of(&framed.program).iter().find_map(|shape| shape.read(&body))
    };
    let fields = match found {
        None => return Parsed::Unknown,
        Some(Found::Nothing) => return Parsed::Known,
        Some(Found::Event(fields)) => fields,
    };
    let program = framed.program.strip_suffix("(pam_unix)").unwrap_or(&framed.program);
    let time = framed.time.unwrap_or(context.now);
    let mut event = AuthEvent::new(time, program, framed.pid, fields.action, &framed.message);
    event.count = body.count.saturating_mul(fields.times.unwrap_or(1)).max(1);
    event.preauth = body.preauth;
    event.trusted = trust::judge(framed, fields.action);
    fields.fill(&mut event);
    Parsed::Event(Box::new(event))
}

/// The shapes of a program's own lines. PAM lines are [`pam`]'s, whoever wrote them.
fn shapes_of(program: &str) -> &'static [Shape] {
    match program {
        "sshd" | "sshd-session" | "sshd-auth" => sshd::SHAPES,
        "sudo" | "sudo-rs" | "sudoedit" => sudo::SHAPES,
        "su" | "runuser" => su::SHAPES,
        _ => &[],
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    pub(super) fn context() -> Context {
        Context::new("2026-11-21T03:40:00Z".parse().unwrap(), TimeZone::UTC)
    }

    #[test]
    fn every_shape_reads_its_example_and_nothing_before_it_takes_it() {
        for (program, shapes) in [("sshd", sshd::SHAPES), ("sudo", sudo::SHAPES), ("su", su::SHAPES)] {
            for shape in shapes {
                let line = format!("Nov 21 03:34:11 vm {program}[7]: {}", shape.example);
                let got = match parse_line(line.as_bytes(), &context()) {
                    Parsed::Event(event) => Some(event.action),
                    Parsed::Known => None,
                    Parsed::Unknown => panic!("no shape fits {line}"),
                };
                assert_eq!(got, shape.gives, "{line}");
                let first = shapes.iter().find(|s| s.read(&Body::of(shape.example, false)).is_some());
                assert_eq!(first.map(|s| s.example), Some(shape.example), "another shape takes it");
            }
        }
    }

    #[test]
    fn a_line_of_an_unknown_program_or_without_a_frame_is_unknown() {
        for line in ["", "\n", "{", "{}", "nonsense", "Nov 21 03:34:11 vm cron[1]: (root) CMD (true)"] {
            assert_eq!(parse_line(line.as_bytes(), &context()), Parsed::Unknown, "{line}");
        }
    }

    #[test]
    fn a_cut_line_is_not_read_from_its_end() {
        let forged = "Nov 21 03:34:11 vm sshd[7]: Failed password for invalid user ";
        let tail = " from 10.0.0.1 port 22 ssh2";
        let name = "x".repeat(limits::MAX_LINE - forged.len() - tail.len());
        let line = format!("{forged}{name}{tail} from 203.0.113.9 port 5 ssh2");
        assert_eq!(parse_line(line.as_bytes(), &context()), Parsed::Unknown);
    }
}
