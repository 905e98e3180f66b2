//! Sessions: the cookie that a browser has in the place of a token, which no script can read.
//!
//! What the cookie says is random and kept as its hash alone, beside the hash of the token that it was made from; the token
//! revoked, the session is over. They are written to `sessions.json`, so that who has a page open stays signed in when the
//! bridge is started again, and what a page streams goes on.

use std::{
    collections::HashMap,
    fs, io,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use axum::http::{HeaderMap, HeaderValue, header};
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zeroize::Zeroizing;

use super::{
    Keyring, Principal,
    keyring::Live,
    secret::{self, Hash},
    tokens::{Lasts, write_private},
};

/// Most sessions: each is a few hundred bytes. The one that was unused for longest goes for a new one.
const MAX_SESSIONS: usize = 1000;
/// Most of one token, so that nobody signs the others out.
const MAX_OF_TOKEN: usize = 50;
/// The cookie's name. With this prefix browsers take it from the host itself alone, over TLS alone (RFC 6265bis §4.1.3.2).
const SECURE_NAME: &str = "__Host-secmon_session";
/// Its name where there is no TLS.
const PLAIN_NAME: &str = "secmon_session";
/// Largest file of sessions that is read.
const MAX_FILE: u64 = 1 << 20;

/// How long sessions last.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Lasting {
    /// Without being used.
    pub(crate) idle: Duration,
    /// At all.
    pub(crate) age: Duration,
}

/// The sessions there are.
#[derive(Debug)]
pub(crate) struct Sessions {
    file: PathBuf,
    lasting: Lasting,
    all: Mutex<HashMap<Hash, Session>>,
}

#[derive(Debug, Clone)]
struct Session {
    token: Hash,
    made: Timestamp,
    /// What the token gave when it was used last: what runs for the session has no more than that.
    live: Option<Arc<Live>>,
    used: Instant,
    ended: CancellationToken,
    /// Held by each request; a stream that runs uses its session.
    streams: Arc<()>,
}

#[derive(Serialize, Deserialize)]
struct Entry {
    cookie: Hash,
    token: Hash,
    made: Timestamp,
}

/// Whoever asks by a session, and what keeps it from being idle.
#[derive(Debug)]
pub(crate) struct Held {
    pub(crate) principal: Principal,
    pub(crate) use_of: Arc<()>,
}

impl Sessions {
    /// Those that were there when the bridge ended.
    pub(crate) fn open(state_dir: &Path, lasting: Lasting) -> Self {
        let file = state_dir.join("sessions.json");
        let entries = read(&file).unwrap_or_else(|error| {
            warn!(%error, file = %file.display(), "the sessions of before are over: their file cannot be read");
            vec![]
        });
        let session = |Entry { cookie, token, made }| (cookie, Session::new(token, made));
        let all = Mutex::new(entries.into_iter().take(MAX_SESSIONS).map(session).collect());
        Self { file, lasting, all }
    }

    /// A new one for a token, and what its cookie says.
    ///
    /// # Errors
    /// The system gives no random bytes.
    pub(crate) fn begin(&self, live: &Live) -> Result<Zeroizing<String>, String> {
        let secret = secret::random_text()?;
        let mut all = self.lock();
        let of_token = all.values().filter(|session| session.token == live.hash()).count();
        if of_token >= MAX_OF_TOKEN || all.len() >= MAX_SESSIONS {
            let same = |session: &Session| of_token < MAX_OF_TOKEN || session.token == live.hash();
            let oldest =
                all.iter().filter(|(_, s)| same(s)).min_by_key(|(_, s)| s.used).map(|(cookie, _)| *cookie);
            if let Some(gone) = oldest.and_then(|cookie| all.remove(&cookie)) {
                gone.ended.cancel();
            }
        }
        all.insert(Hash::of(&secret), Session::new(live.hash(), Timestamp::now()));
        self.write(&all);
        Ok(secret)
    }

    /// Who asks with that cookie.
    pub(crate) fn find(&self, cookie: &str, keyring: &Keyring) -> Option<Held> {
        let mut all = self.lock();
        let session = all.get_mut(&Hash::of(cookie))?;
        if self.is_over(session) {
            return None;
        }
        session.used = Instant::now();
        let live = keyring.find(&session.token).ok()?;
        session.follow(&live);
        // Over with the token as well as by itself.
        let ended = live.principal.ended.clone();
        let principal = Principal { ended: session.ended.clone(), ..live.principal.clone() };
        if ended.is_cancelled() {
            session.ended.cancel();
        }
        Some(Held { principal, use_of: session.streams.clone() })
    }

    /// Ends one, and what runs for it.
    pub(crate) fn end(&self, cookie: &str) {
        let mut all = self.lock();
        if let Some(gone) = all.remove(&Hash::of(cookie)) {
            gone.ended.cancel();
            self.write(&all);
        }
    }

