//! The TOML form: from tables to entries. What a key may say is here; whether an entry makes sense as a whole is
//! [`Entry::check`]'s.

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use secmon_protocol::{
    command::MAX_ARG,
    limits::{MAX_ARGS, MAX_CHOICES},
};

use crate::size::ByteSize;

use super::{
    AllowlistError, Entries, MAX_TIMEOUT,
    arg::{ArgSpec, Kind, Pattern},
    below::Below,
    entry::{Entry, description},
    invocation::Stdin,
    label,
    table::{Table, Value, Wrong, document},
    template::{Element, is_name},
};

/// Keys of an entry.
const KEYS: &[&str] = &[
    "description",
    "run",
    "args",
    "user",
    "cwd",
    "env",
    "timeout",
    "max_output",
    "concurrency",
    "nice",
    "stdin",
    "tty",
    "umask",
];
/// Keys of every argument, whatever its type.
const ARG_KEYS: [&str; 3] = ["type", "description", "default"];
/// Most variables of an environment: far more than a command needs that starts with none.
const MAX_ENV: usize = 64;
/// Greatest length of a `string` whose entry does not say.
const DEFAULT_LENGTH: u32 = 256;
/// Greatest number of runs that an entry may allow side by side; the node's own limit comes before.
const MAX_CONCURRENCY: i64 = 1_000;
/// Longest name of a user, in bytes (LOGIN_NAME_MAX of limits.h).
const MAX_USER: usize = 255;

/// Reads the file.
pub(super) fn parse(text: &str) -> Result<Entries, AllowlistError> {
    let read = |file: Table<'_>| {
        file.only(&["commands"])?;
        let Some(commands) = file.get("commands") else { return Ok(Entries::new()) };
        let mut entries = Entries::new();
        for (name, value) in commands.table()?.all() {
            let entry = label(name)
                .map_err(|why| value.wrong(why))
                .and_then(|()| entry(value.table()?))
                .map_err(|wrong| wrong.of(&format!("command {name:?}")))?;
            entries.insert(name.to_owned(), entry);
        }
        Ok(entries)
    };
    document(text, read).map_err(|wrong| AllowlistError::Entry { place: wrong.place(text), why: wrong.why })
}

fn entry(table: Table<'_>) -> Result<Entry, Wrong> {
    table.only(KEYS)?;
    let run =
        table.get("run").ok_or_else(|| table.wrong("run is missing: run = [\"PROGRAM\", \"ARGUMENT\"]"))?;
    let elements = run.list()?.into_iter().map(element).collect::<Result<_, _>>()?;
    let mut entry = Entry::of(elements);
    if let Some(value) = table.get("description") {
        entry.description = value.parse(one_line)?;
    }
    if let Some(value) = table.get("args") {
        entry.args = args(value)?;
    }
    if let Some(value) = table.get("user") {
        entry.user = Some(value.parse(user)?);
    }
    if let Some(value) = table.get("cwd") {
        no_argument("cwd", value, &entry.args)?;
        entry.cwd = value.parse(cwd)?;
    }
    if let Some(value) = table.get("env") {
        entry.env = env(value, &entry.args)?;
    }
    if let Some(value) = table.get("timeout") {
        entry.timeout = value.parse(duration)?;
    }
    if let Some(value) = table.get("max_output") {
        entry.max_output = Some(value.parse(size)?);
    }
    if let Some(value) = table.get("concurrency") {
        entry.concurrency = u32::try_from(value.integer(1..=MAX_CONCURRENCY)?).ok();
    }
    if let Some(value) = table.get("nice") {
        entry.nice = i32::try_from(value.integer(-20..=19)?).ok();
    }
    if let Some(value) = table.get("stdin") {
        entry.stdin = value.parse(stdin)?;
    }
    if let Some(value) = table.get("tty")
        && value.boolean()?
    {
        return Err(value.wrong("tty = true: this version gives a command no terminal"));
    }
    if let Some(value) = table.get("umask") {
        entry.umask = value.parse(umask)?;
    }
    entry.check().map_err(|why| run.wrong(why))?;
    Ok(entry)
}

