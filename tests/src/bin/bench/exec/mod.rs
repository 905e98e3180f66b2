//! A command's output on its way from a node to whoever ran it: how much in a second, what it costs each process, and how
//! soon the first byte is there.
//!
//! Beside it, in the same run and in turns: the same bytes over one TLS connection on the loopback, from a process that
//! does nothing else, and by `ssh` from a real sshd.

mod beside;

use std::{
    io::Read as _,
    process::{Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context as _, ensure};
use clap::Args;
use secmon_protocol::{
    ids::RequestId,
    limits::OUTPUT_WINDOW,
    message::client::{ClientToHub, HubToClient},
    units,
};
use secmon_testkit::product::{Hub, Lab, Node, NodeSetup, Place};
use serde_json::json;

use self::beside::Ssh;
use crate::{
    connections::bare::Bare,
    load::{account, account::percentile, fleet, runtime},
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// How much a command prints.
    #[arg(long, default_value = "1GiB", value_parser = size)]
    bytes: u64,
    /// How often that is done, in turns with what stands beside it.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u32).range(1..=1000))]
    rounds: u32,
    /// How often a short command is started.
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=100_000))]
    count: u32,
    /// One JSON object for each figure instead of text.
    #[arg(long)]
    json: bool,
}

/// What a stream may lose against raw TLS, by the design.
const BUDGET_SHARE: f64 = 0.5;
/// Runs of programs that take their time to start, beside ours.
const SLOW_COUNT: u32 = 50;
/// What is read at once of a program's output.
const READ: usize = 256 << 10;

fn size(text: &str) -> Result<u64, String> {
    units::bytes(text)
        .and_then(|bytes| if bytes > 0 { Ok(bytes) } else { Err("it must be something".to_owned()) })
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let bytes = arguments.bytes;
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let setup = NodeSetup::quiet(&lab).with_commands(&format!(
        "[commands.bytes]\nrun = [\"head\", \"-c\", \"{bytes}\", \"/dev/zero\"]\ntimeout = \"1h\"\n\
         [commands.first]\nrun = [\"printf\", \"x\"]\n"
    ));
    let node = Node::join(&lab, Place::Here, &hub, "bench", &setup);
    hub.wait_for_node("bench", "online");
    let bare = Bare::start(false)?;
    let ssh = Ssh::start()?;

    let secmon = || {
        let mut command = Place::Here.secmon();
        command.args(["run", "bench", "bytes", "--socket"]).arg(hub.socket());
        command
    };
    let (mut ours, mut raw, mut over_ssh) = (vec![], vec![], vec![]);
    let processes = [("hub", hub.process().pid()), ("node", node.process().pid())];
    let before: Vec<(Duration, u64)> =
        processes.iter().map(|(_, pid)| used(*pid)).collect::<Result<_, _>>()?;
    for _ in 0..arguments.rounds {
        ours.push(drained(&mut secmon(), bytes)?);
        raw.push(runtime()?.block_on(beside::raw_tls(&bare, bytes))?);
        if let Some(ssh) = &ssh {
            over_ssh.push(drained(&mut ssh.command(&format!("head -c {bytes} /dev/zero")), bytes)?);
        }
    }
    let [ours, raw, over_ssh] = [ours, raw, over_ssh].map(|taken| rate(bytes, taken));
    show_rates(arguments, ours.unwrap_or_default(), raw.unwrap_or_default(), over_ssh);
    for ((name, pid), (cpu, peak)) in processes.iter().zip(before) {
        let (cpu_now, peak_now) = used(*pid)?;
        let gib = (bytes * u64::from(arguments.rounds)) as f64 / f64::from(1 << 30);
        show_process(arguments, name, (cpu_now - cpu).as_secs_f64() / gib, peak, peak_now);
    }

    let first = || {
        let mut command = Place::Here.secmon();
        command.args(["run", "bench", "first", "--socket"]).arg(hub.socket());
        command
    };
    show_firsts(
        arguments,
        "on an open connection",
        runtime()?.block_on(open_connection(&hub, arguments.count))?,
    );
    show_firsts(arguments, "`secmon run` from its own start", from_start(first, arguments.count)?);
    if let Some(ssh) = &ssh {
        show_firsts(
            arguments,
            "`ssh` from its own start",
            from_start(|| ssh.command("printf x"), SLOW_COUNT)?,
        );
    }
    Ok(())
}

/// Processor time, and the most memory that was resident, in KiB.
fn used(pid: u32) -> anyhow::Result<(Duration, u64)> {
    Ok((account::cpu(pid)?, account::kib(pid, "VmHWM")?))
}

