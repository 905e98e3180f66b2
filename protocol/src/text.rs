//! Hostile text made safe to print: names, commands and messages come from attackers.

use std::fmt::Write as _;

/// `text` with every character replaced that could steer a terminal or mislead the eye: control
/// characters (C0, DEL, C1), bidirectional overrides and isolates (Unicode TR 36 §3), line and paragraph
/// separators, zero-width characters. They appear as `\n`, `\t`, `\x1b` or `\u{202e}`; a backslash as `\\`, so that an
/// escape cannot be forged.
#[must_use]
pub fn printable(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            c if c.is_ascii_control() => {
                // Writing to a String cannot fail.
                let _ = write!(out, "\\x{:02x}", u32::from(c));
            }
            c if is_unsafe(c) => {
                let _ = write!(out, "\\u{{{:x}}}", u32::from(c));
            }
            c => out.push(c),
        }
    }
    out
}

/// Whether a character could steer a terminal or mislead the eye; [`printable`] says which those are.
#[must_use]
pub fn is_unsafe(c: char) -> bool {
    c.is_control() || misleads(c)
}

fn misleads(c: char) -> bool {
    matches!(c,
        '\u{ad}' | '\u{61c}' | '\u{180e}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}'
        | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{fff9}'..='\u{fffb}' | '\u{e0000}'..='\u{e007f}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_that_steers_a_terminal_gets_through() {
        assert_eq!(printable("ok ünï 漢"), "ok ünï 漢");
        assert_eq!(printable("\x1b[2J\x07\r\n\t\\n"), "\\x1b[2J\\x07\\r\\n\\t\\\\n");
        assert_eq!(printable("a\u{202e}b\u{9b}1m\u{200b}"), "a\\u{202e}b\\u{9b}1m\\u{200b}");
    }
}
