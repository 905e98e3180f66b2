//! Text for people out of events and nodes. Pure: what is known, the time and the look go in, text comes
//! out.
//!
//! Every text that a node, a hub or an attacker may have chosen goes through
//! [`secmon_protocol::text::printable`] here. What must not live here: a terminal, a clock, the
//! environment, JSON.

mod commands;
mod event;
mod job;
mod list;
mod prefixed;
mod sentence;
mod show;
mod summary;
mod table;
mod units;
mod who;

use anstyle::{AnsiColor, Style};
use jiff::tz::TimeZone;
use secmon_protocol::{text::printable, time::UnixNanos};

pub use commands::{argument, command, commands};
pub use event::{Severity, event_line, severity};
pub use job::{job, jobs, shortest_ids};
pub use list::list;
pub use prefixed::{LONGEST_LINE, Prefixed};
pub use sentence::{run_end, sentence};
pub use show::show;
pub use summary::{SummaryRow, Went, summary};
pub use units::{bytes, duration};
pub use who::who_am_i;

/// A clock that is off by more than this, in nanoseconds, is worth a warning: 2 s. Less is lost in the
/// time that a connection takes to be made.
pub const CLOCK_TOLERANCE: i64 = 2_000_000_000;

/// How text shall look.
#[derive(Debug, Clone)]
pub struct Look {
    /// Whether escape sequences for colour may be used.
    pub colour: bool,
    /// Whether a terminal shows it.
    pub terminal: bool,
    /// Columns of the terminal; none when the output is not one, and then nothing is wrapped.
    pub width: Option<u16>,
    /// The zone of the times shown.
    pub zone: TimeZone,
}

impl Look {
    /// No colour, no width, UTC.
    #[must_use]
    pub fn plain() -> Self {
        Self { colour: false, terminal: false, width: None, zone: TimeZone::UTC }
    }

    fn paint(&self, style: Style, text: &str) -> String {
        if self.colour { format!("{style}{text}{style:#}") } else { text.to_owned() }
    }

    fn warn(&self, text: &str) -> String {
        self.paint(AnsiColor::Yellow.on_default(), text)
    }

    fn bad(&self, text: &str) -> String {
        self.paint(AnsiColor::Red.on_default(), text)
    }

    fn bold(&self, text: &str) -> String {
        self.paint(Style::new().bold(), text)
    }

    /// A moment: the time alone when it is of the same day as `now`, else the date as well.
    fn moment(&self, at: UnixNanos, now: UnixNanos) -> String {
        let local = |t: UnixNanos| t.timestamp().to_zoned(self.zone.clone());
        let (at, now) = (local(at), local(now));
        let form = if at.date() == now.date() { "%H:%M:%S" } else { "%Y-%m-%d %H:%M" };
        at.strftime(form).to_string()
    }
}

/// How far a clock is off, where it is: `+3m12s`. `offset` is the node's minus the hub's, in nanoseconds.
fn clock_offset(offset: i64) -> Option<String> {
    (offset.unsigned_abs() > CLOCK_TOLERANCE.unsigned_abs()).then(|| {
        let sign = if offset > 0 { '+' } else { '-' };
        format!("{sign}{}", duration(offset.saturating_abs()).replace(' ', ""))
    })
}

/// A warning about a clock that is off, where it is.
fn clock_warning(name: &str, offset: i64) -> Option<String> {
    clock_offset(offset).map(|by| {
        let way = if offset > 0 { "ahead of" } else { "behind" };
        format!("{}: clock {by}, {way} the hub's; set up time synchronisation there", printable(name),)
    })
}

/// `reason; remedy`, made safe to print.
fn why(reason: &str, remedy: &str) -> String {
    if remedy.is_empty() {
        printable(reason)
    } else {
        format!("{}; {}", printable(reason), printable(remedy))
    }
}
