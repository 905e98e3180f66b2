//! Arguments as they are typed, `NAME=VALUE`, and held against what a node says that it takes.
//!
//! The node decides. What is refused here is refused before anything runs, with what would be allowed; a pattern is left
//! to the node alone.

use secmon_protocol::{
    command::{Arg, ArgInfo, ArgKind, CommandInfo, check_args},
    limits::MAX_NEAR,
};

/// Least likeness of a name that is offered in the place of an unknown one, from 0 to 1.
const LIKENESS: f64 = 0.5;

/// `NAME=VALUE` each, the value being all that stands behind the first `=`.
///
/// # Errors
/// One of them is not, or they are over the limits of arguments: which, in words.
pub fn parse(words: &[String]) -> Result<Vec<Arg>, String> {
    let args = words.iter().map(|word| match word.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok(Arg { name: name.to_owned(), value: value.to_owned() }),
        _ => Err(format!(
            "\"{word}\" is not an argument: write NAME=VALUE, as in lines=50 (several nodes have commas between them, and a \
             pattern for nodes stands in quotes: 'web*')"
        )),
    });
    let args: Vec<Arg> = args.collect::<Result<_, _>>()?;
    check_args(&args)?;
    Ok(args)
}

/// What is wrong with the arguments of a command, if anything is.
///
/// # Errors
/// That.
pub fn check(info: &CommandInfo, args: &[Arg]) -> Result<(), String> {
    let label = &info.label;
    for arg in args {
        let Some(known) = info.args.iter().find(|known| known.name == arg.name) else {
            return Err(unknown(info, &arg.name));
        };
        value(&known.kind, &arg.value)
            .map_err(|allowed| format!("{label}: {}={} is not allowed: {allowed}", arg.name, arg.value))?;
    }
    let given = |info: &&ArgInfo| args.iter().any(|arg| arg.name == info.name);
    let missing: Vec<String> =
        info.args.iter().filter(|arg| arg.default.is_none() && !given(arg)).map(describe).collect();
    match missing.as_slice() {
        [] => Ok(()),
        missing => Err(format!("{label}: missing {}", missing.join(" "))),
    }
}

fn unknown(info: &CommandInfo, name: &str) -> String {
    let label = &info.label;
    if info.args.is_empty() {
        return format!("{label} takes no arguments, and {name} was given");
    }
    let near = near(name, info.args.iter().map(|arg| arg.name.as_str()));
    match near.first() {
        Some(near) => format!("{label} has no argument {name}; did you mean {near}?"),
        None => {
            let all: Vec<String> = info.args.iter().map(describe).collect();
            format!("{label} has no argument {name}; it takes {}", all.join(" "))
        }
    }
}

/// Holds a value against what an argument takes.
///
/// # Errors
/// What is allowed, when the value is not.
pub fn value(kind: &ArgKind, value: &str) -> Result<(), String> {
    match kind {
        ArgKind::Integer { min, max } => match value.parse::<i64>() {
            Ok(number) if (*min..=*max).contains(&number) => Ok(()),
            _ => Err(format!("a number from {min} to {max}")),
        },
        ArgKind::Choice { values } if values.iter().any(|known| known == value) => Ok(()),
        ArgKind::Choice { values } => {
            let near = near(value, values.iter().map(String::as_str));
            let hint = near.first().map(|near| format!("; did you mean {near}?")).unwrap_or_default();
            Err(format!("one of {}{hint}", values.join(", ")))
        }
        ArgKind::String { min, max, .. } => {
            let count = value.chars().count();
            if (*min as usize..=*max as usize).contains(&count) {
                return Ok(());
            }
            Err(format!("a text of {min} to {max} characters, and it has {count}"))
        }
        ArgKind::Bool if matches!(value, "true" | "false") => Ok(()),
        ArgKind::Bool => Err("true or false".to_owned()),
        // Only the node knows where a path leads.
        ArgKind::Path { .. } => Ok(()),
    }
}

