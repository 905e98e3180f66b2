//! A reader beside a model of the log: whatever happens to ring and store meanwhile, every number arrives once.

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;

/// One thing that happens.
#[derive(Debug, Clone)]
enum Step {
    /// So many records are committed.
    Commit(u64),
    /// The ring forgets so many of its oldest.
    Forget(u64),
    /// The store removes so many of its oldest.
    Remove(usize),
    /// A machine's sudden end: so many numbers are skipped, and the ring is empty.
    Jump(u64),
    /// The reader does so many steps.
    Read(usize),
    /// The reader asks the store, and this happens before the answer is used.
    Slow(Box<Step>),
}

#[derive(Debug, Default)]
struct Model {
    newest: u64,
    gone: u64,
    store: BTreeSet<u64>,
    holes: Vec<Hole>,
    written: BTreeSet<u64>,
    seen: Vec<u64>,
    told: Vec<Missing>,
}

impl Model {
    fn shelf(&self) -> Shelf {
        Shelf { gone: self.gone, newest: self.newest }
    }

    fn apply(&mut self, step: &Step) {
        match step {
            Step::Commit(many) => {
                for _ in 0..*many {
                    self.newest += 1;
                    self.store.insert(self.newest);
                    self.written.insert(self.newest);
                }
            }
            Step::Forget(many) => self.gone = (self.gone + many).min(self.newest),
            Step::Remove(many) => {
                for _ in 0..*many {
                    self.store.pop_first();
                }
            }
            Step::Jump(many) => {
                let (after, to) = (self.newest, self.newest + many);
                self.holes.push(Hole { after, to, reason: "power".into() });
                (self.newest, self.gone) = (to, to);
            }
            Step::Read(_) | Step::Slow(_) => {}
        }
    }

    fn read(&mut self, reader: &mut Reading, meanwhile: Option<&Step>) -> bool {
        let ring = self.shelf();
        match reader.next(ring) {
            Next::Wait => return false,
            Next::Ring => {
                let n = reader.at() + 1;
                assert!(n > self.gone && n <= self.newest && reader.handle_record(n));
                self.seen.push(n);
            }
            Next::Store => {
                let first = self.store.range(reader.at() + 1..).next().copied();
                if let Some(step) = meanwhile {
                    self.apply(step);
                }
                self.told.extend(reader.handle_found(ring, first, &self.holes));
                if let Some(n) = first.filter(|n| reader.handle_record(*n)) {
                    self.seen.push(n);
                }
            }
        }
        true
    }
}

fn step() -> impl Strategy<Value = Step> {
    let plain = prop_oneof![
        (1_u64..6).prop_map(Step::Commit),
        (1_u64..6).prop_map(Step::Forget),
        (1_usize..6).prop_map(Step::Remove),
        (1_u64..6).prop_map(Step::Jump),
        (1_usize..6).prop_map(Step::Read),
    ];
    prop_oneof![plain.clone(), plain.prop_map(|step| Step::Slow(Box::new(step)))]
}

proptest! {
    #[test]
    fn every_number_is_delivered_once_in_order_or_lies_in_one_gap(
        steps in prop::collection::vec(step(), 0..60),
        from in 0_u64..4,
    ) {
        let mut model = Model { newest: from, gone: from, ..Model::default() };
        let mut reader = Reading::after(from);
        for step in &steps {
            match step {
                Step::Read(many) => {
                    for _ in 0..*many {
                        model.read(&mut reader, None);
                    }
                }
                Step::Slow(step) => {
                    model.read(&mut reader, Some(step));
                }
                other => model.apply(other),
            }
        }
        while model.read(&mut reader, None) {}
        prop_assert_eq!(reader.at(), model.newest);
        prop_assert!(model.seen.is_sorted_by(|a, b| a < b));
        let mut told = BTreeSet::new();
        for gap in &model.told {
            for n in gap.after + 1..=gap.to {
                prop_assert!(told.insert(n), "{} is told twice", n);
                let skipped = !model.written.contains(&n);
                prop_assert_eq!(gap.reason.is_some(), skipped, "{}: the reason is the right one", n);
            }
        }
        let seen: BTreeSet<_> = model.seen.iter().copied().collect();
        prop_assert!(seen.is_disjoint(&told) && seen.is_subset(&model.written));
        let all: BTreeSet<_> = seen.union(&told).copied().collect();
        prop_assert_eq!(all, (from + 1..=model.newest).collect::<BTreeSet<_>>());
    }
}
