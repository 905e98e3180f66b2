use proptest::prelude::*;
use secmon_protocol::ids::LogId;

use super::*;

fn at(log: u64, n: u64) -> Cursor {
    Cursor { log: LogId(log), n }
}

fn record(log: u64, n: u64) -> Item {
    Item::Record { cursor: at(log, n), events: vec![] }
}

fn gap(after: Cursor, to: Cursor) -> Item {
    Item::Gap(Gap { after, to, reason: "the hub says".to_owned() })
}

/// What is given out of these, in a short form: `7-3`, `7-3..7-5` for a gap of the hub's own words, `?` behind
/// one that the hub did not name, `(7-3)` for progress.
fn given(track: &mut Track, items: impl IntoIterator<Item = Item>) -> Vec<String> {
    let mut out = vec![];
    let short = |c: Cursor| format!("{:x}-{}", c.log.0, c.n);
    for item in items {
        track.take(item, &mut |item| {
            out.push(match item {
                Item::Record { cursor, .. } => short(cursor),
                Item::Progress(cursor) => format!("({})", short(cursor)),
                Item::Gap(gap) => {
                    let own = if gap.reason == "the hub says" { "" } else { "?" };
                    format!("{}..{}{own}", short(gap.after), short(gap.to))
                }
            });
        });
    }
    out
}

#[test]
fn what_came_before_is_dropped_and_the_rest_goes_on() {
    let mut track = Track::new(Some(at(7, 4)), true);
    track.stands(at(7, 2));
    let items = [record(7, 3), record(7, 4), record(7, 5), record(7, 5), record(7, 6)];
    assert_eq!(given(&mut track, items), ["7-5", "7-6"]);
    assert_eq!(track.last(), Some(at(7, 6)));
}

#[test]
fn a_hole_that_the_hub_does_not_name_is_named() {
    let mut track = Track::new(Some(at(7, 4)), true);
    track.stands(at(7, 4));
    assert_eq!(given(&mut track, [record(7, 5), record(7, 9)]), ["7-5", "7-5..7-8?", "7-9"]);
    // Through a filter most numbers never come.
    let mut track = Track::new(Some(at(7, 4)), false);
    track.stands(at(7, 4));
    let items = [record(7, 5), record(7, 9), Item::Progress(at(7, 20)), record(7, 21)];
    assert_eq!(given(&mut track, items), ["7-5", "7-9", "(7-20)", "7-21"]);
}

#[test]
fn a_hub_that_goes_on_elsewhere_owes_a_gap() {
    for whole in [true, false] {
        let mut track = Track::new(Some(at(7, 4)), whole);
        track.stands(at(7, 10));
        assert_eq!(given(&mut track, [record(7, 11)]), ["7-4..7-10?", "7-11"]);
        track.stands(at(7, 20));
        assert_eq!(given(&mut track, [gap(at(7, 11), at(7, 20)), record(7, 21)]), ["7-11..7-20", "7-21"]);
        // One that names too little is widened.
        track.stands(at(7, 30));
        assert_eq!(given(&mut track, [gap(at(7, 25), at(7, 30))]), ["7-21..7-30"]);
        // A second break before anything came: the gap is still owed.
        track.stands(at(7, 40));
        track.stands(at(7, 50));
        assert_eq!(given(&mut track, [record(7, 51)]), ["7-30..7-50?", "7-51"]);
    }
}

#[test]
fn another_log_is_told_as_a_gap_in_the_hubs_words_where_it_has_some() {
    let mut track = Track::new(Some(at(7, 4)), true);
    track.stands(at(8, 0));
    assert_eq!(track.last(), Some(at(7, 4)), "until the gap is told, there is nothing else to go on from");
    assert_eq!(given(&mut track, [gap(at(7, 4), at(8, 0)), record(8, 1)]), ["7-4..8-0", "8-1"]);
    track.stands(at(9, 3));
    assert_eq!(given(&mut track, [record(9, 4)]), ["8-1..9-3?", "9-4"]);
    // In the middle of a subscription.
    assert_eq!(given(&mut track, [record(10, 3), record(10, 4)]), ["9-4..a-2?", "a-3", "a-4"]);
}

