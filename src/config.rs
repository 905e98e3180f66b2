//! The configuration files and the default places of everything. One TOML file serves hub, node and runner, each
//! integration has its own; every key has a default, and a key that nobody knows is an error.

use std::{
    env,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use nix::unistd::geteuid;
use serde::de::DeserializeOwned;

/// Read when it is there and no other is named.
#[cfg(any(feature = "hub", feature = "node"))]
pub(crate) const DEFAULT_PATH: &str = "/etc/secmon/secmon.toml";
/// Largest file, in bytes.
const MAX_FILE: u64 = 1 << 20;
/// Names that differ by more are not taken for a slip (Jaro-Winkler, 1 is equal).
const NEAR: f64 = 0.75;

/// The sections; those of roles that this build lacks are not looked into.
#[cfg(any(feature = "hub", feature = "node"))]
#[derive(Debug, Default, serde::Deserialize)]
#[serde(default, deny_unknown_fields)]
pub(crate) struct Config {
    #[cfg(feature = "hub")]
    pub(crate) hub: secmon_hub::HubSection,
    #[cfg(feature = "hub")]
    pub(crate) log: secmon_hub::LogSection,
    #[cfg(feature = "hub")]
    pub(crate) jobs: secmon_hub::JobsSection,
    #[cfg(feature = "hub")]
    pub(crate) socket: secmon_hub::SocketSection,
    #[cfg(feature = "hub")]
    pub(crate) access: Vec<secmon_hub::AccessSection>,
    #[cfg(feature = "node")]
    pub(crate) node: secmon_node::NodeSection,
    #[cfg(feature = "node")]
    pub(crate) auth: secmon_node::watch::auth::AuthConfig,
    #[cfg(feature = "node")]
    pub(crate) sessions: secmon_node::watch::sessions::SessionsConfig,
    #[cfg(feature = "node")]
    pub(crate) wireguard: secmon_node::watch::wireguard::WireguardConfig,
    #[cfg(feature = "node")]
    pub(crate) commands: secmon_node::commands::CommandsSection,
    #[cfg(feature = "node")]
    pub(crate) runner: secmon_node::commands::runner::RunnerSection,
    #[cfg(feature = "node")]
    pub(crate) limits: secmon_node::Limits,
    #[cfg(not(feature = "hub"))]
    #[serde(rename = "hub")]
    _hub: serde::de::IgnoredAny,
    #[cfg(not(feature = "hub"))]
    #[serde(rename = "log")]
    _log: serde::de::IgnoredAny,
    #[cfg(not(feature = "hub"))]
    #[serde(rename = "jobs")]
    _jobs: serde::de::IgnoredAny,
    #[cfg(not(feature = "hub"))]
    #[serde(rename = "socket")]
    _socket: serde::de::IgnoredAny,
    #[cfg(not(feature = "hub"))]
    #[serde(rename = "access")]
    _access: serde::de::IgnoredAny,
    #[cfg(not(feature = "node"))]
    #[serde(rename = "node")]
    _node: serde::de::IgnoredAny,
    #[cfg(not(feature = "node"))]
    #[serde(rename = "auth")]
    _auth: serde::de::IgnoredAny,
    #[cfg(not(feature = "node"))]
    #[serde(rename = "sessions")]
    _sessions: serde::de::IgnoredAny,
    #[cfg(not(feature = "node"))]
    #[serde(rename = "wireguard")]
    _wireguard: serde::de::IgnoredAny,
    #[cfg(not(feature = "node"))]
    #[serde(rename = "commands")]
    _commands: serde::de::IgnoredAny,
    #[cfg(not(feature = "node"))]
    #[serde(rename = "runner")]
    _runner: serde::de::IgnoredAny,
    #[cfg(not(feature = "node"))]
    #[serde(rename = "limits")]
    _limits: serde::de::IgnoredAny,
}

/// Why there is no configuration.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ConfigError {
    /// The file cannot be read.
    #[error("cannot read the configuration {path}: {source}", path = path.display())]
    Read { path: PathBuf, source: io::Error },
    /// The file makes no sense.
    #[error("{path}, line {line}, column {column}: {reason}", path = path.display())]
    Wrong { path: PathBuf, line: usize, column: usize, reason: String },
}

