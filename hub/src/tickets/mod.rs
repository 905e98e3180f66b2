//! TLS tickets, with which a node that comes back goes on with its session instead of making a full handshake: what
//! five thousand nodes would cost a hub that was restarted.
//!
//! The session is in the ticket, sealed with a key that the hub keeps, and the hub remembers nothing of it. The keys
//! lie in the state folder, for otherwise a restart would end what is meant for it. Whoever has them can make a ticket
//! that says it is any node's, for the day that they live: they are as secret as the CA's key, and not for a backup.
//! What a ticket cannot do is let in whom the registry does not know: that is asked at every Hello.

mod keys;

use std::{
    fmt,
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLock},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use rustls::server::ProducesTickets;
use tokio::{
    task::spawn_blocking,
    time::{MissedTickBehavior, interval},
};
use tokio_util::sync::CancellationToken;
use tracing::warn;
use zeroize::Zeroizing;

use self::keys::{Keys, MAX_FILE, TURN};
use crate::{ca::Fingerprint, files};

/// The file, in the state folder.
const FILE: &str = "tickets.key";
/// How often it is looked whether a new key is due.
const LOOK: Duration = Duration::from_secs(10 * 60);

/// Seals and opens the tickets of nodes.
pub(crate) struct Tickets {
    path: PathBuf,
    ca: Fingerprint,
    /// None where the library makes no key: then there are no tickets.
    keys: RwLock<Option<Keys>>,
}

impl fmt::Debug for Tickets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Tickets").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Tickets {
    /// The keys of a state folder with this CA, or new ones where there are none of use. Whatever is wrong with the file costs
    /// nodes a full handshake each and is said in the log: no hub stands still for that.
    pub(crate) fn open(state_dir: &Path, ca: Fingerprint) -> Arc<Self> {
        let (path, now) = (state_dir.join(FILE), unix_secs());
        let kept = read(&path, &ca, now).unwrap_or_else(|reason| {
            warn!(
                path = %path.display(), reason,
                "the keys of TLS tickets are not used and new ones are made; nodes that come back make a full handshake"
            );
            None
        });
        let tickets = Self { path, ca, keys: RwLock::new(kept) };
        tickets.turn(now);
        Arc::new(tickets)
    }

    /// Makes a new key whenever one is due, until the hub stops.
    pub(crate) async fn keep(self: Arc<Self>, stop: CancellationToken) {
        let mut looks = interval(LOOK);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                _ = looks.tick() => {}
            }
            let tickets = self.clone();
            // It may write a file.
            let _ = spawn_blocking(move || tickets.turn(unix_secs())).await;
        }
    }

    /// Makes a new key where one is due.
    fn turn(&self, now: u64) {
        let next = match &*self.keys.read().unwrap_or_else(PoisonError::into_inner) {
            Some(keys) if !keys.due(now) => return,
            Some(keys) => keys.turn(now),
            None => Keys::random(now),
        };
        // On the disk before it is used, so that no ticket goes out that the next start cannot open.
        let bytes = next.as_ref().map(|keys| keys.to_bytes(&self.ca));
        if let Some(Err(error)) = bytes.map(|bytes| files::write_secret(&self.path, &bytes)) {
            warn!(
                path = %self.path.display(), %error,
                "cannot write the keys of TLS tickets; after a restart nodes make a full handshake"
            );
        }
        *self.keys.write().unwrap_or_else(PoisonError::into_inner) = next;
    }
}

impl ProducesTickets for Tickets {
    fn enabled(&self) -> bool {
        true
    }

    fn lifetime(&self) -> u32 {
        // What a ticket of a key's last moment has.
        u32::try_from(TURN).unwrap_or(0)
    }

    fn encrypt(&self, plain: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.as_ref()?.seal(plain, unix_secs())
    }

    fn decrypt(&self, ticket: &[u8]) -> Option<Vec<u8>> {
        let keys = self.keys.read().unwrap_or_else(PoisonError::into_inner);
        keys.as_ref()?.open(ticket, unix_secs())
    }
}

/// The keys of a file, where there are any of use; else why not.
fn read(path: &Path, ca: &Fingerprint, now: u64) -> Result<Option<Keys>, String> {
    let file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(format!("it cannot be read: {error}")),
    };
    match files::tighten(&file) {
        Ok(None) => {}
        Ok(Some(mode)) => return Err(format!("others could read it (mode {mode:04o})")),
        Err(error) => return Err(format!("others may read it, and that cannot be changed: {error}")),
    }
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE + 1));
    let limit = u64::try_from(MAX_FILE + 1).unwrap_or(u64::MAX);
    file.take(limit).read_to_end(&mut bytes).map_err(|error| format!("it cannot be read: {error}"))?;
    Keys::from_bytes(&bytes, ca, now).map_err(|damaged| damaged.to_string())
}

fn unix_secs() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |time| time.as_secs())
}

#[cfg(test)]
mod tests {
    use std::{fs, os::unix::fs::PermissionsExt as _};

    use super::*;

    const CA: Fingerprint = [7; 32];

    #[test]
    fn tickets_outlive_a_restart_and_their_file_is_for_its_owner_only() {
        let dir = tempfile::tempdir().unwrap();
        let ticket = Tickets::open(dir.path(), CA).encrypt(b"a session").unwrap();
        assert_eq!(Tickets::open(dir.path(), CA).decrypt(&ticket).unwrap(), b"a session");
        let path = dir.path().join(FILE);
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o7777, 0o600);
    }

    #[test]
    fn a_file_that_is_damaged_or_was_open_to_others_gives_new_keys() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        type Harm = fn(&Path);
        let harms: [(&str, Harm); 4] = [
            ("emptied", |path| fs::write(path, "").unwrap()),
            ("of another kind", |path| fs::write(path, [7; 100_000]).unwrap()),
            ("readable", |path| fs::set_permissions(path, fs::Permissions::from_mode(0o644)).unwrap()),
            ("gone", |path| fs::remove_file(path).unwrap()),
        ];
        for (what, harm) in harms {
            let ticket = Tickets::open(dir.path(), CA).encrypt(b"a session").unwrap();
            harm(&path);
            let after = Tickets::open(dir.path(), CA);
            assert_eq!(after.decrypt(&ticket), None, "{what}");
            let ticket = after.encrypt(b"another").unwrap();
            assert_eq!(Tickets::open(dir.path(), CA).decrypt(&ticket).unwrap(), b"another", "{what}");
        }
    }

    #[test]
    fn without_a_place_to_keep_them_there_are_keys_all_the_same() {
        let dir = tempfile::tempdir().unwrap();
        fs::create_dir(dir.path().join(FILE)).unwrap();
        let tickets = Tickets::open(dir.path(), CA);
        let ticket = tickets.encrypt(b"a session").unwrap();
        assert_eq!(tickets.decrypt(&ticket).unwrap(), b"a session");
        assert!(!format!("{tickets:?}").contains("secret"));
    }
}
