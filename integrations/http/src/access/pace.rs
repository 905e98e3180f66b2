//! How often one may ask, and how often be wrong.

use std::{
    collections::HashMap,
    net::{IpAddr, Ipv6Addr},
    num::NonZeroU32,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use governor::{
    Quota, RateLimiter,
    clock::{Clock as _, DefaultClock},
    state::keyed::DashMapStateStore,
};

use super::By;

/// Most whose pace is kept: more are there only when somebody has very many addresses, and they share one pace then.
const MAX_KEYS: usize = 10_000;
/// How often those are looked for who can be forgotten, at most.
const SWEEP: Duration = Duration::from_secs(1);
/// How often one may be wrong before he has to wait: a script with an old token, and a slip or two.
const FREE: u32 = 5;
/// The longest wait.
const MAX_PENALTY: Duration = Duration::from_secs(5 * 60);
/// After so long without being wrong all is forgotten.
const FORGET: Duration = Duration::from_secs(15 * 60);

/// Whose pace it is.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) enum Key {
    /// Somebody known.
    Known(By, Arc<str>),
    /// Somebody unknown, by where he comes from.
    From(IpAddr),
    /// All for whom there is no room.
    Rest,
}

/// An address as far as it costs something: who has one of IPv6 has its whole /64 (RFC 4291 §2.5.4).
pub(crate) fn source(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => Ipv6Addr::from(u128::from(address) & (u128::from(u64::MAX) << 64)).into(),
        address @ IpAddr::V4(_) => address,
    }
}

/// Requests of each, so many per second, and so many at once.
#[derive(Debug)]
pub(crate) struct Pace {
    limiter: RateLimiter<Key, DashMapStateStore<Key>, DefaultClock>,
    /// When those were forgotten last who have not asked for long.
    swept: Mutex<Option<Instant>>,
}

impl Pace {
    pub(crate) fn new(per_second: NonZeroU32, burst: NonZeroU32) -> Self {
        let limiter = RateLimiter::dashmap(Quota::per_second(per_second).allow_burst(burst));
        Self { limiter, swept: Mutex::default() }
    }

    /// Whether he may ask now.
    ///
    /// # Errors
    /// Not before so long.
    pub(crate) fn ask(&self, key: Key) -> Result<(), Duration> {
        let Self { limiter, .. } = self;
        let mut key = key;
        if limiter.len() >= MAX_KEYS {
            self.sweep(Instant::now());
            if limiter.len() >= MAX_KEYS && matches!(key, Key::From(_)) {
                key = Key::Rest;
            }
        }
        limiter.check_key(&key).map_err(|until| until.wait_time_from(DefaultClock::default().now()))
    }
}

impl Pace {
    /// Forgets those who have not asked for long; not with every request of a crowd, for each is looked at.
    fn sweep(&self, now: Instant) {
        let mut swept = self.swept.lock().unwrap_or_else(PoisonError::into_inner);
        if swept.is_none_or(|swept| now.saturating_duration_since(swept) >= SWEEP) {
            *swept = Some(now);
            self.limiter.retain_recent();
        }
    }
}

/// Those who brought no token, or a wrong one.
#[derive(Debug, Default)]
pub(crate) struct Wrong(Mutex<HashMap<IpAddr, Times>>);

#[derive(Debug, Clone, Copy)]
struct Times {
    count: u32,
    last: Instant,
}

impl Times {
    /// After the fifth time: a second, two, four, to five minutes.
    fn penalty(self) -> Duration {
        let doublings = self.count.saturating_sub(FREE + 1);
        match self.count > FREE {
            true => Duration::from_secs(1 << doublings.min(16)).min(MAX_PENALTY),
            false => Duration::ZERO,
        }
    }
}

impl Wrong {
    /// Somebody was wrong. One with a right token is never asked here: who shares an address with a guesser is not locked
    /// out, and 256 bits are not guessed.
    ///
    /// # Errors
    /// He was too often; he has to wait so long, and is told nothing else.
    pub(crate) fn again(&self, address: IpAddr, now: Instant) -> Result<(), Duration> {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let source = source(address);
        if all.len() >= MAX_KEYS && !all.contains_key(&source) {
            all.retain(|_, times| now.saturating_duration_since(times.last) < FORGET);
            if all.len() >= MAX_KEYS {
                let oldest = all.iter().min_by_key(|(_, times)| times.last).map(|(source, _)| *source);
                oldest.map(|oldest| all.remove(&oldest));
            }
        }
        let times = all.entry(source).or_insert(Times { count: 0, last: now });
        let since = now.saturating_duration_since(times.last);
        if since >= FORGET {
            times.count = 0;
        }
        let left = times.penalty().saturating_sub(since);
        if !left.is_zero() {
            return Err(left);
        }
        *times = Times { count: times.count.saturating_add(1), last: now };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use super::*;

    #[test]
    fn who_is_wrong_again_and_again_waits_longer_and_longer_and_is_forgiven_in_the_end() {
        let (wrong, start) = (Wrong::default(), Instant::now());
        let somebody = IpAddr::from([192, 0, 2, 1]);
        let at = |secs| start + Duration::from_secs(secs);
        for _ in 0..=FREE {
            wrong.again(somebody, at(0)).unwrap();
        }
        assert_eq!(wrong.again(somebody, at(0)), Err(Duration::from_secs(1)));
        wrong.again(somebody, at(1)).unwrap();
        assert_eq!(wrong.again(somebody, at(1)), Err(Duration::from_secs(2)));
        wrong.again(IpAddr::from([192, 0, 2, 2]), at(1)).unwrap();
        let (mut now, mut count) = (3, 0);
        while let Ok(()) = wrong.again(somebody, at(now)) {
            now += MAX_PENALTY.as_secs();
            count += 1;
            if count == 40 {
                break;
            }
        }
        assert_eq!(count, 40, "never longer than five minutes");
        let later = now + FORGET.as_secs();
        (0..=FREE).for_each(|_| wrong.again(somebody, at(later)).unwrap());
    }

    #[test]
    fn many_addresses_cost_bounded_memory_and_a_subnet_is_one() {
        let (wrong, start) = (Wrong::default(), Instant::now());
        for n in 0..u32::try_from(MAX_KEYS).unwrap() + 500 {
            wrong.again(Ipv4Addr::from(n).into(), start + Duration::from_millis(n.into())).unwrap();
        }
        assert_eq!(wrong.0.lock().unwrap().len(), MAX_KEYS);
        let of = |text: &str| source(text.parse().unwrap());
        assert_eq!(of("2001:db8::1"), of("2001:db8::ffff:0:0:1"));
        assert_ne!(of("2001:db8::1"), of("2001:db8:0:1::1"));
        assert_eq!(of("::ffff:192.0.2.1"), of("192.0.2.1"));
    }

    #[test]
    fn each_has_a_pace_of_his_own() {
        let two = NonZeroU32::new(2).unwrap();
        let pace = Pace::new(NonZeroU32::MIN, two);
        let key = |name: &str| Key::Known(By::Token, name.into());
        pace.ask(key("a")).unwrap();
        pace.ask(key("a")).unwrap();
        let wait = pace.ask(key("a")).unwrap_err();
        assert!(wait <= Duration::from_secs(1), "{wait:?}");
        pace.ask(key("b")).unwrap();
        pace.ask(Key::Known(By::User, "a".into())).unwrap();
    }
}
