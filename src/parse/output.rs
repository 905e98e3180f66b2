//! How things are printed: as text for people, or as JSON. All that comes from the input is hostile.

use std::io::{self, BufWriter, IsTerminal as _, StdoutLock, Write as _};

use jiff::civil::Date;
use secmon_client::{cli, render};
use secmon_protocol::{
    ecs,
    event::{Detail, Event},
    text::printable,
    time::UnixNanos,
};
use serde_json::{Value, json};

use super::Broken;

/// Prints to stdout.
pub(super) struct Printer {
    out: BufWriter<StdoutLock<'static>>,
    json: bool,
    terminal: bool,
    look: render::Look,
    /// The day of the last event, whose head has been printed.
    day: Option<Date>,
    events: u64,
}

impl Printer {
    pub(super) fn stdout(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        let out = BufWriter::with_capacity(64 << 10, io::stdout().lock());
        Self { out, json, terminal, look: cli::look(), day: None, events: 0 }
    }

    /// Prints an event of `line`; `role` is what the line is to the stream of events, where it is not simply one.
    pub(super) fn event(
        &mut self,
        line: u64,
        time: UnixNanos,
        role: Option<&'static str>,
        detail: Detail,
    ) -> Result<(), Broken> {
        self.events += 1;
        let event = Event { id: String::new(), cursor: None, node: None, time, detail };
        if self.json {
            let mut value = ecs::event(&event);
            if let Some(secmon) = value.get_mut("secmon").and_then(Value::as_object_mut) {
                secmon.insert("line".to_owned(), line.into());
                if let Some(role) = role {
                    secmon.insert("role".to_owned(), role.into());
                }
            }
            return self.write(&ecs::line(&value));
        }
        let date = time.timestamp().to_zoned(self.look.zone.clone()).date();
        if self.day.replace(date) != Some(date) {
            self.write(&format!("--- {date} ---"))?;
        }
        let role =
            role.filter(|role| *role != "carrier").map(|role| format!("  [{role}]")).unwrap_or_default();
        self.write(&format!("{line:>6}  {}{role}", render::event_line(&event, &self.look)))
    }

    /// Prints a line of which no event is made; `role` says why.
    pub(super) fn line(&mut self, line: u64, role: &'static str, text: &[u8]) -> Result<(), Broken> {
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches(['\n', '\r']);
        match self.json {
            true => {
                self.write(&ecs::line(&json!({ "message": text, "secmon": { "line": line, "role": role } })))
            }
            false => self.write(&format!("{line:>6}  {}  [{role}]", printable(text))),
        }
    }

    /// Prints a line that is not known: where nobody looks but a program, as it is, so that it is a log again.
    pub(super) fn unmatched(&mut self, line: u64, text: &[u8]) -> Result<(), Broken> {
        if !self.json && !self.terminal {
            let text = text.strip_suffix(b"\n").unwrap_or(text);
            return self.out.write_all(text).and_then(|()| self.out.write_all(b"\n")).map_err(Broken::Output);
        }
        let text = String::from_utf8_lossy(text);
        let text = text.trim_end_matches(['\n', '\r']);
        match self.json {
            true => self.write(&ecs::line(&json!({ "message": text, "secmon": { "line": line } }))),
            false => self.write(&format!("{line:>6}  {}", printable(text))),
        }
    }

    /// How many events were printed.
    pub(super) fn events(&self) -> u64 {
        self.events
    }

    /// Gives out what is held in the buffer.
    pub(super) fn flush(&mut self) -> Result<(), Broken> {
        self.out.flush().map_err(Broken::Output)
    }

    fn write(&mut self, text: &str) -> Result<(), Broken> {
        writeln!(self.out, "{text}").map_err(Broken::Output)
    }
}
