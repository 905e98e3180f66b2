//! The sequences are those of real hosts: Debian 12 (logind 252 and utmp) and Debian 13 (logind 257 and wtmpdb).

use secmon_protocol::{session::SessionKind, time::UnixNanos};

use super::*;
use crate::watch::{
    Place,
    sessions::{
        process::Owner,
        utmp::{Login, Sort},
        view::Logged,
    },
};

#[path = "merge/restart_tests.rs"]
mod restarts;

const MS: Duration = Duration::from_millis(1);

/// A merge in virtual time.
struct Run {
    merge: Merge,
    start: Instant,
    now: Instant,
}

/// What was told, the sessions as `USER TTY SOURCES`, sorted.
#[derive(Debug, PartialEq)]
enum Seen {
    Ready(Vec<String>),
    Unavailable(String),
    Missed(String),
}

impl Run {
    /// With both heard, and nobody there.
    fn quiet(utmp: bool) -> Self {
        let mut run = Self::unheard();
        run.merge.handle_logind(LogindNews::Listed(vec![]), run.now);
        run.merge.handle_utmp(if utmp { Ok(vec![]) } else { Err(why("no utmp")) });
        assert_eq!(run.poll(), [ready(&[])]);
        run
    }

    fn unheard() -> Self {
        let now = Instant::now();
        Self { merge: Merge::new(), start: now, now }
    }

    fn at(&mut self, ms: u32) -> &mut Self {
        self.now = self.start + MS * ms;
        self
    }

    fn logind(&mut self, news: LogindNews) -> &mut Self {
        self.merge.handle_logind(news, self.now);
        self
    }

    fn seen(&mut self, session: &LogindSession) -> &mut Self {
        self.logind(LogindNews::Seen(session.clone()))
    }

    fn removed(&mut self, id: &str) -> &mut Self {
        self.logind(LogindNews::Removed(id.to_owned()))
    }

    fn utmp(&mut self, logins: &[UtmpLogin]) -> &mut Self {
        self.merge.handle_utmp(Ok(logins.to_vec()));
        self
    }

    fn past(&mut self, past: &Past) -> &mut Self {
        self.merge.handle_past(past.clone(), self.now);
        self
    }

    /// Answers every search that is due with this.
    fn search(&mut self, terminal: &Terminal) -> &mut Self {
        for (id, _) in self.merge.poll_searches(self.now) {
            self.merge.handle_terminal(&id, terminal.clone());
        }
        self
    }

    fn poll(&mut self) -> Vec<Seen> {
        let seen = |told| match told {
            Told::Sessions(Facet::Ready(sessions)) => {
                let mut lines: Vec<_> = sessions.values().map(line).collect();
                lines.sort();
                Seen::Ready(lines)
            }
            Told::Sessions(Facet::Unavailable(why)) => Seen::Unavailable(why.reason),
            Told::Sessions(other) => panic!("{other:?}"),
            Told::Missed(why) => Seen::Missed(why),
        };
        self.merge.poll(self.now).into_iter().map(seen).collect()
    }

    fn keys(&self) -> Vec<String> {
        match &self.merge.told {
            Some(Facet::Ready(sessions)) => sessions.keys().cloned().collect(),
            other => panic!("{other:?}"),
        }
    }
}

fn line(session: &Session) -> String {
    let sources: Vec<_> = session.sources.iter().map(|s| s.as_str()).collect();
    format!("{} {} {}", session.user, session.tty.as_deref().unwrap_or("-"), sources.join("+"))
}

fn ready(sessions: &[&str]) -> Seen {
    Seen::Ready(sessions.iter().map(|s| (*s).to_owned()).collect())
}

fn why(reason: &str) -> Unavailable {
    Unavailable { reason: reason.to_owned(), remedy: String::new() }
}

/// Of ssh: no terminal, as logind has it.
fn ssh(id: &str, user: &str) -> LogindSession {
    LogindSession {
        id: id.to_owned(),
        user: user.to_owned(),
        tty: None,
        remote: Some("192.0.2.1".to_owned()),
        service: Some("sshd".to_owned()),
        leader: Some(700),
        class: "user".to_owned(),
        of_type: "tty".to_owned(),
        since: UnixNanos(1_795_000_000_000_000_000),
        closing: false,
    }
}

