//! What an idle node and an idle hub cost, by the kernel's own accounts: `proc_pid_status(5)` for memory,
//! `/proc/PID/task/TID/schedstat` (Documentation/scheduler/sched-stats.rst) for processor time.
//!
//! The node watches everything that there is: a real utmp, a real journald, and, where wireguard-go is
//! installed, an interface with a peer that it has shaken hands with.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use secmon_testkit::{
    need::Need,
    product::{Hub, Lab, Node, NodeSetup, Place},
    realm::Realm,
    syslog,
    wait::eventually,
    wireguard::Tunnel,
};
use serde_json::json;

/// Let the first snapshot and its acknowledgement pass, and what starting leaves behind, before anything is
/// counted.
const SETTLE: Duration = Duration::from_secs(5);

/// What a node may cost, by the design: milliseconds of CPU in a minute, KiB of its own, KiB resident.
const BUDGET: Cost = Cost { cpu_ms: 20.0, anonymous_kib: 4 << 10, resident_kib: 12 << 10 };

struct Cost {
    cpu_ms: f64,
    anonymous_kib: u64,
    resident_kib: u64,
}

pub(crate) fn run(seconds: u64, without_wireguard: bool, json: bool) -> anyhow::Result<()> {
    let needs = [Need::Namespaces, Need::Program("systemd-journald"), Need::Program("journalctl")];
    if let Some(lacking) = needs.into_iter().find_map(Need::lacking) {
        anyhow::bail!("this bench needs {lacking}");
    }
    let (lab, realm, far) = (Lab::new(), Realm::with_secmon("bench"), Realm::new("far"));
    realm.make_utmp();
    let _journald = syslog::journald(&realm);
    let wireguard = !without_wireguard
        && [Need::Tun, Need::Program("wireguard-go"), Need::Program("wg")]
            .into_iter()
            .all(|n| n.lacking().is_none());
    let _tunnels = wireguard.then(|| tunnels(&realm, &far));

    let hub = Hub::start(&lab, Place::In(&realm));
    let setup = NodeSetup {
        auth: "source = \"journald\"".to_owned(),
        utmp: "/run/utmp".into(),
        wireguard: !without_wireguard,
        ..NodeSetup::quiet(&lab)
    };
    let node = Node::join(&lab, Place::In(&realm), &hub, "bench", &setup);
    hub.wait_for_facet("bench", "sessions", "ready");
    hub.wait_for_facet("bench", "auth_log", "ready");
    rest(SETTLE);

    let (node, hub) = (secmon_below(node.process().pid())?, secmon_below(hub.process().pid())?);
    let mut all = vec![("node".to_owned(), node, Some(BUDGET)), ("hub".to_owned(), hub, None)];
    for child in children_of(node) {
        all.push((format!("{} of the node", name_of(child).unwrap_or_default()), child, None));
    }
    let before: Vec<_> = all.iter().map(|(_, pid, _)| Usage::of(*pid)).collect();
    rest(Duration::from_secs(seconds));
    for ((role, pid, budget), before) in all.into_iter().zip(before) {
        let (before, after) = (before?, Usage::of(pid)?);
        let cpu_ms = (after.cpu_ns - before.cpu_ns) as f64 / 1e6;
        let cpu_ms_a_minute = cpu_ms * 60.0 / seconds as f64;
        let wakeups = after.switches - before.switches;
        let Usage { resident_kib, anonymous_kib, threads, .. } = after;
        let kept = budget.as_ref().map(|budget| {
            cpu_ms_a_minute <= budget.cpu_ms
                && anonymous_kib <= budget.anonymous_kib
                && resident_kib <= budget.resident_kib
        });
        if json {
            let figures = json!({
                "role": role, "resident_kib": resident_kib, "rss_anon_kib": anonymous_kib, "threads": threads,
                "seconds": seconds, "cpu_ms": cpu_ms, "cpu_ms_a_minute": cpu_ms_a_minute, "wakeups": wakeups,
                "wireguard": wireguard, "within_budget": kept, "budget": budget.map(|budget| json!({
                    "cpu_ms_a_minute": budget.cpu_ms, "rss_anon_kib": budget.anonymous_kib,
                    "resident_kib": budget.resident_kib,
                })),
            });
            println!("{figures}");
        } else {
            println!(
                "idle {role}: {cpu_ms:.1} ms of CPU in {seconds} s, {wakeups} wake-ups; RssAnon {anonymous_kib} KiB, \
                 resident {resident_kib} KiB; {threads} threads"
            );
            if let (Some(budget), Some(kept)) = (budget, kept) {
                println!(
                    "  budget: {} ms in a minute, {} KiB, {} KiB: {}; {}",
                    budget.cpu_ms,
                    budget.anonymous_kib,
                    budget.resident_kib,
                    if kept { "kept" } else { "NOT KEPT" },
                    if wireguard { "with a WireGuard peer" } else { "without a WireGuard peer" }
                );
            }
        }
    }
    Ok(())
}

/// Two ends of a tunnel that have shaken hands.
fn tunnels<'a>(here: &'a Realm, there: &'a Realm) -> (Tunnel<'a>, Tunnel<'a>) {
    here.join(there, "wire", "10.77.0.1/24", "10.77.0.2/24");
    let one = Tunnel::start(here, "wg0", "10.78.0.1/24");
    let other = Tunnel::start(there, "wg0", "10.78.0.2/24");
    one.add_peer(&other, "10.77.0.2", "10.78.0.2/32");
    other.add_peer(&one, "10.77.0.1", "10.78.0.1/32");
    eventually("a handshake", || (one.latest_handshake() > 0).then_some(()));
    (one, other)
}

/// Waits out a span of time in which nothing shall happen: idleness is what is measured.
fn rest(span: Duration) {
    let end = Instant::now() + span;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// The product itself, below the programs that put it into a realm.
fn secmon_below(pid: u32) -> anyhow::Result<u32> {
    let mut below = vec![pid];
    while let Some(pid) = below.pop() {
        if name_of(pid).as_deref() == Some("secmon") {
            return Ok(pid);
        }
        below.extend(children_of(pid));
    }
    anyhow::bail!("no secmon runs below process {pid}")
}

fn name_of(pid: u32) -> Option<String> {
    Some(fs::read_to_string(format!("/proc/{pid}/comm")).ok()?.trim().to_owned())
}

fn children_of(parent: u32) -> Vec<u32> {
    let pids = fs::read_dir("/proc").into_iter().flatten().flatten();
    pids.filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .filter(|pid: &u32| {
            let status = fs::read_to_string(format!("/proc/{pid}/status"));
            status.is_ok_and(|status| field(&status, "PPid").is_ok_and(|found| found == u64::from(parent)))
        })
        .collect()
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
    fn of(pid: u32) -> anyhow::Result<Self> {
        let root = format!("/proc/{pid}");
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
