//! What a file allows, entry by entry, in words: for `secmon check`. Looks at this system, and starts nothing.
//!
//! A warning is what will fail when it is run, or what lets others decide what runs. What can be decided by the file alone
//! is no warning: such a file is refused.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use nix::unistd::{Uid, User, geteuid};

use super::{ArgSpec, Element, Entries, Entry, Kind, Stdin, entry::folder, program, script, user};
use crate::size::ByteSize;

/// A text that a pattern should not take, unless its author means any text at all.
const ANY_TEXT: &str = "a b;$(id) ../'\"&|é";

/// One entry, in words.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Explained {
    /// Its label.
    pub label: String,
    /// What it does, by its author; may be empty.
    pub description: String,
    /// What is run: `<name>` is filled by an argument, `[word]` is there or not.
    pub runs: String,
    /// What else there is to say, by a word that names it.
    pub facts: Vec<(&'static str, String)>,
    /// Arguments by name, and what may be given.
    pub args: Vec<(String, String)>,
    /// What will fail, or is unsafe.
    pub warnings: Vec<String>,
}

/// Explains all entries, in the order of their labels.
#[must_use]
pub fn explain(entries: &Entries) -> Vec<Explained> {
    entries.iter().map(|(label, entry)| explain_one(label, entry, geteuid())).collect()
}

fn explain_one(label: &str, entry: &Entry, euid: Uid) -> Explained {
    Explained {
        label: label.to_owned(),
        description: entry.description.clone(),
        runs: entry.run.iter().filter_map(|element| shown(element, entry)).collect::<Vec<_>>().join(" "),
        facts: facts(entry, euid),
        args: entry.args.iter().map(|arg| (arg.name.clone(), said(arg))).collect(),
        warnings: warnings(entry, euid),
    }
}

/// An element as it would be typed into a shell, so that its ends are seen.
fn shown(element: &Element, entry: &Entry) -> Option<String> {
    let quoted = |text: &str| shlex::try_quote(text).map(|text| text.into_owned()).ok();
    match element {
        Element::Fixed(text) => quoted(text),
        Element::Filled { before, arg, after } => {
            let kind = entry.args.iter().find(|spec| spec.name == *arg).map(|spec| &spec.kind);
            let part = |text: &str| if text.is_empty() { Some(String::new()) } else { quoted(text) };
            Some(match kind {
                Some(Kind::Bool(word)) => format!("[{}]", quoted(word)?),
                _ => format!("{}<{arg}>{}", part(before)?, part(after)?),
            })
        }
    }
}

fn facts(entry: &Entry, euid: Uid) -> Vec<(&'static str, String)> {
    let mut facts = Vec::new();
    if let Ok(found) = entry.program().and_then(program::find) {
        facts.push(("program", found.display().to_string()));
    }
    facts.push((
        "user",
        match &entry.user {
            Some(name) => name.clone(),
            None => format!("that of the node or runner that starts it ({} here)", name_of(euid)),
        },
    ));
    facts.push(("folder", entry.cwd.display().to_string()));
    facts.push((
        "environment",
        match entry.env.is_empty() {
            true => "empty".to_owned(),
            false => {
                entry.env.iter().map(|(name, value)| format!("{name}={value}")).collect::<Vec<_>>().join(" ")
            }
        },
    ));
    facts.push((
        "input",
        match entry.stdin {
            Stdin::None => "none".to_owned(),
            Stdin::Client => "what the client sends".to_owned(),
        },
    ));
    facts.push(("limits", limits(entry)));
    facts
}

fn limits(entry: &Entry) -> String {
    let mut limits = vec![format!("ended after {}", time(entry.timeout))];
    limits.push(match entry.max_output {
        Some(bytes) => {
            format!("or after {} of output", ByteSize(usize::try_from(bytes).unwrap_or(usize::MAX)))
        }
        None => "output without limit".to_owned(),
    });
    if let Some(runs) = entry.concurrency {
        limits.push(format!("{runs} at once"));
    }
    if let Some(nice) = entry.nice {
        limits.push(format!("niceness {nice}"));
    }
    limits.push(format!("umask {:04o}", entry.umask));
    limits.join(", ")
}

/// What may be given for an argument.
fn said(arg: &ArgSpec) -> String {
    let mut said = match &arg.kind {
        Kind::Bool(word) => format!("true or false; true adds \"{word}\""),
        kind => kind.allowed(),
    };
    match &arg.default {
        Some(default) => said.push_str(&format!("; default \"{default}\"")),
        None => said.push_str("; must be given"),
    }
    if !arg.description.is_empty() {
        said.push_str(&format!(". {}", arg.description));
    }
    said
}