fn console(id: &str) -> LogindSession {
    LogindSession {
        tty: Some("console".to_owned()),
        remote: None,
        service: Some("login".to_owned()),
        class: "user-early".to_owned(),
        leader: Some(850),
        ..ssh(id, "root")
    }
}

fn record(line: &str, user: &str, owner: Owner) -> UtmpLogin {
    let login = Login {
        line: line.to_owned(),
        pid: 700,
        user: user.to_owned(),
        remote: Some("192.0.2.1".to_owned()),
        since: UnixNanos(1_795_000_000_050_000_000),
        kind: SessionKind::Interactive,
        sort: Sort::Login,
    };
    UtmpLogin { login, owner }
}

fn of(id: &str) -> Owner {
    Owner::Session(id.to_owned())
}

fn row(source: SessionSource, user: &str, tty: Option<&str>, ended: bool) -> Past {
    Past {
        source,
        id: "1".to_owned(),
        user: user.to_owned(),
        tty: tty.map(str::to_owned),
        remote: Some("192.0.2.1".to_owned()),
        service: None,
        since: UnixNanos(1_795_000_000_050_000_000),
        pid: None,
        ended,
        unwatched: false,
    }
}

#[test]
fn nothing_is_told_before_both_have_spoken() {
    let mut run = Run::unheard();
    run.utmp(&[]);
    assert_eq!(run.poll(), []);
    run.logind(LogindNews::Listed(vec![console("1")]));
    assert_eq!(run.poll(), [ready(&["root console logind"])]);
}

#[test]
fn a_login_that_two_see_is_one_session_that_names_both_and_is_told_once() {
    let mut run = Run::quiet(true);
    assert_eq!(run.seen(&ssh("5", "alice")).poll(), []);
    assert_eq!(
        run.at(40).utmp(&[record("pts/0", "alice", of("5"))]).poll(),
        [ready(&["alice pts/0 utmp+logind"])]
    );
    assert_eq!(run.at(50).search(&Terminal::Is("pts/0".to_owned())).poll(), []);
    // utmp first, then logind: sshd's order.
    assert_eq!(run.at(900).utmp(&[]).poll(), []);
    assert_eq!(run.removed("5").poll(), [ready(&[])]);
}

#[test]
fn a_record_of_utmp_that_is_read_before_logind_speaks_waits_for_it() {
    let mut run = Run::quiet(true);
    assert_eq!(run.utmp(&[record("pts/0", "alice", of("5"))]).poll(), []);
    assert_eq!(run.at(3).seen(&ssh("5", "alice")).poll(), [ready(&["alice pts/0 utmp+logind"])]);
    assert_eq!(run.keys(), ["5:1795000000000000"]);
}

#[test]
fn a_record_of_a_session_that_has_ended_opens_nothing_whichever_is_heard_first() {
    let mut run = Run::quiet(true);
    let login = record("pts/0", "alice", of("5"));
    run.seen(&ssh("5", "alice")).utmp(std::slice::from_ref(&login)).poll();
    assert_eq!(run.at(500).removed("5").poll(), [ready(&[])]);
    assert_eq!(run.at(9000).utmp(&[login]).search(&Terminal::NotYet).poll(), []);
    assert_eq!(run.merge.next(), None);
}

#[test]
fn where_there_is_no_utmp_the_terminal_is_that_of_the_sessions_processes() {
    let mut run = Run::quiet(false);
    assert_eq!(run.seen(&ssh("c3", "alice")).search(&Terminal::NotYet).poll(), []);
    let next = run.merge.next().unwrap();
    assert!(next <= run.now + 10 * MS, "{:?}", next - run.now);
    run.at(20).search(&Terminal::Is("pts/1".to_owned()));
    assert_eq!(run.poll(), [ready(&["alice pts/1 logind"])]);
    let later = run.at(60_000).now;
    assert!(run.merge.poll_searches(later).is_empty());
}

#[test]
fn a_program_without_a_terminal_is_a_session_without_one() {
    let mut run = Run::quiet(true);
    assert_eq!(run.seen(&ssh("5", "ansible")).search(&Terminal::None).poll(), [ready(&["ansible - logind"])]);
}

