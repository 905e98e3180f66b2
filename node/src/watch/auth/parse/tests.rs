//! What holds for every shape of every table. What each program's lines make is in `cases`.

use jiff::tz::TimeZone;
use secmon_protocol::{auth::AuthEvent, limits};

use super::*;

pub(super) fn context() -> Context {
    Context::new("2026-11-21T03:40:00Z".parse().unwrap(), TimeZone::UTC)
}

/// Every shape, with a program that says so.
pub(super) fn every_shape() -> impl Iterator<Item = (String, &'static Shape)> {
    let own = TABLES.iter().flat_map(|table| table.shapes.iter().map(|s| (table.programs[0].to_owned(), s)));
    let pam = pam::every_shape().map(|(_, shape)| ("vsftpd".to_owned(), shape));
    own.chain(pam)
}

/// A line that has the message of a shape in it.
pub(super) fn line_of(program: &str, message: &str, shape: &Shape) -> String {
    let module = pam::every_shape().find(|(_, s)| std::ptr::eq(*s, shape)).map(|(module, _)| module);
    let module = module.map(|m| format!("{m}({program}:auth): ")).unwrap_or_default();
    format!("Nov 21 03:34:11 vm {program}[7]: {module}{message}")
}

pub(super) fn heard(line: &str) -> Option<Heard> {
    match parse_line(line.as_bytes(), &context()) {
        Parsed::Event(heard) => Some(heard),
        Parsed::Known | Parsed::Unknown => None,
    }
}

#[test]
fn every_shape_reads_its_example_and_nothing_before_it_takes_it() {
    for (program, shape) in every_shape() {
        let line = line_of(&program, shape.example, shape);
        let got = match parse_line(line.as_bytes(), &context()) {
            Parsed::Event(heard) => Some((heard.event.action, heard.role)),
            Parsed::Known => None,
            Parsed::Unknown => panic!("no shape fits {line}"),
        };
        let want =
            match (shape.gives, pam::every_shape().any(|(m, s)| std::ptr::eq(s, shape) && m != "pam_unix")) {
                (Some((action, _)), true) => Some((action, Role::Part)),
                (want, _) => want,
            };
        assert_eq!(got, want, "{line}");
        assert!(Body::of(shape.example, false).text.starts_with(shape.prefix), "{line}");
        for theirs in shape.theirs {
            assert!(shape.example.contains(theirs), "{theirs} is not in {line}");
        }
    }
    for table in TABLES {
        for shape in table.shapes {
            let body = Body::of(shape.example, false);
            let taken = table.shapes.iter().find(|s| s.read(&body).is_some());
            assert_eq!(taken.map(|s| s.example), Some(shape.example), "another shape takes it");
        }
    }
}

#[test]
fn a_line_of_an_unknown_program_or_without_a_frame_is_unknown() {
    for line in [
        "",
        "\n",
        "{",
        "{}",
        "nonsense",
        "Nov 21 03:34:11 vm cron[1]: (root) CMD (true)",
        "Nov 99 03:34:11 vm sshd[1]: Server listening on 0.0.0.0 port 22.",
        "Nov 99 03:34:11 vm sshd[1]: Failed password for root from 192.0.2.7 port 1 ssh2",
    ] {
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

#[test]
fn an_event_is_bounded_however_long_its_line_is() {
    let long = "x".repeat(limits::MAX_LINE * 2);
    for (program, shape) in every_shape() {
        for theirs in shape.theirs {
            let line = line_of(&program, &shape.example.replacen(theirs, &long, 1), shape);
            let Some(heard) = heard(&line) else { continue };
            let AuthEvent {
                user, target_user, group, command, reason, cwd, tty, fingerprint, message, ..
            } = *heard.event;
            for text in [user, target_user, group, command, reason, cwd, tty, fingerprint, Some(message)] {
                assert!(text.is_none_or(|text| text.len() <= limits::MAX_FIELD), "{}", shape.example);
            }
        }
    }
}