/// `lines=1..1000`: an argument and what it takes, as `commands` shows it.
fn describe(arg: &ArgInfo) -> String {
    crate::render::argument(arg)
}

/// The names that are like one, nearest first.
#[must_use]
pub fn near<'a>(name: &str, known: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut near: Vec<(f64, &str)> = known
        .map(|known| (strsim::normalized_damerau_levenshtein(known, name), known))
        .filter(|(likeness, _)| *likeness >= LIKENESS)
        .collect();
    near.sort_by(|a, b| b.0.total_cmp(&a.0));
    near.into_iter().take(MAX_NEAR).map(|(_, known)| known.to_owned()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tail() -> CommandInfo {
        let arg = |name: &str, kind, default: Option<&str>| ArgInfo {
            name: name.into(),
            description: String::new(),
            kind,
            default: default.map(str::to_owned),
        };
        let mut info = CommandInfo::plain("tail", "", 1000);
        info.args = vec![
            arg("lines", ArgKind::Integer { min: 1, max: 1000 }, Some("100")),
            arg("file", ArgKind::Choice { values: vec!["syslog".into(), "auth.log".into()] }, None),
            arg("unit", ArgKind::String { pattern: "[a-z]+".into(), min: 1, max: 3 }, Some("a")),
            arg("all", ArgKind::Bool, Some("false")),
            arg("path", ArgKind::Path { below: "/srv".into() }, Some("/srv")),
        ];
        info
    }

    fn checked(words: &[&str]) -> Result<(), String> {
        check(&tail(), &parse(&words.iter().map(|w| (*w).to_owned()).collect::<Vec<_>>())?)
    }

    #[test]
    fn a_value_is_all_behind_the_first_equals_sign() {
        let args = parse(&["a=b=c d".into(), "e=".into()]).unwrap();
        assert_eq!((args[0].value.as_str(), args[1].value.as_str()), ("b=c d", ""));
        for bad in ["lines", "=5", ""] {
            assert!(parse(&[bad.to_owned()]).is_err(), "{bad}");
        }
        assert!(parse(&["a=1".into(), "a=2".into()]).unwrap_err().contains("twice"));
    }

    #[test]
    fn what_a_command_takes_is_let_through() {
        for good in [&["file=syslog"][..], &["file=auth.log", "lines=1000", "unit=äöü", "all=true", "path=x"]]
        {
            assert_eq!(checked(good), Ok(()), "{good:?}");
        }
    }

    #[test]
    fn what_it_does_not_take_is_refused_with_what_it_does() {
        let all = [
            &["file=syslog", "lines=0"][..],
            &["file=syslog", "lines=many"],
            &["file=syslg"],
            &["file=x"],
            &["file=syslog", "unit=abcd"],
            &["file=syslog", "all=yes"],
            &["file=syslog", "line=5"],
            &["file=syslog", "zzzzzzz=5"],
            &["lines=5"],
        ]
        .map(|words| checked(words).unwrap_err());
        insta::assert_snapshot!(all.join("\n"), @"
        tail: lines=0 is not allowed: a number from 1 to 1000
        tail: lines=many is not allowed: a number from 1 to 1000
        tail: file=syslg is not allowed: one of syslog, auth.log; did you mean syslog?
        tail: file=x is not allowed: one of syslog, auth.log
        tail: unit=abcd is not allowed: a text of 1 to 3 characters, and it has 4
        tail: all=yes is not allowed: true or false
        tail has no argument line; did you mean lines?
        tail has no argument zzzzzzz; it takes lines=1..1000 (100) file=syslog|auth.log unit=/[a-z]+/ (a) all=true|false (false) path=/srv/… (/srv)
        tail: missing file=syslog|auth.log
        ");
        let plain = CommandInfo::plain("uptime", "", 1);
        assert_eq!(
            check(&plain, &parse(&["x=1".into()]).unwrap()).unwrap_err(),
            "uptime takes no arguments, and x was given"
        );
    }
}