#[test]
fn a_session_that_shows_neither_terminal_nor_program_is_told_after_a_second() {
    let mut run = Run::quiet(true);
    assert_eq!(run.seen(&ssh("5", "sftp")).search(&Terminal::NotYet).poll(), []);
    assert_eq!(run.at(999).search(&Terminal::NotYet).poll(), []);
    assert_eq!(run.at(1000).poll(), [ready(&["sftp - logind"])]);
    // A terminal that comes a little later, over a slow line, is part of it; one much later is not looked for.
    assert_eq!(
        run.at(5000).search(&Terminal::Is("pts/7".to_owned())).poll(),
        [ready(&["sftp pts/7 logind"])]
    );
}

#[test]
fn a_session_that_ends_before_it_was_told_is_told_as_opened_and_closed() {
    let mut run = Run::quiet(true);
    run.seen(&ssh("5", "alice")).poll();
    assert_eq!(run.at(50).removed("5").poll(), [ready(&["alice - logind"]), ready(&[])]);
    // And when both are heard at once.
    run.seen(&ssh("6", "bob")).removed("6");
    assert_eq!(run.poll(), [ready(&["bob - logind"]), ready(&[])]);
}

#[test]
fn twenty_logins_at_once_are_twenty_opened_and_twenty_closed() {
    let mut run = Run::quiet(false);
    for id in 0..20 {
        let session = LogindSession { leader: Some(700 + id), ..ssh(&id.to_string(), "alice") };
        run.seen(&session);
    }
    let told = run.search(&Terminal::None).poll();
    assert!(matches!(&told[..], [Seen::Ready(all)] if all.len() == 20), "{told:?}");
    for id in 0..20 {
        run.removed(&id.to_string());
    }
    assert_eq!(run.poll(), [ready(&[])]);
}

#[test]
fn what_is_no_login_is_no_session() {
    let mut run = Run::quiet(true);
    let bare = LogindSession { remote: None, tty: None, ..ssh("c1", "root") };
    for class in ["manager", "manager-early", "greeter", "lock-screen", "background", "background-light"] {
        run.seen(&LogindSession { class: class.to_owned(), ..bare.clone() });
        assert_eq!(run.poll(), [], "{class}");
        run.removed("c1");
        assert_eq!(run.poll(), [], "{class}");
    }
    // From somewhere else it is one, and so is what nobody has heard of yet.
    let remote = LogindSession { class: "background".to_owned(), ..ssh("c2", "git") };
    assert_eq!(run.seen(&remote).search(&Terminal::None).poll(), [ready(&["git - logind"])]);
    let new = LogindSession { class: "user-of-tomorrow".to_owned(), tty: Some("tty2".to_owned()), ..bare };
    assert_eq!(run.seen(&new).poll(), [ready(&["git - logind", "root tty2 logind"])]);
}

#[test]
fn a_graphical_seat_is_told_at_once() {
    let mut run = Run::quiet(true);
    let wayland = LogindSession {
        of_type: "wayland".to_owned(),
        tty: Some("tty2".to_owned()),
        remote: None,
        ..ssh("2", "alice")
    };
    assert_eq!(run.seen(&wayland).poll(), [ready(&["alice tty2 logind"])]);
    let Some(Facet::Ready(sessions)) = &run.merge.told else { panic!() };
    assert_eq!(sessions.values().next().unwrap().kind, SessionKind::Graphical);
}

#[test]
fn further_terminals_of_a_session_are_no_logins() {
    let mut run = Run::quiet(true);
    let first = record("pts/0", "alice", of("5"));
    run.seen(&ssh("5", "alice")).utmp(std::slice::from_ref(&first));
    assert_eq!(run.poll(), [ready(&["alice pts/0 utmp+logind"])]);
    let mut tmux = record("pts/1", "alice", of("5"));
    (tmux.login.sort, tmux.login.since.0) = (Sort::Window, tmux.login.since.0 + 1);
    let mut sudo = record("pts/2", "alice", of("5"));
    sudo.login.since.0 += 2;
    assert_eq!(run.utmp(&[first, tmux.clone(), sudo]).poll(), []);
    // The tmux that is left running after the logout is nobody's login.
    run.seen(&LogindSession { closing: true, ..ssh("5", "alice") });
    assert_eq!(run.utmp(&[tmux]).poll(), [ready(&[])]);
}

