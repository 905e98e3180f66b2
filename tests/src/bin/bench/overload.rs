//! Nodes that send all they can for a while, or so many events a second, and one among them that sends a record now and then: how long each of
//! those takes to a subscriber, and what the hub holds in memory meanwhile.

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::Args;
use secmon_testkit::product::{Hub, Lab, Place};
use serde_json::json;
use tokio::{
    sync::watch,
    task::JoinSet,
    time::{MissedTickBehavior, interval, timeout},
};

use crate::load::{
    PATIENCE, account, account::percentile, fleet, node::SimNode, runtime, subscriber::Subscriber,
};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Nodes that flood.
    #[arg(long, default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000))]
    nodes: u64,
    /// Events a second of each of them; all that the hub takes without it.
    #[arg(long, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    rate: Option<u64>,
    /// For how long.
    #[arg(long, default_value_t = 60, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// One JSON object instead of text.
    #[arg(long)]
    json: bool,
}

/// Records that a flooding node sends before it looks at the time.
const BURST: u64 = 10_000;
/// The quiet node's record comes this often.
const QUIET: Duration = Duration::from_millis(100);
/// How long it may take, by the design.
const BUDGET: Duration = Duration::from_secs(1);
/// Files that are no connections.
const OTHER_FILES: u64 = 256;

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    account::raise_files(arguments.nodes + OTHER_FILES)?;
    runtime()?.block_on(measure(arguments))
}

async fn measure(arguments: &Arguments) -> anyhow::Result<()> {
    let lab = Lab::new();
    let hub = Hub::start(&lab, Place::Here);
    let pid = hub.process().pid();
    let mut members = fleet::enrol(hub.socket(), usize::try_from(arguments.nodes)? + 1).await?;
    let quiet = members.pop().context("there is one more")?;
    let (mut subscriber, key) = (Subscriber::subscribe(hub.socket()).await?, quiet.key);
    let mut quiet = SimNode::connect(&quiet, hub.address).await?;
    let mut nodes = Vec::new();
    for member in &members {
        nodes.push(SimNode::connect(member, hub.address).await?);
    }
    let (end, mut flooding) = (Duration::from_secs(arguments.seconds), JoinSet::new());
    let (rate, start, cpu) = (arguments.rate, Instant::now(), account::cpu(pid)?);
    for mut node in nodes {
        flooding.spawn(async move {
            if let Some(rate) = rate {
                return node.send_rate(rate, end).await;
            }
            let mut sent = 0;
            while start.elapsed() < end {
                node.send(BURST).await?;
                sent += BURST;
            }
            anyhow::Ok(sent)
        });
    }
    let (all, told_all) = watch::channel(None);
    let listening = tokio::spawn(async move {
        subscriber.follow(key, told_all).await?;
        anyhow::Ok(subscriber)
    });
    let mut ticks = interval(QUIET);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut told, mut acked) = (0_u64, Duration::ZERO);
    // One at a time, each to its acknowledgement.
    while start.elapsed() < end {
        ticks.tick().await;
        let sent = Instant::now();
        timeout(PATIENCE, quiet.send(1)).await.context("the quiet node is not heard")??;
        acked = acked.max(sent.elapsed());
        told += 1;
    }
    let mut each = Vec::new();
    while let Some(sent) = flooding.join_next().await {
        each.push(sent??);
    }
    each.sort_unstable();
    let flood = each.iter().sum::<u64>();
    let (least, most) = (each[0], each[each.len() - 1]);
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), account::cpu(pid)? - cpu);
    all.send_replace(Some(told + flood));
    let subscriber = timeout(PATIENCE, listening).await.context("the subscriber did not get all")???;
    let mut waits = subscriber.watched;
    // What a gap stands for may have places of the hub's own records in it; without one, nothing is missing.
    let tally = &subscriber.tally;
    let (gaps, gone) = (tally.gaps, tally.gone);
    let lost = (told + flood).saturating_sub(tally.delivered + gone);
    anyhow::ensure!(lost == 0, "{lost} records never came, and no gap tells of them");
    anyhow::ensure!(tally.out_of_order == 0, "{} records came out of their order", tally.out_of_order);
    let missing = told.saturating_sub(waits.len() as u64);
    waits.sort_unstable();
    let ms = |percent| percentile(&waits, percent) as f64 / 1e6;
    let (p50, p99, longest) = (ms(50), ms(99), ms(100));
    let (peak, rate) = (account::kib(pid, "VmHWM")?, flood as f64 / seconds);
    let kept = longest <= BUDGET.as_secs_f64() * 1e3;
    if arguments.json {
        let figures = json!({
            "what": "overload", "nodes": arguments.nodes, "seconds": seconds, "records": flood, "records_per_second": rate,
            "quiet_records": told, "quiet_in_gaps": missing, "quiet_longest_ack_ms": acked.as_secs_f64() * 1e3, "quiet_p50_ms": p50, "quiet_p99_ms": p99, "quiet_longest_ms": longest,
            "budget_longest_ms": BUDGET.as_millis(), "within_budget": kept, "peak_kib": peak,
            "cpu_seconds": cpu.as_secs_f64(), "gaps": gaps, "in_gaps": gone, "lost": lost,
            "rate_wished": arguments.rate, "least_of_one_node": least, "most_of_one_node": most,
        });
        println!("{figures}");
    } else {
        println!(
            "{} nodes sent {flood} records in {seconds:.1} s, {rate:.0} a second, {least} to {most} each; lost {lost}, in \
             gaps {gone}; {told} records of a quiet one: median {p50:.1} ms, p99 {p99:.1} ms, longest {longest:.1} ms \
             (budget {BUDGET:?}: {}); at most {peak} KiB",
            arguments.nodes,
            if kept { "kept" } else { "NOT KEPT" },
        );
    }
    Ok(())
}
