//! What stands before and around a message: the stamp, host and tag of a syslog line, and the wrappings
//! (`message repeated`, `error: `, ` [preauth]`) that say nothing about what the message is.

use std::borrow::Cow;

use super::{shape::number, stamp};

/// A line taken apart.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Framed<'a> {
    /// The program, from the syslog tag or journald's `SYSLOG_IDENTIFIER`. Anybody may claim any name.
    pub program: Cow<'a, str>,
    /// The process that the line names.
    pub pid: Option<u32>,
    /// The message.
    pub message: Cow<'a, str>,
    /// Whether the end of the message is missing.
    pub cut: bool,
    /// What journald itself knows of the writer, which the writer cannot choose.
    pub writer: Writer<'a>,
}

/// journald's trusted fields; absent is unknown. systemd.journal-fields(7).
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Writer<'a> {
    /// `_EXE`, the path of the executable.
    pub exe: Option<Cow<'a, str>>,
    /// `_UID`, the writer's user id.
    pub uid: Option<u32>,
}

/// Reads `[<PRI>]STAMP [HOST ]TAG: MESSAGE`: RFC 3164 section 4.1, or the same with an ISO 8601 stamp as
/// rsyslog's `RSYSLOG_FileFormat` writes it.
///
/// The stamp is given back as it stands; [`stamp::read`] reads it.
pub(super) fn syslog(line: &str, cut: bool) -> Option<(Framed<'_>, &str)> {
    let line = without_priority(line);
    let (stamp, rest) = line.split_at_checked(stamp::length(line.as_bytes())?)?;
    let rest = rest.strip_prefix(' ')?;
    let (first, after) = rest.split_once(' ')?;
    // A line without a host: its first word is the tag already.
    let (tag, message) = match first.strip_suffix(':') {
        Some(tag) => (tag, after),
        None => {
            let (word, message) = after.split_once(' ').unwrap_or((after, ""));
            (word.strip_suffix(':')?, message)
        }
    };
    let (program, pid) = match tag.strip_suffix(']').and_then(|t| t.rsplit_once('[')) {
        Some((program, pid)) if number::<u32>(pid).is_some() => (program, number(pid)),
        _ => (tag, None),
    };
    if program.is_empty() {
        return None;
    }
    let framed = Framed {
        program: Cow::Borrowed(program),
        pid,
        message: Cow::Borrowed(message),
        cut,
        writer: Writer::default(),
    };
    Some((framed, stamp))
}

fn without_priority(line: &str) -> &str {
    line.strip_prefix('<')
        .and_then(|l| l.split_once('>'))
        .filter(|(priority, _)| priority.len() <= 3 && number::<u16>(priority).is_some())
        .map_or(line, |(_, rest)| rest)
}

/// A message without its wrappings.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Body<'m> {
    /// What the program wanted to say.
    pub text: &'m str,
    /// How many times it said so.
    pub count: u32,
    /// Whether sshd said it before anybody had logged in.
    pub preauth: bool,
    /// Whether the end is missing: nothing may be read from there.
    pub cut: bool,
}

impl<'m> Body<'m> {
    /// Unwraps `message`.
    pub(super) fn of(message: &'m str, cut: bool) -> Self {
        let mut text = message.trim_start_matches(' ');
        let mut count = 1;
        // syslog(3) of Solaris: `[ID 800047 auth.info] …`.
        text = text.strip_prefix("[ID ").and_then(|t| t.split_once("] ")).map_or(text, |(_, t)| t);
        // rsyslog, with $RepeatedMsgReduction.
        if let Some((times, inner)) = text
            .strip_prefix("message repeated ")
            .and_then(|t| t.split_once(" times: ["))
            .filter(|_| text.ends_with(']'))
            && let Some(times) = number(times)
        {
            count = times;
            text = inner.strip_prefix(' ').unwrap_or(inner);
            text = text.strip_suffix(']').unwrap_or(text);
        }
        for level in ["error: ", "fatal: "] {
            text = text.strip_prefix(level).unwrap_or(text);
        }
        let inner = text.strip_suffix(" [preauth]");
        Self { text: inner.unwrap_or(text), count, preauth: inner.is_some(), cut }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(line: &str) -> (String, Option<u32>, String) {
        let framed = syslog(line, false).unwrap().0;
        (framed.program.into_owned(), framed.pid, framed.message.into_owned())
    }

    #[test]
    fn the_tag_gives_program_and_pid() {
        let of = |p: &str, pid, m: &str| (p.to_owned(), pid, m.to_owned());
        assert_eq!(parts("Nov 21 03:34:11 vm sshd[68]: hi there"), of("sshd", Some(68), "hi there"));
        assert_eq!(parts("Nov  1 03:34:11 vm sudo:    bob : x"), of("sudo", None, "   bob : x"));
        assert_eq!(parts("Nov 21 03:34:11 vm gdm-password]: x"), of("gdm-password]", None, "x"));
        assert_eq!(parts("Nov 21 03:34:11 vm su(pam_unix)[9]: x"), of("su(pam_unix)", Some(9), "x"));
        assert_eq!(parts("2026-11-21T03:37:59.6+00:00 vm (systemd)[9]: x"), of("(systemd)", Some(9), "x"));
        assert_eq!(parts("<86>Nov 21 03:34:11 sshd[1]: x"), of("sshd", Some(1), "x"));
        assert!(syslog("Nov 21 03:34:11 vm last message", false).is_none());
    }

    #[test]
    fn wrappings_are_taken_off_and_kept_as_facts() {
        let body = Body::of("message repeated 3 times: [ error: PAM: x for y [preauth]]", false);
        assert_eq!(body, Body { text: "PAM: x for y", count: 3, preauth: true, cut: false });
        assert_eq!(Body::of("[ID 800047 auth.info] Accepted x", false).text, "Accepted x");
        assert_eq!(Body::of("fatal: Timeout", false).text, "Timeout");
        assert_eq!(Body::of("message repeated x times: [ a]", false).count, 1);
    }
}