#[test]
fn mosh_goes_on_when_the_login_that_began_it_has_ended() {
    let mut run = Run::quiet(true);
    let mut mosh = record("pts/1", "alice", of("5"));
    (mosh.login.sort, mosh.login.pid) = (Sort::Roaming, 900);
    run.seen(&ssh("5", "alice")).utmp(&[record("pts/0", "alice", of("5")), mosh.clone()]);
    assert_eq!(run.poll(), [ready(&["alice pts/0 utmp+logind", "alice pts/1 utmp"])]);
    run.merge.handle_end(700);
    assert_eq!(run.utmp(&[mosh]).poll(), [ready(&["alice pts/1 utmp"])]);
}

#[test]
fn the_end_of_the_leader_is_the_end_though_something_was_left_running() {
    let mut run = Run::quiet(false);
    run.seen(&ssh("5", "alice")).search(&Terminal::Is("pts/0".to_owned())).poll();
    assert_eq!(run.merge.leaders(), [700].into());
    run.merge.handle_end(700);
    assert_eq!(run.poll(), [ready(&[])]);
    // What logind says of it meanwhile does not bring it back.
    assert_eq!(run.seen(&ssh("5", "alice")).poll(), []);
    assert_eq!(run.logind(LogindNews::Listed(vec![ssh("5", "alice")])).poll(), []);
    assert_eq!(run.removed("5").poll(), []);
}

#[test]
fn that_logind_restarts_opens_and_closes_nothing() {
    let mut run = Run::quiet(false);
    run.seen(&ssh("5", "alice")).search(&Terminal::Is("pts/0".to_owned())).poll();
    assert_eq!(run.at(1000).logind(LogindNews::Lost(why("gone"))).poll(), []);
    assert_eq!(run.at(3000).poll(), []);
    assert_eq!(run.logind(LogindNews::Listed(vec![ssh("5", "alice")])).poll(), []);
    // What changed meanwhile is told.
    run.logind(LogindNews::Lost(why("gone"))).merge.handle_end(700);
    assert_eq!(run.logind(LogindNews::Listed(vec![console("6")])).poll(), [ready(&["root console logind"])]);
}

#[test]
fn without_logind_and_utmp_nobody_can_be_seen_and_that_is_said() {
    let mut run = Run::unheard();
    run.logind(LogindNews::Lost(why("no system bus"))).merge.handle_utmp(Err(why("no utmp")));
    assert_eq!(run.poll(), [Seen::Unavailable("no system bus; no utmp".to_owned())]);
    assert_eq!(run.utmp(&[record("pts/0", "alice", Owner::Nobody)]).poll(), [ready(&["alice pts/0 utmp"])]);

    let mut run = Run::quiet(false);
    run.seen(&console("1")).poll();
    run.at(10).logind(LogindNews::Lost(why("gone")));
    assert_eq!(run.poll(), []);
    assert_eq!(run.merge.next(), Some(run.now + GRACE));
    assert_eq!(run.at(15_010).poll(), [Seen::Unavailable("gone; no utmp".to_owned())]);
    assert_eq!(run.logind(LogindNews::Listed(vec![console("1")])).poll(), [ready(&["root console logind"])]);
}

#[test]
fn what_changed_while_nobody_could_be_seen_is_told_when_it_can_again() {
    let mut run = Run::quiet(false);
    let bob = LogindSession { leader: Some(900), tty: Some("tty2".to_owned()), ..ssh("2", "bob") };
    run.seen(&console("1")).seen(&bob).poll();
    run.logind(LogindNews::Lost(why("gone")));
    assert_eq!(run.at(15_000).poll(), [Seen::Unavailable("gone; no utmp".to_owned())]);
    assert_eq!(run.merge.leaders(), [850, 900].into());
    run.merge.handle_end(900);
    let alice = LogindSession { leader: Some(901), tty: Some("tty3".to_owned()), ..ssh("3", "alice") };
    let known = ready(&["bob tty2 logind", "root console logind"]);
    let now = ready(&["alice tty3 logind", "root console logind"]);
    assert_eq!(run.at(20_000).logind(LogindNews::Listed(vec![console("1"), alice])).poll(), [known, now]);
}

