//! btmp: the log of logins that failed, lastb(1), in the records of utmp. It says less than the auth log and says it
//! again, so the core takes its word only where no auth log can be read.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use secmon_protocol::{
    auth::{AuthAction, AuthEvent, Source, SourceHost},
    limits::clip,
};

use super::{
    records::{Log, Read, follow},
    utmp::{Entry, Login},
};
use crate::watch::{Observation, Observations};

/// Tells `out` of the failures that are logged from the place in `places` on, for ever; ends only when nobody takes
/// them.
pub(super) async fn watch(path: PathBuf, places: &BTreeMap<String, Bytes>, out: Observations) {
    let says = |read: Read| {
        let mut all: Vec<_> = read.missed.map(Observation::Missed).into_iter().collect();
        all.extend(read.entries.iter().filter_map(|entry| match entry {
            Entry::Login(login) | Entry::Prompt(login) => Some(Observation::BadLogin(Box::new(event(login)))),
            _ => None,
        }));
        all.extend(read.place.map(Observation::Place));
        (!all.is_empty()).then_some(Observation::Together(all))
    };
    follow(Log::new("btmp", &path, places), out, says).await;
}

/// What a record says: sshd writes LOGIN_PROCESS, others USER_PROCESS.
pub(super) fn event(login: &Login) -> AuthEvent {
    let place = login.remote.as_deref().unwrap_or("somewhere on this machine");
    let message = format!("failed login of {} from {place}", login.user);
    let mut event = AuthEvent::new(login.since, "btmp", None, AuthAction::Failed, &message);
    // login(1) writes what is no name of a user as UNKNOWN.
    event.user = Some(login.user.clone()).filter(|user| user != "UNKNOWN");
    event.source = login.remote.as_deref().map(|host| Source {
        host: match host.parse::<std::net::IpAddr>() {
            Ok(ip) => SourceHost::Ip(ip.to_canonical()),
            Err(_) => SourceHost::Name(clip(host).to_owned()),
        },
        port: None,
    });
    // sshd has no terminal yet, and writes "ssh:notty".
    event.tty = login.tty().filter(|tty| !tty.contains("notty")).map(str::to_owned);
    event
}

#[cfg(test)]
mod tests {
    use secmon_protocol::auth::Outcome;

    use super::{
        super::utmp::{Layout, entries},
        *,
    };

    /// btmp of a Debian 12 after a wrong password for alice and a try as nosuch, which its sshd logs twice.
    const FAILED: &[u8] = include_bytes!("../../../tests/fixtures/btmp-x86_64-two-sshd-failures");

    #[test]
    fn what_sshd_logged_is_a_failure_with_user_and_address() {
        let (entries, partial) = entries(FAILED, Layout::of(FAILED));
        let events: Vec<_> = entries
            .map(|entry| match entry {
                Entry::Prompt(login) => event(&login),
                other => panic!("{other:?}"),
            })
            .collect();
        let users: Vec<_> = events.iter().filter_map(|e| e.user.as_deref()).collect();
        assert_eq!((users, partial), (vec!["alice", "nosuch", "nosuch"], 0));
        let host = SourceHost::Ip("127.0.0.1".parse().unwrap());
        assert!(events.iter().all(|e| e.source == Some(Source { host: host.clone(), port: None })));
        assert!(events.iter().all(|e| e.outcome == Outcome::Failure && e.tty.is_none()));
    }
}
