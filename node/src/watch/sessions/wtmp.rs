//! wtmp(5): the log of logins, in the records of utmp. Read on from its end, so that a login which came and went
//! between two looks at utmp is known all the same.
//!
//! What must not live here: whether a login is news.

use std::{collections::BTreeMap, path::PathBuf};

use secmon_protocol::session::SessionSource;
use tokio::sync::mpsc;

use super::{
    records::follow,
    utmp::{Entry, Login, Sort},
    view::Past,
};

/// Lines whose logins are remembered; a machine has fewer terminals.
const LINES: usize = 4096;

/// Tells `out` of the logins that are logged from now on, for ever; ends only when nobody takes them.
pub(super) async fn watch(path: PathBuf, out: mpsc::Sender<Past>) {
    let mut pairs = Pairs::default();
    follow(&path, out, |entry| pairs.push(entry)).await;
}

/// Puts logins and logouts together, by their line: some programs log the end under another process than the
/// beginning, and without a name.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    lines: BTreeMap<String, Login>,
}

impl Pairs {
    /// What an entry says: a login that begins, or one that ended.
    pub(super) fn push(&mut self, entry: Entry) -> Option<Past> {
        match entry {
            Entry::Login(login) => {
                let begins = (login.sort != Sort::Window).then(|| past(&login, false));
                if self.lines.len() < LINES || self.lines.contains_key(&login.line) {
                    // Where nobody logs the end (Debian 13), the next login of the line takes the place; that says
                    // nothing of when the last one ended.
                    self.lines.insert(login.line.clone(), login);
                }
                begins
            }
            Entry::Logout { line, .. } => {
                let login = self.lines.remove(&line).filter(|login| login.sort != Sort::Window)?;
                Some(past(&login, true))
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
        ended,
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