#[cfg(any(feature = "hub", feature = "node"))]
impl Config {
    /// Reads the file at `path`, or at [`DEFAULT_PATH`] where that exists.
    pub(crate) fn load(path: Option<&Path>) -> Result<Self, ConfigError> {
        read(path, Path::new(DEFAULT_PATH))
    }
}

/// Reads the file at `path`, or at `otherwise` where that exists.
pub(crate) fn read<T: DeserializeOwned + Default>(
    path: Option<&Path>,
    otherwise: &Path,
) -> Result<T, ConfigError> {
    let file = path.unwrap_or(otherwise);
    let failed = |source| ConfigError::Read { path: file.to_owned(), source };
    let mut text = String::new();
    let read = File::open(file).and_then(|f| f.take(MAX_FILE + 1).read_to_string(&mut text));
    match read {
        Err(e) if e.kind() == io::ErrorKind::NotFound && path.is_none() => return Ok(T::default()),
        other => other.map_err(failed)?,
    };
    if text.len() as u64 > MAX_FILE {
        return Err(failed(io::Error::other("it is over 1 MiB")));
    }
    toml::from_str(&text).map_err(|error| {
        let start = error.span().map_or(0, |span| span.start);
        let before = text.get(..start).unwrap_or_default();
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        ConfigError::Wrong { path: file.to_owned(), line, column, reason: reason(error.message()) }
    })
}

/// toml's words on one line, and the key that was meant by an unknown one.
fn reason(message: &str) -> String {
    let message = message.lines().map(str::trim).collect::<Vec<_>>().join("; ");
    // serde's words: unknown field `x`, expected one of `a`, `b`
    let mut quoted = message.split('`').skip(1).step_by(2);
    let meant = message.starts_with("unknown field").then(|| {
        let wrong = quoted.next()?;
        quoted
            .map(|key| (strsim::jaro_winkler(wrong, key), key))
            .filter(|(likeness, _)| *likeness >= NEAR)
            .max_by(|a, b| a.0.total_cmp(&b.0))
    });
    match meant.flatten() {
        Some((_, key)) => format!("{message}; did you mean `{key}`?"),
        None => message,
    }
}

/// Where state is kept: what `--state-dir` says, root's `/var/lib/secmon`, or a user's
/// `$XDG_STATE_HOME/secmon` (`~/.local/state/secmon`). A role has a folder of its own in it.
pub(crate) fn state_dir(asked: Option<PathBuf>) -> Result<PathBuf, NoHome> {
    if let Some(asked) = asked {
        return Ok(asked);
    }
    if geteuid().is_root() {
        return Ok("/var/lib/secmon".into());
    }
    Ok(folder("XDG_STATE_HOME")
        .or_else(|| Some(folder("HOME")?.join(".local/state")))
        .ok_or(NoHome)?
        .join("secmon"))
}

/// A user without a home.
#[derive(Debug, thiserror::Error)]
#[error("neither HOME nor XDG_STATE_HOME is set, so there is no place for state; name one with --state-dir")]
pub(crate) struct NoHome;

/// Where the hub's socket goes: what was asked for, in the folder of `--state-dir`, root's
/// `/run/secmon/hub.sock`, a user's `$XDG_RUNTIME_DIR/secmon/hub.sock`, or in the user's state folder.
#[cfg(feature = "hub")]
pub(crate) fn socket_path(asked: Option<PathBuf>, asked_state: Option<&Path>, state: &Path) -> PathBuf {
    if let Some(asked) = asked {
        return asked;
    }
    match asked_state {
        Some(state) => state.join("hub.sock"),
        None if geteuid().is_root() => "/run/secmon/hub.sock".into(),
        None => folder("XDG_RUNTIME_DIR")
            .map_or_else(|| state.to_owned(), |run| run.join("secmon"))
            .join("hub.sock"),
    }
}