fn element(value: Value<'_>) -> Result<Element, Wrong> {
    let text = value.string()?;
    if text.contains('\0') {
        return Err(value.wrong("an element of run cannot hold a NUL"));
    }
    Element::parse(text).map_err(|why| value.wrong(format!("{text:?} in run: {why}")))
}

fn args(value: Value<'_>) -> Result<Vec<ArgSpec>, Wrong> {
    let all = value.table()?.all();
    if all.len() > MAX_ARGS {
        return Err(value.wrong(format!("{} arguments are over the limit of {MAX_ARGS}", all.len())));
    }
    all.into_iter()
        .map(|(name, value)| {
            if !is_name(name) {
                let why = "an argument's name has 1 to 32 small letters, digits and '_', a letter first";
                return Err(value.wrong(format!("args.{name}: {why}")));
            }
            arg(name, value).map_err(|wrong| wrong.of(&format!("args.{name}")))
        })
        .collect()
}

fn arg(name: &str, value: Value<'_>) -> Result<ArgSpec, Wrong> {
    let table = value.table()?;
    let kind = table.get("type").ok_or_else(|| {
        table.wrong("type is missing: \"integer\", \"choice\", \"string\", \"bool\" or \"path\"")
    })?;
    let only = |more: &[&str]| table.only(&[&ARG_KEYS, more].concat());
    let needed =
        |key, example| table.get(key).ok_or_else(|| table.wrong(format!("{key} is missing: {example}")));
    let kind = match kind.string()? {
        "integer" => {
            only(&["min", "max"])?;
            let of = |key, default| table.get(key).map_or(Ok(default), |v| v.integer(i64::MIN..=i64::MAX));
            let (min, max) = (of("min", 0)?, of("max", i64::MAX)?);
            if min > max {
                return Err(table.wrong(format!("min = {min} is greater than max = {max}")));
            }
            Kind::Integer { min, max }
        }
        "choice" => {
            only(&["values"])?;
            choices(needed("values", "values = [\"…\", \"…\"]")?)?
        }
        "string" => {
            only(&["pattern", "min", "max"])?;
            let pattern = needed(
                "pattern",
                "a regular expression that the whole text matches, as pattern = '[a-z0-9.]+'",
            )?;
            let pattern = pattern.parse(Pattern::new)?;
            let of = |key, default: u32| match table.get(key) {
                None => Ok(default),
                Some(v) => v.integer(0..=MAX_ARG as i64).map(|n| u32::try_from(n).unwrap_or(default)),
            };
            let min = of("min", 1)?;
            let max = of("max", DEFAULT_LENGTH.max(min))?;
            if min > max {
                return Err(table.wrong(format!("min = {min} is greater than max = {max}")));
            }
            Kind::String { pattern, min, max }
        }
        "bool" => {
            only(&["word"])?;
            Kind::Bool(needed("word", "what true adds, as word = \"--verbose\"")?.parse(word)?)
        }
        "path" => {
            only(&["below"])?;
            Kind::Path(needed("below", "the folder, as below = \"/var/log\"")?.parse(Below::new)?)
        }
        other => {
            let why = format!("{other:?} is no type; there are integer, choice, string, bool and path");
            return Err(kind.wrong(why));
        }
    };
    let description = table.get("description").map_or(Ok(String::new()), |v| v.parse(one_line))?;
    let default = default(&table, &kind)?;
    Ok(ArgSpec { name: name.to_owned(), description, kind, default })
}

/// The default, in the words in which it could be given. Without one a bool is false.
fn default(table: &Table<'_>, kind: &Kind) -> Result<Option<String>, Wrong> {
    let Some(value) = table.get("default") else {
        return Ok(matches!(kind, Kind::Bool(_)).then(|| "false".to_owned()));
    };
    let text = match kind {
        Kind::Integer { .. } => value.integer(i64::MIN..=i64::MAX)?.to_string(),
        Kind::Bool(_) => value.boolean()?.to_string(),
        _ => value.string()?.to_owned(),
    };
    kind.form(&text).map_err(|why| value.wrong(format!("default = {text:?}: {why}")))?;
    Ok(Some(text))
}

