//! A node that says whatever it likes: nothing panics, no number is logged twice, and no gap is nonsense.

use std::collections::BTreeSet;

use super::*;

/// One thing that a node does.
#[derive(Debug, Clone)]
enum Doing {
    /// Comes, with these words about itself: epoch, oldest, newest.
    Hello(u64, u64, u64),
    /// Sends a record, or `Lost` with a count.
    Record(u64, Option<u64>),
    /// Goes.
    Leave,
}

/// Small numbers, and those at which arithmetic ends.
fn number() -> impl Strategy<Value = u64> {
    prop_oneof![4 => 0_u64..12, 1 => Just(u64::MAX / 2), 2 => u64::MAX - 3..=u64::MAX]
}

fn doing() -> impl Strategy<Value = Doing> {
    prop_oneof![
        2 => (0_u64..3, number(), number()).prop_map(|(epoch, oldest, newest)| Doing::Hello(epoch, oldest, newest)),
        // Of an honest node, so that not all are turned away.
        2 => (0_u64..3, 1_u64..8, 0_u64..12).prop_map(|(epoch, oldest, more)| Doing::Hello(epoch, oldest, oldest + more - 1)),
        6 => (number(), prop::option::weighted(0.3, number())).prop_map(|(seq, lost)| Doing::Record(seq, lost)),
        1 => Just(Doing::Leave),
    ]
}

proptest! {
    #[test]
    fn whatever_a_node_says_nothing_panics_and_every_number_is_logged_once(
        doings in prop::collection::vec(doing(), 1..60),
    ) {
        let mut core = core();
        enrolled(&mut core);
        let (mut link, mut fresh) = (0, 1_000);
        let mut seen = BTreeSet::new();
        let mut cursor = 0;
        for doing in doings {
            let mut out = vec![];
            match doing {
                Doing::Hello(epoch, oldest, newest) => {
                    (link, fresh) = (link + 1, fresh + 1);
                    let from = Introduction {
                        papers: [7; 32],
                        address: "192.0.2.1:5".into(),
                        hello: hello(epoch, oldest, newest),
                        fresh: Epoch(fresh),
                    };
                    core.handle_hello(at(2), Link(link), from, &mut out);
                }
                Doing::Record(seq, lost) => {
                    let envelope = match lost {
                        Some(count) => Envelope::lost(UnixNanos(1), &Lost { count, reason: "x".into() }),
                        None => event(1).envelope,
                    };
                    let Ok(batch) = Incoming::batch(&codec::encode_list(&[record(seq, envelope)])) else { continue };
                    core.handle_records(at(3), Link(link), batch, &mut out);
                }
                Doing::Leave => core.handle_link_down(at(4), Link(link), "it left", &mut out),
            }
            core.flush(&mut out);
            for effect in &out {
                let Effect::Publish(record) = effect else { continue };
                prop_assert!(record.cursor.n > cursor, "{record:?}");
                cursor = record.cursor.n;
                if let Origin::Node { epoch, seq } = record.origin {
                    prop_assert!(seen.insert((epoch, seq)), "twice: {record:?}");
                }
                if let Ok(Body::Hub(HubEvent::Gap { from, to, .. })) = record.envelope.decode() {
                    prop_assert!(from <= to && from.0 > 0, "{record:?}");
                }
            }
            prop_assert!(core.nodes.values().all(|node| node.row.others.len() <= 4));
        }
    }
}
