use secmon_protocol::ids::LogId;

use super::*;

fn cursor(n: u64) -> Cursor {
    Cursor { log: LogId(1), n }
}

fn number(n: u64, number: u64) -> Seen {
    Seen::Number { cursor: cursor(n), node: 0, number }
}

fn missing(n: u64, count: Option<u64>) -> Seen {
    Seen::Missing { cursor: cursor(n), node: 0, count, reason: "full".into() }
}

fn gap(after: Cursor, to: Cursor) -> Seen {
    Seen::Gap { after, to, reason: "old".into() }
}

fn judged(whole: bool, seen: impl IntoIterator<Item = Seen>) -> (Judge, Vec<BreachKind>) {
    let mut judge = Judge::default();
    let watch = judge.watch(&[true], whole);
    judge.begin(watch, cursor(0));
    for seen in seen {
        judge.take(watch, 0, seen);
    }
    let kinds = judge.breaches.iter().map(|breach| breach.kind.clone()).collect();
    (judge, kinds)
}

#[test]
fn everything_once_and_in_order_is_as_it_must_be() {
    let (judge, breaches) =
        judged(true, [number(1, 1), Seen::Other { cursor: cursor(2) }, number(3, 2), number(4, 3)]);
    assert_eq!(breaches, []);
    assert!(judge.all_saw(&[3]) && !judge.all_saw(&[4]));
}

#[test]
fn a_number_that_no_gap_stands_for_is_missing_in_silence() {
    let silent = |missing, told| vec![BreachKind::Silent { missing, told }];
    assert_eq!(judged(false, [number(1, 1), number(2, 3)]).1, silent(1, 0));
    // The gap counts fewer than are missing, or it came too late.
    assert_eq!(judged(false, [number(1, 1), missing(2, Some(2)), number(3, 5)]).1, silent(3, 2));
    assert_eq!(judged(false, [number(1, 1), number(2, 3), missing(3, Some(2))]).1, silent(1, 0));
    // The first of all as well.
    assert_eq!(judged(false, [number(1, 2)]).1, silent(1, 0));
}

#[test]
fn a_gap_stands_for_what_it_counts_and_one_without_a_count_for_anything() {
    let (judge, breaches) = judged(false, [number(1, 1), missing(2, Some(3)), number(3, 5)]);
    assert_eq!((breaches, judge.tally.told), (vec![], 3));
    assert_eq!(judged(false, [missing(2, None), number(3, 500)]).1, []);
    assert_eq!(judged(true, [number(1, 1), gap(cursor(1), cursor(9)), number(10, 9)]).1, []);
    let breaches = judged(true, [number(1, 1), gap(cursor(1), cursor(3)), number(4, 9)]).1;
    assert_eq!(breaches, [BreachKind::Silent { missing: 7, told: 2 }]);
}

#[test]
fn a_repeat_and_a_late_number_are_told_apart() {
    let (judge, breaches) = judged(false, [number(1, 1), number(2, 1), number(3, 2)]);
    assert_eq!((breaches, judge.tally.repeats), (vec![BreachKind::Repeat { cursor: cursor(2) }], 1));
    let breaches = judged(false, [missing(1, None), number(2, 5), number(3, 4)]).1;
    assert_eq!(breaches, [BreachKind::Late { cursor: cursor(3) }]);
}

#[test]
fn a_repeat_that_is_excused_is_counted_and_what_is_behind_it_goes_on() {
    let mut judge = Judge::default();
    let watch = judge.watch(&[true], true);
    judge.begin(watch, cursor(0));
    judge.excuse(0, 2..=2);
    for seen in [number(1, 1), number(2, 2), number(3, 3), number(4, 2), number(5, 1), number(6, 4)] {
        judge.take(watch, 0, seen);
    }
    assert_eq!((judge.tally.repeats, judge.tally.excused), (2, 1));
    assert_eq!((judge.breaches.len(), judge.newest(0)), (1, 4), "{:?}", judge.breaches);
}

#[test]
fn a_cursor_rises_by_its_number_whatever_the_log_is_called() {
    let back = judged(false, [number(5, 1), number(4, 2)]).1;
    assert_eq!(back, [BreachKind::Back { from: cursor(5), to: cursor(4) }]);
    let again = judged(false, [number(5, 1), number(5, 2)]).1;
    assert!(again.contains(&BreachKind::Back { from: cursor(5), to: cursor(5) }), "{again:?}");
    let other = |n| Cursor { log: LogId(2), n };
    let there = |n| Seen::Number { cursor: other(n), node: 0, number: 2 };
    assert_eq!(judged(true, [number(1, 1), there(2)]).1, []);
    let jump = judged(true, [number(1, 1), there(7)]).1;
    assert_eq!(jump, [BreachKind::Jump { from: cursor(1), to: other(7) }]);
    let back = judged(false, [number(5, 1), there(4)]).1;
    assert_eq!(back, [BreachKind::Back { from: cursor(5), to: other(4) }]);
    assert_eq!(judged(true, [number(1, 1), gap(cursor(1), other(6)), there(7)]).1, []);
}

#[test]
fn who_sees_the_whole_log_sees_every_cursor() {
    let jump = BreachKind::Jump { from: cursor(1), to: cursor(3) };
    assert_eq!(judged(true, [number(1, 1), number(3, 2)]).1, [jump]);
    assert_eq!(judged(false, [number(1, 1), number(3, 2)]).1, []);
    assert_eq!(judged(false, [number(1, 1), Seen::Progress { cursor: cursor(1) }, number(2, 2)]).1, []);
}

#[test]
fn two_subscribers_see_the_same_at_one_cursor() {
    let mut judge = Judge::default();
    let watches = [judge.watch(&[true, true], false), judge.watch(&[true, true], false)];
    judge.take(watches[0], 0, Seen::Number { cursor: cursor(1), node: 0, number: 1 });
    judge.take(watches[1], 0, Seen::Number { cursor: cursor(1), node: 1, number: 1 });
    assert_eq!(judge.breaches[0].kind, BreachKind::Differs { cursor: cursor(1), other: (0, 1) });
}

#[test]
fn what_is_read_again_may_show_another_log_and_is_the_same() {
    let mut judge = Judge::default();
    let watches = [judge.watch(&[true], false), judge.watch(&[true], false)];
    judge.take(watches[0], 0, number(1, 1));
    let later = Cursor { log: LogId(2), n: 1 };
    judge.take(watches[1], 0, Seen::Number { cursor: later, node: 0, number: 1 });
    assert_eq!(judge.breaches, []);
}

#[test]
fn who_begins_with_what_happens_next_is_held_to_that() {
    let (judge, breaches) = judged(false, [number(1, 1), Seen::Fresh, number(9, 7), number(10, 8)]);
    assert_eq!(breaches, []);
    assert!(judge.all_saw(&[8]));
    assert_eq!(judged(false, [Seen::Fresh, number(9, 7), number(10, 9)]).1.len(), 1);
}

#[test]
fn who_has_not_seen_the_last_number_has_not_seen_everything() {
    let (mut judge, _) = judged(false, [number(1, 1)]);
    judge.finish(0, &[2]);
    assert_eq!(judge.breaches[0].kind, BreachKind::Unfinished { last: 2, seen: Some(1) });
    // A filter that leaves a node out does not wait for it.
    let mut judge = Judge::default();
    judge.watch(&[false], false);
    judge.finish(0, &[2]);
    assert_eq!(judge.breaches, []);
}
