//! Bearer tokens: made, listed, revoked; hashed at rest in `tokens.json` of the state folder.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _, fchown},
    path::{Path, PathBuf},
};

use jiff::Timestamp;
use nix::{fcntl::OFlag, unistd::geteuid};
use secmon_protocol::{limits::MAX_PATTERNS, message::client::Role, time::UnixNanos};
use serde::{Deserialize, Serialize};

use super::{
    role,
    secret::{self, Hash},
};

/// Most tokens: each is compared with what a request has.
pub const MAX_TOKENS: usize = 1000;
/// Longest name, in bytes: as much as the hub's log keeps of who ran something.
const MAX_NAME: usize = 64;
/// Longest pattern, in bytes, as in the hub's rules.
const MAX_PATTERN: usize = 256;
/// Largest file that is read: a thousand tokens with as many patterns as they may have are below it.
const MAX_FILE: u64 = 64 << 20;
/// The version of the file.
const VERSION: u32 = 1;

/// What a new token gives.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewToken {
    /// Its name.
    pub name: String,
    /// What it makes of its bearer.
    pub role: Role,
    /// Patterns of nodes; empty: all.
    pub nodes: Vec<String>,
    /// Patterns of commands; empty: all.
    pub commands: Vec<String>,
    /// When it ends, where it does.
    pub expires: Option<UnixNanos>,
}

/// A token as it is listed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listed {
    /// What it gives.
    pub token: NewToken,
    /// When it was made.
    pub made: UnixNanos,
}

/// What went wrong: what was tried, on what, why, and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct TokenError(pub String);

fn failed(what: &str, path: &Path, error: &io::Error) -> TokenError {
    TokenError(format!("cannot {what} {}: {error}", path.display()))
}

/// The file of a state folder.
#[must_use]
pub fn file(state_dir: &Path) -> PathBuf {
    state_dir.join("tokens.json")
}