/// A folder from the environment; the XDG base directory specification wants relative ones ignored.
fn folder(name: &str) -> Option<PathBuf> {
    env::var_os(name).map(PathBuf::from).filter(|path| path.is_absolute())
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::*;

    #[test]
    fn a_key_that_was_meant_is_suggested_and_a_strange_one_is_not() {
        let of =
            |wrong: &str| reason(&format!("unknown field `{wrong}`, expected one of `listen`, `advertise`"));
        assert!(of("lisen").ends_with("did you mean `listen`?"));
        assert!(!of("zzz").contains("did you mean"));
        assert!(!reason("invalid string\nexpected `\"`").contains("did you mean"));
    }

    #[cfg(feature = "hub")]
    #[test]
    fn what_the_log_keeps_is_said_in_units_and_a_number_alone_is_not_guessed_at() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secmon.toml");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Config::load(Some(&path)).map(|config| config.log).map_err(|error| error.to_string())
        };
        let log = load("[log]\nsize = \"2GiB\"\nage = \"12h\"\ndurability = \"power\"\n").unwrap();
        assert_eq!((log.size, log.age.as_secs()), (2 << 30, 12 * 60 * 60));
        assert_eq!(log.durability, secmon_hub::Durability::Power);
        assert_eq!(load("[log]\nage = \"1w\"\n").unwrap(), secmon_hub::LogSection::default());
        for (wrong, said) in [
            ("size = 256", "line 2, column 8"),
            ("size = \"256MB\"", "\"64MiB\" or \"2GiB\""),
            ("age = \"a week\"", "\"12h\" or \"7d\""),
            ("durability = \"disk\"", "`process` or `power`"),
        ] {
            let error = load(&format!("[log]\n{wrong}\n")).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
    }

    #[cfg(feature = "hub")]
    #[test]
    fn an_access_rule_names_one_or_many_and_leaves_nothing_to_be_guessed() {
        use secmon_hub::access::Account::{Name, Number};
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secmon.toml");
        let load = |text: &str| {
            fs::write(&path, text).unwrap();
            Config::load(Some(&path)).map(|config| config.access).map_err(|error| error.to_string())
        };
        let rules = load(
            "[[access]]\nusers = [\"alice\", 1001]\nrole = \"viewer\"\n\
             [[access]]\ngroups = \"ops\"\nusers = 7\nrole = \"operator\"\nnodes = \"web*\"\ncommands = [\"restart-*\"]\n",
        )
        .unwrap();
        assert_eq!(rules[0].users, [Name("alice".into()), Number(1001)]);
        assert_eq!((&rules[0].groups, &rules[0].nodes, &rules[0].commands), (&vec![], &None, &None));
        assert_eq!(
            (&rules[1].users[..], &rules[1].groups[..]),
            (&[Number(7)][..], &[Name("ops".into())][..])
        );
        let text = |text: &str| Some(vec![text.to_owned()]);
        assert_eq!((&rules[1].nodes, &rules[1].commands), (&text("web*"), &text("restart-*")));
        for (wrong, said) in [
            ("users = \"a\"", "missing field `role`"),
            ("users = \"a\"\nrole = \"root\"", "\"viewer\", \"operator\" or \"admin\""),
            ("users = true\nrole = \"admin\"", "one entry or a list of them"),
            ("users = [-1]\nrole = \"admin\"", "a name, as \"alice\", or a number, as 1001"),
            ("users = [4294967295]\nrole = \"admin\"", "a name, as \"alice\", or a number, as 1001"),
            ("user = \"a\"\nrole = \"admin\"", "did you mean `users`?"),
        ] {
            let error = load(&format!("[[access]]\n{wrong}\n")).unwrap_err();
            assert!(error.contains(said), "{error}");
        }
        // One table in the place of a list of them is a slip that is easily made.
        assert!(load("[access]\nusers = \"a\"\nrole = \"admin\"\n").is_err());
    }

    #[cfg(feature = "hub")]
    #[test]
    fn what_is_kept_of_jobs_is_said_as_for_the_log() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secmon.toml");
        fs::write(&path, "[jobs]\noutput = \"4MiB\"\nage = \"1w\"\n").unwrap();
        let jobs = Config::load(Some(&path)).unwrap().jobs;
        assert_eq!((jobs.output, jobs.keep, jobs.age.as_secs()), (4 << 20, 1_000, 7 * 24 * 60 * 60));
        fs::write(&path, "[jobs]\nkepp = 5\n").unwrap();
        let error = Config::load(Some(&path)).map(|config| config.jobs).unwrap_err().to_string();
        assert!(error.ends_with("did you mean `keep`?"), "{error}");
    }

    #[test]
    fn an_error_names_file_line_and_column() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("secmon.toml");
        fs::write(&path, "# ä\n\n[nod]\n").unwrap();
        let error = Config::load(Some(&path)).unwrap_err().to_string();
        assert!(error.contains(", line 3, column 2: unknown field `nod`"), "{error}");
        assert!(error.ends_with("did you mean `node`?"), "{error}");
    }
}
