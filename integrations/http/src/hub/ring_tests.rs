use proptest::prelude::*;
use secmon_client::Item;
use secmon_protocol::message::client::Gap;

use super::*;
use crate::hub::now;

fn cursor(log: u64, n: u64) -> Cursor {
    Cursor { log: LogId(log), n }
}

/// Something to tell at a place; a gap is an entry like any other.
fn entry(at: Cursor) -> Option<Arc<Entry>> {
    Some(Entry::gap(Gap { after: at, to: at, reason: "x".repeat(300) }, now()))
}

fn push(ring: &Ring, at: Cursor) {
    ring.push(at, entry(at));
}

/// What a listener at `place` gets, and where it stands then.
fn rest(ring: &Ring, place: u64) -> Option<(Vec<u64>, Cursor)> {
    let portion = ring.read(place, 1000)?;
    Some((portion.entries.iter().map(|entry| entry.cursor.n).collect(), portion.at))
}

fn follow(ring: &Ring, from: Cursor) -> Option<Vec<u64>> {
    match ring.find(from) {
        Found::At(place) => Some(rest(ring, place)?.0),
        Found::Ahead | Found::Unknown => None,
    }
}

#[test]
fn a_place_is_found_by_its_number_under_the_present_id_and_by_its_record_under_an_earlier_one() {
    let ring = Ring::new(1 << 20);
    assert_eq!((ring.end(), ring.find(cursor(1, 0))), (None, Found::Unknown));
    ring.begin(cursor(1, 5), Some(LogId(1)));
    for n in [6, 8] {
        push(&ring, cursor(1, n));
    }
    // Nothing to tell, but the place has moved on.
    ring.push(cursor(1, 9), None);
    assert_eq!(follow(&ring, cursor(1, 5)), Some(vec![6, 8]));
    assert_eq!(follow(&ring, cursor(1, 6)), Some(vec![8]));
    assert_eq!(follow(&ring, cursor(1, 7)), Some(vec![8]), "within what the filter of the hub left out");
    assert_eq!(follow(&ring, cursor(1, 9)), Some(vec![]));
    assert_eq!((ring.find(cursor(1, 4)), ring.find(cursor(1, 10))), (Found::Unknown, Found::Ahead));
    assert_eq!(rest(&ring, 0), Some((vec![6, 8], cursor(1, 9))));

    // The hub was restarted: its log has another id, and its numbers go on.
    ring.resumed(Some(LogId(2)));
    push(&ring, cursor(2, 10));
    assert_eq!(follow(&ring, cursor(1, 8)), Some(vec![10]), "that record is here");
    assert_eq!(ring.find(cursor(1, 7)), Found::Unknown, "the hub knows what that means now");
    assert_eq!(follow(&ring, cursor(2, 7)), Some(vec![8, 10]));
    assert_eq!(ring.find(cursor(3, 8)), Found::Unknown);
}

#[test]
fn what_falls_out_is_known_no_more_and_a_log_that_goes_back_is_a_new_beginning() {
    let ring = Ring::new(4000);
    ring.begin(cursor(1, 0), Some(LogId(1)));
    for n in 1..=20 {
        push(&ring, cursor(1, n));
    }
    let (_, held) = ring.size();
    assert!((2..20).contains(&held), "{held}");
    let gone = 20 - held as u64;
    assert_eq!(ring.find(cursor(1, gone - 1)), Found::Unknown);
    assert_eq!(follow(&ring, cursor(1, gone)), Some((gone + 1..=20).collect()));
    assert!(rest(&ring, gone - 1).is_none() && rest(&ring, gone).is_some());

    // Its store is an older copy: a gap leads back to 5, and 6 comes a second time, as another record.
    let (end, _) = ring.end().unwrap();
    ring.resumed(Some(LogId(2)));
    push(&ring, cursor(2, 5));
    push(&ring, cursor(2, 6));
    assert_eq!(rest(&ring, end), Some((vec![5, 6], cursor(2, 6))), "who was at the end is told the gap");
    assert!(rest(&ring, end - 1).is_none());
    assert_eq!(follow(&ring, cursor(2, 5)), Some(vec![6]));
    assert_eq!(ring.find(cursor(2, 4)), Found::Unknown);
    assert_eq!(ring.find(cursor(1, 20)), Found::Unknown);
}

proptest! {
    /// Whatever falls out and wherever somebody reads: each entry once and in order, or he is told that he is behind.
    #[test]
    fn every_entry_comes_once_and_in_order_or_its_reader_is_behind(
        steps in proptest::collection::vec((1_u64..4, any::<bool>(), 0_usize..5), 1..60),
    ) {
        let ring = Ring::new(5000);
        ring.begin(cursor(1, 0), Some(LogId(1)));
        let (mut n, mut all, mut got, mut place) = (0, vec![], vec![], 0);
        for (step, tells, reads) in steps {
            n += step;
            if tells {
                push(&ring, cursor(1, n));
                all.push(n);
            } else {
                ring.push(cursor(1, n), None);
            }
            match ring.read(place, reads) {
                Some(portion) => {
                    got.extend(portion.entries.iter().map(|entry| entry.cursor.n));
                    place = portion.next;
                    if reads > 0 {
                        let expected: Vec<u64> = all.iter().copied().filter(|n| *n <= portion.at.n).collect();
                        prop_assert_eq!(&got, &expected, "everything up to where it stands");
                        prop_assert_eq!(ring.find(portion.at), Found::At(place));
                    }
                }
                // It goes on with the oldest that is here, as if it had caught up.
                None => {
                    got.clone_from(&all);
                    place = ring.end().unwrap().0;
                }
            }
        }
    }
}

#[test]
fn progress_is_no_entry() {
    assert!(Entry::of(Item::Progress(cursor(1, 1)), now()).is_none());
    assert!(Entry::of(Item::Record { cursor: cursor(1, 1), events: vec![] }, now()).is_none());
}
