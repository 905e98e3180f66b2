//! The allowlist: the file that alone decides what may run here. Read as TOML or as `LABEL=COMMAND` lines.
//!
//! Whoever may write it may run anything as the node's user; so a file, or a folder above it, that others
//! may write is refused, and so is a file with anything in it that is not understood: then nothing may run.
//!
//! `file` reads it and says who could change it; `toml_form` (with `table`) and `lines` are its two forms; `entry` is one
//! command and fills its `template` with arguments (`arg`, `below`), `script` keeps values out of code; `invocation` is
//! what comes out, with what `program` and `user` find on this system; `explain` says all that in words. What must not
//! live here: starting anything.

mod arg;
mod below;
mod entry;
pub mod explain;
mod file;
mod invocation;
mod lines;
mod program;
mod script;
mod table;
mod template;
mod toml_form;
mod user;

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use secmon_protocol::{
    command::{CommandInfo, MAX_LABEL, RunFailure},
    limits::MAX_COMMANDS,
};

use file::{Stamp, stamp};

pub use arg::{ArgSpec, Kind, Pattern};
pub use below::Below;
pub use entry::Entry;
pub use file::load;
pub use invocation::{Invocation, RunAs, Stdin};
pub use program::SEARCH;
pub use template::Element;

/// Where the allowlist is looked for when the configuration names none.
pub const DEFAULT_PATH: &str = "/etc/secmon/commands.toml";
/// How long a command may run when its entry does not say.
pub const DEFAULT_TIMEOUT: Duration = Duration::from_secs(60);
/// Longest time that an entry may ask for.
pub const MAX_TIMEOUT: Duration = Duration::from_secs(24 * 60 * 60);
/// The file mode creation mask of a command whose entry does not say.
pub const DEFAULT_UMASK: u32 = 0o022;

/// Commands by label.
pub type Entries = BTreeMap<String, Entry>;

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

/// The file and what it allows, as of the last look.
#[derive(Debug)]
pub struct Allowlist {
    path: PathBuf,
    /// A file that the configuration names is missed when it is not there.
    named: bool,
    stamp: Option<Stamp>,
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

    /// Reads the file again if it, or who could change it, has changed; true when what may run has.
    pub fn refresh(&mut self) -> bool {
        let stamp = stamp(&self.path);
        // What is refused may be mended by a change elsewhere.
        if stamp == self.stamp && self.entries.is_ok() {
            return false;
        }
        self.read_again(stamp)
    }

    /// Reads the file again, whatever it looks like; true when what may run has changed.
    pub fn reload(&mut self) -> bool {
        let stamp = stamp(&self.path);
        self.read_again(stamp)
    }

    /// `stamp` was taken before: a file that changes while it is read is read once more.
    fn read_again(&mut self, stamp: Option<Stamp>) -> bool {
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
        self.entries.iter().flatten().map(|(label, entry)| entry.info(label)).collect()
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

/// Reads either form: TOML when the first line that is not empty and no comment is a table's header.
///
/// # Errors
/// See [`AllowlistError`].
pub fn parse(text: &str) -> Result<Entries, AllowlistError> {
    let first = text.lines().map(str::trim).find(|line| !line.is_empty() && !line.starts_with('#'));
    let entries = match first {
        Some(line) if line.starts_with('[') => toml_form::parse(text)?,
        Some(_) => lines::parse(text)?,
        None => Entries::new(),
    };
    match entries.len() {
        ..=MAX_COMMANDS => Ok(entries),
        _ => Err(AllowlistError::TooLarge("1000 commands")),
    }
}

/// Whether a command may have this name.
fn label(label: &str) -> Result<(), String> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if label.is_empty() || label.len() > MAX_LABEL || label.starts_with('-') || !label.chars().all(allowed) {
        return Err(format!(
            "a label has 1 to {MAX_LABEL} letters, digits, '.', '_' and '-', and does not start with '-'"
        ));
    }
    Ok(())
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
