//! The allowlist: the file that alone decides what may run here. Read as TOML or as `LABEL=COMMAND` lines.
//!
//! Whoever may write it may run anything as the node's user; so a file, or a folder above it, that others
//! may write is refused, and so is a file with anything in it that is not understood: then nothing may run.

mod invocation;

use std::{
    collections::BTreeMap,
    fs::{self, File, Metadata},
    io::{self, Read as _},
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    time::Duration,
};

use secmon_protocol::{
    command::{CommandInfo, MAX_DESCRIPTION, MAX_LABEL, RunFailure},
    limits::MAX_COMMANDS,
};
use serde::Deserialize;

use crate::trust;

pub use invocation::{Invocation, RunAs, Stdin};

/// Where the allowlist is looked for when the configuration names none.
pub const DEFAULT_PATH: &str = "/etc/secmon/commands.toml";
/// How long a command may run when its entry does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that an entry may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// Largest file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// What a shell would act upon, outside of quotes.
const OPERATORS: &str = "|&;<>()$`*?[~";

/// One command.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// For people; may be empty.
    pub description: String,
    /// The program and its arguments, as they are; never empty.
    pub argv: Vec<String>,
    /// How long it may run.
    pub timeout: Duration,
}

type Entries = BTreeMap<String, Entry>;