fn warnings(entry: &Entry, euid: Uid) -> Vec<String> {
    let mut warnings = Vec::new();
    let runs_as = match entry.user.as_deref().map(|name| user::run_as(name, euid)) {
        None | Some(Ok(None)) => Some(euid),
        Some(Ok(Some(run_as))) => Some(Uid::from_raw(run_as.uid)),
        Some(Err(why)) => {
            warnings.push(why);
            None
        }
    };
    let trusted = [Some(Uid::from_raw(0)), Some(euid), runs_as];
    let others = |path: &Path| others_may_change(path, &trusted);
    match entry.program().and_then(program::find) {
        Err(why) => warnings.push(why),
        Ok(found) => {
            let found = fs::canonicalize(&found).unwrap_or(found);
            if fs::metadata(&found).is_ok_and(|m| m.mode() & 0o111 == 0) {
                warnings.push(format!("{} is not executable: chmod +x", found.display()));
            }
            warnings.extend(others(&found).map(|why| format!("others decide what it runs: {why}")));
        }
    }
    if let (true, Some(Element::Fixed(file))) =
        (entry.program().is_ok_and(script::is_interpreter), entry.run.get(1))
        && file.starts_with('/')
    {
        match fs::canonicalize(file) {
            Err(error) => warnings.push(format!("cannot read {file}: {error}")),
            Ok(file) => {
                warnings.extend(others(&file).map(|why| format!("others decide what it runs: {why}")));
            }
        }
    }
    warnings.extend(folder(&entry.cwd).err());
    if entry.nice.is_some_and(|nice| nice < 0) && !euid.is_root() {
        warnings.push("a niceness below 0 is for root alone".to_owned());
    }
    for element in &entry.run {
        let Element::Filled { before, arg, .. } = element else { continue };
        let Some(spec) = entry.args.iter().find(|spec| spec.name == *arg) else { continue };
        about(spec, before, entry, &mut warnings);
        if let Kind::Path(below) = &spec.kind
            && let Ok(folder) = fs::canonicalize(below.folder())
        {
            let raced = |why| format!("{arg}: others can exchange a path after it was checked: {why}");
            warnings.extend(others(&folder).map(raced));
        }
    }
    warnings
}

/// What is to be said of one argument in its place.
fn about(spec: &ArgSpec, before: &str, entry: &Entry, warnings: &mut Vec<String>) {
    let name = &spec.name;
    match &spec.kind {
        Kind::Path(below) => {
            if let Err(why) = folder(Path::new(below.folder())) {
                warnings.push(format!("{name}: no path will be allowed: {why}"));
            } else if let Some(default) = &spec.default
                && let Err(why) = spec.word(default)
            {
                warnings.push(format!("the default will be refused: {why}"));
            }
        }
        Kind::String { pattern, .. } => {
            if pattern.takes(ANY_TEXT) {
                warnings.push(format!("{name}: its pattern, {}, takes nearly any text", pattern.as_str()));
            }
            if let Ok(program) = entry.program()
                && let Some(wrapper) = script::runs_others(program)
            {
                warnings.push(format!(
                    "{name}: {wrapper} may run what its arguments say; make it a choice, or a pattern that is no program"
                ));
            }
        }
        Kind::Integer { .. } | Kind::Choice(_) | Kind::Bool(_) => {}
    }
    let is_script = matches!(entry.run.get(1), Some(Element::Filled { arg, .. }) if arg == name);
    if is_script
        && matches!(spec.kind, Kind::String { .. })
        && entry.program().is_ok_and(script::is_interpreter)
    {
        warnings.push(format!("{name}: the value chooses which file is run as a program; make it a choice"));
    }
    let short = before.starts_with('-') && !before.starts_with("--") && !before.contains('=');
    if short && matches!(spec.kind, Kind::String { .. }) {
        warnings
            .push(format!("{name}: right only if {before} takes a value; else the value is more options"));
    }
}

/// Why others than the trusted could put something else there, if they could.
fn others_may_change(path: &Path, trusted: &[Option<Uid>]) -> Option<String> {
    const GROUP_OR_OTHERS_WRITE: u32 = 0o022;
    const STICKY: u32 = 0o1000;
    path.ancestors().find_map(|path| {
        let m = fs::metadata(path).ok()?;
        if !trusted.contains(&Some(Uid::from_raw(m.uid()))) {
            return Some(format!("{} belongs to {}", path.display(), name_of(Uid::from_raw(m.uid()))));
        }
        let sticky = m.is_dir() && m.mode() & STICKY != 0;
        let writable = m.mode() & GROUP_OR_OTHERS_WRITE != 0 && !sticky;
        writable
            .then(|| format!("{} has the mode {:04o} (chmod go-w {0})", path.display(), m.mode() & 0o7777))
    })
}

fn name_of(uid: Uid) -> String {
    User::from_uid(uid).ok().flatten().map_or_else(|| format!("uid {uid}"), |user| user.name)
}