/// Runs a program to its end and gives the time in which it printed `bytes`.
fn drained(command: &mut Command, bytes: u64) -> anyhow::Result<Duration> {
    let start = Instant::now();
    let mut child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut out = child.stdout.take().context("its output")?;
    let (mut buffer, mut got) = (vec![0; READ], 0);
    loop {
        match out.read(&mut buffer)? {
            0 => break,
            read => got += read as u64,
        }
    }
    let status = child.wait()?;
    ensure!(status.success() && got == bytes, "{status}, and {got} of {bytes} bytes");
    Ok(start.elapsed())
}

/// Bytes per second of the median.
fn rate(bytes: u64, mut taken: Vec<Duration>) -> Option<f64> {
    taken.sort_unstable();
    let median = taken.get(taken.len() / 2)?;
    Some(bytes as f64 / median.as_secs_f64())
}

/// From a Run on a connection that stands to the first byte of its output, in nanoseconds.
async fn open_connection(hub: &Hub<'_>, count: u32) -> anyhow::Result<Vec<u64>> {
    let mut conn = fleet::client(hub.socket()).await?;
    let mut taken = vec![];
    for request in (1..=u64::from(count)).map(RequestId) {
        let (node, label) = ("bench".to_owned(), "first".to_owned());
        let start = Instant::now();
        let run =
            ClientToHub::Run { request, node, label, args: vec![], credit: OUTPUT_WINDOW, stdin: false };
        conn.send(&run).await?;
        loop {
            match conn.next().await? {
                HubToClient::Output { .. } => taken.push(nanos(start.elapsed())),
                HubToClient::Exit { .. } => break,
                HubToClient::Error { refusal, .. } => anyhow::bail!("{refusal}"),
                _ => {}
            }
        }
    }
    Ok(taken)
}

fn from_start(command: impl Fn() -> Command, count: u32) -> anyhow::Result<Vec<u64>> {
    let mut taken = vec![];
    for _ in 0..count {
        let start = Instant::now();
        let mut child = command().stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
        child.stdout.as_mut().context("its output")?.read_exact(&mut [0])?;
        taken.push(nanos(start.elapsed()));
        ensure!(child.wait()?.success(), "it failed");
    }
    Ok(taken)
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn show_rates(arguments: &Arguments, ours: f64, raw: f64, over_ssh: Option<f64>) {
    let (share, mb) = (ours / raw, 1e6);
    if arguments.json {
        let figures = json!({
            "path": "node to client", "bytes": arguments.bytes, "rounds": arguments.rounds,
            "mb_per_s": (ours / mb).round(), "raw_tls_mb_per_s": (raw / mb).round(),
            "ssh_mb_per_s": over_ssh.map(|rate| (rate / mb).round()),
            "share_of_raw_tls": (share * 100.0).round() / 100.0, "budget_share": BUDGET_SHARE,
            "within_budget": share >= BUDGET_SHARE,
        });
        println!("{figures}");
        return;
    }
    let ssh = over_ssh.map_or_else(|| "no sshd".to_owned(), |rate| format!("{:.0} MB/s", rate / mb));
    println!(
        "{} bytes from node to client, median of {}: {:.0} MB/s; raw TLS {:.0} MB/s ({share:.2} of it, budget \
         {BUDGET_SHARE}); ssh {ssh}",
        arguments.bytes,
        arguments.rounds,
        ours / mb,
        raw / mb,
    );
}

fn show_process(arguments: &Arguments, name: &str, cpu_per_gib: f64, peak: u64, peak_now: u64) {
    if arguments.json {
        let figures = json!({
            "process": name, "cpu_s_per_gib": (cpu_per_gib * 1000.0).round() / 1000.0,
            "peak_kib_before": peak, "peak_kib_after": peak_now,
        });
        println!("{figures}");
    } else {
        println!(
            "{name}: {cpu_per_gib:.2} s of CPU per GiB; peak of resident memory {peak} KiB before, {peak_now} KiB after"
        );
    }
}

fn show_firsts(arguments: &Arguments, path: &str, mut taken: Vec<u64>) {
    taken.sort_unstable();
    let micros = |percent| percentile(&taken, percent) / 1000;
    let (p50, p99, count) = (micros(50), micros(99), taken.len());
    if arguments.json {
        println!(
            "{}",
            json!({ "path": path, "first_byte": true, "count": count, "p50_us": p50, "p99_us": p99 })
        );
    } else {
        println!("start to first byte, {path}, {count} times: median {p50} us, p99 {p99} us");
    }
}
