//! Ten thousand runs of the model, on every machine the same ones.

use secmon_model::{Tally, run};

fn seeds(range: std::ops::Range<u64>) {
    let mut sum = Tally::default();
    for seed in range {
        match run(seed) {
            Ok(tally) => sum += tally,
            Err(broken) => panic!("{broken}"),
        }
    }
    // A model in which nothing happens keeps every promise.
    assert!(sum.lines > 10_000 && sum.lost > 0 && sum.again > 0 && sum.gaps > 0, "{sum:?}");
}

#[test]
fn every_record_reaches_every_subscriber_or_a_gap_says_so_a() {
    seeds(0..2_500);
}

#[test]
fn every_record_reaches_every_subscriber_or_a_gap_says_so_b() {
    seeds(2_500..5_000);
}

#[test]
fn every_record_reaches_every_subscriber_or_a_gap_says_so_c() {
    seeds(5_000..7_500);
}

#[test]
fn every_record_reaches_every_subscriber_or_a_gap_says_so_d() {
    seeds(7_500..10_000);
}
