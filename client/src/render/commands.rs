//! What may be run on a node.

use secmon_protocol::{
    command::{ArgInfo, ArgKind, CommandInfo},
    text::printable,
};

use super::{Look, bytes, table::table, units::timeout};

/// A table shows so many characters of what a choice or a pattern allows; `commands NODE LABEL` has the rest.
const SHORT: usize = 40;

/// The commands of a node as a table; empty when there are none.
#[must_use]
pub fn commands(commands: &[CommandInfo], look: &Look) -> String {
    if commands.is_empty() {
        return String::new();
    }
    let with_args = commands.iter().any(|c| !c.args.is_empty());
    let rows = commands
        .iter()
        .map(|c| {
            let mut row = vec![printable(&c.label)];
            if with_args {
                let args: Vec<String> = c.args.iter().map(argument).collect();
                row.push(if args.is_empty() { "-".to_owned() } else { args.join(" ") });
            }
            row.extend([timeout(c.timeout_ms), printable(&c.description)]);
            row
        })
        .collect();
    let head: &[&str] = if with_args {
        &["LABEL", "ARGUMENTS", "TIMEOUT", "DESCRIPTION"]
    } else {
        &["LABEL", "TIMEOUT", "DESCRIPTION"]
    };
    table(head, rows, look)
}

/// One command with everything that is known of it.
#[must_use]
pub fn command(command: &CommandInfo, look: &Look) -> String {
    let mut out = look.bold(&printable(&command.label));
    out.push('\n');
    if !command.description.is_empty() {
        out.push_str(&format!("{}\n", printable(&command.description)));
    }
    let at_most = |n: &dyn std::fmt::Display| format!("at most {n}");
    let lines = [
        ("Timeout", timeout(command.timeout_ms)),
        ("Output", command.max_output.map_or_else(|| "no limit".to_owned(), |n| at_most(&bytes(n)))),
        ("At once", command.concurrency.map_or_else(|| "no limit of its own".to_owned(), |n| at_most(&n))),
        ("Input", if command.stdin { "read from the client" } else { "none" }.to_owned()),
    ];
    for (name, value) in lines {
        out.push_str(&format!("{} {value}\n", look.bold(&format!("{name:<8}"))));
    }
    if command.args.is_empty() {
        return out;
    }
    out.push('\n');
    let rows = command.args.iter().map(|arg| {
        let default = arg.default.as_deref().map_or_else(|| "must be given".to_owned(), printable);
        vec![printable(&arg.name), allowed_in_words(&arg.kind), default, printable(&arg.description)]
    });
    out.push_str(&table(&["ARGUMENT", "ALLOWED", "DEFAULT", "DESCRIPTION"], rows.collect(), look));
    out
}

/// An argument and what it takes, in short: `lines=1..1000 (100)`, `file=syslog|auth.log`.
#[must_use]
pub fn argument(arg: &ArgInfo) -> String {
    let mut out = format!("{}={}", printable(&arg.name), allowed(&arg.kind));
    if let Some(default) = &arg.default {
        out.push_str(&format!(" ({})", cut(&printable(default))));
    }
    out
}

fn allowed(kind: &ArgKind) -> String {
    match kind {
        ArgKind::Integer { min, max } => format!("{min}..{max}"),
        ArgKind::Choice { values } => {
            cut(&values.iter().map(|value| printable(value)).collect::<Vec<_>>().join("|"))
        }
        ArgKind::String { pattern, .. } => format!("/{}/", cut(&printable(pattern))),
        ArgKind::Bool => "true|false".to_owned(),
        ArgKind::Path { below } => format!("{}/…", cut(printable(below).trim_end_matches('/'))),
    }
}

fn allowed_in_words(kind: &ArgKind) -> String {
    match kind {
        ArgKind::Integer { min, max } => format!("a number from {min} to {max}"),
        ArgKind::Choice { values } => {
            format!("one of {}", values.iter().map(|value| printable(value)).collect::<Vec<_>>().join(", "))
        }
        ArgKind::String { pattern, min, max } => {
            format!("a text of {min} to {max} characters like {}", printable(pattern))
        }
        ArgKind::Bool => "true or false".to_owned(),
        ArgKind::Path { below } => format!("a path below {}", printable(below)),
    }
}

fn cut(text: &str) -> String {
    if text.chars().count() <= SHORT {
        return text.to_owned();
    }
    text.chars().take(SHORT - 1).chain(['…']).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> CommandInfo {
        let arg = |name: &str, kind, default: Option<&str>, description: &str| ArgInfo {
            name: name.into(),
            description: description.into(),
            kind,
            default: default.map(str::to_owned),
        };
        let mut info = CommandInfo::plain("tail", "The end of a log", 10_000);
        info.max_output = Some(1 << 20);
        info.concurrency = Some(2);
        info.args = vec![
            arg("lines", ArgKind::Integer { min: 1, max: 1000 }, Some("100"), "How many"),
            arg("file", ArgKind::Choice { values: vec!["syslog".into(), "auth.log".into()] }, None, ""),
            arg("unit", ArgKind::String { pattern: "[a-z]+".into(), min: 1, max: 9 }, None, ""),
            arg("quiet", ArgKind::Bool, Some("false"), ""),
            arg("dir", ArgKind::Path { below: "/srv/".into() }, Some("www\x1b"), ""),
        ];
        info
    }

    #[test]
    fn a_table_of_commands_has_their_arguments_in_short() {
        let all = [CommandInfo::plain("restart-web", "Restart the web server", 90_000), tail()];
        insta::assert_snapshot!(commands(&all, &Look::plain()), @r"
        LABEL        ARGUMENTS                                                                                             TIMEOUT  DESCRIPTION
        restart-web  -                                                                                                     1m 30s   Restart the web server
        tail         lines=1..1000 (100) file=syslog|auth.log unit=/[a-z]+/ quiet=true|false (false) dir=/srv/… (www\x1b)  10s      The end of a log
        ");
        assert_eq!(commands(&[], &Look::plain()), "");
        let mut long = tail();
        long.args[1].kind = ArgKind::Choice { values: (0..40).map(|n| format!("value-{n}")).collect() };
        assert!(argument(&long.args[1]).chars().count() < 50, "{}", argument(&long.args[1]));
    }

    #[test]
    fn one_command_is_shown_in_full() {
        insta::assert_snapshot!(command(&tail(), &Look::plain()), @r"
        tail
        The end of a log
        Timeout  10s
        Output   at most 1.0 MiB
        At once  at most 2
        Input    none

        ARGUMENT  ALLOWED                                  DEFAULT        DESCRIPTION
        lines     a number from 1 to 1000                  100            How many
        file      one of syslog, auth.log                  must be given
        unit      a text of 1 to 9 characters like [a-z]+  must be given
        quiet     true or false                            false
        dir       a path below /srv/                       www\x1b
        ");
        insta::assert_snapshot!(command(&CommandInfo::plain("uptime", "", 500), &Look::plain()), @"
        uptime
        Timeout  500ms
        Output   no limit
        At once  no limit of its own
        Input    none
        ");
    }
}
