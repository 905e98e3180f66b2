//! Which log it is, and where a remembered place lies in it.

use super::*;

fn cursor(log: u64, n: u64) -> Cursor {
    Cursor { log: LogId(log), n }
}

fn found(newest: u64) -> Core {
    started(LogRow { id: LogId(9), newest, history: vec![] }, LogOrigin::Found)
}

fn start(core: &mut Core, cursor: Cursor, gone: u64) -> (Result<Start, ErrorCode>, Effects) {
    let mut out = vec![];
    (core.start_after(cursor, gone, &mut out).map_err(|refusal| refusal.code), out)
}

fn switched(out: &Effects) -> bool {
    let new = count(out, |effect| matches!(effect, Effect::NewLog(LogId(10))));
    let kept = count(out, |effect| matches!(effect, Effect::Store(Write::Log { id: LogId(10), .. })));
    assert_eq!(new, kept);
    new == 1
}

#[test]
fn a_place_of_this_log_is_gone_on_from() {
    let mut core = found(100);
    for n in [0, 50, 100] {
        assert_eq!(start(&mut core, cursor(9, n), 7), (Ok(Start::at(n)), vec![]));
    }
}

#[test]
fn a_client_that_is_ahead_shows_an_older_copy_once() {
    let mut core = found(100);
    let (begun, out) = start(&mut core, cursor(9, 150), 7);
    assert!(switched(&out));
    let begun = begun.unwrap();
    assert_eq!((begun.after, begun.gap.unwrap().0), (100, cursor(9, 150)));
    assert_eq!(core.newest(), cursor(10, 100), "numbers go on");
    // Up to the start the two logs are the same, beyond it nobody knows.
    assert_eq!(start(&mut core, cursor(9, 100), 7).0, Ok(Start::at(100)));
    let (begun, out) = start(&mut core, cursor(9, 101), 7);
    assert!(begun.unwrap().gap.is_some() && out.is_empty());
    assert_eq!(start(&mut core, cursor(10, 101), 7).0, Err(ErrorCode::BadCursor));
}

#[test]
fn what_this_start_logged_is_behind_the_gap_of_an_older_copy() {
    let mut core = found(100);
    enrolled(&mut core);
    assert_eq!(core.newest().n, 101);
    let begun = start(&mut core, cursor(9, 150), 0).0.unwrap();
    assert_eq!(begun.after, 100);
    assert_eq!(start(&mut core, cursor(9, 150), 100).0.unwrap().after, 100);
}

#[test]
fn a_place_that_a_log_made_by_this_start_never_had_is_refused() {
    let (refused, out) = start(&mut core(), cursor(9, 1), 0);
    assert_eq!((refused, out), (Err(ErrorCode::BadCursor), vec![]));
}

#[test]
fn a_place_of_an_unknown_log_gets_a_gap_and_all_that_is_held() {
    let (begun, out) = start(&mut found(100), cursor(77, 5), 40);
    let begun = begun.unwrap();
    assert_eq!((begun.after, begun.gap.unwrap().0, out), (40, cursor(77, 5), vec![]));
}

#[test]
fn a_place_of_a_predecessor_is_gone_on_from_as_far_as_the_logs_are_the_same() {
    let history = (0..MAX_PREDECESSORS as u64).map(|n| Predecessor { log: LogId(30 - n), until: 90 - n });
    let row = LogRow { id: LogId(9), newest: 100, history: history.collect() };
    let mut core = started(row, LogOrigin::Found);
    assert_eq!(start(&mut core, cursor(30, 90), 0).0, Ok(Start::at(90)));
    assert_eq!(start(&mut core, cursor(29, 90), 0).0.unwrap().after, 89);
    assert_eq!(start(&mut core, cursor(29, 90), 95).0.unwrap().after, 95, "one gap, not two");
    start(&mut core, cursor(9, 101), 0).0.unwrap();
    assert_eq!(start(&mut core, cursor(9, 100), 0).0, Ok(Start::at(100)));
    assert!(start(&mut core, cursor(15, 1), 0).0.unwrap().gap.is_some(), "the oldest is forgotten");
}

#[test]
fn a_switch_that_was_not_written_never_happened() {
    let mut core = found(100);
    start(&mut core, cursor(9, 150), 7).0.unwrap();
    core.restore(Kept {
        log: LogRow { id: LogId(9), newest: 100, history: vec![] },
        nodes: vec![],
        tokens: vec![],
    });
    assert_eq!(core.newest(), cursor(9, 100));
    assert!(switched(&start(&mut core, cursor(9, 150), 7).1));
}

/// A node that was last seen when the machine had already been cut off from its power.
#[test]
fn a_node_that_had_acknowledgements_of_more_shows_an_older_copy() {
    for (unclean, older) in [(0, true), (50, false)] {
        let mut core = found(100);
        enrolled(&mut core);
        connect(&mut core, 1, hello(1, 1, 0));
        send(&mut core, 1, &[snapshot(1, b"a"), event(2)]);
        let nodes = core.nodes.values().map(|node| (node.row.clone(), node.state.clone())).collect();
        let log = LogRow { id: LogId(9), newest: core.newest().n, history: vec![] };
        let boot = Boot { spare: LogId(10), origin: LogOrigin::Found, unclean: at(unclean).unix };
        let mut core = Core::new(Kept { log, nodes, tokens: vec![] }, boot, Duration::from_secs(15));
        let out = connect(&mut core, 2, hello(1, 6, 9));
        assert!(logged(&out).contains(&"gap 3-5".to_owned()));
        assert_eq!(switched(&out), older);
        // A node that begins anew shows nothing.
        assert!(!switched(&connect(&mut core, 3, hello(2, 6, 9))));
    }
}