#[test]
fn while_nobody_can_be_seen_nothing_is_waited_for_and_nothing_is_forgotten() {
    let mut run = Run::quiet(false);
    run.logind(LogindNews::Lost(why("gone")));
    assert_eq!(run.at(15_000).poll(), [Seen::Unavailable("gone; no utmp".to_owned())]);
    run.past(&row(SessionSource::Wtmpdb, "alice", Some("pts/0"), true));
    run.seen(&ssh("8", "bob")).logind(LogindNews::Unseen);
    assert_eq!(run.poll(), []);
    // No deadline in the past, or the watcher would spin.
    for look in 1..=12 {
        run.at(15_000 + look * 5_000).search(&Terminal::NotYet);
    }
    assert_eq!(run.merge.next(), None);
    let told = run.logind(LogindNews::Listed(vec![])).poll();
    assert_eq!(told, [ready(&[]), ready(&["alice pts/0 wtmpdb"]), ready(&["bob - logind"])]);
}

#[test]
fn a_session_that_a_new_logind_has_forgotten_ends_with_its_leader() {
    let mut run = Run::quiet(false);
    run.seen(&ssh("c1", "alice")).search(&Terminal::Is("pts/0".to_owned())).poll();
    run.logind(LogindNews::Lost(why("stopped")));
    assert_eq!(run.logind(LogindNews::Listed(vec![])).poll(), []);
    // It counts anew.
    let bob =
        LogindSession { leader: Some(900), since: UnixNanos(1_795_000_009_000_000_000), ..ssh("c1", "bob") };
    run.seen(&bob).search(&Terminal::None);
    assert_eq!(run.poll(), [ready(&["alice pts/0 logind", "bob - logind"])]);
    run.merge.handle_end(700);
    assert_eq!(run.poll(), [ready(&["bob - logind"])]);
    assert_eq!(run.removed("c1").poll(), [ready(&[])]);
}

#[test]
fn logind_that_stays_away_while_utmp_is_there_is_a_gap_and_ends_nothing() {
    let mut run = Run::quiet(true);
    run.seen(&console("1")).poll();
    run.logind(LogindNews::Lost(why("systemd-logind does not run")));
    let told = run.at(15_000).poll();
    assert!(matches!(&told[..], [Seen::Missed(why)] if why.contains("without a terminal")), "{told:?}");
    assert_eq!(run.at(20_000).poll(), []);
    assert_eq!(run.merge.next(), None);
    // A session that began meanwhile keeps its key when logind comes back and knows it too.
    let login = record("pts/0", "alice", of("5"));
    let both = ready(&["alice pts/0 utmp", "root console logind"]);
    assert_eq!(run.utmp(&[login]).poll(), [both]);
    let keys = run.keys();
    let back = LogindNews::Listed(vec![console("1"), ssh("5", "alice")]);
    assert_eq!(run.logind(back).poll(), [ready(&["alice pts/0 utmp+logind", "root console logind"])]);
    assert_eq!(run.keys(), keys);
    // And goes on to keep it.
    assert_eq!(run.seen(&ssh("5", "alice")).poll(), []);
    assert_eq!(run.removed("5").poll(), [ready(&["root console logind"])]);
}

#[test]
fn a_log_of_logins_names_itself_in_a_session_that_lives_and_opens_none() {
    let mut run = Run::quiet(false);
    run.seen(&ssh("c3", "alice")).search(&Terminal::Is("pts/0".to_owned())).poll();
    let row = |ended| row(SessionSource::Wtmpdb, "alice", Some("pts/0"), ended);
    assert_eq!(run.past(&row(false)).poll(), [ready(&["alice pts/0 logind+wtmpdb"])]);
    assert_eq!(run.at(100).past(&row(true)).poll(), []);
    assert_eq!(run.at(110).removed("c3").poll(), [ready(&[])]);
    assert_eq!(run.at(9000).poll(), []);
}

#[test]
fn what_only_a_log_of_logins_knows_is_told_as_opened_and_closed() {
    for source in [SessionSource::Wtmp, SessionSource::Wtmpdb] {
        let mut run = Run::quiet(true);
        run.past(&row(source, "alice", Some("pts/0"), false));
        assert_eq!(run.poll(), []);
        assert_eq!(run.at(10).past(&row(source, "alice", Some("pts/0"), true)).poll(), []);
        let flash = format!("alice pts/0 {}", source.as_str());
        assert_eq!(run.at(2010).poll(), [ready(&[&flash]), ready(&[])]);
        assert_eq!(run.at(9000).poll(), []);
    }
}

