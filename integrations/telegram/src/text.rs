//! HTML for Telegram: hostile text made safe, escaped, and cut to what a message holds.
//!
//! A message has at most [`MAX_MESSAGE`] UTF-16 units, counted after its tags and entities are read
//! (<https://core.telegram.org/bots/api#sendmessage>). [`Html`] keeps that by itself: what does not fit is cut, and says so by `…`.

use secmon_protocol::text::{is_unsafe, printable};

/// Longest message, in UTF-16 units.
pub(crate) const MAX_MESSAGE: usize = 4096;
/// Longest text of a button that phones show whole, in UTF-16 units.
const MAX_BUTTON: usize = 40;

/// How many UTF-16 units a text has.
pub(crate) fn units(text: &str) -> usize {
    text.chars().map(char::len_utf16).sum()
}

/// The longest beginning of `text` of at most `max` units.
pub(crate) fn head(text: &str, max: usize) -> &str {
    let mut used = 0;
    let end = text.char_indices().find(|(_, c)| {
        used += c.len_utf16();
        used > max
    });
    end.map_or(text, |(at, _)| &text[..at])
}

/// The longest end of `text` of at most `max` units.
pub(crate) fn tail(text: &str, max: usize) -> &str {
    let mut used = 0;
    let start = text.char_indices().rev().find(|(_, c)| {
        used += c.len_utf16();
        used > max
    });
    start.map_or(text, |(at, c)| &text[at + c.len_utf8()..])
}

/// `text` within `max` units, with `…` where something is missing.
pub(crate) fn cut(text: &str, max: usize) -> String {
    match max {
        _ if units(text) <= max => text.to_owned(),
        0 => String::new(),
        max => format!("{}…", head(text, max - 1)),
    }
}

/// What a button says.
pub(crate) fn button(text: &str) -> String {
    cut(&printable(text), MAX_BUTTON)
}

/// A text that was made printable before, in lines: what could steer or mislead is replaced once more, and nothing else.
fn clean(text: &str) -> String {
    text.chars().map(|c| if is_unsafe(c) && c != '\n' { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

/// `&`, `<`, `>` and `"` as entities, <https://core.telegram.org/bots/api#html-style>.
fn escape(text: &str, out: &mut String) {
    for c in text.chars() {
        match c {
            '&' => out.push_str("&amp;"),
            '<' => out.push_str("&lt;"),
            '>' => out.push_str("&gt;"),
            '"' => out.push_str("&quot;"),
            c => out.push(c),
        }
    }
}

/// A message in the making.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Html {
    html: String,
    units: usize,
}

impl Html {
    pub(crate) fn new() -> Self {
        Self::default()
    }

    /// How many units it may still have.
    pub(crate) fn room(&self) -> usize {
        MAX_MESSAGE.saturating_sub(self.units)
    }

    pub(crate) fn as_str(&self) -> &str {
        &self.html
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.units == 0
    }

    fn put(mut self, tag: &str, text: &str) -> Self {
        let text = cut(text, self.room());
        if text.is_empty() {
            return self;
        }
        self.units += units(&text);
        if !tag.is_empty() {
            self.html.push_str(&format!("<{tag}>"));
        }
        escape(&text, &mut self.html);
        if !tag.is_empty() {
            self.html.push_str(&format!("</{tag}>"));
        }
        self
    }

    /// Hostile text, in one line.
    pub(crate) fn text(self, text: &str) -> Self {
        self.put("", &printable(text))
    }

    /// Hostile text, in bold.
    pub(crate) fn bold(self, text: &str) -> Self {
        self.put("b", &printable(text))
    }

    /// Hostile text, as code.
    pub(crate) fn code(self, text: &str) -> Self {
        self.put("code", &printable(text))
    }

    /// Text that was made printable before; may have lines.
    pub(crate) fn said(self, text: &str) -> Self {
        self.put("", &clean(text))
    }

    /// The same in bold.
    pub(crate) fn said_bold(self, text: &str) -> Self {
        self.put("b", &clean(text))
    }

    /// Printable lines in a block of code: their end, as far as it fits.
    pub(crate) fn block_end(self, lines: &str) -> Self {
        let lines = clean(lines);
        let room = self.room();
        if units(&lines) <= room {
            return self.put("pre", &lines);
        }
        let end = tail(&lines, room.saturating_sub(2));
        // Whole lines, unless one alone fills it.
        let end = end.split_once('\n').map_or(end, |(_, rest)| if rest.is_empty() { end } else { rest });
        self.put("pre", &format!("…\n{end}"))
    }

    /// As many of `items` as fit, each on lines of its own, and how many more there are.
    pub(crate) fn items(mut self, items: &[Html], reserve: usize) -> Self {
        // What `… and 10000 more` takes.
        const MORE: usize = 24;
        for (at, item) in items.iter().enumerate() {
            let last = at + 1 == items.len();
            if self.room() < item.units + 1 + reserve + if last { 0 } else { MORE } {
                return self.said(&format!("\n… and {} more", items.len() - at));
            }
            self = if self.is_empty() { self } else { self.said("\n") };
            self = self.then(item);
        }
        self
    }

    /// Both, one behind the other; the second as a whole or not at all.
    pub(crate) fn then(mut self, other: &Html) -> Self {
        if other.units <= self.room() {
            self.units += other.units;
            self.html.push_str(&other.html);
        }
        self
    }
}

/// What a program printed, as printable lines: colours are left out, tabs are spaces, and of a line that a program wrote over and over (`\r`, as progress
/// bars do) the last state counts.
pub(crate) fn output(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let lines = text.split('\n').map(|line| {
        let line = line.strip_suffix('\r').unwrap_or(line);
        let line = line.rsplit('\r').find(|part| !part.is_empty()).unwrap_or("");
        printable(&without_colour(line).replace('\t', "    "))
    });
    lines.collect::<Vec<_>>().join("\n")
}

/// Without the sequences that choose colours (ECMA-48 §8.3.117, SGR); any other is shown for what it is.
fn without_colour(line: &str) -> String {
    let mut out = String::with_capacity(line.len());
    let mut rest = line;
    while let Some((before, after)) = rest.split_once("\x1b[") {
        out.push_str(before);
        let end = after.find(|c: char| !c.is_ascii_digit() && c != ';');
        match end {
            Some(end) if after[end..].starts_with('m') => rest = &after[end + 1..],
            _ => {
                out.push_str("\x1b[");
                rest = after;
            }
        }
    }
    out.push_str(rest);
    out
}

#[cfg(test)]
#[path = "text_tests.rs"]
pub(crate) mod tests;
