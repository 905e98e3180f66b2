//! From what happens on a server to a line on a subscriber's screen, one at a time: a login in utmp, a line of
//! an auth log, a message to journald.

use std::{
    fs::OpenOptions,
    io::Write as _,
    os::unix::net::UnixDatagram,
    process,
    time::{Duration, Instant},
};

use secmon_testkit::{
    need::Need,
    product::{Hub, Lab, Node, NodeSetup, Place, Watch},
    realm::Realm,
    syslog, utmp,
    wait::eventually,
};
use serde_json::json;

/// The design's budget for the slowest but one in a hundred, where nobody else's delay is in it.
const BUDGET: Duration = Duration::from_millis(20);
/// How often journald's own delay is measured, beside ours: it takes half a second each time.
const BESIDE: u32 = 20;

pub(crate) fn run(count: u32, json: bool) -> anyhow::Result<()> {
    let lab = Lab::new();
    let log = lab.write("auth.log", "");
    let setup = NodeSetup::quiet(&lab).with_auth_file(&log);
    {
        let hub = Hub::start(&lab, Place::Here);
        let _node = Node::join(&lab, Place::Here, &hub, "bench", &setup);
        hub.wait_for_facet("bench", "sessions", "ready");
        hub.wait_for_facet("bench", "auth_log", "ready");
        let mut watch = hub.watch(&["--type", "session.*", "--type", "auth.*"]);
        show("utmp", Some(BUDGET), json, logins(&setup, count, &mut watch)?);
        let mut file = OpenOptions::new().append(true).open(&log)?;
        let taken = measure(count, "auth.failed", &mut watch, |user| {
            writeln!(file, "Nov 21 03:00:00 vm sshd[7]: {}", failed(user))
        })?;
        show("auth.log", Some(BUDGET), json, taken);
    }
    let needs = [Need::Namespaces, Need::Program("systemd-journald"), Need::Program("journalctl")];
    if let Some(lacking) = needs.into_iter().find_map(Need::lacking) {
        eprintln!("not measured through journald: this machine lacks {lacking}");
        return Ok(());
    }
    let (lab, realm) = (Lab::new(), Realm::with_secmon("bench"));
    let _journald = syslog::journald(&realm);
    let hub = Hub::start(&lab, Place::In(&realm));
    let setup = NodeSetup { auth: "source = \"journald\"".to_owned(), ..NodeSetup::quiet(&lab) };
    let _node = Node::join(&lab, Place::In(&realm), &hub, "bench", &setup);
    hub.wait_for_facet("bench", "auth_log", "ready");
    let mut watch = hub.watch(&["--type", "auth.*"]);
    let (socket, journald) = (UnixDatagram::unbound()?, realm.path("/run/systemd/journal/dev-log"));
    let taken = measure(count, "auth.failed", &mut watch, |user| {
        socket.send_to(format!("<86>sshd[7]: {}", failed(user)).as_bytes(), &journald).map(drop)
    })?;
    show("journald", None, json, taken);
    let follower =
        realm.spawn("journalctl", &["--follow", "--lines=0", "--output=cat", "SYSLOG_FACILITY=10"]);
    let mut beside = Vec::new();
    for number in 0..=BESIDE {
        let line = failed(&format!("beside{number}"));
        let start = Instant::now();
        socket.send_to(format!("<86>sshd[7]: {line}").as_bytes(), &journald)?;
        if number == 0 {
            // It may not listen yet.
            eventually("journalctl", || {
                let _ = socket.send_to(format!("<86>sshd[7]: {line}").as_bytes(), &journald);
                follower.output().out().contains(&line).then_some(())
            });
            continue;
        }
        follower.wait_until("the line", |output| output.out().contains(&line).then_some(()));
        beside.push(start.elapsed());
    }
    show("journald to journalctl --follow alone", None, json, beside);
    Ok(())
}

fn failed(user: &str) -> String {
    format!("Failed password for {user} from 192.0.2.7 port 22 ssh2")
}

/// From each `write` about a user to the line about it.
fn measure(
    count: u32,
    kind: &str,
    watch: &mut Watch,
    mut write: impl FnMut(&str) -> std::io::Result<()>,
) -> anyhow::Result<Vec<Duration>> {
    let mut taken = Vec::new();
    for number in 0..count {
        let user = format!("user{number}");
        let start = Instant::now();
        write(&user)?;
        watch.find_user(kind, &user);
        taken.push(start.elapsed());
        watch.events.clear();
    }
    Ok(taken)
}

fn logins(setup: &NodeSetup, count: u32, watch: &mut Watch) -> anyhow::Result<Vec<Duration>> {
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
    Ok(taken)
}

fn show(path: &str, budget: Option<Duration>, json: bool, mut taken: Vec<Duration>) {
    taken.sort_unstable();
    let count = taken.len();
    let (p50, p99, worst) = (percentile(&taken, 50), percentile(&taken, 99), percentile(&taken, 100));
    if json {
        let micros = |time: Duration| u64::try_from(time.as_micros()).unwrap_or(u64::MAX);
        let figures = json!({
            "path": path, "count": count, "p50_us": micros(p50), "p99_us": micros(p99), "max_us": micros(worst),
            "budget_p99_us": budget.map(micros), "within_budget": budget.map(|budget| p99 <= budget),
        });
        println!("{figures}");
    } else {
        let budget = budget.map(|budget| format!(" (budget {budget:?})")).unwrap_or_default();
        println!(
            "{path} to printed line, {count} times: median {p50:.2?}, p99 {p99:.2?}{budget}, worst {worst:.2?}"
        );
    }
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