/// Why nothing may run.
#[derive(Debug, thiserror::Error)]
pub enum AllowlistError {
    /// It cannot be read.
    #[error("cannot read it: {0}")]
    Io(#[from] io::Error),
    /// Others could change it.
    #[error("{what} may be changed by others ({why}), who could then run anything: {remedy}")]
    Untrusted {
        /// The file, or a folder above it.
        what: String,
        /// The owner or the mode that makes it so.
        why: String,
        /// What to do.
        remedy: String,
    },
    /// An entry that makes no sense, or no TOML.
    #[error("{place}: {why}")]
    Entry {
        /// The label, or the line.
        place: String,
        /// What is wrong with it.
        why: String,
    },
    /// Too much of it.
    #[error("it is over {0}")]
    TooLarge(&'static str),
}

/// What makes two looks at the file the same.
type Stamp = Option<(u64, u64, i64, i64, i64, u64)>;

/// The file and what it allows, as of the last look.
#[derive(Debug)]
pub struct Allowlist {
    path: PathBuf,
    /// A file that the configuration names is missed when it is not there.
    named: bool,
    stamp: Stamp,
    entries: Result<Entries, String>,
}

impl Allowlist {
    /// Reads the file at `path`, or at [`DEFAULT_PATH`].
    #[must_use]
    pub fn open(path: Option<&Path>) -> Self {
        let mut list = Self {
            path: path.unwrap_or(Path::new(DEFAULT_PATH)).to_owned(),
            named: path.is_some(),
            stamp: None,
            entries: Ok(Entries::new()),
        };
        list.stamp = stamp(&list.path);
        list.read();
        list.tell();
        list
    }

    /// Reads the file again if it has changed; true when what may run has.
    pub fn refresh(&mut self) -> bool {
        let stamp = stamp(&self.path);
        // What is refused may be mended by a change elsewhere, of a folder's mode for one.
        if stamp == self.stamp && self.entries.is_ok() {
            return false;
        }
        self.stamp = stamp;
        let before = std::mem::replace(&mut self.entries, Ok(Entries::new()));
        self.read();
        let changed = before != self.entries;
        if changed {
            self.tell();
        }
        changed
    }

    fn read(&mut self) {
        self.entries = match load(&self.path) {
            Err(AllowlistError::Io(e)) if e.kind() == io::ErrorKind::NotFound && !self.named => {
                Ok(Entries::new())
            }
            other => {
                other.map_err(|error| format!("the allowlist {} is refused: {error}", self.path.display()))
            }
        };
    }

    fn tell(&self) {
        match &self.entries {
            Ok(_) if self.stamp.is_none() => {
                tracing::debug!(path = %self.path.display(), "there is no allowlist")
            }
            Ok(entries) => {
                tracing::info!(path = %self.path.display(), commands = entries.len(), "the allowlist was read");
            }
            Err(error) => tracing::error!(%error, "no command may run"),
        }
    }

    /// What it allows, for the hub: what a command runs stays here.
    #[must_use]
    pub fn infos(&self) -> Vec<CommandInfo> {
        let info = |(label, entry): (&String, &Entry)| CommandInfo {
            label: label.clone(),
            description: entry.description.clone(),
            args: vec![],
            timeout_ms: u64::try_from(entry.timeout.as_millis()).unwrap_or(u64::MAX),
            max_output: None,
            concurrency: None,
            stdin: false,
        };
        self.entries.iter().flatten().map(info).collect()
    }

    /// The entry of a label.
    ///
    /// # Errors
    /// There is none, or nothing may run.
    pub fn find(&self, label: &str) -> Result<&Entry, (RunFailure, String)> {
        let entries = self.entries.as_ref().map_err(|why| (RunFailure::Refused, why.clone()))?;
        entries.get(label).ok_or_else(|| {
            let labels: Vec<_> = entries.keys().map(String::as_str).collect();
            let message = match labels.is_empty() {
                true => "the node's allowlist allows no command".to_owned(),
                false => format!("the node's allowlist has no such command; it has: {}", labels.join(", ")),
            };
            (RunFailure::UnknownLabel, message)
        })
    }
}

fn stamp(path: &Path) -> Stamp {
    let m = fs::metadata(path).ok()?;
    Some((m.dev(), m.ino(), m.mtime(), m.mtime_nsec(), m.ctime_nsec() ^ (m.ctime() << 30), m.size()))
}

/// Reads and checks a file.
///
/// # Errors
/// See [`AllowlistError`].
pub fn load(path: &Path) -> Result<Entries, AllowlistError> {
    let real = fs::canonicalize(path)?;
    let file = File::open(&real)?;
    trusted(&real, &file.metadata()?)?;
    for folder in real.ancestors().skip(1) {
        trusted(folder, &fs::metadata(folder)?)?;
    }
    let mut text = String::new();
    file.take(MAX_FILE + 1).read_to_string(&mut text)?;
    if text.len() as u64 > MAX_FILE {
        return Err(AllowlistError::TooLarge("1 MiB"));
    }
    parse(&text)
}

/// Whether only root and the node's own user may write it. In a folder with the sticky bit (`/tmp`) others
/// cannot replace what is not theirs.
fn trusted(path: &Path, metadata: &Metadata) -> Result<(), AllowlistError> {
    const STICKY: u32 = 0o1000;
    let sticky = metadata.is_dir() && metadata.mode() & STICKY != 0;
    trust::owner(path, metadata)
        .and_then(|()| if sticky { Ok(()) } else { trust::mode(path, metadata) })
        .map_err(|trust::Untrusted { why, remedy }| AllowlistError::Untrusted {
            what: path.display().to_string(),
            why,
            remedy,
        })
}

/// Reads either form: TOML when the first line that is not empty and no comment is a table's header.
///
/// # Errors
/// See [`AllowlistError`].
pub fn parse(text: &str) -> Result<Entries, AllowlistError> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let entries = match first {
        Some(line) if line.starts_with('[') => parse_toml(text)?,
        Some(_) => parse_lines(text)?,
        None => Entries::new(),
    };
    match entries.len() {
        ..=MAX_COMMANDS => Ok(entries),
        _ => Err(AllowlistError::TooLarge("1000 commands")),
    }
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlFile {
    commands: BTreeMap<String, TomlEntry>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct TomlEntry {
    #[serde(default)]
    description: String,
    run: Vec<String>,
    timeout: Option<String>,
}

fn parse_toml(text: &str) -> Result<Entries, AllowlistError> {
    let file: TomlFile = toml::from_str(text).map_err(|error| {
        let before = error.span().and_then(|span| text.get(..span.start)).unwrap_or_default();
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        let place = format!("line {}, column {column}", before.matches('\n').count() + 1);
        AllowlistError::Entry { place, why: error.message().to_owned() }
    })?;
    file.commands
        .into_iter()
        .map(|(label, entry)| {
            let bad = |why: String| AllowlistError::Entry { place: format!("command {label}"), why };
            let timeout = match entry.timeout.as_deref() {
                None => DEFAULT_TIMEOUT,
                Some(text) => duration(text).map_err(bad)?,
            };
            let entry = Entry { description: entry.description, argv: entry.run, timeout };
            check(&label, &entry).map_err(bad)?;
            Ok((label, entry))
        })
        .collect()
}

fn duration(text: &str) -> Result<Duration, String> {
    let parsed: jiff::SignedDuration =
        text.parse().map_err(|_| format!("timeout = {text:?} is no duration, such as \"30s\" or \"5m\""))?;
    let timeout = Duration::try_from(parsed).unwrap_or_default();
    if timeout.is_zero() || timeout > MAX_TIMEOUT {
        return Err(format!("timeout = {text:?} must be more than nothing and at most 24h"));
    }
    Ok(timeout)
}

fn parse_lines(text: &str) -> Result<Entries, AllowlistError> {
    let mut entries = Entries::new();
    for (number, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let bad = |why: String| AllowlistError::Entry { place: format!("line {}", number + 1), why };
        let (label, command) =
            line.split_once('=').ok_or_else(|| bad("it is not of the form LABEL=COMMAND".to_owned()))?;
        if command.trim_start().starts_with(['{', '[']) {
            return Err(bad(
                "this looks like TOML, whose first line here must be a table, [commands.LABEL]".to_owned()
            ));
        }
        if let Some(operator) = unquoted_operator(command) {
            return Err(bad(format!(
                "commands run without a shell, so {operator:?} has no meaning here; quote it if the program \
                 is to see it, or write the TOML form with run = [\"sh\", \"-c\", \"...\"]"
            )));
        }
        let argv = shlex::split(command).ok_or_else(|| bad("a quote is not closed".to_owned()))?;
        let entry = Entry { description: String::new(), argv, timeout: DEFAULT_TIMEOUT };
        let label = label.trim();
        check(label, &entry).map_err(bad)?;
        if entries.insert(label.to_owned(), entry).is_some() {
            return Err(bad(format!("{label} stands there twice")));
        }
    }
    Ok(entries)
}

/// The first character that a shell would act upon; within double quotes those are `$` and the backtick.
fn unquoted_operator(command: &str) -> Option<char> {
    let mut quote = None;
    let mut characters = command.chars();
    while let Some(c) = characters.next() {
        match (quote, c) {
            (None | Some('"'), '\\') => {
                characters.next();
            }
            (None, '\'' | '"') => quote = Some(c),
            (Some(open), c) if c == open => quote = None,
            (None, c) if OPERATORS.contains(c) => return Some(c),
            (Some('"'), '$' | '`') => return Some(c),
            _ => {}
        }
    }
    None
}

fn check(label: &str, entry: &Entry) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if label.is_empty() || label.len() > MAX_LABEL || label.starts_with('-') || !label.chars().all(allowed) {
        return Err(format!(
            "a label has 1 to {MAX_LABEL} letters, digits, '.', '_' and '-', and does not start with '-'"
        ));
    }
    if entry.description.len() > MAX_DESCRIPTION || entry.description.chars().any(char::is_control) {
        return Err(format!("a description is one line of at most {MAX_DESCRIPTION} bytes"));
    }
    let program = entry.argv.first().map_or("", String::as_str);
    if program.is_empty() {
        return Err("it names no program".to_owned());
    }
    if program.contains('=') {
        return Err(format!("{program:?} is no program, and a command's environment cannot be set here"));
    }
    if program.contains('/') && !program.starts_with('/') {
        return Err(format!("{program:?} must be an absolute path or a plain name"));
    }
    if entry.argv.iter().any(|argument| argument.contains('\0')) {
        return Err("an argument cannot hold a NUL".to_owned());
    }
    if let Some(argument) = entry.argv.iter().find(|argument| has_placeholder(argument)) {
        return Err(format!("{argument:?} has a placeholder, which this version does not fill"));
    }
    Ok(())
}

/// `{name}`, as templates have it; `{ name }` with spaces is plain text.
fn has_placeholder(argument: &str) -> bool {
    argument.split('{').skip(1).filter_map(|rest| rest.split_once('}')).any(|(name, _)| {
        name.starts_with(|c: char| c.is_ascii_lowercase())
            && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_')
    })
}

#[cfg(test)]
mod tests;
