//! wtmp(5): the log of logins, in the records of utmp. Read on from its end, so that a login which came and went
//! between two looks at utmp is known all the same.
//!
//! What must not live here: whether a login is news.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use secmon_protocol::session::SessionSource;
use tokio::sync::mpsc;

use super::{
    records::{Log, Read, follow},
    utmp::{Entry, Login, Sort},
    view::{Logged, Past},
};

/// Lines whose logins are remembered; a machine has fewer terminals.
const LINES: usize = 4096;

/// Tells `out` of the logins that are logged from the place in `places` on, for ever; ends only when nobody takes them.
pub(super) async fn watch(path: PathBuf, places: &BTreeMap<String, Bytes>, out: mpsc::Sender<Logged>) {
    let log = Log::new("wtmp", &path, places);
    let mut pairs = Pairs::default();
    for entry in log.before() {
        pairs.push(entry);
    }
    follow(log, out, |Read { entries, unwatched, missed, place }| {
        let says = |entry| if unwatched { pairs.push_unwatched(entry) } else { pairs.push(entry) };
        let logins: Vec<_> = entries.into_iter().filter_map(says).collect();
        let is_news = !logins.is_empty() || missed.is_some() || place.is_some();
        is_news.then_some(Logged { logins, missed, place })
    })
    .await;
}

/// Puts logins and logouts together, by their line: some programs log the end under another process than the
/// beginning, and without a name.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    lines: BTreeMap<String, Line>,
}

/// Who is on a line.
#[derive(Debug)]
struct Line {
    login: Login,
    /// Whether its end is no news, for it was told without one.
    told: bool,
}

impl Pairs {
    /// What an entry says: a login that begins, or one that ended.
    pub(super) fn push(&mut self, entry: Entry) -> Option<Past> {
        self.push_as(entry, false)
    }

    /// What an entry says that was logged while nobody looked: a login is told at its beginning, for some never see
    /// an end (Debian 13, a reboot).
    pub(super) fn push_unwatched(&mut self, entry: Entry) -> Option<Past> {
        let past = self.push_as(entry, true)?;
        Some(Past { unwatched: true, ..past })
    }

    fn push_as(&mut self, entry: Entry, told: bool) -> Option<Past> {
        match entry {
            Entry::Login(login) => {
                let begins = (login.sort != Sort::Window).then(|| past(&login, false));
                if self.lines.len() < LINES || self.lines.contains_key(&login.line) {
                    // Where nobody logs the end (Debian 13), the next login of the line takes the place; that says
                    // nothing of when the last one ended.
                    self.lines.insert(login.line.clone(), Line { login, told });
                }
                begins
            }
            Entry::Logout { line, .. } => {
                let Line { login, told } = self.lines.remove(&line)?;
                (!told && login.sort != Sort::Window).then(|| past(&login, true))
            }
            Entry::Boot => {
                self.lines.clear();
                None
            }
            Entry::Prompt(_) | Entry::Other | Entry::Bad => None,
        }
    }
}

fn past(login: &Login, ended: bool) -> Past {
    Past {
        source: SessionSource::Wtmp,
        id: login.key(),
        user: login.user.clone(),
        tty: login.tty().map(str::to_owned),
        remote: login.remote.clone(),
        service: None,
        since: login.since,
        pid: u32::try_from(login.pid).ok().filter(|pid| *pid > 0),
        ended,
        unwatched: false,
    }
}

#[cfg(test)]
mod tests {
    use super::{
        super::utmp::{Layout, entries},
        *,
    };

    const LOGGED_IN: &[u8] = include_bytes!("../../../tests/fixtures/utmp-x86_64-two-sshd-logins");

    /// The login of the fixture on terminal `n`, and its end as sshd writes it: without a name, and not always by the
    /// same process.
    fn login(n: u8) -> Vec<u8> {
        let mut record = LOGGED_IN[..384].to_vec();
        record[12] = b'0' + n;
        record
    }

    fn logout(n: u8) -> Vec<u8> {
        let mut record = login(n);
        record[0] = 8; // DEAD_PROCESS
        record[4..8].copy_from_slice(&7_i32.to_ne_bytes());
        record[44..332].fill(0);
        record
    }

    fn read(bytes: &[u8]) -> Vec<(Option<String>, bool)> {
        let mut pairs = Pairs::default();
        let (entries, _) = entries(bytes, Layout::of(bytes));
        entries.filter_map(|e| pairs.push(e)).map(|p| (p.tty, p.ended)).collect()
    }

    #[test]
    fn a_login_and_its_end_are_put_together_by_their_line() {
        let [first, second] = ["pts/0", "pts/1"].map(|tty| Some(tty.to_owned()));
        let ended = read(&[login(0), login(1), logout(0)].concat());
        assert_eq!(ended, [(first.clone(), false), (second, false), (first, true)]);
    }

    #[test]
    fn an_end_without_a_beginning_and_a_window_are_no_logins() {
        let mut window = login(1);
        window[76..332].fill(0);
        window[76..89].copy_from_slice(b"tmux(1234).%0");
        assert!(read(&[logout(0), window, logout(1)].concat()).is_empty());
    }
}
