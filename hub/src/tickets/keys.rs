//! The two keys of TLS tickets: sealing with the newer, opening with both, turning, and their form in a file. No
//! files and no clock here.

use aws_lc_rs::{
    aead::{AES_256_GCM, Aad, NONCE_LEN, Nonce, RandomizedNonceKey},
    digest::{Context, SHA256},
};
use zeroize::{Zeroize as _, Zeroizing};

use crate::ca::Fingerprint;

/// How long, in seconds, new tickets are sealed with a key.
pub(super) const TURN: u64 = 12 * 60 * 60;
/// How old a key can get, in seconds, and with it what it sealed: a ticket of its last moment still has its [`TURN`].
const LIFE: u64 = 2 * TURN;
/// How far, in seconds, a key may have been made in the future: clocks are set back a little, and a key of a clock
/// that was years ahead is not to live for years.
const LEEWAY: u64 = 60 * 60;

const ID: usize = 16;
const SECRET: usize = 32;
/// What a file of keys begins with.
const MAGIC: &[u8; 16] = b"secmon tickets 1";
const TIME: usize = size_of::<u64>();
const ENTRY: usize = TIME + ID + SECRET;
/// SHA-256 of all that stands before it and of the CA's fingerprint: with another CA nothing goes on as it was, and
/// whoever took the old one may have taken the keys as well.
const SUM: usize = 32;
/// Longest file of keys, in bytes.
pub(super) const MAX_FILE: usize = MAGIC.len() + 2 * ENTRY + SUM;

/// A file that is none of ours, is of another CA's time, or was damaged.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("it is damaged, or of another CA's time")]
pub(super) struct Damaged;

/// One key.
struct Key {
    /// In seconds since 1970.
    made: u64,
    id: [u8; ID],
    secret: Zeroizing<[u8; SECRET]>,
    aead: RandomizedNonceKey,
}

/// The key that seals, and the one before it, which still opens. Times are seconds since 1970.
pub(super) struct Keys {
    current: Key,
    previous: Option<Key>,
}

impl Key {
    fn new(made: u64, id: [u8; ID], secret: Zeroizing<[u8; SECRET]>) -> Option<Self> {
        let aead = RandomizedNonceKey::new(&AES_256_GCM, &*secret).ok()?;
        Some(Self { made, id, secret, aead })
    }

    fn random(now: u64) -> Option<Self> {
        Self::new(now, rand::random(), Zeroizing::new(rand::random()))
    }

    fn lives(&self, now: u64) -> bool {
        self.made <= now.saturating_add(LEEWAY) && now < self.made.saturating_add(LIFE)
    }
}

impl Keys {
    /// A new key and none before it; none where the library refuses.
    pub(super) fn random(now: u64) -> Option<Self> {
        Some(Self { current: Key::random(now)?, previous: None })
    }

    /// Whether it is time to [`turn`](Self::turn).
    pub(super) fn due(&self, now: u64) -> bool {
        !self.current.lives(now) || now >= self.current.made.saturating_add(TURN)
    }

    /// A new key in front of the one that sealed so far, where that can still open something.
    pub(super) fn turn(&self, now: u64) -> Option<Self> {
        let Key { made, id, secret, .. } = &self.current;
        let previous = match self.current.lives(now) {
            true => Key::new(*made, *id, secret.clone()),
            false => None,
        };
        Some(Self { current: Key::random(now)?, previous })
    }

    /// A ticket: the key's id, a random nonce, and the content sealed to both.
    pub(super) fn seal(&self, plain: &[u8], now: u64) -> Option<Vec<u8>> {
        let key = Some(&self.current).filter(|key| key.lives(now))?;
        let mut sealed = plain.to_vec();
        let nonce = key.aead.seal_in_place_append_tag(Aad::from(key.id), &mut sealed).ok()?;
        Some([&key.id[..], nonce.as_ref(), &sealed].concat())
    }

