//! Who has been seen: user × network × key on a node, as hashes, so that a million of them take little room.
//!
//! The hash's key is the same everywhere: only who was let in is remembered, so nobody outside can choose what collides, and a
//! restart knows what an earlier start has seen.

use std::{collections::HashMap, hash::Hasher as _, net::IpAddr};

use ipnet::IpNet;
use secmon_protocol::{text::printable, time::UnixNanos};
use siphasher::sip::SipHasher13;

use super::{BadRules, Output, facts::Facts, words::FIRST};
use crate::config::FirstSeenSection;

/// What is seen again is written again only when it is this much younger: the order of who goes first needs no more, and a busy login
/// costs one write a day.
const WORTH_WRITING: i64 = 24 * 60 * 60 * 1_000_000_000;

/// All that have been seen.
#[derive(Debug)]
pub(super) struct Seen {
    enabled: bool,
    ipv4: u8,
    ipv6: u8,
    most: usize,
    keys: HashMap<u64, UnixNanos>,
}

impl Seen {
    pub(super) fn new(
        section: &FirstSeenSection,
        keys: impl IntoIterator<Item = (u64, UnixNanos)>,
    ) -> Result<Self, BadRules> {
        let wrong = |what: &str| Err(BadRules(format!("[notify.first_seen] {what}")));
        if !(1..=32).contains(&section.ipv4) {
            return wrong("ipv4 is the length of a network, from 1 to 32 bits");
        }
        if !(1..=128).contains(&section.ipv6) {
            return wrong("ipv6 is the length of a network, from 1 to 128 bits");
        }
        if !(1_000..=10_000_000).contains(&section.remember) {
            return wrong("remember is from 1000 to 10000000; enabled = false turns it off");
        }
        let FirstSeenSection { enabled, ipv4, ipv6, remember: most } = *section;
        Ok(Self { enabled, ipv4, ipv6, most, keys: keys.into_iter().collect() })
    }

    /// Looks at a login, and remembers it: whether it is the first of its kind. None where it is no login, or one that is not
    /// believed. What is to be kept goes to `out`.
    pub(super) fn look(&mut self, facts: &Facts<'_>, out: &mut impl Extend<Output>) -> Option<bool> {
        if !self.enabled || facts.forged {
            return None;
        }
        let key = self.key(facts)?;
        let at = facts.time;
        let before = self.keys.get(&key).copied();
        if before.is_none_or(|before| at.0.saturating_sub(before.0) >= WORTH_WRITING) {
            self.keys.insert(key, at);
            out.extend([Output::Seen { key, at }]);
        }
        if self.keys.len() > self.most {
            self.forget(out);
        }
        Some(before.is_none())
    }

    /// `first time: alice from 192.0.2.0/24 with this key on web-1`.
    pub(super) fn words(&self, facts: &Facts<'_>) -> String {
        let mut out = format!("{FIRST}{}", printable(facts.user.unwrap_or("somebody")));
        if let Some(from) = self.network(facts) {
            out.push_str(&format!(" from {}", printable(&from)));
        }
        if facts.fingerprint.is_some() {
            out.push_str(" with this key");
        }
        if let Some((_, name)) = facts.node {
            out.push_str(&format!(" on {}", printable(name)));
        }
        out
    }

    fn network(&self, facts: &Facts<'_>) -> Option<String> {
        let Some(ip) = facts.ip else { return facts.host.map(str::to_owned) };
        let length = match ip {
            IpAddr::V4(_) => self.ipv4,
            IpAddr::V6(_) => self.ipv6,
        };
        IpNet::new(ip, length).ok().map(|net| net.trunc().to_string())
    }

    fn key(&self, facts: &Facts<'_>) -> Option<u64> {
        if !matches!(facts.kind, "auth.accepted" | "session.opened") {
            return None;
        }
        let (node, _) = facts.node?;
        Some(hash(&[
            facts.kind,
            &node.to_string(),
            facts.user?,
            self.network(facts).as_deref().unwrap_or_default(),
            facts.fingerprint.unwrap_or_default(),
        ]))
    }

    /// Forgets a hundredth, so that the walk over all of them is worth it.
    fn forget(&mut self, out: &mut impl Extend<Output>) {
        let goes = self.keys.len() - self.most + self.most / 100;
        let mut all: Vec<(UnixNanos, u64)> = self.keys.iter().map(|(key, at)| (*at, *key)).collect();
        all.select_nth_unstable(goes);
        for (_, key) in &all[..goes] {
            self.keys.remove(key);
        }
        out.extend(all[..goes].iter().map(|(_, key)| Output::Forget { key: *key }));
    }
}

/// Keeps texts apart that lie side by side.
fn hash(parts: &[&str]) -> u64 {
    let mut hasher = SipHasher13::new_with_keys(0x7365_636d_6f6e, 0x7365_656e);
    for part in parts {
        hasher.write_u64(part.len() as u64);
        hasher.write(part.as_bytes());
    }
    hasher.finish()
}

/// A text as a number, for counting how many there are.
pub(super) fn fingerprint(text: &str) -> u64 {
    hash(&[text])
}
