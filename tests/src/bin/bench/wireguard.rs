//! What a peer that talks costs a node, beside a node in the same run that does not watch WireGuard. The interface is
//! wireguard-go's, in a network namespace of its own.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use secmon_testkit::{
    json::at,
    product::{Hub, Lab, Node, NodeSetup, Place},
    realm::{self, Realm},
    wait::eventually,
    wireguard::Tunnel,
};
use serde_json::json;

/// After the handshake looks are frequent, and get rarer for 40 s: what is measured comes after that.
const SETTLE: Duration = Duration::from_secs(45);

pub(crate) fn run(seconds: u64, silent: u32, json: bool) -> anyhow::Result<()> {
    let (lab, here, there) = (Lab::new(), Realm::with_secmon("here"), Realm::new("there"));
    here.join(&there, "wire", "10.77.0.1/24", "10.77.0.2/24");
    let one = Tunnel::start(&here, "wg0", "10.78.0.1/24");
    let other = Tunnel::start(&there, "wg0", "10.78.0.2/24");
    one.add_peer(&other, "10.77.0.2", "10.78.0.2/32");
    other.add_peer(&one, "10.77.0.1", "10.78.0.1/32");
    one.add_silent_peers(silent);
    let hub = Hub::start(&lab, Place::In(&here));
    let node = |name: &str, wireguard| {
        Node::join(&lab, Place::In(&here), &hub, name, &NodeSetup { wireguard, ..NodeSetup::quiet(&lab) })
    };
    let nodes = [("with", node("with", true)), ("without", node("without", false))];
    eventually("the peer to be online", || {
        let shown = hub.json(&["show", "with"]).remove(0);
        at(&shown, "secmon.wg_peers")?.as_array()?.iter().any(|peer| peer["online"] == true).then_some(())
    });
    rest(SETTLE);
    let used = || nodes.each_ref().map(|(_, node)| cpu_ns(realm::innermost(node.process().pid())));
    let before = used();
    rest(Duration::from_secs(seconds));
    let after = used();
    for (((name, _), before), after) in nodes.iter().zip(before).zip(after) {
        let cpu_ms = (after? - before?) as f64 / 1e6;
        if json {
            println!(
                "{}",
                json!({ "wireguard": name, "silent_peers": silent, "seconds": seconds, "cpu_ms": cpu_ms })
            );
        } else {
            println!(
                "node {name} a peer that talks and {silent} that do not: in {seconds} s {cpu_ms:.1} ms of CPU"
            );
        }
    }
    Ok(())
}

/// Waits out a span of time in which nothing shall happen but what is measured.
fn rest(span: Duration) {
    let end = Instant::now() + span;
    while let Some(left) = end.checked_duration_since(Instant::now()) {
        thread::park_timeout(left);
    }
}

/// Processor time of all threads, in nanoseconds: the first number of `/proc/PID/task/TID/schedstat`.
fn cpu_ns(pid: u32) -> anyhow::Result<u64> {
    let mut sum = 0;
    for task in fs::read_dir(format!("/proc/{pid}/task")).context("the process has ended")? {
        let schedstat = fs::read_to_string(task?.path().join("schedstat"))?;
        sum += schedstat.split_whitespace().next().and_then(|ns| ns.parse::<u64>().ok()).unwrap_or(0);
    }
    Ok(sum)
}