/// A token as it is kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Kept {
    pub(crate) listed: Listed,
    pub(crate) hash: Hash,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Stored {
    version: u32,
    tokens: Vec<Entry>,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Entry {
    name: String,
    role: String,
    nodes: Vec<String>,
    commands: Vec<String>,
    made: Timestamp,
    expires: Option<Timestamp>,
    sha256: Hash,
}

impl From<&Kept> for Entry {
    fn from(Kept { listed: Listed { token, made }, hash }: &Kept) -> Self {
        Self {
            name: token.name.clone(),
            role: token.role.as_str().to_owned(),
            nodes: token.nodes.clone(),
            commands: token.commands.clone(),
            made: made.timestamp(),
            expires: token.expires.map(UnixNanos::timestamp),
            sha256: *hash,
        }
    }
}

impl TryFrom<Entry> for Kept {
    type Error = String;

    fn try_from(entry: Entry) -> Result<Self, String> {
        let Entry { name, role: word, nodes, commands, made, expires, sha256 } = entry;
        let token = NewToken { name, role: role(&word)?, nodes, commands, expires: expires.map(Into::into) };
        token.check()?;
        Ok(Self { listed: Listed { token, made: made.into() }, hash: sha256 })
    }
}

impl NewToken {
    fn check(&self) -> Result<(), String> {
        let strange = |c: char| !(c.is_ascii_alphanumeric() || "._-@".contains(c));
        if self.name.is_empty() || self.name.len() > MAX_NAME || self.name.contains(strange) {
            return Err(format!(
                "{:?} is no name for a token: that is 1 to {MAX_NAME} letters, digits, '.', '_', '-' and '@'",
                self.name
            ));
        }
        for (what, patterns) in [("nodes", &self.nodes), ("commands", &self.commands)] {
            if patterns.len() > MAX_PATTERNS {
                return Err(format!(
                    "{what}: {} patterns are over the limit of {MAX_PATTERNS}",
                    patterns.len()
                ));
            }
            if patterns.iter().any(|pattern| pattern.is_empty() || pattern.len() > MAX_PATTERN) {
                return Err(format!("{what}: a pattern has 1 to {MAX_PATTERN} bytes"));
            }
        }
        if self.role != Role::Operator && !self.commands.is_empty() {
            let word = self.role.as_str();
            let what = if self.role == Role::Viewer { "runs no commands" } else { "runs every command" };
            return Err(format!("patterns of commands are for an operator; the role {word} {what}"));
        }
        Ok(())
    }
}

/// All tokens of a folder; none where there is no file.
pub(crate) fn read(state_dir: &Path) -> Result<Vec<Kept>, TokenError> {
    let path = file(state_dir);
    let mut text = String::new();
    // A pipe would be waited for, with everybody who asks.
    let opened = OpenOptions::new().read(true).custom_flags(OFlag::O_NONBLOCK.bits()).open(&path);
    let opened = opened.and_then(|file| check(&file, state_dir).map(|()| file));
    match opened.and_then(|file| file.take(MAX_FILE).read_to_string(&mut text)) {
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(failed("read the tokens in", &path, &error)),
    }
    let wrong = |reason: String| {
        TokenError(format!(
            "the tokens in {} cannot be read: {reason}; put a copy back, or remove the file and make new tokens",
            path.display()
        ))
    };
    let stored: Stored = serde_json::from_str(&text).map_err(|error| wrong(error.to_string()))?;
    if stored.version != VERSION || stored.tokens.len() > MAX_TOKENS {
        return Err(wrong(format!("version {}, {} tokens", stored.version, stored.tokens.len())));
    }
    stored.tokens.into_iter().map(|entry| entry.try_into().map_err(&wrong)).collect()
}

/// Makes a token and keeps its hash; the token itself, which is nowhere else.
///
/// # Errors
/// The name is taken or makes no sense, or the file cannot be written.
pub fn add(state_dir: &Path, new: NewToken) -> Result<String, TokenError> {
    new.check().map_err(TokenError)?;
    let token = secret::new_token().map_err(TokenError)?;
    change(state_dir, |tokens| {
        if tokens.iter().any(|kept| kept.listed.token.name == new.name) {
            return Err(TokenError(format!(
                "there is a token {name:?} already; revoke it first (secmon http token revoke {name}) or choose another name",
                name = new.name
            )));
        }
        if tokens.len() >= MAX_TOKENS {
            return Err(TokenError(format!("there are {MAX_TOKENS} tokens, which is the limit; revoke one")));
        }
        let listed = Listed { token: new, made: Timestamp::now().into() };
        tokens.push(Kept { listed, hash: Hash::of(&token) });
        Ok(())
    })?;
    Ok(token.to_string())
}

/// All tokens, by name.
///
/// # Errors
/// The file cannot be read.
pub fn list(state_dir: &Path) -> Result<Vec<Listed>, TokenError> {
    let mut tokens: Vec<Listed> = read(state_dir)?.into_iter().map(|kept| kept.listed).collect();
    tokens.sort_by(|a, b| a.token.name.cmp(&b.token.name));
    Ok(tokens)
}

/// Ends a token at once, also in a bridge that runs.
///
/// # Errors
/// There is none of that name, or the file cannot be written.
pub fn revoke(state_dir: &Path, name: &str) -> Result<(), TokenError> {
    if !file(state_dir).exists() {
        return Err(TokenError(format!("there is no token {name:?}; {} has none", state_dir.display())));
    }
    change(state_dir, |tokens| {
        let before = tokens.len();
        tokens.retain(|kept| kept.listed.token.name != name);
        if tokens.len() == before {
            return Err(TokenError(format!(
                "there is no token {name:?}; secmon http token list shows those there are"
            )));
        }
        Ok(())
    })
}

/// Reads, changes and writes, with nobody else in between.
fn change(
    state_dir: &Path,
    act: impl FnOnce(&mut Vec<Kept>) -> Result<(), TokenError>,
) -> Result<(), TokenError> {
    if !state_dir.is_dir() {
        DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(state_dir)
            .map_err(|error| failed("make the folder", state_dir, &error))?;
    }
    let path = state_dir.join("tokens.lock");
    let lock = OpenOptions::new()
        .create(true)
        .append(true)
        .mode(0o600)
        .custom_flags((OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK).bits())
        .open(&path)
        .and_then(|lock| own(&lock, state_dir).map(|()| lock))
        .map_err(|error| failed("open", &path, &error))?;
    // Held for a moment by another `token`, never longer.
    lock.lock().map_err(|error| failed("lock", &path, &error))?;
    let mut tokens = read(state_dir)?;
    act(&mut tokens)?;
    let stored = Stored { version: VERSION, tokens: tokens.iter().map(Entry::from).collect() };
    let mut text = serde_json::to_vec_pretty(&stored).map_err(|error| TokenError(error.to_string()))?;
    text.push(b'\n');
    write_private(&file(state_dir), &text, Lasts::PowerCut)
        .map_err(|error| failed("write", &file(state_dir), &error))
}

/// What a file has to outlive.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Lasts {
    /// The process: written in microseconds.
    Restart,
    /// The machine's power as well: the disk is waited for.
    PowerCut,
}

