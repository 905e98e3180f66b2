//! How a run looks in its message, and what of its output is kept for the file. Pure.

use std::collections::VecDeque;

use bytes::Bytes;
use secmon_client::render;
use secmon_protocol::command::RunEnd;

use crate::text::{self, Html, units};

/// Most output that is kept of a run, in bytes: half of it the beginning, half the end. A file of that size is still read; who wants more
/// uses the command line.
pub(crate) const MAX_KEPT: usize = 4 << 20;
/// So much of the end is looked at for the message, in bytes: no 4,096 characters have more.
const IN_VIEW: usize = 16 << 10;

/// Output of a run, the middle of which may be missing.
#[derive(Debug, Default)]
pub(crate) struct Kept {
    head: Vec<u8>,
    tail: VecDeque<u8>,
    /// Bytes in all.
    total: u64,
}

impl Kept {
    pub(crate) fn push(&mut self, data: &[u8]) {
        self.total += data.len() as u64;
        let room = (MAX_KEPT / 2).saturating_sub(self.head.len()).min(data.len());
        self.head.extend_from_slice(&data[..room]);
        let rest = &data[room..];
        let rest = &rest[rest.len().saturating_sub(MAX_KEPT / 2)..];
        let over = (self.tail.len() + rest.len()).saturating_sub(MAX_KEPT / 2);
        self.tail.drain(..over);
        self.tail.extend(rest);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.total == 0
    }

    /// The last bytes, from the beginning of a line where that is near.
    fn end(&self) -> Vec<u8> {
        let tail = self.tail.len().min(IN_VIEW);
        let mut end: Vec<u8> = if tail < IN_VIEW && self.dropped() == 0 {
            let from = self.head.len().saturating_sub(IN_VIEW - tail);
            self.head[from..].to_vec()
        } else {
            vec![]
        };
        end.extend(self.tail.range(self.tail.len() - tail..));
        end
    }

    fn dropped(&self) -> u64 {
        self.total - (self.head.len() + self.tail.len()) as u64
    }

    /// Everything that is kept, and where something is missing, how much.
    pub(crate) fn file(&self) -> Bytes {
        let mut out = self.head.clone();
        if self.dropped() > 0 {
            out.extend_from_slice(
                format!("\n\n… {} bytes are missing here …\n\n", self.dropped()).as_bytes(),
            );
        }
        out.extend(&self.tail);
        out.into()
    }

    /// The end as printable lines, and whether that is all of it.
    fn shown(&self) -> (String, bool) {
        let end = self.end();
        let whole = end.len() as u64 == self.total;
        let text = text::output(&end);
        (text.trim_end_matches('\n').to_owned(), whole)
    }

    /// A message: `head`, then as much of the end as fits; and whether anything is left out.
    pub(crate) fn below(&self, head: Html) -> (Html, bool) {
        let (lines, whole) = self.shown();
        if lines.is_empty() {
            return (head, !whole);
        }
        let html = head.said("\n");
        let fits = units(&lines) <= html.room();
        (html.block_end(&lines), !(whole && fits))
    }
}

/// The message of a run that goes on; `seconds` since its start.
pub(crate) fn running(what: &Html, seconds: u64, cancelling: bool, kept: &Kept) -> Html {
    let nanos = i64::try_from(seconds).unwrap_or(0).saturating_mul(1_000_000_000);
    let words = if cancelling { "is being cancelled" } else { "running" };
    let head = Html::new().said("⏳ ").then(what).said(&format!("\n{words} for {}", render::duration(nanos)));
    kept.below(head).0
}

