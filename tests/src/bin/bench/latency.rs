//! From a login in utmp to a line on a subscriber's screen, one login at a time.

use std::{
    process,
    time::{Duration, Instant},
};

use secmon_testkit::{
    product::{Hub, Lab, Node, NodeSetup, Place},
    utmp,
};
use serde_json::json;

pub(crate) fn run(count: u32, json: bool) -> anyhow::Result<()> {
    let lab = Lab::new();
    let setup = NodeSetup::quiet(&lab);
    let hub = Hub::start(&lab, Place::Here);
    let _node = Node::join(&lab, Place::Here, &hub, "bench", &setup);
    hub.wait_for_facet("bench", "sessions", "ready");
    let mut watch = hub.watch(&["--type", "session.*"]);

    let mut taken = Vec::new();
    for number in 0..count {
        let user = format!("user{number}");
        let pid = process::id();
        let login =
            utmp::Login { line: "pts/70", user: &user, host: "192.0.2.7", address: [192, 0, 2, 7], pid };
        let record = login.record();
        let start = Instant::now();
        utmp::write_slot(&setup.utmp, 0, &record)?;
        watch.find_user("session.opened", &user);
        taken.push(start.elapsed());
        utmp::write_slot(&setup.utmp, 0, &login.end())?;
        watch.find_user("session.closed", &user);
        watch.events.clear();
    }
    taken.sort_unstable();
    let (p50, p99, worst) = (percentile(&taken, 50), percentile(&taken, 99), percentile(&taken, 100));
    if json {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let figures =
            json!({ "count": count, "p50_us": micros(p50), "p99_us": micros(p99), "max_us": micros(worst) });
        println!("{figures}");
    } else {
        println!(
            "utmp write to printed line, {count} logins: median {p50:.2?}, p99 {p99:.2?}, worst {worst:.2?}"
        );
    }
    Ok(())
}

/// The smallest measurement that `percent` of all do not exceed (nearest rank); `sorted` is not empty.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted[rank - 1]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_by_nearest_rank() {
        let sorted: Vec<Duration> = (1..=200).map(Duration::from_millis).collect();
        assert_eq!(percentile(&sorted, 50), Duration::from_millis(100));
        assert_eq!(percentile(&sorted, 99), Duration::from_millis(198));
        assert_eq!(percentile(&sorted, 100), Duration::from_millis(200));
        assert_eq!(percentile(&sorted[..1], 50), Duration::from_millis(1));
    }
}