/// Writes a file that is there whole or not at all, for the owner of its folder alone.
pub(super) fn write_private(path: &Path, content: &[u8], lasts: Lasts) -> io::Result<()> {
    let dir = path.parent().ok_or(io::ErrorKind::InvalidInput)?;
    // Mode 0600, by tempfile's promise.
    let mut temporary = tempfile::NamedTempFile::new_in(dir)?;
    own(temporary.as_file(), dir)?;
    temporary.write_all(content)?;
    if lasts == Lasts::PowerCut {
        temporary.as_file().sync_all()?;
    }
    temporary.persist(path).map_err(|error| error.error)?;
    match lasts {
        Lasts::PowerCut => File::open(dir)?.sync_all(),
        Lasts::Restart => Ok(()),
    }
}

/// Whether nobody else can have written the tokens: who can makes himself an admin.
fn check(file: &File, dir: &Path) -> io::Result<()> {
    const OTHERS_WRITE: u32 = 0o002;
    const GROUP_WRITES: u32 = 0o020;
    const STICKY: u32 = 0o1000;
    let (folder, meta) = (fs::metadata(dir)?, file.metadata()?);
    let wrong = |reason: String| Err(io::Error::new(io::ErrorKind::PermissionDenied, reason));
    if !meta.is_file() {
        return wrong("it is no plain file; remove it".to_owned());
    }
    let mode = meta.mode() & 0o7777;
    if mode & (OTHERS_WRITE | GROUP_WRITES) != 0 {
        return wrong(format!(
            "others may write it (mode {mode:04o}); look at what it has, and run chmod 0600"
        ));
    }
    let mode = folder.mode() & 0o7777;
    if mode & OTHERS_WRITE != 0 && mode & STICKY == 0 {
        return wrong(format!(
            "others may write the folder {} (mode {mode:04o}); look at what it has, and run chmod 0700",
            dir.display()
        ));
    }
    if ![0, geteuid().as_raw(), folder.uid()].contains(&meta.uid()) {
        return wrong(format!(
            "it belongs to uid {}, which is neither root nor the owner of the folder; look at what it has, and run chown",
            meta.uid()
        ));
    }
    Ok(())
}

