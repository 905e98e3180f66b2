//! What becomes of sessions over a restart of the node.

use super::*;

/// Another process goes on with what the first one told and kept.
fn restart(run: &mut Run, boot: &str) -> Run {
    let places = run.merge.poll_places().into_iter().map(|place| (place.source, place.at)).collect();
    let known = run.merge.told.clone().unwrap();
    let now = run.now;
    Run { merge: Merge::resume(&known, &places, boot), start: now, now }
}

#[test]
fn after_a_restart_logind_tells_the_same_sessions_under_the_same_keys() {
    let mut run = Run::quiet(false);
    let (alice, bob) = (LogindSession { tty: Some("tty1".to_owned()), ..ssh("1", "alice") }, ssh("2", "bob"));
    run.seen(&alice).poll();
    let keys = run.keys();
    let mut run = restart(&mut run, "");
    run.merge.handle_utmp(Err(why("no utmp")));
    run.logind(LogindNews::Listed(vec![alice.clone(), bob]));
    // A first word, though nothing is new; who came meanwhile is opened, when it can be told whole.
    assert_eq!(run.poll(), [ready(&["alice tty1 logind"])]);
    assert_eq!(run.keys(), keys);
    assert_eq!(run.at(1000).poll(), [ready(&["alice tty1 logind", "bob - logind"])]);
    let mut run = restart(&mut run, "");
    run.merge.handle_utmp(Err(why("no utmp")));
    run.logind(LogindNews::Listed(vec![alice]));
    assert_eq!(run.poll(), [ready(&["alice tty1 logind"])]);
}

#[test]
fn a_session_that_ended_while_nobody_looked_is_told_by_no_log_again() {
    let mut run = Run::quiet(false);
    let alice = LogindSession { tty: Some("pts/0".to_owned()), ..ssh("1", "alice") };
    run.seen(&alice).poll();
    let mut run = restart(&mut run, "");
    run.merge.handle_utmp(Err(why("no utmp")));
    run.past(&Past { unwatched: true, ..row(SessionSource::Wtmpdb, "alice", Some("pts/0"), true) });
    run.logind(LogindNews::Listed(vec![]));
    assert_eq!(run.poll(), [ready(&[])]);
    assert_eq!(run.at(3000).poll(), []);
    // Nor after another restart, when the log is read from an earlier place.
    let mut run = restart(&mut run, "");
    run.merge.handle_utmp(Err(why("no utmp")));
    run.logind(LogindNews::Listed(vec![]));
    run.past(&Past { unwatched: true, ..row(SessionSource::Wtmp, "alice", Some("pts/0"), true) });
    assert_eq!(run.poll(), [ready(&[])]);
    assert_eq!(run.at(3000).poll(), []);
}

#[test]
fn a_login_that_came_and_went_meanwhile_is_told_once_though_two_logs_have_it_and_its_user_is_there() {
    let mut run = Run::quiet(false);
    let alice = LogindSession { tty: Some("pts/7".to_owned()), ..ssh("1", "alice") };
    run.seen(&alice).poll();
    let mut run = restart(&mut run, "");
    run.merge.handle_utmp(Err(why("no utmp")));
    run.logind(LogindNews::Listed(vec![alice]));
    let later = UnixNanos(1_795_000_900_000_000_000);
    for source in [SessionSource::Wtmp, SessionSource::Wtmpdb] {
        run.past(&Past { unwatched: true, since: later, ..row(source, "alice", Some("pts/0"), true) });
    }
    assert_eq!(run.poll(), [ready(&["alice pts/7 logind"])]);
    assert_eq!(
        run.at(2000).poll(),
        [ready(&["alice pts/0 wtmp", "alice pts/7 logind"]), ready(&["alice pts/7 logind"])]
    );
}

#[test]
fn without_logind_after_a_restart_its_sessions_stand_for_a_while_but_not_over_a_reboot() {
    for (boot, sessions) in [("this", vec!["alice - logind"]), ("next", vec![])] {
        let mut run =
            Run { merge: Merge::resume(&Facet::Pending, &BTreeMap::new(), "this"), ..Run::unheard() };
        run.merge.handle_utmp(Ok(vec![]));
        run.logind(LogindNews::Listed(vec![ssh("1", "alice")]));
        run.at(1000).poll();
        let mut run = restart(&mut run, boot);
        run.merge.handle_utmp(Ok(vec![]));
        run.logind(LogindNews::Lost(why("no bus")));
        assert_eq!(run.poll(), [ready(&sessions)], "{boot}");
    }
}

#[test]
fn the_place_of_a_log_waits_until_everything_before_it_is_told() {
    let mut run = Run::quiet(false);
    run.merge.poll_places();
    let place = |at: &'static str| Place { source: "wtmpdb".to_owned(), at: at.into() };
    let past = row(SessionSource::Wtmpdb, "alice", None, true);
    let now = run.now;
    run.merge.handle_logged(Logged { place: Some(place("1")), ..Logged::default() }, now);
    run.merge.handle_logged(Logged { logins: vec![past], place: Some(place("2")), missed: None }, now);
    assert_eq!(run.poll(), []);
    assert_eq!(run.merge.poll_places(), [place("1")]);
    assert_eq!(run.at(2000).poll().len(), 2);
    let places = run.merge.poll_places();
    assert_eq!((&places[0], places.len()), (&place("2"), 2));
    assert_eq!(run.merge.poll_places(), []);
}

#[test]
fn a_session_keeps_its_key_over_a_restart_whichever_of_logind_and_utmp_told_it_first() {
    let record = record("pts/0", "alice", of("1"));
    let alice = ssh("1", "alice");
    // utmp told it while there was no logind; logind is there after the restart.
    let mut run = Run::unheard();
    run.utmp(std::slice::from_ref(&record)).logind(LogindNews::Lost(why("no bus")));
    assert_eq!(run.poll(), [ready(&["alice pts/0 utmp"])]);
    let keys = run.keys();
    let mut run = restart(&mut run, "");
    run.utmp(std::slice::from_ref(&record)).logind(LogindNews::Listed(vec![alice.clone()]));
    assert_eq!(run.poll(), [ready(&["alice pts/0 utmp+logind"])]);
    assert_eq!(run.keys(), keys);
    // logind told it, and is away after the restart.
    let mut run = Run::unheard();
    run.utmp(std::slice::from_ref(&record)).logind(LogindNews::Listed(vec![alice.clone()]));
    run.poll();
    let keys = run.keys();
    let mut run = restart(&mut run, "");
    run.utmp(std::slice::from_ref(&record)).logind(LogindNews::Lost(why("no bus")));
    run.poll();
    assert_eq!(run.keys(), keys);
    run.logind(LogindNews::Listed(vec![alice])).poll();
    assert_eq!(run.keys(), keys);
}