fn choices(value: Value<'_>) -> Result<Kind, Wrong> {
    let list = value.list()?;
    if list.is_empty() || list.len() > MAX_CHOICES {
        return Err(
            value.wrong(format!("a choice has 1 to {MAX_CHOICES} values, this one has {}", list.len()))
        );
    }
    let mut values: Vec<String> = Vec::with_capacity(list.len());
    for value in list {
        let choice = value.parse(word)?;
        if values.contains(&choice) {
            return Err(value.wrong(format!("{choice:?} stands in values twice")));
        }
        values.push(choice);
    }
    Ok(Kind::Choice(values))
}

/// A word that the file's author gives.
fn word(text: &str) -> Result<String, String> {
    match text.len() {
        1..=MAX_ARG if !text.chars().any(char::is_control) => Ok(text.to_owned()),
        _ => Err(format!("it must have 1 to {MAX_ARG} bytes and no control characters")),
    }
}

fn one_line(text: &str) -> Result<String, String> {
    description(text).map(|()| text.to_owned())
}

fn user(text: &str) -> Result<String, String> {
    let strange = |c: char| c.is_control() || c.is_whitespace() || matches!(c, ':' | '/');
    match text.len() {
        1..=MAX_USER if !text.contains(strange) && !text.starts_with('-') => Ok(text.to_owned()),
        _ => Err(format!("{text:?} is no name of a user")),
    }
}

fn cwd(text: &str) -> Result<PathBuf, String> {
    match text.starts_with('/') && !text.contains('\0') {
        true => Ok(text.into()),
        false => Err(format!("{text:?} is no absolute path")),
    }
}

fn env(value: Value<'_>, args: &[ArgSpec]) -> Result<BTreeMap<String, String>, Wrong> {
    let all = value.table()?.all();
    if all.len() > MAX_ENV {
        return Err(value.wrong(format!("env has {} variables, over the limit of {MAX_ENV}", all.len())));
    }
    let mut env = BTreeMap::new();
    for (name, value) in all {
        let letters = name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_');
        if name.is_empty() || !letters || name.starts_with(|c: char| c.is_ascii_digit()) {
            return Err(value.wrong(format!("env.{name}: a variable's name has letters, digits and '_'")));
        }
        let text = value.string()?;
        if text.contains('\0') || text.len() > MAX_ARG {
            return Err(value.wrong(format!("env.{name}: a value has no NUL and at most {MAX_ARG} bytes")));
        }
        no_argument(&format!("env.{name}"), value, args)?;
        env.insert(name.to_owned(), text.to_owned());
    }
    Ok(env)
}

/// What is said once for all runs has no placeholder; one that is there would be taken literally.
fn no_argument(what: &str, value: Value<'_>, args: &[ArgSpec]) -> Result<(), Wrong> {
    let text = value.string()?;
    match args.iter().find(|arg| text.contains(&format!("{{{}}}", arg.name))) {
        Some(arg) => {
            Err(value
                .wrong(format!("{what} has {{{}}}, and an argument fills its place in run alone", arg.name)))
        }
        None => Ok(()),
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| format!("{text:?} is no duration, such as \"30s\" or \"5m\""))?;
    let timeout = Duration::try_from(parsed).unwrap_or_default();
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(format!("{text:?} must be more than nothing and at most 24h"));
    }
    Ok(timeout)
}

fn size(text: &str) -> Result<u64, String> {
    match text.parse::<ByteSize>()?.0 {
        0 => Err("a command may print more than nothing, or has no max_output".to_owned()),
        bytes => Ok(bytes as u64),
    }
}

fn stdin(text: &str) -> Result<Stdin, String> {
    match text {
        "none" => Ok(Stdin::None),
        "client" => Ok(Stdin::Client),
        _ => Err(format!("{text:?} must be \"none\" or \"client\"")),
    }
}

fn umask(text: &str) -> Result<u32, String> {
    let octal = matches!(text.len(), 3 | 4) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    let parsed = u32::from_str_radix(text, 8).ok().filter(|mask| octal && *mask <= 0o777);
    parsed.ok_or_else(|| format!("{text:?} is no mask in octal, such as \"0022\""))
}