    /// Ends those that are over, and those whose token is.
    pub(crate) fn sweep(&self, keyring: &Keyring) {
        let mut all = self.lock();
        let before = all.len();
        all.retain(|_, session| {
            let live = keyring.live(&session.token).filter(|_| !self.is_over(session));
            match &live {
                Some(live) => session.follow(live),
                None => session.ended.cancel(),
            }
            live.is_some()
        });
        if all.len() != before {
            self.write(&all);
        }
    }

    fn is_over(&self, session: &Session) -> bool {
        let age = Timestamp::now().duration_since(session.made);
        // A clock that was set back makes none older than it is.
        let old = Duration::try_from(age).is_ok_and(|age| age >= self.lasting.age);
        let idle = session.used.elapsed() >= self.lasting.idle && Arc::strong_count(&session.streams) == 1;
        old || idle
    }

    fn lock(&self) -> MutexGuard<'_, HashMap<Hash, Session>> {
        self.all.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A file that cannot be written costs that people have to sign in again after a start, nothing else.
    fn write(&self, all: &HashMap<Hash, Session>) {
        let entries: Vec<Entry> = all
            .iter()
            .map(|(cookie, session)| Entry { cookie: *cookie, token: session.token, made: session.made })
            .collect();
        let written = serde_json::to_vec(&entries)
            .map_err(io::Error::other)
            .and_then(|text| write_private(&self.file, &text, Lasts::Restart));
        if let Err(error) = written {
            warn!(%error, file = %self.file.display(), "sessions cannot be written, and will be over when the bridge ends");
        }
    }

    /// The header that gives a browser its cookie.
    pub(crate) fn set_cookie(&self, value: &str, secure: bool) -> Option<HeaderValue> {
        cookie(value, self.lasting.age.as_secs(), secure)
    }
}

impl Session {
    fn new(token: Hash, made: Timestamp) -> Self {
        let ended = CancellationToken::new();
        Self { token, made, live: None, used: Instant::now(), ended, streams: Arc::new(()) }
    }

    /// Ends what runs by what the token gave before it was changed; the session itself goes on with what it gives now.
    fn follow(&mut self, live: &Arc<Live>) {
        if self.live.as_ref().is_none_or(|before| !before.gives_what(live)) {
            self.live = Some(live.clone());
            std::mem::take(&mut self.ended).cancel();
        }
    }
}

/// The header that takes it away.
pub(crate) fn clear_cookie(secure: bool) -> Option<HeaderValue> {
    cookie("", 0, secure)
}

fn cookie(value: &str, age: u64, secure: bool) -> Option<HeaderValue> {
    let (name, secure) = if secure { (SECURE_NAME, "; Secure") } else { (PLAIN_NAME, "") };
    let text = format!("{name}={value}; Path=/; Max-Age={age}; HttpOnly; SameSite=Strict{secure}");
    let mut value = HeaderValue::try_from(text).ok()?;
    value.set_sensitive(true);
    Some(value)
}

/// What the cookie of a request says.
pub(crate) fn cookie_of(headers: &HeaderMap, secure: bool) -> Option<&str> {
    let name = if secure { SECURE_NAME } else { PLAIN_NAME };
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| {
        let (key, value) = pair.trim().split_once('=')?;
        (key == name).then_some(value)
    })
}