#[test]
fn a_log_whose_id_changes_goes_on_where_its_numbers_do() {
    let mut track = Track::new(Some(at(7, 4)), true);
    track.stands(at(9, 4));
    // What was written before the hub's last two starts keeps its cursor.
    let items = [record(7, 5), record(8, 6), record(9, 7), record(9, 9)];
    assert_eq!(given(&mut track, items), ["7-5", "8-6", "9-7", "9-7..9-8?", "9-9"]);
    let mut track = Track::new(Some(at(7, 4)), false);
    track.stands(at(9, 4));
    assert_eq!(given(&mut track, [record(8, 9), Item::Progress(at(9, 12))]), ["8-9", "(9-12)"]);
}

#[test]
fn a_gap_that_is_known_is_not_told_twice_and_one_that_overlaps_only_as_far_as_it_is_new() {
    let mut track = Track::new(Some(at(7, 9)), false);
    track.stands(at(7, 9));
    let items = [gap(at(7, 2), at(7, 9)), gap(at(7, 5), at(7, 12)), record(7, 13)];
    assert_eq!(given(&mut track, items), ["7-9..7-12", "7-13"]);
}

#[test]
fn a_log_that_the_hub_says_went_back_is_followed() {
    let mut track = Track::new(Some(at(7, 200)), true);
    track.stands(at(7, 100));
    assert_eq!(given(&mut track, [gap(at(7, 200), at(7, 100)), record(7, 101)]), ["7-200..7-100", "7-101"]);
}

#[test]
fn what_the_hub_no_longer_has_before_the_beginning_is_told() {
    let mut track = Track::new(None, true);
    track.stands(at(7, 50));
    assert_eq!(given(&mut track, [gap(at(7, 0), at(7, 50)), record(7, 51)]), ["7-0..7-50", "7-51"]);
    assert_eq!(track.last(), Some(at(7, 51)));
}

/// What a hub may do to a follower: subscribe it somewhere, or send it something.
#[derive(Debug, Clone)]
enum Step {
    Stands(Cursor),
    Sends(Item),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    // Few places, so that they meet.
    let place = || (7_u64..9, 0_u64..12).prop_map(|(log, n)| at(log, n));
    let step = prop_oneof![
        1 => place().prop_map(Step::Stands),
        6 => place().prop_map(|cursor| Step::Sends(record(cursor.log.0, cursor.n.max(1)))),
        1 => place().prop_map(|cursor| Step::Sends(Item::Progress(cursor))),
        2 => (place(), place()).prop_map(|(after, to)| Step::Sends(gap(after, to))),
    ];
    prop::collection::vec(step, 0..40)
}

proptest! {
    /// Whatever a hub sends, in whatever order: each thing that is given out begins exactly where the one before it
    /// ended, so nothing comes twice and nothing is passed in silence.
    #[test]
    fn what_is_given_out_is_a_chain_without_holes_whatever_the_hub_does(steps in steps(), start in 0_u64..12) {
        let mut track = Track::new(Some(at(7, start)), true);
        let mut last = at(7, start);
        for step in steps {
            let mut out = vec![];
            match step {
                Step::Stands(after) => track.stands(after),
                Step::Sends(item) => track.take(item, &mut |item| out.push(item)),
            }
            for item in out {
                match &item {
                    Item::Record { cursor, .. } => {
                        prop_assert_eq!(cursor.n, last.n + 1);
                    }
                    Item::Gap(gap) => prop_assert_eq!(gap.after, last),
                    Item::Progress(_) => prop_assert!(false, "everything is wanted: there is nothing to pass"),
                }
                last = item.cursor();
            }
            prop_assert_eq!(track.last(), Some(last));
        }
    }

    /// Through a filter numbers are left out, and still nothing comes twice or goes back but by a gap.
    #[test]
    fn through_a_filter_nothing_comes_twice_or_goes_back_in_silence(steps in steps(), start in 0_u64..12) {
        let mut track = Track::new(Some(at(7, start)), false);
        let mut last = at(7, start);
        for step in steps {
            let mut out = vec![];
            match step {
                Step::Stands(after) => track.stands(after),
                Step::Sends(item) => track.take(item, &mut |item| out.push(item)),
            }
            for item in out {
                let cursor = item.cursor();
                match &item {
                    Item::Gap(gap) => prop_assert!(gap.after == last || gap.after > last && gap.after <= cursor),
                    Item::Record { .. } => prop_assert!(cursor.n > last.n),
                    Item::Progress(_) => prop_assert!(cursor.n > last.n),
                }
                last = cursor;
            }
        }
    }
}