    /// What a ticket holds; none where it is not of one of these keys, too old, or not whole.
    pub(super) fn open(&self, ticket: &[u8], now: u64) -> Option<Vec<u8>> {
        let (id, rest) = ticket.split_first_chunk::<ID>()?;
        let (nonce, sealed) = rest.split_first_chunk::<NONCE_LEN>()?;
        let mut keys = Some(&self.current).into_iter().chain(&self.previous);
        let key = keys.find(|key| key.id == *id && key.lives(now))?;
        let mut sealed = sealed.to_vec();
        let opened = key.aead.open_in_place(Nonce::from(nonce), Aad::from(key.id), &mut sealed);
        let len = opened.ok()?.len();
        sealed.truncate(len);
        Some(sealed)
    }

    /// As they lie in a file beside this CA.
    pub(super) fn to_bytes(&self, ca: &Fingerprint) -> Zeroizing<Vec<u8>> {
        // With its whole room from the start: what grows leaves copies behind.
        let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_FILE));
        bytes.extend_from_slice(MAGIC);
        for key in Some(&self.current).into_iter().chain(&self.previous) {
            bytes.extend_from_slice(&key.made.to_be_bytes());
            bytes.extend_from_slice(&key.id);
            bytes.extend_from_slice(&*key.secret);
        }
        let sum = sum(&bytes, ca);
        bytes.extend_from_slice(&sum);
        bytes
    }

    /// The keys of a file beside this CA; none where they are all too old to be of use.
    ///
    /// # Errors
    /// It is damaged, or was written beside another CA.
    pub(super) fn from_bytes(bytes: &[u8], ca: &Fingerprint, now: u64) -> Result<Option<Self>, Damaged> {
        let (content, found) = bytes.split_last_chunk::<SUM>().ok_or(Damaged)?;
        if sum(content, ca) != *found {
            return Err(Damaged);
        }
        let entries = content.strip_prefix(MAGIC).ok_or(Damaged)?;
        if !matches!(entries.len() / ENTRY, 1 | 2) || !entries.len().is_multiple_of(ENTRY) {
            return Err(Damaged);
        }
        let mut keys = Vec::with_capacity(2);
        for entry in entries.chunks_exact(ENTRY) {
            keys.push(read(entry).ok_or(Damaged)?);
        }
        keys.retain(|key| key.lives(now));
        let mut keys = keys.into_iter();
        Ok(keys.next().map(|current| Self { current, previous: keys.next() }))
    }
}

fn sum(content: &[u8], ca: &Fingerprint) -> [u8; SUM] {
    let mut context = Context::new(&SHA256);
    context.update(content);
    context.update(ca);
    let mut sum = [0; SUM];
    sum.copy_from_slice(context.finish().as_ref());
    sum
}

