//! The same events of many nodes to many subscribers, through a hub, and through nats-server beside it.
//!
//! First in rounds, each as fast as it goes, for as long as it was asked for; then at a modest rate, for how long
//! each event is on its way. The load runs on the same processors as what is measured.

mod nats;
mod secmon;

use std::time::{Duration, Instant};

use anyhow::Context as _;
use clap::{Args, ValueEnum};
use secmon_testkit::binary;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::load::{PATIENCE, account, account::percentile, event, runtime, tally::Tally};

#[derive(Args)]
pub(crate) struct Arguments {
    /// Simulated nodes, each with a TLS connection of its own.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    nodes: u64,
    /// Events of each node in one round.
    #[arg(long, default_value_t = 10_000, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    events: u64,
    /// Subscribers, each with a connection of its own and a filter that every event matches.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=1000))]
    clients: u64,
    /// Rounds are repeated until so many seconds have passed.
    #[arg(long, default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=3600))]
    seconds: u64,
    /// Events a second of all nodes together, while latency is measured; 0 measures none.
    #[arg(long, default_value_t = 1000, value_parser = clap::value_parser!(u64).range(..=100_000))]
    rate: u64,
    /// The same through something else, and how the two compare.
    #[arg(long)]
    beside: Option<Beside>,
    /// One JSON object for each instead of text.
    #[arg(long)]
    json: bool,
}

#[derive(Clone, Copy, ValueEnum)]
enum Beside {
    /// nats-server, without TLS and without storage.
    Nats,
}

/// How long the modest rate is kept.
const LATENCY_TIME: u64 = 3;

/// What one of the two did.
struct Figures {
    what: &'static str,
    expected: u64,
    delivered: u64,
    lost: u64,
    out_of_order: u64,
    gaps: u64,
    seconds: f64,
    cpu: f64,
    peak_kib: u64,
    latencies: Vec<u64>,
}

/// Something that carries events from nodes to subscribers.
trait Carrier {
    /// Every node sends this many events as fast as they are taken; returns when every subscriber has all.
    async fn round(&mut self, each: u64) -> anyhow::Result<()>;
    /// Every node sends this many events, one per period, and each event's latency is kept.
    async fn paced(&mut self, each: u64, period: Duration) -> anyhow::Result<()>;
    /// What the subscribers got.
    fn tallies(&mut self) -> impl Iterator<Item = &mut Tally>;
    /// The process that is measured.
    fn pid(&self) -> u32;
}

/// Has each of the parts work, in a task of its own.
fn begin<T, F>(parts: &mut Vec<T>, work: impl FnMut(T) -> F) -> JoinSet<anyhow::Result<T>>
where
    T: Send + 'static,
    F: Future<Output = anyhow::Result<T>> + Send + 'static,
{
    parts.drain(..).map(work).collect()
}

/// Waits until all of them have done their work.
async fn end<T: 'static>(mut work: JoinSet<anyhow::Result<T>>) -> anyhow::Result<Vec<T>> {
    let mut parts = Vec::with_capacity(work.len());
    while let Some(part) = work.join_next().await {
        parts.push(part??);
    }
    Ok(parts)
}

pub(crate) fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let runtime = runtime()?;
    let ours = runtime.block_on(async {
        let mut carrier = secmon::Secmon::start(arguments).await?;
        measure("secmon", arguments, &mut carrier).await
    })?;
    ours.show(arguments);
    if matches!(arguments.beside, Some(Beside::Nats)) {
        let Some(server) = binary::program("nats-server") else {
            anyhow::bail!("there is no nats-server here; on Debian: apt install nats-server");
        };
        let theirs = runtime.block_on(async {
            let mut carrier = nats::Nats::start(&server, arguments).await?;
            measure("nats-server", arguments, &mut carrier).await
        })?;
        theirs.show(arguments);
        compare(&ours, &theirs, arguments.json);
    }
    anyhow::ensure!(ours.lost == 0, "{} events were lost", ours.lost);
    Ok(())
}