/// Root makes tokens for a bridge that runs as somebody else: what it writes belongs to whom the folder belongs to.
fn own(file: &File, dir: &Path) -> io::Result<()> {
    let (folder, own) = (fs::metadata(dir)?, file.metadata()?);
    // Who owns the folder could have put another name of somebody else's file there, and root would give it to him.
    if !own.is_file() || own.nlink() != 1 {
        return Err(io::Error::other("it is no plain file with one name; remove it"));
    }
    if geteuid().is_root() && (folder.uid(), folder.gid()) != (own.uid(), own.gid()) {
        fchown(file, Some(folder.uid()), Some(folder.gid()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{PermissionsExt as _, chown};

    use super::*;

    fn token(name: &str) -> NewToken {
        NewToken { name: name.into(), role: Role::Viewer, nodes: vec![], commands: vec![], expires: None }
    }

    #[test]
    fn tokens_are_made_listed_and_revoked_and_the_file_has_their_hashes_alone() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("a/state");
        assert_eq!(list(&state).unwrap(), []);
        let full = NewToken {
            role: Role::Operator,
            nodes: vec!["web*".into()],
            commands: vec!["restart-*".into()],
            expires: Some(UnixNanos(4_000_000_000_000_000_000)),
            ..token("laptop")
        };
        let text = add(&state, full.clone()).unwrap();
        add(&state, token("a-page")).unwrap();
        let listed = list(&state).unwrap();
        assert_eq!((&listed[0].token, &listed[1].token), (&token("a-page"), &full));
        let kept = fs::read_to_string(file(&state)).unwrap();
        assert!(!kept.contains(&text) && kept.contains(&String::from(Hash::of(&text))), "{kept}");
        assert_eq!(fs::metadata(file(&state)).unwrap().permissions().mode() & 0o777, 0o600);
        assert!(add(&state, token("laptop")).unwrap_err().to_string().contains("already"));
        revoke(&state, "laptop").unwrap();
        assert_eq!(list(&state).unwrap().len(), 1);
        assert!(revoke(&state, "laptop").unwrap_err().to_string().contains("no token \"laptop\""));
    }

    #[test]
    fn what_makes_no_sense_is_refused_before_anything_is_written() {
        let dir = tempfile::tempdir().unwrap();
        let state = dir.path().join("state");
        for (new, said) in [
            (token(""), "no name"),
            (token("a b"), "no name"),
            (token("x\n"), "no name"),
            (token(&"x".repeat(65)), "no name"),
            (NewToken { commands: vec!["x".into()], ..token("a") }, "runs no commands"),
            (NewToken { commands: vec!["x".into()], role: Role::Admin, ..token("a") }, "every command"),
            (NewToken { nodes: vec![String::new()], ..token("a") }, "1 to 256"),
        ] {
            let error = add(&state, new).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        }
        assert!(!state.exists());
        assert!(revoke(&state, "a").unwrap_err().to_string().contains("has none"));
        assert!(!state.exists());
    }

    #[test]
    fn what_root_makes_belongs_to_the_owner_of_the_folder() {
        if !geteuid().is_root() {
            return;
        }
        let dir = tempfile::tempdir().unwrap();
        chown(dir.path(), Some(4_100_010), Some(4_100_011)).unwrap();
        add(dir.path(), token("a")).unwrap();
        for name in ["tokens.json", "tokens.lock"] {
            let meta = fs::metadata(dir.path().join(name)).unwrap();
            assert_eq!((meta.uid(), meta.gid()), (4_100_010, 4_100_011), "{name}");
        }
    }

    #[test]
    fn root_gives_nobody_a_file_that_was_somebody_elses() {
        if !geteuid().is_root() {
            return;
        }
        let (dir, elsewhere) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        chown(dir.path(), Some(4_100_010), Some(4_100_011)).unwrap();
        let precious = elsewhere.path().join("precious");
        fs::write(&precious, "x").unwrap();
        let lock = dir.path().join("tokens.lock");
        // Both folders are of one file system where the test runs; else there is nothing to try.
        if fs::hard_link(&precious, &lock).is_ok() {
            assert!(add(dir.path(), token("a")).unwrap_err().to_string().contains("one name"));
            assert_eq!(fs::metadata(&precious).unwrap().uid(), 0);
            fs::remove_file(&lock).unwrap();
        }
        nix::unistd::mkfifo(&lock, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(add(dir.path(), token("a")).is_err(), "and it waits for no pipe");
    }

    #[test]
    fn tokens_that_others_could_have_written_are_not_read() {
        let dir = tempfile::tempdir().unwrap();
        add(dir.path(), token("a")).unwrap();
        let file = file(dir.path());
        let mode = |path: &Path, mode| fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
        let refused = |said: &str| {
            let error = list(dir.path()).unwrap_err().to_string();
            assert!(error.contains(said), "{error}");
        };
        for bits in [0o602, 0o620, 0o666] {
            mode(&file, bits);
            refused("others may write it");
        }
        mode(&file, 0o644);
        mode(dir.path(), 0o777);
        refused("others may write the folder");
        mode(dir.path(), 0o1777);
        assert_eq!(list(dir.path()).unwrap().len(), 1);
        if geteuid().is_root() {
            chown(&file, Some(4_100_010), None).unwrap();
            refused("it belongs to uid 4100010");
        }
        fs::remove_file(&file).unwrap();
        nix::unistd::mkfifo(&file, nix::sys::stat::Mode::S_IRWXU).unwrap();
        refused("no plain file");
    }

    #[test]
    fn two_at_once_lose_neither_token() {
        let dir = tempfile::tempdir().unwrap();
        std::thread::scope(|scope| {
            for name in 0..8 {
                let dir = dir.path();
                scope.spawn(move || add(dir, token(&format!("t{name}"))).unwrap());
            }
        });
        assert_eq!(list(dir.path()).unwrap().len(), 8);
    }
}
