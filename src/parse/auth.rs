//! The auth log: lines of syslog or of `journalctl -o json`, by the node's own parser and joiner.

use std::fmt;

use jiff::{Timestamp, tz::TimeZone};
use secmon_node::watch::auth::{
    join::{HOLD, Joiner},
    parse::{Context, Heard, Parsed, Role, parse_line},
};
use secmon_protocol::{auth::AuthEvent, event::Detail};

use super::{Broken, Show, input::Input, output::Printer};

/// What became of the lines.
#[derive(Debug, Default)]
pub(super) struct Summary {
    joined: bool,
    lines: u64,
    /// Printed, or to be printed, as an event.
    events: u64,
    /// Part of an event of another line.
    parts: u64,
    /// Understood, and no event of the stream.
    known: u64,
    unknown: u64,
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { joined, lines, events, parts, known, unknown } = self;
        let of = |n: u64, one: &'static str, many: &'static str| if n == 1 { one } else { many };
        write!(f, "{lines} {}: {events} {}", of(*lines, "line", "lines"), of(*events, "event", "events"))?;
        let what = if *joined { "joined into them" } else { of(*parts, "part of one", "parts of one") };
        write!(f, ", {parts} {what}, {known} understood that are no event, {unknown} not known")?;
        if *unknown > 0 {
            write!(f, " (--unmatched shows them)")?;
        }
        if *lines > 0 && unknown == lines {
            write!(f, "; is it an auth log?")?;
        }
        Ok(())
    }
}

/// Reads all of `input` and prints what `show` asks for.
pub(super) fn run(mut input: Input, out: &mut Printer, show: Show) -> Result<Summary, Broken> {
    let context = Context::new(Timestamp::now(), TimeZone::system());
    let mut summary = Summary { joined: show == Show::Joined, ..Summary::default() };
    let mut joiner = Joiner::default();
    let mut line = Vec::new();
    loop {
        // On a live pipe nothing may be held back while the next line is awaited.
        if input.is_drained() {
            wait(&input, &mut joiner, out)?;
        }
        if !input.line(&mut line).map_err(Broken::Input)? {
            break;
        }
        summary.lines += 1;
        let parsed = parse_line(&line, &context);
        summary.count(&parsed);
        match (parsed, show) {
            (Parsed::Event(heard), Show::Joined) => {
                print_all(out, |print| joiner.take(heard, summary.lines, print))?;
            }
            (Parsed::Event(Heard { event, role }), Show::Each) => {
                out.event(summary.lines, event.time, Some(word(role)), Detail::Auth(*event))?;
            }
            (Parsed::Known, Show::Each) => out.line(summary.lines, "note", &line)?,
            (Parsed::Unknown, Show::Unmatched) => out.unmatched(summary.lines, &line)?,
            _ => {}
        }
    }
    print_all(out, |print| joiner.settle(print))?;
    if show == Show::Joined {
        let said = summary.events + summary.parts;
        summary.events = out.events();
        summary.parts = said.saturating_sub(summary.events);
    }
    Ok(summary)
}

/// Gives out all that does not depend on the next line, and what does if that keeps us waiting.
fn wait(input: &Input, joiner: &mut Joiner<u64>, out: &mut Printer) -> Result<(), Broken> {
    if joiner.holds() && !input.ready_within(std::time::Duration::ZERO) {
        print_all(out, |print| joiner.pause(print))?;
        out.flush()?;
        if joiner.holds() && !input.ready_within(HOLD) {
            print_all(out, |print| joiner.settle(print))?;
        }
    }
    out.flush()
}

/// Prints the events that `give` gives, and stops at the first that cannot be.
fn print_all(
    out: &mut Printer,
    give: impl FnOnce(&mut dyn FnMut(Box<AuthEvent>, u64)),
) -> Result<(), Broken> {
    let mut printed = Ok(());
    give(&mut |event, line| {
        if printed.is_ok() {
            printed = out.event(line, event.time, None, Detail::Auth(*event));
        }
    });
    printed
}

impl Summary {
    fn count(&mut self, parsed: &Parsed) {
        match parsed {
            Parsed::Event(heard) => match heard.role {
                Role::Carrier | Role::StandIn(_) | Role::Herald => self.events += 1,
                Role::Part | Role::Continuation => self.parts += 1,
                Role::Aside => self.known += 1,
            },
            Parsed::Known => self.known += 1,
            Parsed::Unknown => self.unknown += 1,
        }
    }
}

/// What a role is called outward, in `secmon.role`.
fn word(role: Role) -> &'static str {
    match role {
        Role::Carrier => "carrier",
        Role::StandIn(_) => "stand_in",
        Role::Herald => "herald",
        Role::Part => "part",
        Role::Continuation => "continuation",
        Role::Aside => "aside",
    }
}