/// The message of one that is over, and whether its output needs a file.
pub(crate) fn ended(what: &Html, end: &RunEnd, took: Option<u64>, kept: &Kept) -> (Html, bool) {
    let icon = match end {
        RunEnd::Exited(0) => "✅ ",
        RunEnd::Cancelled => "✖ ",
        _ => "❌ ",
    };
    // A refusal may be as long as its author liked.
    let words = text::cut(&render::run_end(end), 1000);
    let took = took.map_or_else(String::new, |nanos| {
        let hundredths = nanos / 10_000_000;
        match hundredths {
            0..6_000 => format!(" after {}.{:02}s", hundredths / 100, hundredths % 100),
            _ => format!(" after {}", render::duration(i64::try_from(nanos).unwrap_or(i64::MAX))),
        }
    });
    let mut head = Html::new().said(icon).then(what).said("\n").said(&words).said(&took);
    if kept.is_empty() {
        head = head.said(", printed nothing");
    }
    kept.below(head)
}

/// The message of one whose end we did not see.
pub(crate) fn broken(what: &Html, why: &str, kept: &Kept) -> (Html, bool) {
    kept.below(Html::new().said("⚠️ ").then(what).said("\n").text(&text::cut(why, 1000)))
}

/// A name for the file.
pub(crate) fn file_name(label: &str, node: &str) -> String {
    let plain = |text: &str| -> String {
        text.chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.')).take(40).collect()
    };
    format!("{}-{}.txt", plain(node), plain(label))
}

#[cfg(test)]
mod tests {
    use secmon_protocol::command::RunFailure;

    use super::*;
    use crate::text::{MAX_MESSAGE, tests::parsed};

    fn kept(data: &[u8]) -> Kept {
        let mut kept = Kept::default();
        kept.push(data);
        kept
    }

    #[test]
    fn output_that_fits_is_shown_whole_and_needs_no_file() {
        let what = Html::new().code("tail <x>").said(" on ").bold("web-1");
        let (html, file) = ended(&what, &RunEnd::Exited(3), Some(1_230_000_000), &kept(b"one\n<b>two</b>\n"));
        assert!(!file);
        insta::assert_snapshot!(html.as_str(), @"
        ❌ <code>tail &lt;x&gt;</code> on <b>web-1</b>
        exited with 3 after 1.23s
        <pre>one
        &lt;b&gt;two&lt;/b&gt;</pre>
        ");
        let (html, file) = ended(&what, &RunEnd::Exited(0), None, &Kept::default());
        assert!(!file && parsed(html.as_str()).ends_with("exited with 0, printed nothing"));
    }

    #[test]
    fn of_long_output_the_end_is_in_view_and_all_in_a_file() {
        let lines: String = (0..100_000).map(|n| format!("line <{n}>\n")).collect();
        let kept = kept(lines.as_bytes());
        let (html, file) = ended(&Html::new().said("x"), &RunEnd::Exited(0), Some(1), &kept);
        let text = parsed(html.as_str());
        assert!(file && text.ends_with("line <99999>") && units(&text) <= MAX_MESSAGE);
        assert_eq!(kept.file(), lines.as_bytes());
    }

    #[test]
    fn what_is_kept_is_bounded_and_says_what_is_missing() {
        let mut kept = Kept::default();
        for n in 0..200_u32 {
            kept.push(&[b'a' + (n % 26) as u8; 100_000]);
        }
        kept.push(&vec![b'z'; 3 * MAX_KEPT]);
        kept.push(b"the end");
        let file = kept.file();
        assert!(file.len() < MAX_KEPT + 100 && file.starts_with(b"aaa") && file.ends_with(b"zthe end"));
        let missing = 200 * 100_000 + 3 * MAX_KEPT + 7 - MAX_KEPT;
        assert!(String::from_utf8_lossy(&file).contains(&format!("… {missing} bytes are missing here …")));
    }

    #[test]
    fn every_end_fits_a_message() {
        let what = Html::new().code(&"&".repeat(1500));
        let long = RunEnd::Failed { why: RunFailure::Refused, message: "<".repeat(9000) };
        let (html, _) = ended(&what, &long, Some(u64::MAX), &kept("😀\u{1b}\n".repeat(9000).as_bytes()));
        assert!(units(&parsed(html.as_str())) <= MAX_MESSAGE);
        assert_eq!(file_name("../x/tail", "web-1"), "web-1-..xtail.txt");
    }
}