#[test]
fn a_log_of_logins_tells_no_login_twice() {
    // Told as it came and went.
    let mut run = Run::quiet(false);
    run.seen(&ssh("c3", "alice")).removed("c3");
    assert_eq!(run.poll(), [ready(&["alice - logind"]), ready(&[])]);
    assert_eq!(run.past(&row(SessionSource::Wtmpdb, "alice", Some("pts/0"), true)).poll(), []);
    assert_eq!(run.at(9000).poll(), []);
    // A second channel of a connection that lives.
    let mut run = Run::quiet(true);
    run.seen(&ssh("5", "alice")).utmp(&[record("pts/0", "alice", of("5"))]).poll();
    let mut channel = row(SessionSource::Wtmp, "alice", Some("pts/3"), false);
    channel.since.0 += 3_600_000_000_000;
    run.past(&channel).poll();
    channel.ended = true;
    assert_eq!(run.past(&channel).poll(), []);
    assert_eq!(run.at(9000).poll(), []);
}

#[test]
fn one_told_session_stands_for_one_login_of_a_log() {
    let mut run = Run::quiet(false);
    run.seen(&ssh("c3", "alice")).removed("c3").poll();
    for id in ["1", "2"] {
        run.past(&Past { id: id.to_owned(), ..row(SessionSource::Wtmpdb, "alice", None, true) });
    }
    assert_eq!(run.at(2000).poll(), [ready(&["alice - wtmpdb"]), ready(&[])]);
}

#[test]
fn a_session_that_nobody_can_describe_is_a_gap_unless_a_log_has_it() {
    let mut run = Run::quiet(false);
    run.logind(LogindNews::Unseen);
    assert_eq!(run.poll(), []);
    let told = run.at(2000).poll();
    assert!(matches!(&told[..], [Seen::Missed(why)] if why.contains("came and went")), "{told:?}");

    run.logind(LogindNews::Unseen);
    run.past(&row(SessionSource::Wtmpdb, "alice", Some("pts/0"), true));
    assert_eq!(run.at(4000).poll(), [ready(&["alice pts/0 wtmpdb"]), ready(&[])]);
}

#[test]
fn a_full_name_in_wtmp_is_the_same_user_that_utmp_cuts() {
    let long = "a-name-that-is-longer-than-thirty-two-bytes";
    let session = ssh("5", long).session();
    assert!(row(SessionSource::Wtmp, &long[..32], Some("pts/0"), true).is(&session));
    assert!(!row(SessionSource::Wtmp, &long[..31], Some("pts/0"), true).is(&session));
}

#[test]
fn what_says_the_same_is_not_told_again() {
    let mut run = Run::quiet(true);
    let login = record("pts/0", "alice", Owner::Nobody);
    assert_eq!(run.utmp(std::slice::from_ref(&login)).poll(), [ready(&["alice pts/0 utmp"])]);
    assert_eq!(run.utmp(&[login]).poll(), []);
    run.seen(&LogindSession { class: "manager".to_owned(), ..ssh("9", "alice") });
    assert_eq!(run.poll(), []);
}

#[test]
fn where_processes_are_hidden_a_record_belongs_to_the_one_session_that_it_can_be() {
    let mut run = Run::quiet(true);
    let bob = LogindSession { leader: Some(800), ..ssh("6", "bob") };
    run.seen(&ssh("5", "alice")).seen(&bob);
    // By the leader, and by user, place and time: root's record is of another process than its leader.
    let mut other = record("pts/1", "bob", Owner::Unknown);
    other.login.pid = 801;
    run.utmp(&[record("pts/0", "alice", Owner::Unknown), other]);
    assert_eq!(run.poll(), [ready(&["alice pts/0 utmp+logind", "bob pts/1 utmp+logind"])]);
}

#[test]
fn somebody_elses_record_gives_a_session_neither_terminal_nor_place() {
    let mut run = Run::quiet(true);
    run.seen(&ssh("5", "alice")).search(&Terminal::None);
    assert_eq!(run.utmp(&[record("pts/9", "bob", of("5"))]).poll(), [ready(&["alice - logind"])]);
}

