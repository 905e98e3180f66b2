//! The core from outside, as a model test drives it: beside a shelf in memory, crashed between its steps.

#![expect(clippy::unwrap_used, reason = "a helper of a test fails the test as the test itself does")]

use std::time::Duration;

use secmon_node::{
    Limits,
    core::{NodeCore, Now, Start},
    outbox::{self, Memory, Shelf as _},
    watch::{Observation, Place},
};
use secmon_protocol::{
    auth::{AuthAction, AuthEvent},
    codec,
    ids::{Epoch, Seq},
    record::{Body, NodeRecord},
    time::UnixNanos,
};

const NOW: Now = Now { mono: Duration::ZERO, unix: UnixNanos(1) };

fn start(shelf: &mut Memory) -> NodeCore {
    let (fresh, boot) = (Epoch(1), Some("boot".to_owned()));
    let loaded = shelf.load().unwrap();
    NodeCore::start(loaded, Start { fresh, boot, capacity: 1 << 20, limits: Limits::default(), now: NOW })
}

fn line(n: u64) -> Observation {
    let event = AuthEvent::new(UnixNanos(1), "sshd", None, AuthAction::Failed, &n.to_string());
    let at = n.to_be_bytes().to_vec().into();
    let place = Place { source: "log".to_owned(), at };
    Observation::Together(vec![Observation::Auth(Box::new(event)), Observation::Place(place)])
}

/// How far the log was read, by what the core knows after a start.
fn read_so_far(core: &NodeCore) -> u64 {
    core.known().places.get("log").map_or(0, |at| u64::from_be_bytes(at[..].try_into().unwrap()))
}

#[test]
fn whenever_it_crashes_every_line_is_delivered_once() {
    // A hundred numbered lines; after so many steps the node crashes, and again and again.
    for steps in 1..40_u64 {
        let mut shelf = Memory::default();
        let mut core = start(&mut shelf);
        let (mut hub, mut got, mut step) = (Seq(0), Vec::new(), 0);
        let mut next = 1;
        while got.len() < 100 {
            step += 1;
            match step % 5 {
                0 | 1 if next <= 100 => {
                    core.observe(line(next), NOW);
                    next += 1;
                }
                2 => outbox::commit(&mut core, &mut shelf).unwrap(),
                3 => {
                    let Some(batch) = outbox::batch(&core, &mut shelf, hub, 300).unwrap() else { continue };
                    for record in codec::decode_list::<NodeRecord>(&batch.list).unwrap() {
                        assert_eq!(record.seq, hub.next());
                        hub = record.seq;
                        let Body::Auth(event) = record.envelope.decode().unwrap() else {
                            panic!("{record:?}")
                        };
                        got.push(event.message.parse::<u64>().unwrap());
                    }
                }
                4 => core.ack(Epoch(1), hub),
                _ => {}
            }
            if step % steps == 0 && step < 2_000 {
                core = start(&mut shelf);
                // As the watcher does: on from the place that was kept.
                next = read_so_far(&core) + 1;
                assert!(core.opening().newest >= hub, "the hub never has more than the node");
            }
            if step > 10_000 {
                break;
            }
        }
        assert_eq!(got, (1..=got.len() as u64).collect::<Vec<_>>(), "crash every {steps} steps");
        assert!(got.len() == 100, "crash every {steps} steps: {} came", got.len());
    }
}