fn time(time: Duration) -> String {
    // Through the same type that reads it, so that it looks as it is written.
    jiff::SignedDuration::try_from(time).map_or_else(|_| format!("{time:?}"), |time| format!("{time:#}"))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::commands::allowlist::parse;

    fn of(text: &str, euid: u32) -> Explained {
        let entries = parse(text).unwrap();
        let (label, entry) = entries.first_key_value().unwrap();
        explain_one(label, entry, Uid::from_raw(euid))
    }

    #[test]
    fn an_entry_is_explained_whole() {
        let explained = of(
            "[commands.tail]\ndescription = 'The end of a log'\n\
             run = ['/usr/bin/tail', '-n', '{lines}', '{follow}', '/var/log/{file}', 'a b']\n\
             args.lines = { type = 'integer', min = 1, max = 1000, default = 100, description = 'How many' }\n\
             args.follow = { type = 'bool', word = '-F' }\n\
             args.file = { type = 'choice', values = ['syslog', 'auth.log'] }\n\
             user = 'nobody'\nenv = { LANG = 'C' }\ntimeout = '90s'\nmax_output = '1MiB'\nconcurrency = 1\n",
            0,
        );
        assert_eq!(explained.runs, "/usr/bin/tail -n <lines> [-F] /var/log/<file> 'a b'");
        assert_eq!(
            explained.facts,
            [
                ("program", "/usr/bin/tail".to_owned()),
                ("user", "nobody".to_owned()),
                ("folder", "/".to_owned()),
                ("environment", "LANG=C".to_owned()),
                ("input", "none".to_owned()),
                ("limits", "ended after 1m 30s, or after 1MiB of output, 1 at once, umask 0022".to_owned()),
            ]
        );
        let arg = |name: &str, said: &str| (name.to_owned(), said.to_owned());
        assert_eq!(
            explained.args,
            [
                arg("lines", "an integer from 1 to 1000; default \"100\". How many"),
                arg("follow", "true or false; true adds \"-F\"; default \"false\""),
                arg("file", "one of \"syslog\", \"auth.log\"; must be given"),
            ]
        );
        assert_eq!(explained.warnings, [""; 0]);
    }

    #[test]
    fn what_will_fail_here_is_said() {
        for (text, said) in [
            ("run = ['no-such-program']", "there is no program no-such-program"),
            ("run = ['/no/such']", "cannot run /no/such"),
            ("run = ['/etc/passwd']", "not executable"),
            ("run = ['id']\nuser = 'no-such-user'", "no such user"),
            ("run = ['id']\ncwd = '/no/such'", "cannot start in /no/such"),
            ("run = ['sh', '/no/such.sh']", "cannot read /no/such.sh"),
            (
                "run = ['cat', '{x}']\nargs.x = { type = 'path', below = '/no/such' }",
                "no path will be allowed",
            ),
            (
                "run = ['cat', '{x}']\nargs.x = { type = 'path', below = '/etc', default = 'no-such' }",
                "default",
            ),
        ] {
            let warnings = of(&format!("[commands.a]\n{text}\n"), 0).warnings;
            assert!(warnings.len() == 1 && warnings[0].contains(said), "{text}: {warnings:?}");
        }
        let warnings = of("[commands.a]\nrun = ['id']\nuser = 'root'\nnice = -5\n", 12345).warnings;
        assert!(warnings[0].contains("uid 12345") && warnings[1].contains("niceness"), "{warnings:?}");
    }

    #[test]
    fn what_lets_others_decide_is_said() {
        let dir = tempfile::tempdir().unwrap();
        let program = dir.path().join("x.sh");
        fs::write(&program, "#!/bin/sh\n").unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        let path = program.display();
        let euid = geteuid().as_raw();
        for run in [format!("['{path}']"), format!("['sh', '{path}']")] {
            let text = format!("[commands.a]\nrun = {run}\n");
            assert_eq!(of(&text, euid).warnings, [""; 0]);
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o775)).unwrap();
            let warnings = of(&text, euid).warnings;
            assert!(warnings[0].contains("others decide what it runs") && warnings[0].contains("chmod go-w"));
            fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o755)).unwrap();
        }
        for (text, said) in [
            ("run = ['id', '{x}']\nargs.x = { type = 'string', pattern = '.*' }", "nearly any text"),
            (
                "run = ['env', '{x}']\nargs.x = { type = 'string', pattern = '[a-z]+' }",
                "may run what its arguments say",
            ),
            (
                "run = ['id', '-n{x}']\nargs.x = { type = 'string', pattern = '[a-z]+' }",
                "right only if -n takes a value",
            ),
        ] {
            let warnings = of(&format!("[commands.a]\n{text}\n"), 0).warnings;
            assert!(warnings.len() == 1 && warnings[0].contains(said), "{text}: {warnings:?}");
        }
    }
}
