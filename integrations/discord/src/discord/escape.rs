//! Hostile text made inert for Discord's Markdown, within a limit. Pure.
//!
//! What Discord formats is in <https://support.discord.com/hc/en-us/articles/210298617>, mentions and the like in
//! <https://discord.com/developers/docs/reference#message-formatting>. A backslash before a punctuation mark shows the mark itself.

use secmon_protocol::text::is_unsafe;

/// Whether a text may have several lines.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Lines {
    /// Line ends become spaces.
    One,
    /// They stay.
    Many,
}

/// `text`, shown by Discord as it stands: nobody is mentioned, nothing is a link, a heading, a list, a quotation, code or hidden.
/// At most `limit` characters, escapes among them, and `…` where some are left out; white space around it is
/// left out, as Discord does. Characters are counted as [`len`] does. A character that could mislead is replaced, should one have
/// come so far.
pub(crate) fn escaped(text: &str, limit: usize, lines: Lines) -> String {
    let mut out = Cut::new(limit);
    let mut place = Place::Start;
    let mut rest = text.trim();
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        let c = match c {
            '\n' if lines == Lines::Many => c,
            '\n' => ' ',
            c if is_unsafe(c) => '\u{fffd}',
            c => c,
        };
        let marks = match c {
            '\\' | '*' | '_' | '~' | '`' | '|' | '[' | ']' | '<' | '@' => true,
            '#' | '>' | '-' | '+' => place == Place::Start,
            '.' => place == Place::Number && !rest.starts_with(|c: char| !c.is_whitespace()),
            // `https\://` is no link.
            ':' => rest.starts_with("//"),
            _ => false,
        };
        let took = if marks { out.push(&['\\', c]) } else { out.push(&[c]) };
        if !took {
            break;
        }
        place = match (place, c) {
            (_, '\n') => Place::Start,
            (Place::Start, c) if c.is_whitespace() => Place::Start,
            (Place::Start | Place::Number, '0'..='9') => Place::Number,
            _ => Place::Within,
        };
    }
    out.done()
}

/// `text` where Discord formats nothing (a footer), within a limit as [`escaped`].
pub(crate) fn plain(text: &str, limit: usize) -> String {
    let mut out = Cut::new(limit);
    for c in text.trim().chars() {
        let c = if c == '\n' { ' ' } else { c };
        if !out.push(&[if is_unsafe(c) { '\u{fffd}' } else { c }]) {
            break;
        }
    }
    out.done()
}

/// How many characters Discord may count. Its documentation says "characters" and no more; we count UTF-16 units, of which there are
/// never less than code points.
pub(crate) fn len(text: &str) -> usize {
    text.encode_utf16().count()
}

/// Where in a line we are, for marks that mean something at its start only.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Place {
    /// Behind nothing but white space.
    Start,
    /// Behind digits that began it: a dot would make it an item of a list.
    Number,
    Within,
}

/// A text that grows up to a limit and is never cut within an escape.
struct Cut {
    text: String,
    units: usize,
    limit: usize,
    /// How long the text was when `…` still fitted behind it.
    room: usize,
    over: bool,
}

impl Cut {
    fn new(limit: usize) -> Self {
        Self { text: String::new(), units: 0, limit, room: 0, over: limit == 0 }
    }

    /// Takes them all, or says that there is no room.
    fn push(&mut self, piece: &[char]) -> bool {
        let units: usize = piece.iter().map(|c| c.len_utf16()).sum();
        if self.units + units > self.limit {
            self.over = true;
            return false;
        }
        self.text.extend(piece);
        self.units += units;
        if self.units < self.limit {
            self.room = self.text.len();
        }
        true
    }