fn read(file: &Path) -> io::Result<Vec<Entry>> {
    match fs::metadata(file) {
        Ok(meta) if meta.len() <= MAX_FILE => {}
        Ok(_) => return Err(io::Error::other("it is over 1 MiB")),
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![]),
        Err(error) => return Err(error),
    }
    serde_json::from_slice(&fs::read(file)?).map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use secmon_protocol::message::client::Role;

    use super::{
        super::tokens::{self, NewToken},
        *,
    };

    const LASTING: Lasting = Lasting { idle: Duration::from_secs(60), age: Duration::from_secs(600) };

    fn make(dir: &Path, name: &str) -> Hash {
        let new = NewToken {
            name: name.into(),
            role: Role::Viewer,
            nodes: vec![],
            commands: vec![],
            expires: None,
        };
        Hash::of(&tokens::add(dir, new).unwrap())
    }

    #[test]
    fn a_session_is_its_token_and_ends_by_itself_or_with_it_and_outlives_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (make(dir.path(), "a"), make(dir.path(), "b"));
        let keyring = Keyring::open(dir.path()).unwrap();
        let sessions = Sessions::open(dir.path(), LASTING);
        let begin = |hash| sessions.begin(&keyring.find(hash).unwrap()).unwrap();
        let (first, second, third) = (begin(&a), begin(&a), begin(&b));
        let held = [&first, &second, &third].map(|cookie| sessions.find(cookie, &keyring).unwrap().principal);
        assert_eq!(held.each_ref().map(|who| &*who.name), ["a", "a", "b"]);
        assert!(!fs::read_to_string(dir.path().join("sessions.json")).unwrap().contains(first.as_str()));
        sessions.end(&first);
        assert!(held[0].ended.is_cancelled() && !held[1].ended.is_cancelled());
        assert!(sessions.find(&first, &keyring).is_none());
        let again = Sessions::open(dir.path(), LASTING);
        assert!(again.find(&first, &keyring).is_none() && again.find(&second, &keyring).is_some());
        tokens::revoke(dir.path(), "a").unwrap();
        let keyring = Keyring::open(dir.path()).unwrap();
        sessions.sweep(&keyring);
        assert!(held[1].ended.is_cancelled() && !held[2].ended.is_cancelled());
        assert!(sessions.find(&second, &keyring).is_none() && sessions.find(&third, &keyring).is_some());
    }

    /// Its own streams ended, and those of its sessions went on with what it gave before.
    #[test]
    fn what_runs_for_a_session_ends_when_its_token_gives_something_else() {
        let dir = tempfile::tempdir().unwrap();
        let a = make(dir.path(), "a");
        let keyring = Keyring::open(dir.path()).unwrap();
        let sessions = Sessions::open(dir.path(), LASTING);
        let cookie = sessions.begin(&keyring.find(&a).unwrap()).unwrap();
        let before = sessions.find(&cookie, &keyring).unwrap().principal;
        sessions.sweep(&keyring);
        assert!(!before.ended.is_cancelled() && before.may_see("db1"));
        let file = tokens::file(dir.path());
        let text = fs::read_to_string(&file).unwrap().replace("\"nodes\": []", "\"nodes\": [\"web*\"]");
        fs::write(&file, text).unwrap();
        assert!(keyring.find(&a).is_ok());
        sessions.sweep(&keyring);
        assert!(before.ended.is_cancelled());
        let now = sessions.find(&cookie, &keyring).unwrap().principal;
        assert!(!now.ended.is_cancelled() && now.may_see("web1") && !now.may_see("db1"));
    }

    #[test]
    fn idle_and_old_ones_are_over_and_one_whose_stream_runs_is_not_idle() {
        let dir = tempfile::tempdir().unwrap();
        let a = make(dir.path(), "a");
        let keyring = Keyring::open(dir.path()).unwrap();
        let live = keyring.find(&a).unwrap();
        let idle = Sessions::open(dir.path(), Lasting { idle: Duration::ZERO, ..LASTING });
        let cookie = idle.begin(&live).unwrap();
        assert!(idle.find(&cookie, &keyring).is_none());
        let streams = idle.lock().values().next().unwrap().streams.clone();
        assert!(idle.find(&cookie, &keyring).is_some());
        drop(streams);
        let old = Sessions::open(dir.path(), Lasting { age: Duration::ZERO, ..LASTING });
        let cookie = old.begin(&live).unwrap();
        assert!(old.find(&cookie, &keyring).is_none());
    }

    #[test]
    fn there_are_never_more_than_the_limit_and_nobody_signs_others_out() {
        let dir = tempfile::tempdir().unwrap();
        let (a, b) = (make(dir.path(), "a"), make(dir.path(), "b"));
        let keyring = Keyring::open(dir.path()).unwrap();
        let sessions = Sessions::open(dir.path(), LASTING);
        let other = sessions.begin(&keyring.find(&b).unwrap()).unwrap();
        let live = keyring.find(&a).unwrap();
        let first = sessions.begin(&live).unwrap();
        let who = sessions.find(&first, &keyring).unwrap().principal;
        for _ in 0..MAX_OF_TOKEN {
            sessions.begin(&live).unwrap();
        }
        assert!(who.ended.is_cancelled());
        assert!(sessions.find(&other, &keyring).is_some());
        assert_eq!(sessions.lock().len(), MAX_OF_TOKEN + 1);
    }

    #[test]
    fn the_cookie_is_for_the_host_alone_under_tls_and_for_no_script_ever() {
        let dir = tempfile::tempdir().unwrap();
        let sessions = Sessions::open(dir.path(), LASTING);
        let plain = sessions.set_cookie("x", false).unwrap();
        assert_eq!(plain, "secmon_session=x; Path=/; Max-Age=600; HttpOnly; SameSite=Strict");
        let secure = sessions.set_cookie("x", true).unwrap();
        assert_eq!(secure, "__Host-secmon_session=x; Path=/; Max-Age=600; HttpOnly; SameSite=Strict; Secure");
        assert!(!format!("{secure:?}").contains("=x"));
        let mut headers = HeaderMap::new();
        headers.append(header::COOKIE, "a=b; secmon_session=1".parse().unwrap());
        headers.append(header::COOKIE, "__Host-secmon_session=2".parse().unwrap());
        assert_eq!((cookie_of(&headers, false), cookie_of(&headers, true)), (Some("1"), Some("2")));
    }
}
