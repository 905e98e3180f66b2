//! The output of many commands side by side: whole lines, each with the name of its node before it. Pure.

use anstyle::{AnsiColor, Style};
use secmon_protocol::{command::OutputStream, text::printable};

use super::Look;

/// A line longer than this is broken: what is held of a line that does not end must be bounded, for every node and stream.
pub const LONGEST_LINE: usize = 8 << 10;
/// Where terminals have their tab stops.
const TAB: usize = 8;
/// Longest name that all prefixes are made as wide as.
const WIDEST: usize = 24;

/// The lines of one node.
#[derive(Debug)]
pub struct Prefixed {
    stdout: Stream,
    stderr: Stream,
}

#[derive(Debug)]
struct Stream {
    prefix: Vec<u8>,
    /// Whether it goes to a terminal.
    escape: bool,
    begun: Vec<u8>,
    /// Whether bytes were passed on as they came, and did not end with an end of line.
    open: bool,
}

impl Prefixed {
    /// For the node `name`, among nodes whose longest name has `width` characters. Each stream may look differently; one
    /// whose look has a width is a terminal, and what could steer it is shown instead.
    #[must_use]
    pub fn new(name: &str, width: usize, stdout: &Look, stderr: &Look) -> Self {
        let stream = |look: &Look, bar: Style| {
            let name = look.paint(style(name), &format!("{:<1$}", printable(name), width.min(WIDEST)));
            let prefix = format!("{name} {} ", look.paint(bar, "|")).into_bytes();
            Stream { prefix, escape: look.terminal, begun: vec![], open: false }
        };
        let bar = Style::new().dimmed();
        Self { stdout: stream(stdout, bar), stderr: stream(stderr, AnsiColor::Red.on_default()) }
    }

    /// Without a prefix: safe lines where a terminal is, elsewhere the bytes as they come. The last line has an end.
    #[must_use]
    pub fn bare(stdout: &Look, stderr: &Look) -> Self {
        let stream =
            |look: &Look| Stream { prefix: vec![], escape: look.terminal, begun: vec![], open: false };
        Self { stdout: stream(stdout), stderr: stream(stderr) }
    }

    /// Takes what the node printed, and gives the lines that are whole now.
    #[must_use]
    pub fn push(&mut self, stream: OutputStream, data: &[u8]) -> Vec<u8> {
        self.stream(stream).push(data)
    }

    /// Gives what has no end yet, with one.
    #[must_use]
    pub fn finish(&mut self, stream: OutputStream) -> Vec<u8> {
        let stream = self.stream(stream);
        let mut out = vec![];
        if std::mem::take(&mut stream.open) {
            out.push(b'\n');
        }
        if !stream.begun.is_empty() {
            let line = std::mem::take(&mut stream.begun);
            stream.line(&line, &mut out);
        }
        out
    }

    fn stream(&mut self, stream: OutputStream) -> &mut Stream {
        match stream {
            OutputStream::Stdout => &mut self.stdout,
            OutputStream::Stderr => &mut self.stderr,
        }
    }
}

impl Stream {
    fn push(&mut self, data: &[u8]) -> Vec<u8> {
        if self.prefix.is_empty() && !self.escape {
            self.open = data.last().map_or(self.open, |byte| *byte != b'\n');
            return data.to_vec();
        }
        let mut out = Vec::with_capacity(data.len() + data.len() / 4 + self.prefix.len());
        for piece in data.split_inclusive(|byte| *byte == b'\n') {
            match piece.split_last() {
                Some((b'\n', rest)) if self.begun.is_empty() => self.long_line(rest, &mut out),
                Some((b'\n', rest)) => {
                    self.begun.extend_from_slice(rest);
                    let line = std::mem::take(&mut self.begun);
                    self.long_line(&line, &mut out);
                }
                _ => {
                    self.begun.extend_from_slice(piece);
                    while self.begun.len() > LONGEST_LINE {
                        let rest = self.begun.split_off(LONGEST_LINE);
                        let line = std::mem::replace(&mut self.begun, rest);
                        self.line(&line, &mut out);
                    }
                }
            }
        }
        out
    }

    /// A whole line, in as many pieces as it takes.
    fn long_line(&self, line: &[u8], out: &mut Vec<u8>) {
        if line.is_empty() {
            self.line(line, out);
        }
        for piece in line.chunks(LONGEST_LINE) {
            self.line(piece, out);
        }
    }

    fn line(&self, line: &[u8], out: &mut Vec<u8>) {
        out.extend_from_slice(&self.prefix);
        if self.escape {
            out.extend_from_slice(safe(line).as_bytes());
        } else {
            out.extend_from_slice(line);
        }
        out.push(b'\n');
    }
}

/// A line for a terminal: tabs as spaces, no carriage return at the end, and everything that could steer it shown.
fn safe(line: &[u8]) -> String {
    let text = String::from_utf8_lossy(line.strip_suffix(b"\r").unwrap_or(line));
    let mut out = String::with_capacity(text.len());
    let mut column = 0;
    for (at, part) in text.split('\t').enumerate() {
        if at > 0 {
            let spaces = TAB - column % TAB;
            out.extend(std::iter::repeat_n(' ', spaces));
            column += spaces;
        }
        let part = printable(part);
        column += part.chars().count();
        out.push_str(&part);
    }
    out
}