fn read(entry: &[u8]) -> Option<Key> {
    let (made, rest) = entry.split_first_chunk::<TIME>()?;
    let (id, rest) = rest.split_first_chunk::<ID>()?;
    let mut secret: [u8; SECRET] = rest.try_into().ok()?;
    let key = Key::new(u64::from_be_bytes(*made), *id, Zeroizing::new(secret));
    secret.zeroize();
    key
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: u64 = 1_800_000_000;
    const CA: Fingerprint = [7; 32];

    #[test]
    fn a_ticket_is_opened_by_the_keys_that_sealed_it_and_by_no_others() {
        let (keys, others) = (Keys::random(NOW).unwrap(), Keys::random(NOW).unwrap());
        let ticket = keys.seal(b"a session", NOW).unwrap();
        assert_ne!(ticket, keys.seal(b"a session", NOW).unwrap(), "each has a nonce of its own");
        assert!(!ticket.windows(9).any(|part| part == b"a session"));
        assert_eq!(keys.open(&ticket, NOW).unwrap(), b"a session");
        assert_eq!(others.open(&ticket, NOW), None);
        let turned = keys.turn(NOW + TURN).unwrap();
        assert_eq!(turned.open(&ticket, NOW + TURN).unwrap(), b"a session");
        assert_eq!(
            turned.turn(NOW + 2 * TURN).unwrap().open(&ticket, NOW + TURN),
            None,
            "two keys, not three"
        );
    }

    #[test]
    fn a_ticket_that_was_changed_or_cut_anywhere_opens_nothing() {
        let keys = Keys::random(NOW).unwrap();
        let ticket = keys.seal(b"a session", NOW).unwrap();
        for at in 0..ticket.len() {
            let mut changed = ticket.clone();
            changed[at] ^= 1;
            assert_eq!(keys.open(&changed, NOW), None, "{at}");
            assert_eq!(keys.open(&ticket[..at], NOW), None, "{at}");
        }
        assert_eq!(keys.open(&[ticket, vec![0]].concat(), NOW), None);
    }

    #[test]
    fn a_key_seals_for_half_a_day_and_opens_for_a_day() {
        let keys = Keys::random(NOW).unwrap();
        let ticket = keys.seal(b"x", NOW).unwrap();
        for (later, due, opens) in [
            (0, false, true),
            (TURN - 1, false, true),
            (TURN, true, true),
            (LIFE - 1, true, true),
            (LIFE, true, false),
        ] {
            assert_eq!(keys.due(NOW + later), due, "{later}");
            assert_eq!(keys.open(&ticket, NOW + later).is_some(), opens, "{later}");
            assert_eq!(keys.seal(b"x", NOW + later).is_some(), opens, "{later}");
        }
        // A clock that was set back: a little does not matter, and a key of the far future is not waited for.
        assert!(!keys.due(NOW - 60) && keys.open(&ticket, NOW - 60).is_some());
        assert!(keys.due(NOW - 2 * LEEWAY) && keys.open(&ticket, NOW - 2 * LEEWAY).is_none());
    }

    #[test]
    fn keys_come_back_from_a_file_as_long_as_they_are_of_use() {
        let old = Keys::random(NOW).unwrap();
        let keys = old.turn(NOW + TURN).unwrap();
        let (first, second) = (old.seal(b"old", NOW).unwrap(), keys.seal(b"new", NOW + TURN).unwrap());
        let bytes = keys.to_bytes(&CA);
        assert_eq!(bytes.len(), MAX_FILE);
        let read = |now| Keys::from_bytes(&bytes, &CA, now).unwrap();
        let again = read(NOW + TURN).unwrap();
        assert_eq!(again.open(&first, NOW + TURN).unwrap(), b"old");
        assert_eq!(again.open(&second, NOW + TURN).unwrap(), b"new");
        let again = read(NOW + LIFE).unwrap();
        assert!(again.open(&first, NOW + LIFE).is_none() && again.previous.is_none());
        assert_eq!(again.open(&second, NOW + LIFE).unwrap(), b"new");
        assert!(read(NOW + TURN + LIFE).is_none());
        // With one key as well.
        assert!(Keys::from_bytes(&old.to_bytes(&CA), &CA, NOW).unwrap().is_some());
    }

    #[test]
    fn a_file_that_was_changed_or_cut_anywhere_is_damaged() {
        let bytes = Keys::random(NOW).unwrap().turn(NOW + 1).unwrap().to_bytes(&CA);
        for at in 0..bytes.len() {
            let mut changed = bytes.to_vec();
            changed[at] ^= 1;
            assert_eq!(Keys::from_bytes(&changed, &CA, NOW).err(), Some(Damaged), "{at}");
            assert_eq!(Keys::from_bytes(&bytes[..at], &CA, NOW).err(), Some(Damaged), "{at}");
        }
        for foreign in [&[][..], MAGIC, &[0; MAX_FILE], &[0; 4096]] {
            assert_eq!(Keys::from_bytes(foreign, &CA, NOW).err(), Some(Damaged));
        }
        assert_eq!(Keys::from_bytes(&bytes, &[8; 32], NOW).err(), Some(Damaged), "of another CA's time");
    }
}