    fn done(mut self) -> String {
        if self.over && self.limit > 0 {
            self.text.truncate(self.room);
            let kept = self.text.trim_end().len();
            self.text.truncate(kept);
            self.text.push('…');
        }
        self.text
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn many(text: &str) -> String {
        escaped(text, 4096, Lines::Many)
    }

    #[test]
    fn nothing_that_a_user_calls_himself_mentions_links_or_formats() {
        for (hostile, inert) in [
            ("@everyone <@1> <@&2> <#3>", r"\@everyone \<\@1> \<\@&2> \<#3>"),
            ("[bank](https://evil.example)", r"\[bank\](https\://evil.example)"),
            ("https://evil.example", r"https\://evil.example"),
            ("<https://evil.example>", r"\<https\://evil.example>"),
            (
                "||spoiler|| **bold** __u__ ~~s~~ *i*",
                r"\|\|spoiler\|\| \*\*bold\*\* \_\_u\_\_ \~\~s\~\~ \*i\*",
            ),
            ("```sh\nrm\n```", "\\`\\`\\`sh\nrm\n\\`\\`\\`"),
            ("# big\n-# small\n> q\n>>> q", "\\# big\n\\-# small\n\\> q\n\\>>> q"),
            ("- a\n * b\n+ c\n1. d", "\\- a\n \\* b\n\\+ c\n1\\. d"),
            ("<t:1:R> <:x:1> </run:1> <id:guide>", r"\<t:1:R> \<:x:1> \</run:1> \<id:guide>"),
            (r"CORP\\alice \*x\*", r"CORP\\\\alice \\\*x\\\*"),
            ("web-1: 10.0.0.1 12:30 a+b #2 > 1", "web-1: 10.0.0.1 12:30 a+b #2 > 1"),
            ("192.0.2.9", "192.0.2.9"),
        ] {
            assert_eq!(many(hostile), inert, "{hostile}");
        }
        assert_eq!(escaped("a\n# b", 100, Lines::One), "a # b");
        assert_eq!(plain("a\n\u{202e}*b*", 100), "a \u{fffd}*b*");
    }

    #[test]
    fn what_is_too_long_is_cut_between_escapes_and_says_so() {
        assert_eq!(escaped("****", 8, Lines::One), r"\*\*\*\*");
        assert_eq!(escaped("****", 7, Lines::One), r"\*\*\*…");
        assert_eq!(escaped("****", 6, Lines::One), r"\*\*…");
        assert_eq!(escaped("ab cd", 4, Lines::One), "ab…");
        assert_eq!(escaped("🦀🦀🦀", 5, Lines::One), "🦀🦀…");
        assert_eq!(escaped("abc", 0, Lines::One), "");
    }

    /// What Discord would see as marks: all that no backslash stands before.
    fn bare(text: &str) -> String {
        let mut out = String::new();
        let mut chars = text.chars();
        while let Some(c) = chars.next() {
            if c == '\\' {
                let next = chars.next().expect("no backslash stands alone");
                assert!(next.is_ascii_punctuation(), "a backslash before {next:?} would be shown");
                out.push('\u{1}');
            } else {
                out.push(c);
            }
        }
        out
    }

    proptest! {
        #[test]
        fn no_text_gets_out_of_its_escapes_or_its_limit(text in r"([\\*_~`|\[\]()<>@#:/.+\-\n 0-9a-c…🦀\PC]|://|@here){0,80}", limit in 0usize..120) {
            let out = escaped(&text, limit, Lines::Many);
            prop_assert!(len(&out) <= limit);
            prop_assert_eq!(out.trim(), &out);
            let bare = bare(&out);
            prop_assert!(!bare.contains(['*', '_', '~', '`', '|', '[', ']', '<', '@']), "{}", out);
            prop_assert!(!bare.contains("://"), "{}", out);
            for line in bare.lines().map(str::trim_start) {
                prop_assert!(!line.starts_with(['#', '>', '-', '+']), "{}", out);
                let item = line.trim_start_matches(|c: char| c.is_ascii_digit());
                let dot = item.strip_prefix('.').filter(|_| item.len() < line.len());
                prop_assert!(!dot.is_some_and(|rest| rest.starts_with(char::is_whitespace)), "{}", out);
            }
        }
    }
}