async fn measure(
    what: &'static str,
    arguments: &Arguments,
    carrier: &mut impl Carrier,
) -> anyhow::Result<Figures> {
    let (nodes, clients) = (arguments.nodes, arguments.clients);
    // The first round warms up, and counts for what is lost only.
    in_time(carrier.round(arguments.events)).await?;
    let mut each = arguments.events;
    let warm: u64 = carrier.tallies().map(|tally| tally.delivered).sum();
    let (cpu, start) = (account::cpu(carrier.pid())?, Instant::now());
    while start.elapsed() < Duration::from_secs(arguments.seconds) {
        in_time(carrier.round(arguments.events)).await?;
        each += arguments.events;
    }
    let seconds = start.elapsed().as_secs_f64();
    let cpu = (account::cpu(carrier.pid())? - cpu).as_secs_f64();
    let measured = carrier.tallies().map(|tally| tally.delivered).sum::<u64>() - warm;
    if arguments.rate > 0 {
        carrier.tallies().for_each(|tally| tally.latencies = Some(Vec::new()));
        let paced = (arguments.rate * LATENCY_TIME / nodes).max(1);
        let period = Duration::from_secs_f64(nodes as f64 / arguments.rate as f64);
        in_time(carrier.paced(paced, period)).await?;
        each += paced;
    }
    let peak_kib = account::kib(carrier.pid(), "VmHWM")?;
    let mut figures = Figures {
        what,
        expected: nodes * each * clients,
        delivered: measured,
        lost: 0,
        out_of_order: 0,
        gaps: 0,
        seconds,
        cpu,
        peak_kib,
        latencies: Vec::new(),
    };
    for tally in carrier.tallies() {
        figures.lost += tally.lost(nodes, each);
        figures.out_of_order += tally.out_of_order;
        figures.gaps += tally.gaps;
        figures.latencies.extend(tally.latencies.take().into_iter().flatten());
    }
    figures.latencies.sort_unstable();
    Ok(figures)
}

async fn in_time(round: impl Future<Output = anyhow::Result<()>>) -> anyhow::Result<()> {
    tokio::time::timeout(PATIENCE, round).await.context("a round did not end in time")?
}

impl Figures {
    fn rate(&self) -> f64 {
        self.delivered as f64 / self.seconds
    }

    fn cpu_per_million(&self) -> f64 {
        self.cpu * 1e6 / self.delivered.max(1) as f64
    }

    fn latency_us(&self, percent: usize) -> f64 {
        percentile(&self.latencies, percent) as f64 / 1e3
    }

    fn show(&self, arguments: &Arguments) {
        let Self { what, expected, delivered, lost, out_of_order, gaps, seconds, cpu, peak_kib, .. } = self;
        let (rate, per_million) = (self.rate(), self.cpu_per_million());
        let (p50, p99) = (self.latency_us(50), self.latency_us(99));
        if arguments.json {
            let figures = json!({
                "what": what, "nodes": arguments.nodes, "events_per_node_and_round": arguments.events,
                "clients": arguments.clients, "event_bytes": event::size(),
                "expected_in_all": expected, "delivered": delivered, "lost": lost, "out_of_order": out_of_order,
                "gaps": gaps, "seconds": seconds, "deliveries_per_second": rate, "cpu_seconds": cpu,
                "cpu_seconds_per_million": per_million, "peak_kib": peak_kib,
                "latency_rate": arguments.rate,
                "p50_us": if self.latencies.is_empty() { Value::Null } else { p50.into() },
                "p99_us": if self.latencies.is_empty() { Value::Null } else { p99.into() },
            });
            println!("{figures}");
            return;
        }
        println!(
            "{what}: {delivered} events of {} bytes delivered in {seconds:.2} s, {rate:.0} a second; {lost} lost, \
             {out_of_order} out of order, {gaps} gaps",
            event::size()
        );
        println!("  {cpu:.2} s of CPU, {per_million:.3} s per million; at most {peak_kib} KiB of memory");
        if !self.latencies.is_empty() {
            println!("  at {} events a second: median {p50:.0} µs, p99 {p99:.0} µs", arguments.rate);
        }
    }
}

fn compare(ours: &Figures, theirs: &Figures, json: bool) {
    let ratio = |ours: f64, theirs: f64| ours / theirs;
    let rate = ratio(ours.rate(), theirs.rate());
    let cpu = ratio(ours.cpu_per_million(), theirs.cpu_per_million());
    let memory = ratio(ours.peak_kib as f64, theirs.peak_kib as f64);
    if json {
        let ratios = json!({
            "what": "secmon / nats-server", "deliveries_per_second": rate, "cpu_seconds_per_million": cpu,
            "peak_kib": memory,
        });
        println!("{ratios}");
    } else {
        println!(
            "secmon / nats-server: {rate:.2} of its rate, {cpu:.2} of its CPU, {memory:.2} of its memory"
        );
    }
}