/// The colour of a name: always the same one, and none that means something elsewhere (red).
fn style(name: &str) -> Style {
    use AnsiColor as C;
    const COLOURS: [C; 9] = [
        C::Cyan,
        C::Green,
        C::Yellow,
        C::Blue,
        C::Magenta,
        C::BrightCyan,
        C::BrightGreen,
        C::BrightBlue,
        C::BrightMagenta,
    ];
    // FNV-1a: names that differ in their last digit get different colours.
    let hash =
        name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    COLOURS[hash as usize % COLOURS.len()].on_default()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const OUT: OutputStream = OutputStream::Stdout;

    fn terminal() -> Look {
        Look { terminal: true, ..Look::plain() }
    }

    fn text(bytes: Vec<u8>) -> String {
        String::from_utf8(bytes).unwrap()
    }

    #[test]
    fn a_line_split_over_chunks_is_one_line() {
        let mut lines = Prefixed::new("web-1", 7, &Look::plain(), &Look::plain());
        assert_eq!(text(lines.push(OUT, b"on")), "");
        assert_eq!(text(lines.push(OutputStream::Stderr, b"bad\n")), "web-1   | bad\n");
        assert_eq!(text(lines.push(OUT, b"e\n\ntw")), "web-1   | one\nweb-1   | \n");
        assert_eq!(text(lines.finish(OUT)), "web-1   | tw\n");
        assert_eq!(text(lines.finish(OUT)), "", "and its end comes once");
    }

    #[test]
    fn a_line_without_an_end_is_held_within_bounds() {
        let mut lines = Prefixed::bare(&terminal(), &terminal());
        let mut out = vec![];
        for _ in 0..100 {
            out.extend(lines.push(OUT, &[b'x'; 1000]));
            assert!(lines.stdout.begun.len() <= LONGEST_LINE);
        }
        out.extend(lines.finish(OUT));
        assert_eq!(out.iter().filter(|byte| **byte == b'x').count(), 100_000, "and nothing is dropped");
        assert!(out.split(|byte| *byte == b'\n').all(|line| line.len() <= LONGEST_LINE));
    }

    #[test]
    fn what_could_steer_a_terminal_is_shown_there_and_passed_on_elsewhere() {
        let hostile = b"\x1b[2J\ta\xff\r\nok\tx\r\n";
        let mut lines = Prefixed::bare(&terminal(), &Look::plain());
        assert_eq!(text(lines.push(OUT, hostile)), "\\x1b[2J a\u{fffd}\nok      x\n");
        assert_eq!(lines.push(OutputStream::Stderr, hostile), hostile);
    }

    #[test]
    fn bytes_that_no_terminal_shows_and_no_name_precedes_are_passed_on_as_they_are() {
        let mut lines = Prefixed::bare(&Look::plain(), &Look::plain());
        let long = [b'x'; 3 * LONGEST_LINE];
        assert_eq!(lines.push(OUT, &long), long);
        assert_eq!(lines.finish(OUT), b"\n", "but what follows begins on a line of its own");
        assert_eq!((lines.push(OUT, b"a\n"), lines.finish(OUT)), (b"a\n".to_vec(), vec![]));
    }

    #[test]
    fn a_name_has_its_colour() {
        let look = Look { colour: true, ..terminal() };
        let of = |name| text(Prefixed::new(name, 5, &look, &look).push(OUT, b"x\n"));
        assert_eq!(of("web-1"), of("web-1"));
        assert_ne!(of("web-1").replace("web-1", ""), of("web-2").replace("web-2", ""));
    }

    proptest! {
        #[test]
        fn however_it_is_cut_the_same_lines_come(
            data in proptest::collection::vec(prop_oneof![Just(b'\n'), any::<u8>()], 0..300),
            cuts in proptest::collection::vec(0_usize..300, 0..10),
            kind in 0..3,
        ) {
            let of = || match kind {
                0 => Prefixed::bare(&Look::plain(), &Look::plain()),
                1 => Prefixed::bare(&terminal(), &terminal()),
                _ => Prefixed::new("web-1", 5, &Look::plain(), &Look::plain()),
            };
            let mut whole = of();
            let mut expected = whole.push(OUT, &data);
            expected.extend(whole.finish(OUT));
            let mut cuts: Vec<usize> = cuts.into_iter().map(|cut| cut.min(data.len())).collect();
            cuts.sort_unstable();
            let mut pieces = of();
            let (mut got, mut from) = (vec![], 0);
            for cut in cuts.into_iter().chain([data.len()]) {
                got.extend(pieces.push(OUT, &data[from..cut]));
                from = cut;
            }
            got.extend(pieces.finish(OUT));
            prop_assert_eq!(got, expected);
        }
    }
}
