//! The tokens as a running bridge holds them: read again when their file changes, so that a revoked one ends at once.

use std::{
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use jiff::Timestamp;
use secmon_protocol::time::UnixNanos;
use tracing::{info, warn};

use super::{
    By, Principal,
    secret::Hash,
    tokens::{self, Kept, TokenError},
};

/// Whose token it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum NoToken {
    /// There is none like it: never was, or was revoked.
    Unknown,
    /// Its time is over.
    Expired,
}

/// A token that works.
#[derive(Debug)]
pub(crate) struct Live {
    kept: Kept,
    pub(crate) principal: Principal,
}

impl Live {
    fn new(kept: Kept) -> Arc<Self> {
        let token = &kept.listed.token;
        let principal = Principal::new(By::Token, &token.name, token.role, &token.nodes, &token.commands);
        Arc::new(Self { kept, principal })
    }

    /// What it is known by.
    pub(crate) fn hash(&self) -> Hash {
        self.kept.hash
    }

    /// Whether the other one is the same token and gives the same.
    pub(crate) fn gives_what(&self, other: &Self) -> bool {
        self.kept == other.kept
    }

    fn is_over(&self, now: UnixNanos) -> bool {
        self.kept.listed.token.expires.is_some_and(|end| end <= now)
    }
}

/// The tokens of a state folder.
#[derive(Debug)]
pub(crate) struct Keyring {
    state_dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    file: Option<Identity>,
    live: Vec<Arc<Live>>,
}

/// What changes when a file does: device, inode, size, and its times, ctime too, which nobody can set back.
type Identity = (u64, u64, u64, (i64, i64), (i64, i64));

fn identity(path: &Path) -> Option<Identity> {
    let meta = fs::metadata(path).ok()?;
    let (modified, changed) = ((meta.mtime(), meta.mtime_nsec()), (meta.ctime(), meta.ctime_nsec()));
    Some((meta.dev(), meta.ino(), meta.size(), modified, changed))
}

impl Keyring {
    /// The tokens there are; none where there is no file yet.
    ///
    /// # Errors
    /// The file cannot be read or makes no sense.
    pub(crate) fn open(state_dir: &Path) -> Result<Self, TokenError> {
        let file = identity(&tokens::file(state_dir));
        let live = tokens::read(state_dir)?.into_iter().map(Live::new).collect();
        let state = Mutex::new(State { file, live });
        Ok(Self { state_dir: state_dir.to_owned(), state })
    }

    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.lock().live.len()
    }

    /// The token that has this hash.
    ///
    /// # Errors
    /// There is none, or its time is over.
    pub(crate) fn find(&self, hash: &Hash) -> Result<Arc<Live>, NoToken> {
        let mut state = self.lock();
        // One stat(2): a new token works at once, and a revoked one no more.
        self.look(&mut state);
        // Each is compared, so that the time tells nothing of where, or whether, it was found.
        let mut found = None;
        for live in &state.live {
            if live.kept.hash.is(hash) {
                found = Some(live);
            }
        }
        let live = found.ok_or(NoToken::Unknown)?;
        if live.is_over(Timestamp::now().into()) {
            live.principal.ended.cancel();
            return Err(NoToken::Expired);
        }
        Ok(live.clone())
    }

    /// The token that has this hash as of the last look, if it works.
    pub(crate) fn live(&self, hash: &Hash) -> Option<Arc<Live>> {
        let now = Timestamp::now().into();
        self.lock().live.iter().find(|live| live.kept.hash == *hash && !live.is_over(now)).cloned()
    }

    /// Looks at the file and the clock, for those whose streams run while they ask for nothing.
    pub(crate) fn look_again(&self) {
        let now = Timestamp::now().into();
        let mut state = self.lock();
        self.look(&mut state);
        state.live.iter().filter(|live| live.is_over(now)).for_each(|live| live.principal.ended.cancel());
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn look(&self, state: &mut State) {
        let file = identity(&tokens::file(&self.state_dir));
        if file == state.file {
            return;
        }
        state.file = file;
        let kept = match tokens::read(&self.state_dir) {
            Ok(kept) => kept,
            // It is written whole or not at all: somebody has edited it. Who could ask may go on until it is whole again.
            Err(error) => return warn!(%error, "the tokens stay as they were"),
        };
        let mut before = std::mem::take(&mut state.live);
        for kept in kept {
            let same = before.iter().position(|live| live.kept == kept);
            state.live.push(same.map_or_else(|| Live::new(kept), |at| before.swap_remove(at)));
        }
        for gone in before {
            info!(token = &*gone.principal.name, "a token was revoked or changed; what ran for it ends");
            gone.principal.ended.cancel();
        }
    }
}

#[cfg(test)]
mod tests {
    use secmon_protocol::message::client::Role;

    use super::{super::tokens::NewToken, *};

    fn token(name: &str, expires: Option<UnixNanos>) -> NewToken {
        NewToken { name: name.into(), role: Role::Viewer, nodes: vec![], commands: vec![], expires }
    }

    fn look(keyring: &Keyring) {
        keyring.look(&mut keyring.lock());
    }

    #[test]
    fn a_revoked_token_is_unknown_and_what_runs_for_it_ends_while_others_go_on() {
        let dir = tempfile::tempdir().unwrap();
        let keyring = Keyring::open(dir.path()).unwrap();
        let [a, b] = ["a", "b"].map(|name| Hash::of(&tokens::add(dir.path(), token(name, None)).unwrap()));
        look(&keyring);
        let (first, second) = (keyring.find(&a).unwrap(), keyring.find(&b).unwrap());
        tokens::revoke(dir.path(), "a").unwrap();
        look(&keyring);
        assert!(first.principal.ended.is_cancelled() && !second.principal.ended.is_cancelled());
        assert_eq!(keyring.find(&a).unwrap_err(), NoToken::Unknown);
        assert!(Arc::ptr_eq(&keyring.find(&b).unwrap(), &second));
        // The name again is another token.
        tokens::add(dir.path(), token("a", None)).unwrap();
        look(&keyring);
        assert_eq!(keyring.find(&a).unwrap_err(), NoToken::Unknown);
        fs::remove_file(tokens::file(dir.path())).unwrap();
        look(&keyring);
        assert!(second.principal.ended.is_cancelled() && keyring.len() == 0);
    }

    #[test]
    fn a_token_works_until_its_time_and_says_that_it_is_over() {
        let dir = tempfile::tempdir().unwrap();
        let past = Hash::of(&tokens::add(dir.path(), token("past", Some(UnixNanos(1)))).unwrap());
        let future = Hash::of(&tokens::add(dir.path(), token("future", Some(UnixNanos(i64::MAX)))).unwrap());
        let keyring = Keyring::open(dir.path()).unwrap();
        assert_eq!(keyring.find(&past).unwrap_err(), NoToken::Expired);
        keyring.find(&future).unwrap();
    }

    #[test]
    fn a_file_that_makes_no_sense_changes_nothing_for_those_who_run_and_is_said_at_the_start() {
        let dir = tempfile::tempdir().unwrap();
        let a = Hash::of(&tokens::add(dir.path(), token("a", None)).unwrap());
        let keyring = Keyring::open(dir.path()).unwrap();
        fs::write(tokens::file(dir.path()), "{\"version\":1,").unwrap();
        look(&keyring);
        keyring.find(&a).unwrap();
        let error = Keyring::open(dir.path()).unwrap_err().to_string();
        assert!(error.contains("tokens.json") && error.contains("make new tokens"), "{error}");
    }
}