#[test]
fn a_program_of_a_users_manager_logs_nobody_in() {
    let mut run = Run::quiet(true);
    assert_eq!(run.utmp(&[record("pts/7", "alice", Owner::Manager)]).poll(), []);
}

#[test]
fn a_second_channel_is_one_login_also_where_utmp_alone_knows_of_it() {
    let mut run = Run::unheard();
    run.logind(LogindNews::Lost(why("no system bus")));
    let mut second = record("pts/1", "alice", Owner::Nobody);
    second.login.since.0 += 60_000_000_000;
    run.utmp(&[record("pts/0", "alice", Owner::Nobody), second]);
    assert_eq!(run.poll(), [ready(&["alice pts/0 utmp"])]);
}

#[test]
fn a_row_that_comes_while_its_session_is_held_back_names_it_and_not_an_older_one() {
    let mut run = Run::quiet(false);
    run.seen(&ssh("c3", "alice")).search(&Terminal::Is("pts/0".to_owned())).poll();
    let later = 3_600_000_000_000;
    let second = LogindSession {
        leader: Some(900),
        since: UnixNanos(ssh("c4", "alice").since.0 + later),
        ..ssh("c4", "alice")
    };
    assert_eq!(run.seen(&second).search(&Terminal::NotYet).poll(), []);
    let mut row = row(SessionSource::Wtmpdb, "alice", Some("pts/1"), false);
    row.since.0 += later;
    assert_eq!(run.past(&row).poll(), []);
    let told = run.at(30).search(&Terminal::Is("pts/1".to_owned())).poll();
    assert_eq!(told, [ready(&["alice pts/0 logind", "alice pts/1 logind+wtmpdb"])]);
}

#[test]
fn a_channel_that_was_over_when_its_row_was_read_is_no_login() {
    let mut run = Run::quiet(false);
    run.seen(&ssh("c3", "alice")).search(&Terminal::None).poll();
    let mut channel = row(SessionSource::Wtmpdb, "alice", Some("pts/1"), true);
    channel.since.0 += 3_600_000_000_000;
    run.past(&channel).poll();
    assert_eq!(run.at(9000).poll(), []);
    // Where logind announced one that it could not describe, it may be that.
    channel.id = "2".to_owned();
    run.logind(LogindNews::Unseen).past(&channel);
    assert_eq!(run.at(11_000).poll().len(), 2);
}

#[test]
fn a_login_that_a_list_has_and_that_is_gone_at_once_is_told_as_opened_and_closed() {
    let mut run = Run::quiet(false);
    run.logind(LogindNews::Lost(why("restarting")));
    run.logind(LogindNews::Listed(vec![ssh("7", "alice")])).removed("7");
    assert_eq!(run.poll(), [ready(&["alice - logind"]), ready(&[])]);
}

#[test]
fn a_thousand_sessions_and_their_records_are_merged_by_their_seats() {
    let mut run = Run::quiet(true);
    let sessions =
        (0..1000).map(|n| LogindSession { leader: Some(n + 1), ..ssh(&n.to_string(), &format!("user{n}")) });
    run.logind(LogindNews::Listed(sessions.collect()));
    let records: Vec<_> = (0..1000)
        .map(|n| {
            let mut record = record(&format!("pts/{n}"), &format!("user{n}"), Owner::Unknown);
            record.login.pid = n + 1;
            record
        })
        .collect();
    let told = run.utmp(&records).poll();
    let [Seen::Ready(lines)] = &told[..] else { panic!("{} told", told.len()) };
    assert!(lines.len() == 1000 && lines.iter().all(|line| line.ends_with("utmp+logind")));
}

#[test]
fn what_may_be_missing_is_told_once_when_anything_can_be_told_again() {
    let mut run = Run::quiet(false);
    run.logind(LogindNews::Lost(why("gone")));
    assert_eq!(run.at(15_000).poll(), [Seen::Unavailable("gone; no utmp".to_owned())]);
    for _ in 0..3 {
        run.logind(LogindNews::Missed("it did not answer".to_owned()));
    }
    let told = run.logind(LogindNews::Listed(vec![])).poll();
    assert_eq!(told, [ready(&[]), Seen::Missed("it did not answer".to_owned())]);
}
