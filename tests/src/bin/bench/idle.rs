//! What an idle node and an idle hub cost, by the kernel's own accounts: `proc_pid_status(5)` for memory,
//! `/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst) for processor time.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use secmon_testkit::{
    process::Process,
    product::{Hub, Lab, Node, NodeSetup, Place},
};
use serde_json::json;

/// Let the first snapshot and its acknowledgement pass before anything is counted.
const SETTLE: Duration = Duration::from_secs(2);

pub(crate) fn run(seconds: u64, json: bool) -> anyhow::Result<()> {
    let lab = Lab::new();
    let log = lab.write("auth.log", "");
    let setup = NodeSetup { wireguard: true, ..NodeSetup::quiet(&lab) }.with_auth_file(&log);
    let hub = Hub::start(&lab, Place::Here);
    let node = Node::join(&lab, Place::Here, &hub, "bench", &setup);
    hub.wait_for_facet("bench", "sessions", "ready");
    hub.wait_for_facet("bench", "auth_log", "ready");
    rest(SETTLE);

    let both = [("node", node.process()), ("hub", hub.process())];
    let before = both.map(|(_, process)| Usage::of(process));
    rest(Duration::from_secs(seconds));
    for ((role, process), before) in both.into_iter().zip(before) {
        let (before, after) = (before?, Usage::of(process)?);
        let cpu_ms = (after.cpu_ns - before.cpu_ns) as f64 / 1e6;
        let wakeups = after.switches - before.switches;
        let Usage { resident_kib, anonymous_kib, threads, .. } = after;
        if json {
            let figures = json!({
                "role": role, "resident_kib": resident_kib, "rss_anon_kib": anonymous_kib, "threads": threads,
                "seconds": seconds, "cpu_ms": cpu_ms, "switches": wakeups,
            });
            println!("{figures}");
        } else {
            println!(
                "idle {role}: resident {resident_kib} KiB, RssAnon {anonymous_kib} KiB, {threads} threads; \
                 in {seconds} s {cpu_ms:.1} ms of CPU, {wakeups} wake-ups"
            );
        }
    }
    Ok(())
}

/// Waits out a span of time in which nothing shall happen: idleness is what is measured.
fn rest(span: Duration) {
    let end = Instant::now() + span;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// What a process has used so far.
struct Usage {
    resident_kib: u64,
    anonymous_kib: u64,
    threads: u64,
    cpu_ns: u64,
    /// Voluntary context switches of all threads: how often one of them went to sleep again.
    switches: u64,
}

impl Usage {
    fn of(process: &Process) -> anyhow::Result<Self> {
        let root = format!("/proc/{}", process.pid());
        let status = fs::read_to_string(format!("{root}/status")).context("the process has ended")?;
        let (mut cpu_ns, mut switches) = (0, 0);
        for task in fs::read_dir(format!("{root}/task"))? {
            let task = task?.path();
            let schedstat = fs::read_to_string(task.join("schedstat"))?;
            cpu_ns += schedstat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
            switches += field(&fs::read_to_string(task.join("status"))?, "voluntary_ctxt_switches")?;
        }
        Ok(Self {
            resident_kib: field(&status, "VmRSS")?,
            anonymous_kib: field(&status, "RssAnon")?,
            threads: field(&status, "Threads")?,
            cpu_ns,
            switches,
        })
    }
}

/// A number of a `status` file; sizes are in KiB there.
fn field(status: &str, name: &str) -> anyhow::Result<u64> {
    let value = status.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
    let number = value.and_then(|value| value.split_whitespace().next());
    number.and_then(|number| number.parse().ok()).with_context(|| format!("no {name} in /proc/PID/status"))
}
