//! Which log it is, and where a remembered place lies in it.

use super::*;

fn cursor(log: u64, n: u64) -> Cursor {
    Cursor { log: LogId(log), n }
}

/// A log that stood at 100 under the id 8 when this start gave it the id 9.
fn begun() -> Core {
    let mut row = LogRow { id: LogId(8), newest: 100, history: vec![] };
    row.begin(LogId(9));
    started(row)
}

fn start(core: &Core, cursor: Cursor, gone: u64) -> Result<Start, ErrorCode> {
    core.start_after(cursor, gone).map_err(|refusal| refusal.code)
}

#[test]
fn a_place_is_gone_on_from_over_a_start_of_the_hub() {
    let mut core = begun();
    enrolled(&mut core);
    assert_eq!(core.newest(), cursor(9, 101), "numbers go on");
    for place in [cursor(8, 0), cursor(8, 50), cursor(8, 100), cursor(9, 100), cursor(9, 101)] {
        assert_eq!(start(&core, place, 7), Ok(Start::at(place.n)));
    }
}

#[test]
fn a_place_that_this_log_never_had_is_refused() {
    assert_eq!(start(&begun(), cursor(9, 101), 0), Err(ErrorCode::BadCursor));
    assert_eq!(start(&core(), cursor(9, 1), 0), Err(ErrorCode::BadCursor));
}

/// A power cut took what the client had seen, or the hub was started with an older copy of its store.
#[test]
fn from_beyond_what_a_start_found_there_is_a_gap_and_all_that_came_since() {
    let mut core = begun();
    enrolled(&mut core);
    for n in [101, 150] {
        let begun = start(&core, cursor(8, n), 7).unwrap();
        assert_eq!((begun.after, begun.gap.unwrap().0), (100, cursor(8, n)));
    }
    assert_eq!(start(&core, cursor(8, 150), 101).unwrap().after, 101, "one gap, not two");
}

#[test]
fn a_place_of_an_unknown_log_gets_a_gap_up_to_this_start() {
    let mut core = begun();
    enrolled(&mut core);
    let begun = start(&core, cursor(77, 5), 40).unwrap();
    assert_eq!((begun.after, begun.gap.unwrap().0), (100, cursor(77, 5)));
}

#[test]
fn a_thousand_starts_are_remembered() {
    let mut row = LogRow { id: LogId(8), newest: 100, history: vec![] };
    for n in 0..=MAX_PREDECESSORS as u64 {
        row.begin(LogId(1_000 + n));
        row.newest += 1;
    }
    let core = started(row);
    assert_eq!(start(&core, cursor(1_000, 101), 0), Ok(Start::at(101)));
    assert_eq!(start(&core, cursor(1_000, 102), 0).unwrap().after, 101);
    assert!(start(&core, cursor(8, 1), 0).unwrap().gap.is_some(), "the oldest is forgotten");
}

#[test]
fn what_was_not_written_moves_no_start() {
    let mut core = begun();
    enrolled(&mut core);
    let history = vec![Predecessor { log: LogId(8), until: 100 }];
    let log = LogRow { id: LogId(9), newest: 100, history };
    core.restore(Kept { log, nodes: vec![], tokens: vec![], jobs: vec![] });
    assert_eq!(core.newest(), cursor(9, 100));
    assert_eq!(start(&core, cursor(77, 5), 0).unwrap().after, 100);
}
